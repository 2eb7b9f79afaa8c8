"""The photo model: a variational autoencoder with a hyperprior (catalogue id 1).

Mean-scale hyperprior of Ballé et al. 2018 and Minnen et al. 2018, with one checkpoint for
all qualities (per-quality gains, Cui et al. 2021) and no serial autoregression::

    x ─ analysis ─► y·gain(q) ──── round(y − μ) ──► symbols ─► +μ ─► ŷ ─ synthesis ─► x̂
                       │                 ▲ table index      ▲ μ
                       └ hyper-analysis ─► round ─► ẑ ─ hyper-synthesis (exact, integers)

The first and the last layer start as an orthonormal 16×16×3 DCT and every nonlinear branch
starts at zero, so the untrained model already is a working transform codec.

Distribution of work: 1/4 resolution renders, 1/8 and 1/16 carry the blocks, the hyper-latents
live at 1/64. At run time `codec.coding.exact_layers` replaces the floating-point hyper-synthesis of
this file by its fixed-point twin, which is what makes a file parse alike on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.layers import QualityTable, Stage, in_full_precision, round_straight_through
from codec.models.photo.code_length import gaussian_bits, logistic_bits, lower_bound
from codec.models.photo.config import CONTEXT_SIZES as CONTEXT_SIZES
from codec.models.photo.config import HIDDEN as HIDDEN
from codec.models.photo.config import LATENT_STRIDE as LATENT_STRIDE
from codec.models.photo.config import PhotoConfig as PhotoConfig
from codec.models.photo.config import quality_position as quality_position
from codec.models.photo.context import LatentContext

SCALE_COUNT = 64
SCALE_MIN = 0.11
SCALE_MAX = 256.0
LOG_SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_COUNT - 1)

LAMBDA_MIN = 4e-4
LAMBDA_MAX = 0.8


def lagrange_multiplier(position: Tensor) -> Tensor:
    """λ of the training objective λ·255²·MSE + bits per pixel at a quality position."""
    return LAMBDA_MIN * (LAMBDA_MAX / LAMBDA_MIN) ** position


def uniform_step(lagrange: Tensor) -> Tensor:
    """Quantiser step of an orthonormal transform, pixels in [0, 1], that is optimal at λ.

    High-rate theory: a coefficient costs Δ²/12 in squared error and −log2 Δ bits, so
    d/dΔ (λ·255²·Δ²/12 − 3·log2 Δ) = 0 gives Δ² = 18 / (ln 2 · λ · 255²).
    """
    return torch.sqrt(18 / (math.log(2) * lagrange * 255**2))


@dataclass(frozen=True)
class Forward:
    """The outputs of one training step. Rates are estimates in bits, one per sample (batch,)."""

    reconstruction: Tensor
    latent_bits: Tensor
    hyper_bits: Tensor


def _cosine_basis(size: int) -> Tensor:
    index = torch.arange(size, dtype=torch.float64)
    basis = torch.cos(math.pi * (index[None] + 0.5) * index[:, None] / size) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis


def _dct_filters(count: int) -> Tensor:
    """The `count` lowest-order filters (count, 3, 16, 16) of the separable 16×16×3 DCT.

    Order by an isotropic model of photographs: variance falls with frequency and is an
    order of magnitude smaller on the two colour-difference axes of the 3-point DCT.
    """
    space, colour = _cosine_basis(LATENT_STRIDE), _cosine_basis(3)
    filters = torch.einsum("ui,vj,wc->uvwcij", space, space, colour).reshape(-1, 3, 16, 16)
    u, v, w = torch.meshgrid(torch.arange(16), torch.arange(16), torch.arange(3), indexing="ij")
    variance = torch.tensor([1.0, 0.08, 0.04])[w] / (1.0 + u**2 + v**2) ** 1.3
    order = torch.argsort(variance.flatten(), descending=True, stable=True)[:count]
    return filters[order].float()


Noise = Callable[[Tensor], Tensor]
_Layer = TypeVar("_Layer", bound=nn.Module)


def _zeroed(layer: _Layer) -> _Layer:
    """The layer with all parameters zero: a branch that starts silent."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class Analysis(nn.Module):
    """Pixels (batch, 3, 16·h, 16·w), centred on 0, to latents (batch, C, h, w) in pixel units."""

    def __init__(self, config: PhotoConfig, filters: Tensor) -> None:
        super().__init__()
        self.linear = _zeroed(nn.Conv2d(3, config.latent_channels, 16, stride=16))
        self.stem = nn.Conv2d(3, config.width_8, 8, stride=8)
        self.stage_8 = Stage(config.width_8, config.blocks_8, config.knots)
        self.down = nn.Conv2d(4 * config.width_8, config.width_16, 1)
        self.merge = nn.Conv2d(config.latent_channels, config.width_16, 1)
        self.stage_16 = Stage(config.width_16, config.blocks_16, config.knots)
        self.out = _zeroed(nn.Conv2d(config.width_16, config.latent_channels, 1))
        with torch.no_grad():
            self.linear.weight.copy_(filters)

    def forward(self, pixels: Tensor, position: Tensor) -> Tensor:
        linear = in_full_precision(self.linear, pixels)
        features = self.stage_8(self.stem(pixels), position)
        features = self.down(F.pixel_unshuffle(features, 2)) + self.merge(linear)
        latents: Tensor = linear + self.out(self.stage_16(features, position))
        return latents


