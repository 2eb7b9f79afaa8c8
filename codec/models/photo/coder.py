"""The coder of the photo model: frozen weights, integer tables, the exact path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bitstream.arrays import Array, Float32Array, Int32Array, Uint8Array
from bitstream.errors import WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.coding.exact_layers import ExactHyperSynthesis, layers_from_arrays, round_prediction
from codec.coding.quantize import dequantize, quantize, residuals, round_hyper_latents
from codec.models.photo import PHOTO
from codec.models.photo.config import (
    CONTEXT_SIZES,
    HIDDEN,
    LATENT_STRIDE,
    PhotoConfig,
    quality_position,
)
from codec.models.photo.exact_context import Part, Place, context_from_arrays
from codec.models.photo.numpy_network import NumpyTransforms
from codec.models.weights_files import read_config
from codec.system.processors import keep_freed_memory

if TYPE_CHECKING:
    import torch

    from codec.coding.tiling import TileGrid
    from codec.models.photo.network import PhotoModel, Synthesis
    from codec.models.photo.realism import RealisticPhoto
    from codec.models.photo.torch_network import TorchTransforms


OPENVINO = "openvino"
"""The processor, with networks that OpenVINO computes."""

AMORTISED_EFFORT = 2
"""The last effort that is one pass through the networks."""

Choose = Callable[[Float32Array, Int32Array, slice], Int32Array]


def quality_hundredths(quality: float) -> int:
    """The quality in hundredths, as the header stores it: the decoder knows no more."""
    return round(quality * 100)


def coded_position(quality: float) -> float:
    """The position in [0, 1] of the quality as the header stores it."""
    return quality_position(quality_hundredths(quality) / 100)


def hyper_indexes(
    quality: float, table_sets: int, channels: int, height: int, width: int
) -> Int32Array:
    """Table of every hyper-latent: the set fitted nearest to the quality, one table a channel."""
    chosen = ((quality_hundredths(quality) - 100) * (table_sets - 1) + 4950) // 9900
    tables = np.arange(chosen * channels, (chosen + 1) * channels, dtype=np.int32)
    return np.repeat(tables, height * width)


@dataclass(frozen=True)
class TileSymbols:
    """The coded numbers of one tile, int32: (Z, ⌈h/4⌉, ⌈w/4⌉), then (C, h, w) three times.

    means are in units of 2⁻¹⁰ quantiser steps.
    """

    hyper_latents: Int32Array
    symbols: Int32Array
    indexes: Int32Array
    means: Int32Array


class Transforms(Protocol):
    """The networks of the photo model for coding; the position is that of a quality, in [0, 1]."""

    def analyze(self, pixels: Uint8Array, position: float) -> Float32Array:
        """Pixels uint8 (16·h, 16·w, 3) to latents float32 (C, h, w) in quantiser steps."""

    def hyper_analyze(self, latents: Float32Array, position: float) -> Float32Array:
        """Latents (C, h, w) to unrounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉)."""

    def synthesize(self, latents: Float32Array, position: float) -> Uint8Array:
        """Dequantised latents (C, h, w) to pixels uint8 (16·h, 16·w, 3)."""


class PhotoCoder:
    """The photo model, loaded. See `codec.models.base.LoadedModel` for the methods.

    transforms  the networks on the device: in NumPy or OpenVINO on a processor, where torch is
                loaded only if another attribute needs it; else in torch. All decode alike
    arrays      those of the weights file
    device      "cpu", "openvino", "cuda", or a device of torch
    """

    model_id, name = PHOTO.model_id, PHOTO.name
    layers = 1
    stride = LATENT_STRIDE

    def __init__(
        self,
        arrays: Mapping[str, Array],
        config: PhotoConfig,
        weights_hash: bytes,
        *,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.weights_hash = config, weights_hash
        self.hyper_tables = TableSet.from_arrays(arrays, "hyper_tables.")
        self.latent_tables = TableSet.from_arrays(arrays, "latent_tables.")
        self.exact = ExactHyperSynthesis(layers_from_arrays(arrays), len(self.latent_tables))
        self.exact_context = context_from_arrays(arrays, len(self.latent_tables))
        self.hyper_sets = len(self.hyper_tables) // config.hyper_channels
        self._check()
        # A block sees one more position around, at 1/16, 1/8 and 1/4.
        self.context = math.ceil(config.blocks_16 + config.blocks_8 / 2 + config.blocks_4 / 4)
        self.arrays, self._device = arrays, str(device)
        keep_freed_memory()
        self.transforms = self._transforms()

    def _transforms(self) -> Transforms:
        if self._device == "cpu":
            return NumpyTransforms(self.arrays, self.config)
        if self._device == OPENVINO:
            from codec.models.photo.openvino_network import OpenVinoTransforms

            return OpenVinoTransforms(self.arrays, self.config)
        return self.torch_transforms

    @cached_property
    def torch_transforms(self) -> TorchTransforms:
        """The same networks in torch, on the coder's device."""
        from codec.models.photo.torch_network import TorchTransforms

        return TorchTransforms(self.arrays, self.config, self.device)

    @property
    def device(self) -> torch.device:
        """The device, as torch has it."""
        import torch

        return torch.device("cpu" if self._device == OPENVINO else self._device)

    @property
    def network(self) -> PhotoModel:
        """The networks that the weights hold in floating point."""
        return self.torch_transforms.network

    def _check(self) -> None:
        config = self.config
        last, first = self.exact.layers[-1].weight.shape[0], self.exact.layers[0].weight.shape[1]
        if last != 2 * config.latent_channels or first != config.hyper_channels:
            raise WeightsMismatchError(
                f"weights file: the exact path maps {first} channels to {last}, "
                f"expected {config.hyper_channels} to {2 * config.latent_channels}"
            )
        found = None if self.exact_context is None else self.exact_context.sizes
        expected = _context_sizes(config)
        if found != expected:
            raise WeightsMismatchError(
                f"weights file: its context has the sizes {found}, expected {expected}"
            )
        latent_tables = self.latent_tables
        if self.hyper_tables.certain.any() or latent_tables.minimums[latent_tables.certain].any():
            raise WeightsMismatchError(
                "weights file: only tables of latents can be certain, and of zero alone"
            )
        if self.hyper_sets < 1 or len(self.hyper_tables) % config.hyper_channels:
            raise WeightsMismatchError(
                f"weights file: {len(self.hyper_tables)} hyper-latent tables, "
                f"expected a multiple of {config.hyper_channels}"
            )

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (H, W, 3), multiples of 16, to latents (C, H/16, W/16)."""
        return self.transforms.analyze(pixels, coded_position(quality))

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """Dequantised latents (C, h, w) to pixels uint8 (16·h, 16·w, 3)."""
        return self.transforms.synthesize(latents, coded_position(quality))

    def render(
        self, latents: Float32Array, quality: float, synthesis: Synthesis | None = None
    ) -> torch.Tensor:
        """Dequantised latents (C, h, w) to pixels not yet rounded; see `TorchTransforms.render`."""
        return self.torch_transforms.render(latents, coded_position(quality), synthesis)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code latents (C, h, w): hyper-latents first, then the residuals, in one stream."""
        return self.encode_symbols(self.symbols(latents, quality), quality)

    def encode_symbols(self, tile: TileSymbols, quality: float) -> tuple[bytes, ...]:
        """Code the result of `symbols`."""
        encoder = SymbolEncoder()
        hyper_latents = tile.hyper_latents
        indexes = self._hyper_indexes(hyper_latents, quality)
        encoder.put(hyper_latents.ravel(), indexes, self.hyper_tables)
        for place in self._places(*tile.symbols.shape[1:]):
            symbols, indexes = (place.take(a).ravel() for a in (tile.symbols, tile.indexes))
            encoder.put(symbols, indexes, self.latent_tables)
        return (encoder.finish(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        """Read back latents (C, height, width)."""
        tile = self.decode_symbols(payloads, height, width, quality)
        return dequantize(tile.symbols, tile.means)

    def symbols(
        self,
        latents: Float32Array,
        quality: float,
        *,
        hyper_latents: Int32Array | None = None,
        choose: Choose | None = None,
    ) -> TileSymbols:
        """Quantise the latents of a tile (C, h, w).

        hyper_latents  int32 (Z, ⌈h/4⌉, ⌈w/4⌉) to code instead of those of the network
        choose         takes the place of rounding: the symbols int32 (c, n) of residuals y − μ,
                       float32 (c, n), the tables that they are coded with, int32 (c, n), and their
                       channels. Called for every part in the order of coding
        """
        if hyper_latents is None:
            hyper_latents = self.hyper_latents(latents, quality)

        def code(part: Part) -> Int32Array:
            own = part.place.take(latents)
            if choose is None:
                symbols = quantize(own, part.means)
            else:
                symbols = choose(residuals(own, part.means), part.indexes, part.place.channels)
            # Certain tables are of zero alone (`_check`).
            return symbols * ~self.latent_tables.certain[part.indexes]

        return self._code(hyper_latents, latents.shape[1:], quality, code)

    def hyper_latents(self, latents: Float32Array, quality: float) -> Int32Array:
        """The rounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉) of latents (C, h, w)."""
        return round_hyper_latents(self.transforms.hyper_analyze(latents, coded_position(quality)))

    def decode_symbols(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> TileSymbols:
        """Parse a tile; integers all the way, so alike on every machine."""
        decoder = SymbolDecoder(payloads[0])
        shape = (self.config.hyper_channels, -(-height // 4), -(-width // 4))
        empty = np.zeros(shape, dtype=np.int32)
        indexes = self._hyper_indexes(empty, quality)
        hyper_latents = decoder.get(indexes, self.hyper_tables).reshape(shape)

        def code(part: Part) -> Int32Array:
            return decoder.get(part.indexes.ravel(), self.latent_tables).reshape(part.indexes.shape)

        tile = self._code(hyper_latents, (height, width), quality, code)
        decoder.finish()
        return tile

    def _code(
        self,
        hyper_latents: Int32Array,
        size: tuple[int, ...],
        quality: float,
        code: Callable[[Part], Int32Array],
    ) -> TileSymbols:
        """The symbols of a tile of (rows, columns), which `code` gives part by part."""
        rows, columns = size
        hundredths = quality_hundredths(quality)
        hidden = self.exact.features(hyper_latents, hundredths)[:, :rows, :columns]
        prediction = self.exact.predict(hidden, hundredths)
        if self.exact_context is None:
            output = round_prediction(prediction, len(self.latent_tables))
            (place,) = self._places(rows, columns)
            flat = (array.reshape(len(array), -1) for array in (output.means, output.indexes))
            symbols = code(Part(place, *flat)).reshape(output.means.shape)
        else:
            symbols, output = self.exact_context(prediction, hidden, hundredths, code)
        return TileSymbols(hyper_latents, symbols, output.indexes, output.means)

    def _places(self, rows: int, columns: int) -> list[Place]:
        """The parts that are coded together, in the order of coding."""
        if self.exact_context is not None:
            return self.exact_context.places(rows, columns)
        return [Place(slice(None))]

    def searches(self, effort: int) -> bool:
        """Whether an effort takes longer than one pass. See `codec.models.base.SearchingModel`."""
        return effort > AMORTISED_EFFORT

    def tile_encoder(
        self,
        grid: TileGrid,
        pixels: Uint8Array,
        quality: float,
        effort: int,
        *,
        analyze: Callable[[int, float], Float32Array],
        progress: Callable[[float], None] = lambda share: None,
    ) -> Callable[[int], tuple[bytes, ...]]:
        """See `codec.models.base.SearchingModel` and `codec.models.photo.effort_tiles`."""
        from codec.models.photo.effort_tiles import EffortEncoder  # loads torch

        encoder = EffortEncoder(
            self, grid, pixels, quality, effort, analyze=analyze, progress=progress
        )
        return encoder.encode

    def with_realism(self, realism: float) -> RealisticPhoto:
        """See `codec.models.base.RealisticModel` and `codec.models.photo.realism`."""
        from codec.models.photo.realism import RealisticPhoto, find_realism, realism_for

        realistic = realism_for(find_realism(self.weights_hash), str(self.device))
        return RealisticPhoto(self, realistic, realism)

    def trainable(self) -> PhotoModel:
        """The model with all networks in floating point, differentiable; its weights are frozen."""
        from codec.models.photo.fixed_point import restore
        from codec.models.photo.network import PhotoModel

        model = PhotoModel(self.config)
        model.load_state_dict(self.network.state_dict(), strict=False)
        restore(model, self.exact.layers, self.exact_context)
        return model.to(self.device).eval().requires_grad_(False)

    def _hyper_indexes(self, hyper_latents: Int32Array, quality: float) -> Int32Array:
        return hyper_indexes(quality, self.hyper_sets, *hyper_latents.shape)


def load_photo(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: torch.device | str,
) -> PhotoCoder:
    """Build a `PhotoCoder` from the contents of a weights file.

    Raises `WeightsMismatchError` when the file does not hold a photo model.
    """
    return PhotoCoder(arrays, read_photo_config(metadata), weights_hash, device=device)


def read_photo_config(metadata: Mapping[str, str]) -> PhotoConfig:
    """The sizes in the metadata of a weights file; raises `WeightsMismatchError`."""
    # Weights without a context of latents do not hold its sizes.
    return read_config(metadata, PhotoConfig, **dict.fromkeys(CONTEXT_SIZES, 0))


def _context_sizes(config: PhotoConfig) -> tuple[int, ...] | None:
    if not config.context_width:
        return None
    first, second = config.first_group, config.second_group
    third = config.latent_channels - first - second
    return first, second, third, HIDDEN, config.context_width
