"""The cost J of a tile's symbols, with real tables and the decoder's pixels, and its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from bitstream.arrays import Float32Array, Int32Array, SampleArray
from codec.coding.exact_layers import ACTIVATION_BITS
from codec.models.photo.code_length import gaussian_bits
from codec.models.photo.config import COEFFICIENTS, VISUAL_SHARE
from codec.models.photo.network import PhotoModel, lagrange_multiplier, predicted_scales
from codec.models.photo.visual_error import SMALLEST_SIDE, VISUAL_SCALE, visual_error

if TYPE_CHECKING:
    from codec.models.photo.coder import PhotoCoder, TileSymbols

_PLACES = ((0, 0), (3, 5))
"""Top left corners (row, column) of the windows over which the visual error is averaged.

The error halves a picture repeatedly on a fixed grid. With a single window, a search hides errors
from that grid, and pictures get a better score without looking better.
"""

_DRAWN_LATENTS = 2048
"""Latent positions that are synthesised at once for a gradient; each takes about 300 KB."""


@dataclass(frozen=True)
class Surroundings:
    """A tile and everything that affects the pixels that depend on the tile.

    pixels         uint8 or uint16 (H, W, 1 or 3): the image under a window of latents that extends
                   beyond the tile by twice the model's context, or to the border of the image
    decoded        int32 (768 + hidden, h, w) in that window, h = ⌈H/16⌉, w = ⌈W/16⌉: see
                   `TileSymbols.decoded`. Those of the tile itself are not read
    rows, columns  position of the tile in the window
    """

    pixels: SampleArray
    decoded: Int32Array
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Candidate:
    """Symbols of a tile and what they cost.

    rate_bits        code length by the tables, without the few bytes of overhead
    distortion_bits  weighted distortion of the window's pixels
    """

    tile: TileSymbols
    rate_bits: float
    distortion_bits: float

    @property
    def cost_bits(self) -> float:
        """J, the sum of rate and distortion."""
        return self.rate_bits + self.distortion_bits

    @property
    def latents(self) -> Float32Array:
        """Dequantised latents in quantiser steps: float32 (768, h, w)."""
        return _steps(self.tile.decoded[:COEFFICIENTS])


class TileCost:
    """Cost of the symbols of one tile with fixed surroundings: J = bits + λ · distortion · pixels.

    model   the coder's networks in floating point, `PhotoCoder.trainable`

    λ and the distortion are those of training: 255²·MSE for the tune "psnr", and a mixture of that
    with the visual error for "visual". The distortion is taken over the whole window. Candidates
    are judged by the decoder's own pixels, computed in integers.

    Raises `MissingExtraError` for the tune "visual" without the library ssimulacra2.
    """

    def __init__(
        self, coder: PhotoCoder, model: PhotoModel, around: Surroundings, quality: float
    ) -> None:
        self._coder, self._around, self._quality = coder, around, quality
        self.model, self.tune = model, coder.tune
        hundredths = coder.position(quality)
        self.device = next(model.parameters()).device
        position = torch.tensor([(hundredths - 100) / 9900], device=self.device)
        self.mix = model.mix(position, torch.tensor([coder.tune_number], device=self.device))
        self._window: Int32Array = around.decoded.copy()
        self._original = self._tensor(around.pixels)
        height, width = self._original.shape[2:]
        self._weight = float(lagrange_multiplier(position)) * height * width
        seen = coder.tune == "visual" and min(height, width) >= SMALLEST_SIDE + max(
            map(max, _PLACES)
        )
        self._visual_share = VISUAL_SHARE if seen else 0.0

    def __call__(self, tile: TileSymbols) -> Candidate:
        """Judge symbols by the decoder's pixels."""
        height, width = self._original.shape[2:]
        self._window[:, self._around.rows, self._around.columns] = tile.decoded
        deep = self._around.pixels.dtype == np.uint16
        pixels = self._coder.transforms.synthesize(
            self._window, self._coder.position(self._quality), self._coder.tune_number, deep=deep
        )[:height, :width]
        if self._around.pixels.shape[2] == 1:
            pixels = ((pixels.astype(np.int32).sum(2, keepdims=True) + 1) // 3).astype(pixels.dtype)
        with torch.no_grad():
            distortion = float(self.distortion_bits(self._tensor(pixels)))
        return Candidate(tile, self._coder.rate_bits(tile, self._quality), distortion)

    def gradient(self, candidate: Candidate) -> Float32Array:
        """Gradient of J by the dequantised latents: float32 (768, h, w).

        A latent's own bits are not part of it, because quantisation weighs them exactly; those of
        the latents that are predicted from it are.
        """
        latents = torch.from_numpy(candidate.latents).to(self.device).requires_grad_()
        hidden = torch.from_numpy(_steps(candidate.tile.decoded[COEFFICIENTS:])).to(self.device)
        loss = self.distortion_bits(self.draw(latents, hidden))
        loss = loss + self._bits_of_others(latents, hidden, candidate.tile.channels)
        (slope,) = torch.autograd.grad(loss, latents)
        gradient: Float32Array = slope.nan_to_num_(0, 0, 0).cpu().numpy()
        return gradient

    def _bits_of_others(self, latents: Tensor, hidden: Tensor, channels: int) -> Tensor:
        """Bits of the symbols of the first channels, as far as the context predicts them."""
        with torch.no_grad():
            means, indexes = self.model.hyper_synthesis.predict(hidden[None], self.mix)
        means, indexes = self.model.context(latents[None], means, indexes, hidden[None], self.mix)
        residual, scales = latents.detach() - means, predicted_scales(indexes)
        return gaussian_bits(residual[:, :channels], scales[:, :channels]).sum()

    def draw(self, latents: Tensor, hidden: Tensor) -> Tensor:
        """Differentiable pixels (1, 1 or 3, H, W) of the window, in [0, 1], from a tile.

        latents   dequantised latents (768, h, w)
        hidden    last features of the hyper-synthesis (hidden, h, w)

        The networks round as the decoder does.
        """
        window = torch.from_numpy(_steps(self._window)).to(self.device)
        window[:, self._around.rows, self._around.columns] = torch.cat([latents, hidden])
        batch = window[None].contiguous(memory_format=torch.channels_last)
        drawn = torch.cat([self._strip(batch, *rows) for rows in self._strips], 2)
        height, width = self._original.shape[2:]
        drawn = drawn.float().clamp(0, 1)[:, :, :height, :width]
        return drawn if self._original.shape[1] == 3 else drawn.mean(1, keepdim=True)

    @property
    def _strips(self) -> list[tuple[int, int]]:
        """Strips of latent rows of the window that are synthesised together."""
        rows, columns = self._window.shape[1:]
        step = rows if rows * columns <= _DRAWN_LATENTS else max(1, _DRAWN_LATENTS // columns)
        return [(top, min(top + step, rows)) for top in range(0, rows, step)]

    def _strip(self, window: Tensor, top: int, bottom: int) -> Tensor:
        """The pixels of latent rows top .. bottom of a window (1, 768 + hidden, h, w)."""
        margin, rows = self._coder.context, window.shape[2]
        first, last = max(0, top - margin), min(rows, bottom + margin)
        seen = window[:, :, first:last]
        if (first, last) == (0, rows):
            drawn = self._synthesized(seen)
        else:
            # Activations are recomputed strip by strip in the backward pass to save memory.
            drawn = checkpoint(self._synthesized, seen, use_reentrant=False)
        stride = self._coder.stride
        return drawn[:, :, (top - first) * stride : (bottom - first) * stride]

    def _synthesized(self, window: Tensor) -> Tensor:
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=computes_bfloat16(self.device)
        ):
            return self.model.synthesize(
                window[:, :COEFFICIENTS], window[:, COEFFICIENTS:], self.mix, rounded=True
            )

    def distortion_bits(self, drawn: Tensor) -> Tensor:
        """The second term of J for pixels (1, 1 or 3, H, W) in [0, 1]."""
        distortion = 255**2 * (drawn - self._original).square().mean()
        if self._visual_share:
            share = self._visual_share / len(_PLACES)
            distortion = (1 - self._visual_share) * distortion
            for row, column in _PLACES:
                pair = (
                    picture[:, :, row:, column:].expand(-1, 3, -1, -1)
                    for picture in (self._original, drawn)
                )
                error = visual_error(*pair, frugal=len(self._strips) > 1)[0]
                distortion = distortion + share * VISUAL_SCALE * error
        return self._weight * distortion

    def _tensor(self, pixels: SampleArray) -> Tensor:
        white = float(np.iinfo(pixels.dtype).max)
        tensor = torch.from_numpy(pixels.astype(np.float32)).to(self.device)
        return tensor.permute(2, 0, 1)[None].div_(white)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16, so that it is faster than float32.

    It is used only for gradients; the resulting symbols are judged by the decoder's pixels.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Some versions of torch lack these functions.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in names)


def _steps(units: Int32Array) -> Float32Array:
    values: Float32Array = units.astype(np.float32) * np.float32(2.0**-ACTIVATION_BITS)
    return values
