"""An autoencoder whose prior is a normalising flow.

The encoder's posterior has the same variance everywhere (the CV-VAE of Ghosh et al. 2020), and the
prior of its codes is a flow (`codec.models.generative.flow`), trained together with it ::

    β·‖x − f(c)‖² − log p(c) − H(N(0, I)),   c = E(x) + ε,   ε ~ N(0, I)

This is the negative ELBO in nats up to a constant, for a Gaussian likelihood of variance 1/(2β).
A Wasserstein autoencoder pulls the distribution of its codes towards N(0, I), but holes remain, and
samples from a hole look like no image. Here the prior is fitted to the codes instead.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from codec.models.generative.networks import Decoder, Encoder, GenerativeModel
from codec.priors import StandardNormal
from training.generative.learner import (
    Draw,
    GenerativeLearner,
    in_batches,
    nearest_figures,
    new_decoder,
    new_encoder,
    squared_error,
)
from training.loop.optimise import MovingAverage


class FlowLearner(GenerativeLearner):
    """Trains encoder, flow and decoder; the moving average of the last two is exported."""

    encoder: Encoder

    def build(self) -> None:
        self.encoder, self.decoder = new_encoder(self.preset), new_decoder(self.preset)
        self.average = MovingAverage(self.decoder, self.preset.ema_decay)
        self.optimizers = {"adam": self.adam(self.encoder, self.decoder)}
        self.entropy = self.config.code / 2 * math.log(2 * math.pi * math.e)

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on the negative ELBO."""
        x = draw().to(self.device)
        with self.mixed():
            means = self.encoder(x)[0]
        codes = means.float() + self.normal(len(x), generator)
        with self.mixed():
            decoded = self.decoder.decoded(codes)
        error = squared_error(x, decoded.float().sigmoid()).mean()
        rate = self.rate(self.decoder, codes)
        loss = self.preset.error_weight * error + rate
        if self.descend(loss, self.optimizers["adam"]):
            self.average.update_parameters(self.decoder)
        return {"loss": loss.item(), "sse": error.item(), "rate_nats": rate.item()}

    def rate(self, decoder: Decoder, codes: Tensor) -> Tensor:
        """Mean KL divergence of the posterior from the prior, in nats, by one sample of each."""
        assert decoder.flow is not None
        return -decoder.flow.log_density(codes).mean() - self.entropy

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Squared error of a posterior sample, KL divergence, and nearest neighbours."""
        decoder: Decoder = self.average.module
        means = in_batches(lambda x: self.encoder(x)[0], images, self.device)
        noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(0))
        codes = means + noise
        decoded = in_batches(lambda c: decoder.decoded(c).sigmoid(), codes, self.device)
        return {
            "sse": float(squared_error(images, decoded).mean()),
            "rate_nats": float(self.rate(decoder, codes.to(self.device))),
            **nearest_figures(self.model(), images),
        }

    def model(self) -> GenerativeModel:
        """The model with the averaged flow and decoder; the encoder, which gives codes, not z, is
        left out.
        """
        prior = StandardNormal(self.config.code)
        return GenerativeModel(self.config, self.average.module, None, prior)