class PatchSynthesis(nn.Module):
    """A transposed convolution whose stride is its kernel, as the matrix product that it is.

    Same parameters, (channels, 3, size, size) and (3,), and same result as `ConvTranspose2d`,
    which takes several times as long on a CPU.
    """

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 3, size, size))
        self.bias = nn.Parameter(torch.empty(3))

    def forward(self, latents: Tensor) -> Tensor:
        size = self.weight.shape[-1]
        kernel = self.weight.flatten(1).t()[:, :, None, None]
        patches = F.conv2d(latents, kernel, self.bias.repeat_interleave(size * size))
        return F.pixel_shuffle(patches, size)


class Synthesis(nn.Module):
    """Latents (batch, C, h, w) in pixel units to pixels (batch, 3, 16·h, 16·w), centred on 0."""

    def __init__(self, config: PhotoConfig, filters: Tensor) -> None:
        super().__init__()
        self.linear = _zeroed(PatchSynthesis(config.latent_channels, 16))
        self.head = nn.Conv2d(config.latent_channels, config.width_16, 1)
        self.stage_16 = Stage(config.width_16, config.blocks_16, config.knots)
        self.up_16 = nn.Conv2d(config.width_16, 4 * config.width_8, 1)
        self.stage_8 = Stage(config.width_8, config.blocks_8, config.knots)
        self.up_8 = nn.Conv2d(config.width_8, 4 * config.width_4, 1)
        self.side = nn.Conv2d(48, config.width_4, 1)
        self.stage_4 = Stage(config.width_4, config.blocks_4, config.knots)
        self.out = _zeroed(nn.Conv2d(config.width_4, 48, 1))
        with torch.no_grad():
            self.linear.weight.copy_(filters)

    def forward(self, latents: Tensor, position: Tensor) -> Tensor:
        linear = in_full_precision(self.linear, latents)
        features = self.stage_16(self.head(latents), position)
        features = self.stage_8(F.pixel_shuffle(self.up_16(features), 2), position)
        features = F.pixel_shuffle(self.up_8(features), 2)
        # The linear image enters as a side input: the blocks only have to repair it.
        features = features + self.side(F.pixel_unshuffle(linear, 4))
        rendered = F.pixel_shuffle(self.out(self.stage_4(features, position)), 4)
        pixels: Tensor = linear + rendered
        return pixels


