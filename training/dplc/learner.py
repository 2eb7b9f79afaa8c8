"""Training of the distribution-preserving codec: Tschannen et al. 2018, the second of two steps.

The generator G is not changed. Each rate of n symbols has networks of its own::

    x ─ E ─► quantiser ─► symbols ±½ ─┬─ B ─► batch norm ─► z ─ G ─► x̂
                    noise U(−½, ½) ───┘

    Σ_rates RMSE(x, x̂) + λ_n · MMD²(z, N(0, I)),   RMSE of pixels in [−1, 1]

If B gives codes behind G's flow, the discrepancy is that of codes and the flow's samples, both with
the mean 0 and variance 1 of the samples.

A plain autoencoder has no noise and no MMD, and trains G as well.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from codec.models.dplc.networks import DplcNetworks, StochasticMap
from codec.models.generative.networks import Decoder
from training.dplc.config import DplcPreset
from training.dplc.figures import draw_noise, rate_figures
from training.generative.learner import Draw, ImageLearner, check_given, in_batches
from training.generative.wae import inverse_multiquadric_mmd, reconstruction_error
from training.loop.optimise import descend

SIGN_LEVELS = (-0.5, 0.5)
_FLOW_SAMPLES = 50_000
"""Samples of the flow that are drawn once, because each costs more than a step's other networks."""


class FlowSamples(NamedTuple):
    """Mean and deviation (code,) of the flow's samples, and the samples (n, code) without them."""

    mean: Tensor
    scale: Tensor
    normalised: Tensor


