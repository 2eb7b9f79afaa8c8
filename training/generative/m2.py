"""Variational autoencoders of images and their classes: M2 of Kingma, Rezende, Mohamed and Welling
2014, "Semi-supervised learning with deep generative models".

p(y) is uniform over the classes, p(z) = N(0, I), and y and z are independent. With

    L(x, y) = −log p(x|z, y) − log p(y) + KL(q(z|x, y) ‖ p(z)),   z ~ q(z|x, y)

an image with a known label costs L(x, y), equation 6, and one without, equation 7,

    U(x) = Σ_y q(y|x) L(x, y) − H(q(y|x))

and the loss of a step is the mean of U over images, plus the mean of L(x, y) − α log q(y|x) over
images with a known label, equation 9. If all labels are known, there is no classifier and no U.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.arrays import Int64Array
from bitstream.errors import InputError
from codec.datasets.arrays import Images
from codec.models.generative.networks import Classifier, GenerativeModel
from training.data.small_images import BatchSampler, to_tensor
from training.generative.learner import in_batches
from training.generative.vae import VaeLearner, binarize

_VALIDATION_BATCH = 500


def expected_cost(costs: Tensor, logits: Tensor) -> Tensor:
    """U(x) from L(x, y) of all classes, (classes, n), and the classifier's logits (n, classes)."""
    log_q = logits.log_softmax(-1)
    return (log_q.exp() * (costs.T + log_q)).sum(-1)


class ClassVaeLearner(VaeLearner):
    """Negative ELBO of images given their labels; call `take_labels` before `take`."""

    labels: Int64Array

    def take_labels(self, labels: Int64Array) -> None:
        """Set the labels 0 .. classes − 1 of all images for `take`, int64 (n,)."""
        self.labels = labels

    def values_of(self, labels: Int64Array) -> Tensor:
        """Labels (n,) as the networks see them: float32 (n, classes), on the device."""
        return F.one_hot(torch.from_numpy(labels), self.config.classes).float().to(self.device)

    def all_labels(self) -> Tensor:
        """Each label once, (classes, 1, classes), to be broadcast over images."""
        return torch.eye(self.config.classes, device=self.device)[:, None]

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step on the next batch and its labels."""
        generator, places = self.noise_of(step), self.sampler.places(step)
        x = self.seen(to_tensor(self.images[places]), generator)
        return self.elbo_step(x, self.values_of(self.labels[places]), generator, fraction)

    def costs(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """L(x, y) in nats for every label, the KL divergence and the squared error: (classes, n)
        each.
        """
        nll, kl, error = self.terms(x, generator, self.all_labels())
        return nll + kl + math.log(self.config.classes), kl, error

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Negative ELBO in nats without known labels, −log Σ_y exp(−L(x, y)), and the KL divergence
        and the squared error for the label with the smallest L.
        """
        x = binarize(images) if self.config.likelihood == "bernoulli" else images
        generator = torch.Generator().manual_seed(0)
        found = [
            self.costs(b.to(self.device), generator) for b in torch.split(x, _VALIDATION_BATCH)
        ]
        costs, kl, error = (torch.cat(parts, 1) for parts in zip(*found, strict=True))
        best = costs.argmin(0, keepdim=True)
        figures = {
            "nelbo_nats": float(-torch.logsumexp(-costs, 0).mean()),
            "kl_nats": float(kl.gather(0, best).mean()),
            "sse": float(error.gather(0, best).mean()),
        }
        if self.config.likelihood == "gaussian":
            figures["variance"] = float(self.log_variance.exp())
        return figures

    def validate(self) -> list[dict[str, float]]:
        """`measure` on the held-out images, and `told_figures` with their labels."""
        (figures,) = super().validate()
        self.eval()
        told = self.told_figures(to_tensor(self.held_out), self.labels[-len(self.held_out) :])
        self.train()
        return [{**figures, **told}]

    @torch.no_grad()
    def told_figures(self, images: Tensor, labels: Int64Array) -> dict[str, float]:
        """The negative ELBO of image and label in nats."""
        x = binarize(images) if self.config.likelihood == "bernoulli" else images
        generator, size = torch.Generator().manual_seed(0), _VALIDATION_BATCH
        values = torch.split(self.values_of(labels), size)
        batches = zip(torch.split(x, size), values, strict=True)
        parts = [self.terms(a.to(self.device), generator, b) for a, b in batches]
        nelbo = torch.cat([nll + kl for nll, kl, _ in parts]).mean() + math.log(self.config.classes)
        return {"joint_nelbo_nats": float(nelbo)}


class M2Learner(ClassVaeLearner):
    """The same with a classifier and few known labels."""

    def build(self) -> None:
        super().build()
        self.classifier = Classifier(self.config).to(self.device)
        self.optimizers["adam"].add_param_group({"params": list(self.classifier.parameters())})

    def take(self, images: Images) -> None:
        """Train on these images; the seed determines which labels are known.

        Raises `InputError` if a class has too few images.
        """
        super().take(images)
        classes, labels = self.config.classes, self.labels[: len(self.images)]
        order = np.random.default_rng((self.preset.seed, 1)).permutation(len(labels))
        each = self.preset.known_labels // classes
        known = [order[labels[order] == label][:each] for label in range(classes)]
        if min(map(len, known)) < each:
            raise InputError(f"training data: a class has fewer than {each} images")
        self.known = np.concatenate(known)
        self.share = len(self.known) / len(labels)
        self.known_sampler = BatchSampler(
            self.images[self.known], batch=self.preset.batch, seed=self.preset.seed
        )

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step on a batch without labels and one with."""
        generator = self.noise_of(step)
        x = self.seen(self.sampler(step), generator)
        places = self.known[self.known_sampler.places(step)]
        known = self.seen(to_tensor(self.images[places]), generator)
        told = torch.from_numpy(self.labels[places]).to(self.device)
        with self.mixed():
            logits = self.classifier(torch.cat([x, known]))
        unknown_logits, known_logits = torch.split(logits.float(), [len(x), len(known)])
        drawn, kl = self.sample_logits(x, generator, self.all_labels())
        costs = self.nll(x, drawn) + kl + math.log(self.config.classes)
        unknown = expected_cost(costs, unknown_logits).mean()
        nll, kl, _ = self.terms(known, generator, self.values_of(self.labels[places]))
        entropy = F.cross_entropy(known_logits, told)
        supervised = self.share * (nll + kl).mean() + self.preset.class_weight * entropy
        loss = unknown + supervised
        self.descend(loss, self.optimizers["adam"])
        return {
            "loss": loss.item(),
            "unknown_nats": unknown.item(),
            "class_nats": entropy.item(),
        }

    @torch.no_grad()
    def told_figures(self, images: Tensor, labels: Int64Array) -> dict[str, float]:
        """The negative ELBO of image and label, and how often the classifier is wrong."""
        guesses = in_batches(self.classifier, images, self.device).argmax(-1).numpy()
        wrong = 100 * float((guesses != labels).mean())
        return {**super().told_figures(images, labels), "error_percent": wrong}

    def model(self) -> GenerativeModel:
        """The model with its classifier."""
        return replace(super().model(), classifier=self.classifier)