class HyperAnalysis(nn.Module):
    """Scaled latents (batch, C, 4·h, 4·w) to hyper-latents (batch, Z, h, w)."""

    def __init__(self, config: PhotoConfig) -> None:
        super().__init__()
        width = config.hyper_width
        self.head = nn.Conv2d(2 * config.latent_channels, width, 1)
        self.stage_16 = Stage(width, 1, config.knots)
        self.down_16 = nn.Conv2d(4 * width, width, 1)
        self.stage_32 = Stage(width, 1, config.knots)
        self.down_32 = nn.Conv2d(4 * width, config.hyper_channels, 1)
        with torch.no_grad():
            # A spread of several integers, else rounding starves the scales from the start.
            self.down_32.weight.mul_(8)

    def forward(self, latents: Tensor, position: Tensor) -> Tensor:
        # Magnitudes on a log scale are what the scales are predicted from; measured on a
        # pilot, they lower the loss by 7 % after four minutes against feeding y itself.
        magnitude = torch.log1p(latents.abs())
        features = self.head(torch.cat([latents.sign() * magnitude, magnitude], dim=1))
        features = self.stage_16(features, position)
        features = self.stage_32(self.down_16(F.pixel_unshuffle(features, 2)), position)
        hyper_latents: Tensor = self.down_32(F.pixel_unshuffle(features, 2))
        return hyper_latents


