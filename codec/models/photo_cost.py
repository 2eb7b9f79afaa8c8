"""What the symbols of a tile cost, with real tables and real pixels, and which way is down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from codec.models.photo import lagrange_multiplier
from codec.models.photo_coder import coded_position, hyper_indexes
from codec.quantize import dequantize

if TYPE_CHECKING:
    from codec.models.photo_coder import PhotoCoder, TileSymbols

Float32Array = npt.NDArray[np.float32]
Uint8Array = npt.NDArray[np.uint8]


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

    cost_bits  J = bits + λ·255²·SSE / channels
    gradient   float32 (C, h, w): of λ·255²·SSE / channels by the dequantised latents; None where
               it was not asked for
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

    The distortion is that of the whole window: what the tile does not move adds a constant.
    """

    def __init__(self, coder: PhotoCoder, around: Surroundings, quality: float) -> None:
        self._coder, self._around, self._quality = coder, around, quality
        self.position = torch.tensor([coded_position(quality)], device=coder.device)
        pixels = torch.from_numpy(np.array(around.pixels)).to(coder.device)
        self._levels = pixels.permute(2, 0, 1)[None].float()
        channels = pixels.shape[2]
        self.bits_per_squared_error = float(lagrange_multiplier(self.position)) * 255**2 / channels

    def __call__(self, tile: TileSymbols, *, with_gradient: bool = True) -> Candidate:
        """Judge symbols: one pass through the synthesis, and back for the gradient."""
        latents = torch.from_numpy(dequantize(tile.symbols, tile.means)).to(self._coder.device)
        gradient = None
        with torch.set_grad_enabled(with_gradient):
            drawn = self.draw(latents.requires_grad_(with_gradient))
            if with_gradient:
                (slope,) = torch.autograd.grad(self.distortion_bits(drawn), latents)
                gradient = slope.nan_to_num_(0, 0, 0).cpu().numpy()
        levels = drawn.detach().mul(255).round_()
        if self._levels.shape[1] == 1:
            levels = torch.floor((levels.sum(1, keepdim=True) + 1) / 3)
        squared_error = (levels - self._levels).square_().sum(dtype=torch.float64) / 255**2
        cost = self.rate_bits(tile) + self.bits_per_squared_error * float(squared_error)
        return Candidate(tile, cost, gradient)

    def draw(self, latents: Tensor) -> Tensor:
        """Latents (C, h, w) of the tile to pixels (1, 3, H, W) of the window, in [0, 1]."""
        window = torch.from_numpy(self._around.latents.copy()).to(latents.device)
        window[:, self._around.rows, self._around.columns] = latents
        batch = window[None].contiguous(memory_format=torch.channels_last)
        drawn = self._coder.network.synthesize(batch, self.position).clamp(0, 1)
        return drawn[:, :, : self._levels.shape[2], : self._levels.shape[3]]

    def distortion_bits(self, drawn: Tensor) -> Tensor:
        """λ·255²·SSE / channels of what `draw` gave, without rounding."""
        if self._levels.shape[1] == 1:
            drawn = drawn.mean(1, keepdim=True)
        return self.bits_per_squared_error * (drawn - self._levels / 255).square().sum()

    def rate_bits(self, tile: TileSymbols) -> float:
        """Code length of a tile by the integer tables."""
        coder, hyper = self._coder, tile.hyper_latents
        indexes = hyper_indexes(self._quality, coder.hyper_sets, *hyper.shape)
        bits = coder.hyper_tables.code_length_bits(hyper.ravel(), indexes)
        return bits + coder.latent_tables.code_length_bits(
            tile.symbols.ravel(), tile.indexes.ravel()
        )