class DplcLearner(ImageLearner):
    """The networks of all rates and how they learn; images come as float32 (n, C, s, s) in [0, 1].

    generator   G, whose weights are copied; without it G is untrained, as for a plain autoencoder
                or if a state is loaded later
    """

    family = "dplc"

    def __init__(
        self,
        preset: DplcPreset,
        *,
        autocast: bool = True,
        device: torch.device | None = None,
        generator: Decoder | None = None,
    ) -> None:
        super().__init__(preset, autocast=autocast, device=device)
        self.preset: DplcPreset = preset
        self.config = preset.model
        self.generator_is_given = generator is not None
        self.networks = DplcNetworks(preset.model)
        if generator is not None:
            self.networks.generator.load_state_dict(generator.state_dict())
        self.networks.generator.requires_grad_(preset.is_plain)
        # They bring z to the mean 0 and variance 1 of its prior in every dimension, and codes to
        # those of the flow's samples.
        self.norms = nn.ModuleList(
            nn.BatchNorm1d(preset.model.code, affine=False)
            for rate in range(len(preset.model.rates))
        )
        self.to(self.device)
        parameters = [p for p in self.networks.parameters() if p.requires_grad]
        adam = torch.optim.Adam(parameters, lr=preset.learning_rate, fused=True)
        self.optimizers = {"adam": adam}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Continue from a state. Raises `UsageError` if its generator is not the given one."""
        if self.generator_is_given:
            check_given(state["networks"], "networks.generator.", self.networks.generator)
        super().load_state(state)

    @functools.cached_property
    def codes(self) -> FlowSamples:
        """Samples of the generator's flow, taken when they are first needed: a run that goes on, or
        is exported, has its generator only after its state.
        """
        flow = self.networks.generator.flow
        assert flow is not None
        seeded = torch.Generator().manual_seed(self.preset.seed)
        z = torch.randn(_FLOW_SAMPLES, self.config.code, generator=seeded)
        with torch.no_grad(), self.mixed():
            samples = in_batches(flow, z, self.device).to(self.device)
        mean, scale = samples.mean(0), samples.std(0, correction=0)
        return FlowSamples(mean, scale, (samples - mean) / scale)

    def aim(self, rate: int, count: int, generator: torch.Generator) -> Tensor:
        """Samples (n, code) of the distribution that B should have after its norm."""
        if self.config.gives_codes(rate):
            places = torch.randint(_FLOW_SAMPLES, (count,), generator=generator)
            return self.codes.normalised[places.to(self.device)]
        return torch.randn(count, self.config.code, generator=generator).to(self.device)

    def forward(self, x: Tensor, rate: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images, at a rate with symbols, to x̂ (n, C, s, s) in [0, 1], and what B gives after its
        norm, (n, code).
        """
        networks = self.networks
        noise = draw_noise(networks, len(x), rate, generator).to(self.device)
        with self.mixed():
            values = networks.encoders[rate](x)
            symbols = soft_to_hard(values.float(), softness=self.preset.softness)
            mapped = networks.maps[rate](symbols, noise)
        normal = mapped = self.norms[rate](mapped.float())
        if self.config.gives_codes(rate):
            mapped = normal * self.codes.scale + self.codes.mean
        with self.mixed():
            logits = networks.logits(mapped, rate)
        return logits.float().sigmoid(), normal

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step of all rates."""
        x, preset = draw().to(self.device), self.preset
        normalized = copy.deepcopy(self.norms.state_dict())
        terms: list[Tensor] = []
        figures: dict[str, Tensor] = {}
        for rate, symbols in enumerate(self.config.rates):
            if not symbols:
                continue
            decoded, normal = self(x, rate, generator)
            error = reconstruction_error(x, decoded, "rmse")
            figures[f"rmse_s{symbols}"] = error.detach()
            terms.append(error)
            if not preset.is_plain:
                mmd = inverse_multiquadric_mmd(normal, self.aim(rate, len(x), generator))
                figures[f"mmd_s{symbols}"] = mmd.detach()
                terms.append(preset.mmd_weights[rate] * mmd)
        loss = torch.stack(terms).sum()
        if not descend(loss, self.optimizers["adam"]):
            self.norms.load_state_dict(normalized)
        return {"loss": float(loss.detach()), **{k: float(v) for k, v in figures.items()}}

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """`rate_figures` of held-out images, float32 (n, C, s, s) in [0, 1]."""
        return rate_figures(self.folded(), images)

    @torch.no_grad()
    def folded(self) -> DplcNetworks:
        """The networks for export: each B with its batch norm folded into its last layer."""
        networks = copy.deepcopy(self.networks).requires_grad_(False).eval()
        for rate, (found, norm) in enumerate(zip(networks.maps, self.norms, strict=True)):
            if isinstance(found, StochasticMap):
                assert isinstance(norm, nn.BatchNorm1d)
                fold_batch_norm(found.last, norm)
                if self.config.gives_codes(rate):
                    found.last.weight.mul_(self.codes.scale[:, None])
                    found.last.bias.mul_(self.codes.scale).add_(self.codes.mean)
        return networks


@torch.no_grad()
def fold_batch_norm(linear: nn.Linear, norm: nn.BatchNorm1d) -> None:
    """Fold the batch norm (without affine, in evaluation mode) after a linear layer into it."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = (norm.running_var + norm.eps).rsqrt()
    linear.weight.mul_(scale[:, None])
    linear.bias.sub_(norm.running_mean).mul_(scale)


def soft_to_hard(
    x: Tensor, levels: tuple[float, ...] = SIGN_LEVELS, *, softness: float = 1.0
) -> Tensor:
    """The level nearest to each value of x, the upper one of two equally near; keeps the shape.

    Hard levels forward, the gradient of a soft choice back (Agustsson et al. 2017, "Soft-to-hard
    vector quantization").

    levels    ascending
    softness  σ of the gradient, which is that of Σ_l l · softmax_l(−σ (x − l)²)
    """
    grid = x.new_tensor(levels)
    hard = grid[torch.bucketize(x.detach().contiguous(), (grid[1:] + grid[:-1]) / 2, right=True)]
    soft = ((-softness * (x[..., None] - grid).square()).softmax(-1) * grid).sum(-1)
    # The value of the bracket is exactly 0, so the result is exactly a level.
    return hard + (soft - soft.detach())