class HyperSynthesis(nn.Module):
    """Rounded hyper-latents (batch, Z, h, w) to means and scale indexes (batch, C, 4·h, 4·w).

    Only layers with a fixed-point twin in `codec.coding.exact_layers`: 3×3 and 1×1 convolutions, a
    bias per quality, ReLU, pixel shuffle. The scale index is a real number here; the exact path
    rounds it down to the index of a table.
    """

    def __init__(self, config: PhotoConfig) -> None:
        super().__init__()
        width, knots, channels = config.hyper_width, config.knots, config.latent_channels
        self.layer_64 = nn.Conv2d(config.hyper_channels, width, 3, padding=1, bias=False)
        self.bias_64 = QualityTable(knots, width)
        self.up_64 = nn.Conv2d(width, 4 * HIDDEN, 1, bias=False)
        self.bias_up_64 = QualityTable(knots, 4 * HIDDEN)
        self.layer_32 = nn.Conv2d(HIDDEN, width, 3, padding=1, bias=False)
        self.bias_32 = QualityTable(knots, width)
        self.up_32 = nn.Conv2d(width, 4 * HIDDEN, 1, bias=False)
        self.bias_up_32 = QualityTable(knots, 4 * HIDDEN)
        self.out = nn.Conv2d(HIDDEN, 2 * channels, 1, bias=False)
        self.bias_out = QualityTable(knots, 2 * channels)
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def layers(self) -> list[tuple[nn.Conv2d, QualityTable, int]]:
        """Convolution, bias and pixel-shuffle factor of each layer, for the fixed-point twin."""
        return [
            (self.layer_64, self.bias_64, 1),
            (self.up_64, self.bias_up_64, 2),
            (self.layer_32, self.bias_32, 1),
            (self.up_32, self.bias_up_32, 2),
            (self.out, self.bias_out, 1),
        ]

    def features(self, hyper_latents: Tensor, position: Tensor) -> Tensor:
        """Rounded hyper-latents (batch, Z, h, w) to the last features (batch, 96, 4·h, 4·w)."""
        hidden = F.relu(self.layer_64(hyper_latents) + self.bias_64(position))
        hidden = F.relu(F.pixel_shuffle(self.up_64(hidden) + self.bias_up_64(position), 2))
        hidden = F.relu(self.layer_32(hidden) + self.bias_32(position))
        return F.relu(F.pixel_shuffle(self.up_32(hidden) + self.bias_up_32(position), 2))

    def predict(self, features: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Means and scale indexes, float32 (batch, C, 4·h, 4·w), of the last features."""
        out = in_full_precision(self.out, features)
        means, indexes = (out + self.bias_out(position)).chunk(2, dim=1)
        return means, indexes

    def forward(self, hyper_latents: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        return self.predict(self.features(hyper_latents, position), position)


class PhotoModel(nn.Module):
    """The trainable photo model. Pixels are float (batch, 3, height, width) in [0, 1]."""

    def __init__(self, config: PhotoConfig = PhotoConfig()) -> None:
        super().__init__()
        self.config = config
        filters = _dct_filters(config.latent_channels)
        position = torch.linspace(0, 1, config.knots)
        log_gain = -torch.log(uniform_step(lagrange_multiplier(position)))
        log_gains = log_gain[:, None].expand(config.knots, config.latent_channels)
        self.analysis = Analysis(config, filters)
        self.synthesis = Synthesis(config, filters)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.context: LatentContext | None = None
        if config.context_width:
            groups = (config.first_group, config.second_group)
            self.context = LatentContext(
                config.latent_channels, groups, HIDDEN, config.context_width, config.knots
            )
        self.log_gain = QualityTable(config.knots, config.latent_channels, log_gains)
        self.log_inverse_gain = QualityTable(config.knots, config.latent_channels, -log_gains)
        self.hyper_location = QualityTable(config.knots, config.hyper_channels)
        self.hyper_log_scale = QualityTable(config.knots, config.hyper_channels)

    @torch.no_grad()
    def fit_scales(self, pixels: Tensor) -> None:
        """Start the predicted scales at the spread of the untrained latents of `pixels`."""
        spread = self.analysis.linear(pixels - 0.5).std(dim=(0, 2, 3))
        index = (spread.log() + self.log_gain.knots - math.log(SCALE_MIN)) / LOG_SCALE_STEP
        channels = self.config.latent_channels
        self.hyper_synthesis.bias_out.knots[:, channels:] = index.clamp(0, SCALE_COUNT - 1)

    def analyze(self, pixels: Tensor, position: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels to latents in units of the quantiser step, and unrounded hyper-latents.

        Height and width must be multiples of 16; the hyper-latents cover ⌈h/4⌉×⌈w/4⌉
        positions of the latent grid, padded by repetition.
        """
        latents = self.analysis(pixels - 0.5, position) * self.log_gain(position).exp()
        return latents, self.hyper_analyze(latents, position)

    def hyper_analyze(self, latents: Tensor, position: Tensor) -> Tensor:
        """Scaled latents of any size to unrounded hyper-latents."""
        rows, columns = -latents.shape[2] % 4, -latents.shape[3] % 4
        padded = F.pad(latents, (0, columns, 0, rows), mode="replicate")
        hyper_latents: Tensor = self.hyper_analysis(padded, position)
        return hyper_latents

    def synthesize(
        self, latents: Tensor, position: Tensor, synthesis: Synthesis | None = None
    ) -> Tensor:
        """Dequantised latents in units of the quantiser step to pixels, not clamped.

        synthesis  another network in place of the model's own
        """
        scaled = latents * self.log_inverse_gain(position).exp()
        network = self.synthesis if synthesis is None else synthesis
        pixels: Tensor = network(scaled, position) + 0.5
        return pixels

    def forward(
        self,
        pixels: Tensor,
        position: Tensor,
        *,
        hard: bool = False,
        noise: Noise = torch.rand_like,
    ) -> Forward:
        """One pass for training. Height and width are multiples of 64; position is (batch,).

        Noise stands for rounding in the rate, straight-through rounding gives the
        reconstruction; with `hard` the rate too is taken at the rounded symbols.

        noise   gives numbers uniform in [0, 1), as many as its argument has
        """
        latents, hyper = self.analyze(pixels, position)
        return self.code(latents.float(), hyper.float(), position, hard=hard, noise=noise)

    def code(
        self,
        latents: Tensor,
        hyper: Tensor,
        position: Tensor,
        *,
        hard: bool = False,
        noise: Noise = torch.rand_like,
    ) -> Forward:
        """The second half of `forward`: float32 latents and hyper-latents of `analyze`.

        Differentiable in both, which is what an encoder that refines them needs.
        """
        location = self.hyper_location(position)
        hidden = self.hyper_synthesis.features(round_straight_through(hyper), position)
        means, indexes = self.hyper_synthesis.predict(hidden, position)
        if self.context is not None:
            means, indexes = self.context(latents, means, indexes, hidden, position)
        residual = latents - means.float()
        indexes = lower_bound(indexes.float(), 0).clamp(max=SCALE_COUNT - 1)
        scales = SCALE_MIN * torch.exp(LOG_SCALE_STEP * indexes)
        symbols = round_straight_through(residual)
        reconstruction = self.synthesize(symbols + means.float(), position)
        noisy = symbols if hard else residual + noise(residual) - 0.5
        noisy_hyper = round_straight_through(hyper) if hard else hyper + noise(hyper) - 0.5
        return Forward(
            reconstruction.float(),
            gaussian_bits(noisy, scales),
            logistic_bits(noisy_hyper - location, self.hyper_log_scale(position).exp()),
        )
