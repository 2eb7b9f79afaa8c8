"""The photo model at work: frozen weights, integer tables, the exact path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitstream.errors import WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.exact import ExactHyperSynthesis, layers_from_arrays, round_prediction
from codec.exact_context import Part, Place, context_from_arrays
from codec.models.photo import (
    CONTEXT_SIZES,
    HIDDEN,
    LATENT_STRIDE,
    MODEL_ID,
    PhotoConfig,
    PhotoModel,
    Synthesis,
    quality_position,
)
from codec.models.photo_fixed_point import restore
from codec.quantize import dequantize, quantize, residuals, round_hyper_latents

Array = npt.NDArray[np.generic]
Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Uint8Array = npt.NDArray[np.uint8]

Choose = Callable[[Float32Array, Int32Array, slice], Int32Array]


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
        self.exact_context = context_from_arrays(arrays, len(self.latent_tables))
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
        found = None if self.exact_context is None else self.exact_context.sizes
        expected = _context_sizes(config)
        if found != expected:
            raise WeightsMismatchError(
                f"weights file: its context has the sizes {found}, expected {expected}"
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
        return self.encode_symbols(self.symbols(latents, quality), quality)

    def encode_symbols(self, tile: TileSymbols, quality: float) -> tuple[bytes, ...]:
        """Code what `symbols` gave."""
        encoder = SymbolEncoder()
        hyper_latents = tile.hyper_latents
        indexes = self._hyper_indexes(hyper_latents, quality)
        encoder.put(hyper_latents.ravel(), indexes, self.hyper_tables)
        for channels, places in self._parts(*tile.symbols.shape[1:]):
            symbols = tile.symbols[channels][:, places].ravel()
            indexes = tile.indexes[channels][:, places].ravel()
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
            own = latents[part.channels][:, part.places]
            if choose is None:
                return quantize(own, part.means)
            return choose(residuals(own, part.means), part.indexes, part.channels)

        return self._code(hyper_latents, latents.shape[1:], quality, code)

    @torch.inference_mode()
    def hyper_latents(self, latents: Float32Array, quality: float) -> Int32Array:
        """The rounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉) of latents (C, h, w)."""
        tensor = torch.from_numpy(np.ascontiguousarray(latents)).to(self.device)[None]
        with self._arithmetic():
            hyper = self.network.hyper_analyze(tensor, self._position(quality))
        return round_hyper_latents(_array(hyper))

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
            (channels, places) = self._parts(rows, columns)[0]
            flat = (array.reshape(len(array), -1) for array in (output.means, output.indexes))
            symbols = code(Part(channels, places, *flat)).reshape(output.means.shape)
        else:
            symbols, output = self.exact_context(prediction, hidden, hundredths, code)
        return TileSymbols(hyper_latents, symbols, output.indexes, output.means)

    def _parts(self, rows: int, columns: int) -> list[Place]:
        """Channels and places of what is coded together, in the order of coding."""
        if self.exact_context is not None:
            return self.exact_context.parts(rows, columns)
        return [(slice(None), np.ones((rows, columns), dtype=np.bool_))]

    def trainable(self) -> PhotoModel:
        """The model with all networks in floating point, differentiable; its weights are frozen."""
        model = PhotoModel(self.config)
        model.load_state_dict(self.network.state_dict(), strict=False)
        restore(model, self.exact.layers, self.exact_context)
        return model.to(self.device).eval().requires_grad_(False)

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
        # Weights without a context of latents do not tell its sizes.
        values = dict.fromkeys(CONTEXT_SIZES, 0) | values
        known = {field.name for field in fields(PhotoConfig)}
        return PhotoConfig(**{name: int(values[name]) for name in known})
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsMismatchError(
            f"weights file: its configuration is unreadable ({error!r}); export it again"
        ) from error


def _context_sizes(config: PhotoConfig) -> tuple[int, ...] | None:
    if not config.context_width:
        return None
    first, second = config.first_group, config.second_group
    third = config.latent_channels - first - second
    return first, second, third, HIDDEN, config.context_width


def _network(arrays: Mapping[str, Array], config: PhotoConfig) -> PhotoModel:
    network = PhotoModel(config)
    # The exact path stands in for these, which the file does not hold in floating point.
    del network.hyper_synthesis
    network.context = None
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
