"""An autoencoder whose prior is a continuous flow.

The encoder's posterior has the same variance everywhere, and its prior is a normal distribution
with a learned mean and variance of each dimension (the CV-VAE of Ghosh et al. 2020) ::

    β·‖x − f(c)‖² + γ·KL(N(E(x), I) ‖ N(m, diag s²)),   c = E(x) + ε,   ε ~ N(0, I)

With γ = 1 this is the negative ELBO in nats up to a constant, for a Gaussian likelihood of variance
1/(2β). The codes of all images together are not normal: samples of that prior fall between them,
and look like no image. So afterwards a flow (`codec.models.generative.flow`) learns to map N(0, I)
to the codes, while encoder and decoder stay as they are. A normal prior only has to keep the codes
from spreading, so γ may be small: it costs detail.

Around a decoder that is trained already, and stays as it is, only encoder and flow are trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from codec.models.generative.flow import Flow
from codec.models.generative.networks import Decoder, Encoder, GenerativeModel
from codec.priors import StandardNormal
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

AUTOENCODER_SHARE = 0.3
"""Share of the budget in which the autoencoder learns; in the rest the flow does."""
LINES = 4
"""Lines from normal samples to the codes of each image in a step."""


class FlowLearner(GenerativeLearner):
    """Trains encoder, flow and decoder; the moving average of the last two is exported."""

    encoder: Encoder
    decoder_is_given: Tensor

    def build(self) -> None:
        self.encoder, self.decoder = new_encoder(self.preset), new_decoder(self.preset)
        self.average = MovingAverage(self.decoder, self.preset.ema_decay)
        flow = _flow_of(self.decoder)
        adam = self.adam(flow.velocity)
        autoencoder = [*self.encoder.parameters(), *self.decoder.layers.parameters()]
        adam.add_param_group({"params": [*autoencoder, flow.log_scale, flow.shift]})
        self.optimizers = {"adam": adam}
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

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step of the autoencoder or, in the later part of the budget, of the flow."""
        x, flow = draw().to(self.device), _flow_of(self.decoder)
        learns = fraction < AUTOENCODER_SHARE
        with torch.set_grad_enabled(learns), self.mixed():
            means = self.encoder(x)[0]
        means = means.float()
        if not learns:
            matching = self.matching_loss(flow, means, generator)
            return self._step(matching, matching=matching)
        # The rate reaches 0 when the flow begins, so that the codes are those of a trained encoder.
        self.optimizers["adam"].param_groups[1]["rate_factor"] = 1 - fraction / AUTOENCODER_SHARE
        self.decoder.layers.requires_grad_(not self.decoder_is_given)
        with self.mixed():
            decoded = self.decoder.decoded(means + self.normal(len(x), generator))
        error = squared_error(x, decoded.float().sigmoid()).mean()
        rate = _divergence(means, flow).mean()
        loss = self.preset.error_weight * error + self.preset.code_penalty * rate
        return self._step(loss, sse=error, rate_nats=rate)

    def _step(self, loss: Tensor, **figures: Tensor) -> dict[str, float]:
        if self.descend(loss, self.optimizers["adam"]):
            self.average.update_parameters(self.decoder)
        unknown = dict.fromkeys(("sse", "rate_nats", "matching"), math.nan)
        return {"loss": loss.item(), **unknown, **{k: v.item() for k, v in figures.items()}}

    def matching_loss(self, flow: Flow, means: Tensor, generator: torch.Generator) -> Tensor:
        """`Flow.matching_loss` of `LINES` samples of each posterior, (n, code)."""
        means = means.repeat(LINES, 1)
        count = len(means)
        noise, z = self.normal(count, generator), self.normal(count, generator)
        # Evenly spread times have less variance than independent ones.
        places = torch.randperm(count, generator=generator) + torch.rand(1, generator=generator)
        times = (places / count)[:, None].to(self.device)
        with self.mixed():
            return flow.matching_loss(means + noise, z, times)

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Squared error of a posterior sample, KL divergence from the normal prior, the flow's
        error, and nearest neighbours.
        """
        decoder: Decoder = self.average.module
        flow = _flow_of(decoder)
        means = in_batches(lambda x: self.encoder(x)[0], images, self.device)
        generator = torch.Generator().manual_seed(0)
        codes = means + torch.randn(means.shape, generator=generator)
        decoded = in_batches(lambda c: decoder.decoded(c).sigmoid(), codes, self.device)
        means = means.to(self.device)
        return {
            "sse": float(squared_error(images, decoded).mean()),
            "rate_nats": float(_divergence(means, flow).mean()),
            "matching": float(self.matching_loss(flow, means, generator)),
            **nearest_figures(self.model(), images),
        }

    def model(self) -> GenerativeModel:
        """The model with the averaged flow and decoder; the encoder, which gives codes, not z, is
        left out.
        """
        prior = StandardNormal(self.config.code)
        return GenerativeModel(self.config, self.average.module, None, prior)


def _flow_of(decoder: Decoder) -> Flow:
    assert decoder.flow is not None
    return decoder.flow


def _divergence(means: Tensor, flow: Flow) -> Tensor:
    """KL(N(mean, I) ‖ N(shift, diag scale²)) of means (n, code), in nats, (n,)."""
    inverse = (-2 * flow.log_scale).exp()
    each = ((means - flow.shift).square() + 1) * inverse - 1 + 2 * flow.log_scale
    return each.sum(-1) / 2
