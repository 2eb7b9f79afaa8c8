"""The photo model: a variational autoencoder with a hyperprior, whose decoder is bit-exact.

Mean-scale hyperprior of Ballé et al. 2018 and Minnen et al. 2018, with one checkpoint for all
qualities and both tunes (gains by condition, Cui et al. 2021) and no serial autoregression::

    x ─ cosine transform ─┬─► y·gain ── round(y − μ) ──► symbols ─► +μ ─► ŷ·step ─ inverse ─┬─► x̂
      └ analysis (float) ─┘     │            ▲ table index      ▲ μ              synthesis ─┘
                                └ hyper-analysis ─► round ─► ẑ ─ hyper-synthesis (integers)

The transform is complete and fixed (`transform`): networks only correct its coefficients before
they are coded, and the pixels afterwards. The decoder uses integer arithmetic throughout: the
hyper-synthesis and the context by `codec.coding.exact_layers`, the synthesis by `quantised`. All
corrections start at zero, so the untrained model is already a working transform codec.

The synthesis has blocks at 1/16, 1/8 and 1/4 resolution and outputs its correction at 1/4; the
hyper-latents are at 1/64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.layers import in_full_precision, round_straight_through
from codec.models.photo.code_length import gaussian_bits, logistic_bits, lower_bound
from codec.models.photo.config import COEFFICIENTS, PhotoConfig
from codec.models.photo.context import LatentContext
from codec.models.photo.quantised import (
    IMAGE,
    RECTIFIED,
    STREAM,
    ConditionTable,
    Convolution,
    QuantisedBlock,
    shares,
)
from codec.models.photo.transform import COLOURS, cosine_basis, filters

SCALE_COUNT = 64
SCALE_MIN = 0.11
SCALE_MAX = 256.0
LOG_SCALE_STEP = math.log(SCALE_MAX / SCALE_MIN) / (SCALE_COUNT - 1)

LAMBDA_MIN = 4e-4
LAMBDA_MAX = 2.4

LEVELS = 255.0
RENDERED_LEVELS = 8.0
"""Levels per unit of the synthesis output, which corrects by −64 .. 64 levels in half levels."""


def lagrange_multiplier(position: Tensor) -> Tensor:
    """λ of the training objective λ·255²·MSE + bits per pixel at a quality position."""
    return LAMBDA_MIN * (LAMBDA_MAX / LAMBDA_MIN) ** position


def uniform_step(lagrange: Tensor) -> Tensor:
    """The quantiser step that is optimal at λ for an orthonormal transform of pixels in [0, 1].

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


Noise = Callable[[Tensor], Tensor]
_Layer = TypeVar("_Layer", bound=nn.Module)


def _zeroed(layer: _Layer) -> _Layer:
    """The layer with all parameters set to zero, so that its branch has no effect at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


class LinearTransform(nn.Module):
    """The transform of `codec.models.photo.transform`, in float32, without parameters."""

    matrix: Tensor
    into_colours: Tensor
    from_colours: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.from_numpy(filters()).float(), persistent=False)
        # Matrices to colours whose orthonormal transform gives the tune's coefficients, and back.
        back = torch.from_numpy(np.stack([(cosine_basis(3).T @ c).T for c in COLOURS]))
        self.register_buffer("from_colours", back.float(), persistent=False)
        self.register_buffer("into_colours", back.inverse().float(), persistent=False)

    def analyze(self, pixels: Tensor, tune: Tensor) -> Tensor:
        """Pixels (batch, 3, 16·h, 16·w) to coefficients (batch, 768, h, w).

        tune   the weight of each tune, (batch, 2)
        """
        batch, _, height, width = pixels.shape
        pixels = _mixed(self.into_colours, tune, pixels)
        blocks = pixels.reshape(batch, 3, height // 16, 16, width // 16, 16)
        blocks = blocks.permute(0, 2, 4, 3, 5, 1).reshape(batch, height // 16, width // 16, -1)
        with torch.autocast(pixels.device.type, enabled=False):
            return (blocks.float() @ self.matrix.T).permute(0, 3, 1, 2)

    def synthesize(self, coefficients: Tensor, tune: Tensor) -> Tensor:
        """Coefficients (batch, 768, h, w) to pixels (batch, 3, 16·h, 16·w)."""
        batch, _, height, width = coefficients.shape
        with torch.autocast(coefficients.device.type, enabled=False):
            blocks = coefficients.float().permute(0, 2, 3, 1) @ self.matrix
        blocks = blocks.view(batch, height, width, 16, 16, 3).permute(0, 5, 1, 3, 2, 4)
        pixels = blocks.reshape(batch, 3, 16 * height, 16 * width)
        return _mixed(self.from_colours, tune, pixels)


def _mixed(matrices: Tensor, tune: Tensor, pixels: Tensor) -> Tensor:
    """Apply the colour matrix of each sample's tune to pixels (batch, 3, h, w)."""
    with torch.autocast(pixels.device.type, enabled=False):
        chosen = (tune.float() @ matrices.flatten(1)).view(-1, 3, 3)
        return (chosen @ pixels.float().flatten(2)).view_as(pixels)


