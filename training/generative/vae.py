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
    squared_error,
)

INITIAL_VARIANCE = 0.03
VARIANCE_RATE_FACTOR = 10.0
BINARIZATION_SEED = 2008
"""Of the fixed binarisation of held-out images; training binarises anew in every step."""


def binarize(images: Tensor, *, seed: int = BINARIZATION_SEED) -> Tensor:
    """White with the probability that the pixel states: float (n, …) in [0, 1] to {0, 1}."""
    return torch.bernoulli(images, generator=torch.Generator().manual_seed(seed))


def kl_to_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) ‖ N(0, I)) in nats, (n, k) to (n,)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)


class VaeLearner(GenerativeLearner):
    """Negative ELBO, with a Bernoulli or a Gaussian likelihood of one learned variance."""

    encoder: Encoder

    def build(self) -> None:
        self.encoder, self.decoder = new_encoder(self.preset), new_decoder(self.preset)
        self.log_variance = nn.Parameter(torch.tensor(math.log(INITIAL_VARIANCE)))
        self.optimizers = {"adam": self.adam(self.encoder, self.decoder)}
        # One number among millions: at their rate it would not arrive within a short run.
        scalar = {"params": [self.log_variance], "rate_factor": VARIANCE_RATE_FACTOR}
        self.optimizers["adam"].add_param_group(scalar)

    @torch.no_grad()
    def take(self, images: Images) -> None:
        """Train on these images, and let the untrained decoder show their mean.

        A tanh network without biases is odd: f(−z) is the negative of f(z). Held at a light
        mean, half of the codes would stay negatives, which the posterior merely avoids.
        """
        super().take(images)
        if self.preset.xavier and self.config.architecture == "mlp":
            bias = self.decoder.layers[-1].bias
            assert isinstance(bias, Tensor)
            mean = torch.from_numpy(self.images).float().mean(0) / 255
            bias.copy_(mean.flatten().clamp(0.01, 0.99).logit())

    def terms(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """−log p(x|z), the KL divergence and the squared error of images at a posterior sample.

        x: float (n, C, H, W); each result is (n,), the first two in nats.
        """
        with self.mixed():
            mean, log_variance = self.encoder(x)
        mean, log_variance = mean.float(), log_variance.float()
        noise = self.normal(len(x), generator)
        with self.mixed():
            logits = self.decoder.logits(mean + noise * (0.5 * log_variance).exp())
        logits = logits.float()
        error = squared_error(x, logits.sigmoid())
        if self.config.likelihood == "bernoulli":
            each = F.binary_cross_entropy_with_logits(logits, x, reduction="none")
            nll = each.flatten(1).sum(1)
        else:
            constant = 0.5 * self.config.pixels * (math.log(2 * math.pi) + self.log_variance)
            nll = 0.5 * error * (-self.log_variance).exp() + constant
        return nll, kl_to_standard_normal(mean, log_variance), error

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on the negative ELBO, its KL divergence weighted by the warm-up."""
        x = draw()
        if self.config.likelihood == "bernoulli":
            x = torch.bernoulli(x, generator=generator)
        x = x.to(self.device)
        nll, kl, error = (term.mean() for term in self.terms(x, generator))
        warmup = self.preset.kl_warmup
        loss = nll + kl * (min(1.0, fraction / warmup) if warmup else 1.0)
        self.descend(loss, self.optimizers["adam"])
        return {"loss": loss.item(), "kl_nats": kl.item(), "sse": error.item()}

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Negative ELBO and its parts in nats, squared error at a posterior sample and its mean."""
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
        """With the variance of its likelihood where that is Gaussian."""
        gaussian = self.config.likelihood == "gaussian"
        variance = float(self.log_variance.detach().exp()) if gaussian else None
        return replace(super().model(), variance=variance)
