"""What the symbols of a tile cost, with real tables and real pixels, and which way is down."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Float32Array, Uint8Array
from codec.coding.quantize import dequantize
from codec.models.photo.coder import coded_position, hyper_indexes
from codec.models.photo.network import lagrange_multiplier

if TYPE_CHECKING:
    from codec.models.photo.coder import PhotoCoder, TileSymbols


@dataclass(frozen=True)
class Surroundings:
    """A tile and all that the pixels that it moves depend on.

    pixels         uint8 (H, W, 1 or 3): the image under a window of latents that holds twice the
                   model's context around the tile, or ends with the image
    latents        float32 (C, h, w) of that window, h = ⌈H/16⌉, w = ⌈W/16⌉: those of the tile as
                   `analyze` gives them, the others dequantised
    rows, columns  where the tile lies in the latents
    """

    pixels: Uint8Array
    latents: Float32Array
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Candidate:
    """Symbols of a tile and what they cost.

    cost_bits  J = bits + exchange rate · squared error
    gradient   float32 (C, h, w): of the second term by the dequantised latents; None where it was
               not asked for
    """

    tile: TileSymbols
    cost_bits: float
    gradient: Float32Array | None

    @property
    def latents(self) -> Float32Array:
        """Dequantised, float32 (C, h, w)."""
        return dequantize(self.tile.symbols, self.tile.means)


class TileCost:
    """The cost of symbols of one tile, all around it fixed.

    exchange_rate  bits that a squared error of 1 is worth, of samples in [0, 1]; None takes that of
                   training, see `trained_exchange_rate`

    The error is that of the whole window: what the tile does not move adds a constant.
    """

    def __init__(
        self,
        coder: PhotoCoder,
        around: Surroundings,
        quality: float,
        exchange_rate: float | None = None,
    ) -> None:
        self._coder, self._around, self._quality = coder, around, quality
        self.position = torch.tensor([coded_position(quality)], device=coder.device)
        pixels = torch.from_numpy(np.array(around.pixels)).to(coder.device)
        self._levels = pixels.permute(2, 0, 1)[None].float()
        trained = trained_exchange_rate(quality, pixels.shape[2])
        self.exchange_rate = trained if exchange_rate is None else exchange_rate
        self.curvature = 6 / math.log(2) * self.exchange_rate / trained
        """Bits that a squared error of one step of a latent is worth, of steps by the theory."""

    def __call__(self, tile: TileSymbols, *, with_gradient: bool = True) -> Candidate:
        """Judge symbols: one pass through the synthesis, and back for the gradient."""
        latents = torch.from_numpy(dequantize(tile.symbols, tile.means)).to(self._coder.device)
        gradient = None
        with torch.set_grad_enabled(with_gradient):
            drawn = self.draw(latents.requires_grad_(with_gradient))
            if with_gradient:
                (slope,) = torch.autograd.grad(self.distortion_bits(drawn), latents)
                gradient = slope.nan_to_num_(0, 0, 0).cpu().numpy()
        distortion_bits = self.exchange_rate * self._squared_error(drawn.detach())
        return Candidate(tile, self.rate_bits(tile) + distortion_bits, gradient)

    def squared_error(self, tile: TileSymbols) -> float:
        """The sum over the samples, in [0, 1], of eight-bit pixels."""
        latents = torch.from_numpy(dequantize(tile.symbols, tile.means)).to(self._coder.device)
        with torch.no_grad():
            return self._squared_error(self.draw(latents))

    def draw(self, latents: Tensor) -> Tensor:
        """Latents (C, h, w) of the tile to pixels (1, 3, H, W) of the window, in [0, 1]."""
        window = torch.from_numpy(self._around.latents.copy()).to(latents.device)
        window[:, self._around.rows, self._around.columns] = latents
        batch = window[None].contiguous(memory_format=torch.channels_last)
        drawn = self._coder.network.synthesize(batch, self.position).clamp(0, 1)
        return drawn[:, :, : self._levels.shape[2], : self._levels.shape[3]]

    def distortion_bits(self, drawn: Tensor) -> Tensor:
        """The second term of J for what `draw` gave, without rounding."""
        if self._levels.shape[1] == 1:
            drawn = drawn.mean(1, keepdim=True)
        return self.exchange_rate * (drawn - self._levels / 255).square().sum()

    def rate_bits(self, tile: TileSymbols) -> float:
        """Code length of a tile by the integer tables."""
        coder, hyper = self._coder, tile.hyper_latents
        indexes = hyper_indexes(self._quality, coder.hyper_sets, *hyper.shape)
        bits = coder.hyper_tables.code_length_bits(hyper.ravel(), indexes)
        return bits + coder.latent_tables.code_length_bits(
            tile.symbols.ravel(), tile.indexes.ravel()
        )

    def _squared_error(self, drawn: Tensor) -> float:
        levels = drawn.mul(255).round_()
        if self._levels.shape[1] == 1:
            levels = torch.floor((levels.sum(1, keepdim=True) + 1) / 3)
        return float((levels - self._levels).square_().sum(dtype=torch.float64)) / 255**2


def trained_exchange_rate(quality: float, channels: int) -> float:
    """λ·255² / channels of a quality: the objective of training, times the number of pixels."""
    position = torch.tensor(coded_position(quality))
    return float(lagrange_multiplier(position)) * 255**2 / channels