class Block(nn.Module):
    """Residual block of the encoder: depthwise 3×3, modulation, 1×1, ReLU, 1×1."""

    def __init__(self, width: int, knots: int, expansion: int = 2) -> None:
        super().__init__()
        self.spatial = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.shift = ConditionTable(knots, width)
        self.gain = ConditionTable(knots, width, torch.ones(()))
        self.expand = nn.Conv2d(width, expansion * width, 1)
        self.project = nn.Conv2d(expansion * width, width, 1)
        with torch.no_grad():
            self.project.weight.mul_(0.2)
            assert self.project.bias is not None
            self.project.bias.zero_()

    def forward(self, features: Tensor, mix: Tensor) -> Tensor:
        """Map (batch, width, h, w) to the same shape."""
        hidden = self.spatial(features)
        hidden = hidden * self.gain(mix, hidden.dtype) + self.shift(mix, hidden.dtype)
        branch: Tensor = self.project(F.relu(self.expand(hidden)))
        return features + branch


class Stage(nn.Module):
    """A sequence of `Block`s of one width."""

    def __init__(self, width: int, blocks: int, knots: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, knots) for _ in range(blocks))

    def forward(self, features: Tensor, mix: Tensor) -> Tensor:
        for block in self.blocks:
            features = block(features, mix)
        return features


