"""Variational autoencoder: Kingma & Welling 2014, equation 10."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.datasets.arrays import Images
from codec.models.generative.networks import Encoder, GenerativeModel
from training.generative.learner import (
    Draw,
    GenerativeLearner,
    nearest_figures,
    new_decoder,
    new_encoder,
)

INITIAL_VARIANCE = 0.03
VARIANCE_RATE_FACTOR = 10.0
BINARIZATION_SEED = 2008
"""Seed of the fixed binarisation of held-out images; training binarises anew in every step."""


def binarize(images: Tensor, *, seed: int = BINARIZATION_SEED) -> Tensor:
    """1 with the probability given by the pixel, else 0: float (n, …) in [0, 1] to {0, 1}."""
    return torch.bernoulli(images, generator=torch.Generator().manual_seed(seed))


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ N(0, I)) in nats, (…, k) to (…)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)


def image_error(x: Tensor, logits: Tensor) -> Tensor:
    """Sum of squared errors of images (n, C, H, W) and logits (…, n, C, H, W): (…, n)."""
    return (x - logits.sigmoid()).square().flatten(-3).sum(-1)


class VaeLearner(GenerativeLearner):
    """Negative ELBO, with a Bernoulli or a Gaussian likelihood of one learned variance."""

    encoder: Encoder

    def build(self) -> None:
        self.encoder, self.decoder = new_encoder(self.preset), new_decoder(self.preset)
        self.log_variance = nn.Parameter(torch.tensor(math.log(INITIAL_VARIANCE)))
        self.optimizers = {"adam": self.adam(self.encoder, self.decoder)}
        # A single number: at the learning rate of the others it would not converge in a short run.
        scalar = {"params": [self.log_variance], "rate_factor": VARIANCE_RATE_FACTOR}
        self.optimizers["adam"].add_param_group(scalar)

    @torch.no_grad()
    def take(self, images: Images) -> None:
        """Train on these images, and initialise the decoder's output to their mean.

        A tanh network without biases is odd: f(−z) = −f(z). Starting from mid-grey, half of the
        codes would decode to negatives of images, and the posterior would merely avoid them.
        """
        super().take(images)
        if self.preset.xavier and self.config.architecture == "mlp":
            bias = self.decoder.layers[-1].bias
            assert isinstance(bias, Tensor)
            mean = torch.from_numpy(self.images).float().mean(0) / 255
            bias.copy_(mean.flatten().clamp(0.01, 0.99).logit())

    def terms(
        self, x: Tensor, generator: torch.Generator, label: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """−log p(x|z), the KL divergence and the squared error of images at a posterior sample.

        x: float (n, C, H, W); label, if there are classes: the label's values, (n, classes) or
        (…, 1, classes); each result is (n,) or (…, n), the first two in nats.
        """
        logits, kl = self.sample_logits(x, generator, label)
        return self.nll(x, logits), kl, image_error(x, logits)

    def sample_logits(
        self, x: Tensor, generator: torch.Generator, label: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The decoder's logits at a posterior sample of each image, and the KL divergence."""
        with self.mixed():
            mean, log_variance = self.encoder(x, label)
        mean, log_variance = mean.float(), log_variance.float()
        code = mean + self.normal(len(x), generator) * (0.5 * log_variance).exp()
        if label is not None:
            code = torch.cat([code, label.expand(*code.shape[:-1], -1)], -1)
        with self.mixed():
            logits = self.decoder.logits(code)
        return logits.float(), kl_to_standard_normal(mean, log_variance)

    def nll(self, x: Tensor, logits: Tensor) -> Tensor:
        """−log p(x|z) in nats: images (n, C, H, W) and logits (…, n, C, H, W) to (…, n)."""
        if self.config.likelihood == "bernoulli":
            each = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
            return each.flatten(-3).sum(-1)
        error = image_error(x, logits)
        constant = 0.5 * self.config.pixels * (math.log(2 * math.pi) + self.log_variance)
        return 0.5 * error * (-self.log_variance).exp() + constant

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on the negative ELBO, with the KL divergence weighted by the warm-up."""
        return self.elbo_step(self.seen(draw(), generator), None, generator, fraction)

    def seen(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images as a step sees them, on the device: binarised for a Bernoulli likelihood."""
        binary = self.config.likelihood == "bernoulli"
        return (torch.bernoulli(images, generator=generator) if binary else images).to(self.device)

    def elbo_step(
        self, x: Tensor, label: Tensor | None, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on the negative ELBO of a batch, and its figures."""
        nll, kl, error = (term.mean() for term in self.terms(x, generator, label))
        warmup = self.preset.kl_warmup
        loss = nll + kl * (min(1.0, fraction / warmup) if warmup else 1.0)
        self.descend(loss, self.optimizers["adam"])
        return {"loss": loss.item(), "kl_nats": kl.item(), "sse": error.item()}

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Negative ELBO and its parts in nats; squared error at a posterior sample and the mean."""
        x = binarize(images) if self.config.likelihood == "bernoulli" else images
        generator = torch.Generator().manual_seed(0)
        parts = [self.terms(b.to(self.device), generator) for b in torch.split(x, 1000)]
        nll, kl, error = map(torch.cat, zip(*parts, strict=True))
        figures = {
            "nelbo_nats": float((nll + kl).mean()),
            "distortion_nats": float(nll.mean()),
            "kl_nats": float(kl.mean()),
            "sse": float(error.mean()),
        }
        if self.config.likelihood == "gaussian":
            figures["variance"] = float(self.log_variance.exp())
        return {**figures, **nearest_figures(self.model(), x)}

    def model(self) -> GenerativeModel:
        """The model, with the variance of its likelihood if that is Gaussian."""
        gaussian = self.config.likelihood == "gaussian"
        variance = float(self.log_variance.detach().exp()) if gaussian else None
        return replace(super().model(), variance=variance)
