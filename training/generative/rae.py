"""Regularised autoencoder with an ex-post prior: Ghosh et al. 2020, RAE-L2."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitstream.errors import UsageError
from codec.models.generative.networks import Encoder, GenerativeModel
from codec.priors import GaussianMixture
from codec.system.missing_extra import extra_needed_by
from training.generative.learner import (
    Draw,
    GenerativeLearner,
    in_batches,
    nearest_figures,
    new_decoder,
    new_encoder,
    squared_error,
)

COVARIANCE_FLOOR = 1e-4
"""Added to every variance of the mixture, relative to the codes' mean variance."""


def fit_mixture(codes: Tensor, components: int, *, seed: int = 0) -> GaussianMixture:
    """Full-covariance Gaussian mixture of codes (n, k), in their own coordinates, by EM.

    Raises `MissingExtraError` without scikit-learn.
    """
    with extra_needed_by("the prior of a rae"):
        from sklearn.mixture import GaussianMixture as Fit
    values = codes.double().numpy()
    floor = COVARIANCE_FLOOR * float(np.mean(np.var(values, axis=0)))
    fit = Fit(components, reg_covar=floor, max_iter=200, tol=1e-3, random_state=seed).fit(values)
    return GaussianMixture(*map(torch.from_numpy, (fit.weights_, fit.means_, fit.covariances_)))


class RaeLearner(GenerativeLearner):
    """Squared error + β/2·‖z‖² + λ·‖θ‖² over the decoder's weights."""

    encoder: Encoder

    def build(self) -> None:
        self.encoder, self.decoder = new_encoder(self.preset), new_decoder(self.preset)
        self.mixture: GaussianMixture | None = None
        self.optimizers = {"adam": self.adam(self)}

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on the penalised squared error."""
        x = draw().to(self.device)
        with self.mixed():
            codes, _ = self.encoder(x)
            decoded = self.decoder.logits(codes)
        error = squared_error(x, decoded.float().sigmoid()).mean()
        size = codes.float().square().sum(1).mean()
        weights = torch.stack([p.square().sum() for p in self.decoder.parameters()]).sum()
        penalty = 0.5 * self.preset.code_penalty * size + self.preset.decoder_penalty * weights
        loss = error + penalty
        self.descend(loss, self.optimizers["adam"])
        return {"loss": loss.item(), "sse": error.item(), "code_square": size.item()}

    def finish(self) -> None:
        """Fit the prior to the codes of the training images."""
        images = torch.from_numpy(self.images)
        codes = in_batches(lambda x: self.encoder(x.float() / 255)[0], images, self.device)
        components = min(self.preset.components, len(codes))
        self.mixture = fit_mixture(codes, components, seed=self.preset.seed)

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Squared error; −log p(z) in nats and nearest-neighbour figures, NaN without a prior."""
        codes = in_batches(lambda x: self.encoder(x)[0], images, self.device)
        decoded = in_batches(self.decoder, codes, self.device)
        figures = {
            "sse": float(squared_error(images, decoded).mean()),
            "code_mean_square": float(codes.square().mean()),
        }
        if self.mixture is None:
            fitted = ("code_nll_nats", "nearest_sample_sse", "nearest_data_sse")
            return {**figures, **dict.fromkeys(fitted, math.nan)}
        figures["code_nll_nats"] = -float(self.mixture.log_prob(codes.double()).mean())
        return {**figures, **nearest_figures(self.model(), images)}

    def model(self) -> GenerativeModel:
        """The model with the fitted mixture as its prior. Raises `UsageError` before the fit."""
        if self.mixture is None:
            raise UsageError("the prior of a rae is fitted when its run ends: go on with it")
        return replace(super().model(), prior=self.mixture)

    def get_extra_state(self) -> dict[str, Any]:
        """The fitted prior, to be saved in the checkpoint."""
        if self.mixture is None:
            return {}
        m = self.mixture
        return {"weights": m.weights, "means": m.means, "covariances": m.covariances}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """The inverse of `get_extra_state`."""
        self.mixture = GaussianMixture(**state) if state else None