class QuantisedStage(nn.Module):
    """A sequence of `QuantisedBlock`s of one width."""

    def __init__(self, width: int, blocks: int, knots: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(QuantisedBlock(width, knots) for _ in range(blocks))

    def forward(self, stream: Tensor, mix: Tensor, *, rounded: bool) -> Tensor:
        for block in self.blocks:
            stream = block(stream, mix, rounded=rounded)
        return stream


class Analysis(nn.Module):
    """The encoder's correction of the transform coefficients, in pixel units."""

    def __init__(self, config: PhotoConfig) -> None:
        super().__init__()
        width_8, width_16 = config.encoder_width_8, config.encoder_width_16
        self.stem = nn.Conv2d(3 * 64, width_8, 1)
        self.stage_8 = Stage(width_8, config.encoder_blocks_8, config.knots)
        self.down = nn.Conv2d(4 * width_8, width_16, 1)
        self.merge = nn.Conv2d(COEFFICIENTS, width_16, 1)
        self.stage_16 = Stage(width_16, config.encoder_blocks_16, config.knots)
        self.out = _zeroed(nn.Conv2d(width_16, COEFFICIENTS, 1))

    def forward(self, pixels: Tensor, linear: Tensor, mix: Tensor) -> Tensor:
        """Pixels (batch, 3, 16·h, 16·w), centred on 0, and their transform (batch, 768, h, w)."""
        features = self.stage_8(self.stem(F.pixel_unshuffle(pixels, 8)), mix)
        features = self.down(F.pixel_unshuffle(features, 2)) + self.merge(linear)
        correction: Tensor = self.out(self.stage_16(features, mix))
        return correction


class Synthesis(nn.Module):
    """The decoder's correction of the inverse-transform image, a network with 8-bit activations.

    It is a U-net over that image, whose bottleneck also takes the last features of the
    hyper-synthesis, which describe the texture.
    """

    def __init__(self, config: PhotoConfig) -> None:
        super().__init__()
        width_4, width_8, width_16 = config.width_4, config.width_8, config.width_16
        self.in_8 = Convolution(3 * 64, width_8)
        self.down = Convolution(4 * width_8, width_16)
        self.texture = Convolution(config.hidden, width_16)
        self.stage_16 = QuantisedStage(width_16, config.blocks_16, config.knots)
        self.up_16 = Convolution(width_16, 4 * width_8)
        self.stage_8 = QuantisedStage(width_8, config.blocks_8, config.knots)
        self.up_8 = Convolution(width_8, 4 * width_4)
        self.in_4 = Convolution(3 * 16, width_4)
        self.stage_4 = QuantisedStage(width_4, config.blocks_4, config.knots)
        self.out = _zeroed(Convolution(width_4, 3 * 16))

    def forward(self, linear: Tensor, hidden: Tensor, mix: Tensor, *, rounded: bool) -> Tensor:
        """The correction in levels, float (batch, 3, 16·h, 16·w).

        linear   the image of the inverse transform in levels, centred on 0
        hidden   the last features of the hyper-synthesis (batch, hidden, h, w)
        rounded  whether to round all values as the decoder does
        """

        def layer(convolution: Convolution, values: Tensor) -> Tensor:
            return STREAM(convolution.apply(values, rounded=rounded), rounded=rounded)

        def both(one: Tensor, other: Tensor) -> Tensor:
            return STREAM(one + other, rounded=False)

        pixels = IMAGE(linear / 2.0**IMAGE.bits, rounded=rounded)
        seen_8 = layer(self.in_8, F.pixel_unshuffle(pixels, 8))
        texture = layer(self.texture, RECTIFIED(hidden, rounded=rounded))
        stream = both(layer(self.down, F.pixel_unshuffle(seen_8, 2)), texture)
        stream = self.stage_16(stream, mix, rounded=rounded)
        stream = both(F.pixel_shuffle(layer(self.up_16, stream), 2), seen_8)
        stream = self.stage_8(stream, mix, rounded=rounded)
        seen_4 = layer(self.in_4, F.pixel_unshuffle(pixels, 4))
        stream = both(F.pixel_shuffle(layer(self.up_8, stream), 2), seen_4)
        stream = self.stage_4(stream, mix, rounded=rounded)
        return RENDERED_LEVELS * F.pixel_shuffle(layer(self.out, stream), 4).float()


class HyperAnalysis(nn.Module):
    """Scaled latents (batch, 768, 4·h, 4·w) to hyper-latents (batch, Z, h, w)."""

    def __init__(self, config: PhotoConfig) -> None:
        super().__init__()
        width = config.hyper_width
        self.head = nn.Conv2d(2 * COEFFICIENTS, width, 1)
        self.stage_16 = Stage(width, 1, config.knots)
        self.down_16 = nn.Conv2d(4 * width, width, 1)
        self.stage_32 = Stage(width, 1, config.knots)
        self.down_32 = nn.Conv2d(4 * width, config.hyper_channels, 1)
        with torch.no_grad():
            # Spread over several integers; otherwise all round to 0 and carry no information.
            self.down_32.weight.mul_(8)

    def forward(self, latents: Tensor, mix: Tensor) -> Tensor:
        # The scales depend on log-magnitudes: in a pilot, feeding these instead of y lowered the
        # loss by 7 % after four minutes.
        magnitude = torch.log1p(latents.abs())
        features = self.head(torch.cat([latents.sign() * magnitude, magnitude], dim=1))
        features = self.stage_16(features, mix)
        features = self.stage_32(self.down_16(F.pixel_unshuffle(features, 2)), mix)
        hyper_latents: Tensor = self.down_32(F.pixel_unshuffle(features, 2))
        return hyper_latents


class HyperSynthesis(nn.Module):
    """Rounded hyper-latents (batch, Z, h, w) to means (batch, 384, …) and indexes (batch, 768, …).

    It uses only layers with a fixed-point twin in `codec.coding.exact_layers`: 3×3 and 1×1
    convolutions, a bias per condition, ReLU, pixel shuffle. The scale index is a real number here;
    the exact path rounds it to the index of a table.
    """

    def __init__(self, config: PhotoConfig) -> None:
        super().__init__()
        width, knots, hidden = config.hyper_width, config.knots, config.hidden
        self.corrected = config.corrected
        outputs = config.corrected + COEFFICIENTS
        self.layer_64 = nn.Conv2d(config.hyper_channels, width, 3, padding=1, bias=False)
        self.bias_64 = ConditionTable(knots, width)
        self.up_64 = nn.Conv2d(width, 4 * hidden, 1, bias=False)
        self.bias_up_64 = ConditionTable(knots, 4 * hidden)
        self.layer_32 = nn.Conv2d(hidden, width, 3, padding=1, bias=False)
        self.bias_32 = ConditionTable(knots, width)
        self.up_32 = nn.Conv2d(width, 4 * hidden, 1, bias=False)
        self.bias_up_32 = ConditionTable(knots, 4 * hidden)
        self.out = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bias_out = ConditionTable(knots, outputs)
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def layers(self) -> list[tuple[nn.Conv2d, ConditionTable, int]]:
        """Convolution, bias and pixel-shuffle factor of each layer, for the fixed-point twin."""
        return [
            (self.layer_64, self.bias_64, 1),
            (self.up_64, self.bias_up_64, 2),
            (self.layer_32, self.bias_32, 1),
            (self.up_32, self.bias_up_32, 2),
            (self.out, self.bias_out, 1),
        ]

    def features(self, hyper_latents: Tensor, mix: Tensor) -> Tensor:
        """Rounded hyper-latents (batch, Z, h, w) to the last features (batch, 96, 4·h, 4·w)."""
        hidden = F.relu(self.layer_64(hyper_latents) + self.bias_64(mix))
        hidden = F.relu(F.pixel_shuffle(self.up_64(hidden) + self.bias_up_64(mix), 2))
        hidden = F.relu(self.layer_32(hidden) + self.bias_32(mix))
        return F.relu(F.pixel_shuffle(self.up_32(hidden) + self.bias_up_32(mix), 2))

    def predict(self, features: Tensor, mix: Tensor) -> tuple[Tensor, Tensor]:
        """Means and scale indexes, float32 (batch, 768, 4·h, 4·w), from the last features."""
        out = in_full_precision(self.out, features) + self.bias_out(mix)
        means, indexes = out[:, : self.corrected], out[:, self.corrected :]
        none = torch.zeros_like(indexes[:, self.corrected :])
        return torch.cat([means, none], dim=1), indexes


def predicted_scales(indexes: Tensor) -> Tensor:
    """Standard deviations in quantiser steps from real table indexes, which are clamped."""
    indexes = lower_bound(indexes, 0).clamp(max=SCALE_COUNT - 1)
    return SCALE_MIN * torch.exp(LOG_SCALE_STEP * indexes)


class PhotoModel(nn.Module):
    """The trainable photo model. Pixels are float (batch, 3, height, width) in [0, 1].

    A condition is (position, tune): the position of the quality, float (batch,) in [0, 1], and the
    index of a tune, int64 (batch,).
    """

    def __init__(self, config: PhotoConfig = PhotoConfig()) -> None:
        super().__init__()
        self.config = config
        # Training may replace it by a compiled function.
        self.latent_bits: Callable[[Tensor, Tensor], Tensor] = gaussian_bits
        position = torch.linspace(0, 1, config.knots)
        log_gains = -torch.log(uniform_step(lagrange_multiplier(position)))
        log_gains = log_gains[:, None].expand(config.knots, COEFFICIENTS)
        self.transform = LinearTransform()
        self.analysis = Analysis(config)
        self.synthesis = Synthesis(config)
        self.hyper_analysis = HyperAnalysis(config)
        self.hyper_synthesis = HyperSynthesis(config)
        self.context = LatentContext(config)
        self.log_gain = ConditionTable(config.knots, COEFFICIENTS, log_gains)
        self.log_step = ConditionTable(config.knots, COEFFICIENTS, -log_gains)
        self.hyper_location = ConditionTable(config.knots, config.hyper_channels)
        self.hyper_log_scale = ConditionTable(config.knots, config.hyper_channels)

    def mix(self, position: Tensor, tune: Tensor) -> Tensor:
        """A condition as the knot weights that every table takes."""
        return shares(position, tune, self.config.knots)

    def _tunes(self, mix: Tensor) -> Tensor:
        """The weight of each tune, (batch, 2)."""
        return mix.view(len(mix), len(COLOURS), -1).sum(2)

    @torch.no_grad()
    def fit_scales(self, pixels: Tensor) -> None:
        """Start the predicted scales at the spread of the untrained latents of `pixels`."""
        each = torch.eye(len(COLOURS), device=pixels.device)[:, None].expand(-1, len(pixels), -1)
        spread = torch.stack(
            [self.transform.analyze(pixels - 0.5, tune).std(dim=(0, 2, 3)) for tune in each]
        )
        index = spread.log()[:, None] + self.log_gain.knots - math.log(SCALE_MIN)
        index = index / LOG_SCALE_STEP
        bias = self.hyper_synthesis.bias_out.knots
        bias[:, :, self.config.corrected :] = index.clamp(0, SCALE_COUNT - 1)

    def analyze(self, pixels: Tensor, mix: Tensor) -> Tensor:
        """Pixels, sides multiples of 16, to latents in units of the quantiser step."""
        centred = pixels - 0.5
        linear = self.transform.analyze(centred, self._tunes(mix))
        correction: Tensor = self.analysis(centred, linear, mix).float()
        gain: Tensor = self.log_gain(mix).exp()
        return (linear + correction) * gain

    def hyper_analyze(self, latents: Tensor, mix: Tensor) -> Tensor:
        """Scaled latents (batch, 768, h, w) to unrounded hyper-latents of ⌈h/4⌉×⌈w/4⌉ positions.

        The latents are padded by repeating the borders.
        """
        rows, columns = -latents.shape[2] % 4, -latents.shape[3] % 4
        if rows or columns:
            latents = F.pad(latents, (0, columns, 0, rows), mode="replicate")
        hyper_latents: Tensor = self.hyper_analysis(latents, mix)
        return hyper_latents

    def linear_image(self, latents: Tensor, mix: Tensor) -> Tensor:
        """Dequantised latents, in quantiser steps, to the inverse-transform image in levels.

        The image is centred on 0.
        """
        coefficients = latents * self.log_step(mix).exp()
        return self.transform.synthesize(coefficients, self._tunes(mix)) * LEVELS

    def synthesize(
        self, latents: Tensor, hidden: Tensor, mix: Tensor, *, rounded: bool = False
    ) -> Tensor:
        """Dequantised latents, in quantiser steps, to pixels, not clamped.

        hidden   the last features of the hyper-synthesis
        rounded  whether the network rounds all values as the decoder does
        """
        linear = self.linear_image(latents, mix)
        correction: Tensor = self.synthesis(linear, hidden, mix, rounded=rounded)
        return (linear + correction) / LEVELS + 0.5

    def forward(
        self,
        pixels: Tensor,
        position: Tensor,
        tune: Tensor,
        *,
        hard: bool = False,
        rounded: bool = False,
        noise: Noise = torch.rand_like,
    ) -> Forward:
        """One pass for training. Height and width are multiples of 64.

        The rate uses additive noise in place of rounding, and the reconstruction uses
        straight-through rounding; with `hard` the rate, too, is taken at the rounded symbols.

        rounded  whether the synthesis rounds all values as the decoder does
        noise    returns numbers uniform in [0, 1), in the shape of its argument
        """
        mix = self.mix(position, tune)
        latents = self.analyze(pixels, mix)
        hyper = self.hyper_analyze(latents, mix).float()
        location = self.hyper_location(mix)
        hidden = self.hyper_synthesis.features(round_straight_through(hyper), mix)
        means, indexes = self.hyper_synthesis.predict(hidden, mix)
        means, indexes = self.context(latents, means, indexes, hidden, mix)
        residual = latents - means
        scales = predicted_scales(indexes)
        symbols = round_straight_through(residual)
        reconstruction = self.synthesize(symbols + means, hidden, mix, rounded=rounded)
        noisy = symbols if hard else residual + noise(residual) - 0.5
        noisy_hyper = round_straight_through(hyper) if hard else hyper + noise(hyper) - 0.5
        return Forward(
            reconstruction,
            self.latent_bits(noisy, scales),
            logistic_bits(noisy_hyper - location, self.hyper_log_scale(mix).exp()),
        )
