"""An autoencoder whose prior is a normalising flow.

The encoder's posterior has the same variance everywhere (the CV-VAE of Ghosh et al. 2020), and the
prior of its codes is a flow (`codec.models.generative.flow`), trained together with it ::

    β·‖x − f(c)‖² − log p(c) − H(N(0, I)),   c = E(x) + ε,   ε ~ N(0, I)

This is the negative ELBO in nats up to a constant, for a Gaussian likelihood of variance 1/(2β).
A Wasserstein autoencoder pulls the distribution of its codes towards N(0, I), but holes remain, and
samples from a hole look like no image. Here the prior is fitted to the codes instead.

If z has scores of classes, they are drawn as N(0, I) under the condition that the image's label has
the largest, and log p(c) is the flow's density given the scores, less ln(classes): a bound on the
density of the codes, since the scores say more than the label.

Around a decoder that is trained already, and stays as it is, only encoder and flow are trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bitstream.arrays import Int64Array
from codec.models.generative.networks import Decoder, Encoder, GenerativeModel
from codec.priors import StandardNormal
from training.data.small_images import to_tensor
from training.generative.learner import (
    Draw,
    GenerativeLearner,
    check_given,
    in_batches,
    nearest_figures,
    new_decoder,
    new_encoder,
    squared_error,
)
from training.loop.optimise import MovingAverage


def scores_of(labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
    """Scores (n, classes) on the CPU, N(0, I) given that the label has the largest; labels int64
    (n,) in 0 .. classes − 1.
    """
    scores = torch.randn(len(labels), classes, generator=generator)
    largest, place = scores.max(1)
    # All places are equally likely, so the largest may change its place with the label's score.
    scores.scatter_(1, place[:, None], scores.gather(1, labels[:, None]))
    return scores.scatter_(1, labels[:, None], largest[:, None])


class FlowLearner(GenerativeLearner):
    """Trains encoder, flow and decoder; the moving average of the last two is exported.

    Call `take_labels` before `take` if there are classes.
    """

    encoder: Encoder
    labels: Int64Array | None = None
    decoder_is_given: Tensor

    def build(self) -> None:
        self.encoder, self.decoder = new_encoder(self.preset), new_decoder(self.preset)
        self.average = MovingAverage(self.decoder, self.preset.ema_decay)
        self.optimizers = {"adam": self.adam(self.encoder, self.decoder)}
        self.entropy = self.config.code / 2 * math.log(2 * math.pi * math.e)
        # Part of the state, because a run that goes on is not given the decoder again.
        self.register_buffer("decoder_is_given", torch.tensor(False, device=self.device))

    def start_from(self, decoder: Decoder) -> None:
        """Keep the layers of a trained decoder, whose flow may be of other sizes, or missing."""
        self.decoder.layers.load_state_dict(decoder.layers.state_dict())
        self.average.module.layers.load_state_dict(decoder.layers.state_dict())
        self.decoder_is_given.fill_(True)

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state. Raises `UsageError` if its decoder is not the given one."""
        if self.decoder_is_given:
            check_given(state["networks"], "decoder.layers.", self.decoder.layers)
        super().load_state(state)

    def take_labels(self, labels: Int64Array) -> None:
        """Set the labels 0 .. classes − 1 of all images for `take`, int64 (n,)."""
        self.labels = labels

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step on the next batch, and its labels."""
        places = self.sampler.places(step)
        labels = None if self.labels is None else torch.from_numpy(self.labels[places])
        return self.elbo_step(to_tensor(self.images[places]), labels, self.noise_of(step))

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on the negative ELBO of images without labels."""
        return self.elbo_step(draw(), None, generator)

    def elbo_step(
        self, images: Tensor, labels: Tensor | None, generator: torch.Generator
    ) -> dict[str, float]:
        """One step on the negative ELBO."""
        self.decoder.layers.requires_grad_(not self.decoder_is_given)
        x = images.to(self.device)
        with self.mixed():
            means = self.encoder(x)[0]
        codes = means.float() + self.normal(len(x), generator)
        with self.mixed():
            decoded = self.decoder.decoded(codes)
        error = squared_error(x, decoded.float().sigmoid()).mean()
        rate = -self.log_density(self.decoder, codes, labels, generator).mean() - self.entropy
        loss = self.preset.error_weight * error + rate
        if self.descend(loss, self.optimizers["adam"]):
            self.average.update_parameters(self.decoder)
        return {"loss": loss.item(), "sse": error.item(), "rate_nats": rate.item()}

    def log_density(
        self,
        decoder: Decoder,
        codes: Tensor,
        labels: Tensor | None,
        generator: torch.Generator,
    ) -> Tensor:
        """log p(c, y) of codes (n, code) and their labels int64 (n,), or log p(c) without classes;
        in nats, (n,)."""
        assert decoder.flow is not None
        scores, classes = None, self.config.classes
        if labels is not None:
            scores = scores_of(labels, classes, generator).to(self.device)
        return decoder.flow.log_density(codes, scores) - math.log(max(1, classes))

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Squared error of a posterior sample, KL divergence by one sample, with the sum over all
        labels, and nearest neighbours.
        """
        decoder: Decoder = self.average.module
        means = in_batches(lambda x: self.encoder(x)[0], images, self.device)
        generator = torch.Generator().manual_seed(0)
        codes = means + torch.randn(means.shape, generator=generator)
        decoded = in_batches(lambda c: decoder.decoded(c).sigmoid(), codes, self.device)
        each = range(self.config.classes)
        labels: list[Tensor | None] = [torch.full((len(codes),), label) for label in each]
        codes = codes.to(self.device)
        found = [self.log_density(decoder, codes, y, generator) for y in labels or [None]]
        density = torch.logsumexp(torch.stack(found), 0)
        return {
            "sse": float(squared_error(images, decoded).mean()),
            "rate_nats": float(-density.mean() - self.entropy),
            **nearest_figures(self.model(), images),
        }

    def model(self) -> GenerativeModel:
        """The model with the averaged flow and decoder; the encoder, which gives codes, not z, is
        left out.
        """
        prior = StandardNormal(self.config.prior_dimensions)
        return GenerativeModel(self.config, self.average.module, None, prior)
