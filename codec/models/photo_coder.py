"""The photo model at work: frozen weights, integer tables, the exact path."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitstream.errors import WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.exact import ExactHyperSynthesis, layers_from_arrays
from codec.models.photo import (
    LATENT_STRIDE,
    MODEL_ID,
    PhotoConfig,
    PhotoModel,
    Synthesis,
    quality_position,
)
from codec.quantize import dequantize, quantize, round_hyper_latents

Array = npt.NDArray[np.generic]
Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Uint8Array = npt.NDArray[np.uint8]


def quality_hundredths(quality: float) -> int:
    """The quality as the header stores it: all that the decoder knows."""
    return round(quality * 100)


def hyper_indexes(
    quality: float, table_sets: int, channels: int, height: int, width: int
) -> Int32Array:
    """Table of every hyper-latent: the set fitted nearest to the quality, one table a channel."""
    chosen = ((quality_hundredths(quality) - 100) * (table_sets - 1) + 4950) // 9900
    tables = np.arange(chosen * channels, (chosen + 1) * channels, dtype=np.int32)
    return np.repeat(tables, height * width)


@dataclass(frozen=True)
class TileSymbols:
    """What is coded of one tile, int32 each: (Z, ⌈h/4⌉, ⌈w/4⌉), then (C, h, w) three times.

    means are in units of 2⁻¹⁰ quantiser steps.
    """

    hyper_latents: Int32Array
    symbols: Int32Array
    indexes: Int32Array
    means: Int32Array


class PhotoCoder:
    """The photo model, loaded. See `codec.models.base.LoadedModel` for the methods.

    dtype: arithmetic of the transforms, float32 or bfloat16; symbols decode alike in both.
    """

    model_id = MODEL_ID
    name = "photo"
    layers = 1
    stride = LATENT_STRIDE

    def __init__(
        self,
        arrays: Mapping[str, Array],
        config: PhotoConfig,
        weights_hash: bytes,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.config, self.weights_hash = config, weights_hash
        self.device = device or torch.device("cpu")
        self.dtype = dtype
        self.hyper_tables = TableSet.from_arrays(arrays, "hyper_tables.")
        self.latent_tables = TableSet.from_arrays(arrays, "latent_tables.")
        self.exact = ExactHyperSynthesis(layers_from_arrays(arrays), len(self.latent_tables))
        self.hyper_sets = len(self.hyper_tables) // config.hyper_channels
        self._check()
        self.context = config.blocks_16 + -(-config.blocks_8 // 2) + -(-config.blocks_4 // 4) + 1
        self.network = _network(arrays, config).to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _check(self) -> None:
        config = self.config
        last, first = self.exact.layers[-1].weight.shape[0], self.exact.layers[0].weight.shape[1]
        if last != 2 * config.latent_channels or first != config.hyper_channels:
            raise WeightsMismatchError(
                f"weights file: the exact path maps {first} channels to {last}, "
                f"expected {config.hyper_channels} to {2 * config.latent_channels}"
            )
        if self.hyper_sets < 1 or len(self.hyper_tables) % config.hyper_channels:
            raise WeightsMismatchError(
                f"weights file: {len(self.hyper_tables)} hyper-latent tables, "
                f"expected a multiple of {config.hyper_channels}"
            )

    def _position(self, quality: float) -> torch.Tensor:
        stored = quality_hundredths(quality) / 100
        return torch.tensor([quality_position(stored)], device=self.device)

    @torch.inference_mode()
    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (H, W, 3), multiples of 16, to latents (C, H/16, W/16)."""
        # A copy: torch warns of read-only arrays, which Pillow hands out.
        tensor = torch.from_numpy(np.array(pixels)).to(self.device)
        images = tensor.permute(2, 0, 1)[None].to(torch.float32).div_(255)
        position = self._position(quality)
        with self._arithmetic():
            gain = self.network.log_gain(position).exp()
            latents = self.network.analysis(images - 0.5, position) * gain
        return _array(latents)

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """Dequantised latents (C, h, w) to pixels uint8 (16·h, 16·w, 3)."""
        return to_levels(self.render(latents, quality))

    @torch.inference_mode()
    def render(
        self, latents: Float32Array, quality: float, synthesis: Synthesis | None = None
    ) -> torch.Tensor:
        """Dequantised latents (C, h, w) to pixels not yet rounded, float32 (1, 3, 16·h, 16·w).

        synthesis  another network on `device` that takes the place of the model's own

        Pixels are in [0, 1].
        """
        tensor = torch.from_numpy(np.ascontiguousarray(latents)).to(self.device)[None]
        tensor = tensor.contiguous(memory_format=torch.channels_last)
        with self._arithmetic():
            images: torch.Tensor = self.network.synthesize(
                tensor, self._position(quality), synthesis
            )
        # nan_to_num: a hostile but well-formed file may overflow; its pixels stay defined.
        return images.float().nan_to_num_(0, 1, 0).clamp_(0, 1)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code latents (C, h, w): hyper-latents first, then the residuals, in one stream."""
        tile = self.symbols(latents, quality)
        encoder = SymbolEncoder()
        encoder.put(
            tile.hyper_latents.ravel(),
            self._hyper_indexes(tile.hyper_latents, quality),
            self.hyper_tables,
        )
        encoder.put(tile.symbols.ravel(), tile.indexes.ravel(), self.latent_tables)
        return (encoder.finish(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        """Read back latents (C, height, width)."""
        tile = self.decode_symbols(payloads, height, width, quality)
        return dequantize(tile.symbols, tile.means)

    @torch.inference_mode()
    def symbols(self, latents: Float32Array, quality: float) -> TileSymbols:
        """Quantise the latents of a tile (C, h, w)."""
        tensor = torch.from_numpy(np.ascontiguousarray(latents)).to(self.device)[None]
        with self._arithmetic():
            hyper = self.network.hyper_analyze(tensor, self._position(quality))
        hyper_latents = round_hyper_latents(_array(hyper))
        output = self.exact(hyper_latents, quality_hundredths(quality))
        rows, columns = latents.shape[1:]
        means = output.means[:, :rows, :columns]
        indexes = output.indexes[:, :rows, :columns]
        return TileSymbols(hyper_latents, quantize(latents, means), indexes, means)

    def decode_symbols(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> TileSymbols:
        """Parse a tile; integers all the way, so alike on every machine."""
        decoder = SymbolDecoder(payloads[0])
        shape = (self.config.hyper_channels, -(-height // 4), -(-width // 4))
        empty = np.zeros(shape, dtype=np.int32)
        hyper_latents = decoder.get(self._hyper_indexes(empty, quality), self.hyper_tables).reshape(
            shape
        )
        output = self.exact(hyper_latents, quality_hundredths(quality))
        means = output.means[:, :height, :width]
        indexes = np.ascontiguousarray(output.indexes[:, :height, :width])
        symbols = decoder.get(indexes.ravel(), self.latent_tables).reshape(indexes.shape)
        decoder.finish()
        return TileSymbols(hyper_latents, symbols, indexes, means)

    def _hyper_indexes(self, hyper_latents: Int32Array, quality: float) -> Int32Array:
        return hyper_indexes(quality, self.hyper_sets, *hyper_latents.shape)

    def _arithmetic(self) -> torch.autocast:
        lower = self.dtype != torch.float32
        return torch.autocast(self.device.type, self.dtype if lower else None, enabled=lower)


def load_photo(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: torch.device,
) -> PhotoCoder:
    """Build a `PhotoCoder` from the contents of a weights file.

    Raises `WeightsMismatchError` when the file does not hold a photo model.
    """
    return PhotoCoder(arrays, read_photo_config(metadata), weights_hash, device=device)


def read_photo_config(metadata: Mapping[str, str]) -> PhotoConfig:
    """The sizes in the metadata of a weights file; raises `WeightsMismatchError`."""
    try:
        values: dict[str, Any] = json.loads(metadata["config"])
        known = {field.name for field in fields(PhotoConfig)}
        return PhotoConfig(**{name: int(values[name]) for name in known})
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsMismatchError(
            f"weights file: its configuration is unreadable ({error!r}); export it again"
        ) from error


def _network(arrays: Mapping[str, Array], config: PhotoConfig) -> PhotoModel:
    network = PhotoModel(config)
    # The exact path stands in for the float hyper-synthesis, which the file does not hold.
    del network.hyper_synthesis
    state = {
        name[len("network.") :]: torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith("network.")
    }
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsMismatchError(
            f"weights file: it does not fit its own sizes: {error}"
        ) from error
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def to_levels(images: torch.Tensor) -> Uint8Array:
    """Pixels float (1, 3, H, W) in [0, 1] to the nearest of uint8 (H, W, 3)."""
    levels = images.mul(255).round_()
    pixels: Uint8Array = levels[0].permute(1, 2, 0).to(torch.uint8).cpu().numpy()
    return pixels


def _array(tensor: torch.Tensor) -> Float32Array:
    array: Float32Array = tensor[0].float().cpu().contiguous().numpy()
    return array
