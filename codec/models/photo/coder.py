"""The coder of the photo model: integer weights, integer tables, the exact path."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from bitstream.arrays import (
    Array,
    Float32Array,
    Float64Array,
    Int32Array,
    SampleArray,
    Uint8Array,
    Uint16Array,
)
from bitstream.errors import PayloadError, TruncatedError, UsageError, WeightsMismatchError
from bitstream.symbols import StackDecoder, StackEncoder
from bitstream.tables import PRECISION, TableSet
from bitstream.varint import read_varint, write_varint
from codec.coding.draw_symbols import draw_symbols
from codec.coding.exact_layers import ACTIVATION_BITS
from codec.coding.optimised_quantize import deadzone_symbols
from codec.coding.quantize import residuals, round_hyper_latents, table_set
from codec.models.photo import PHOTO
from codec.models.photo.config import COEFFICIENTS, LATENT_STRIDE, TUNES, PhotoConfig
from codec.models.photo.exact_context import (
    CodedPart,
    Part,
    context_from_arrays,
    hyper_synthesis_from_arrays,
)
from codec.models.photo.quality_map import checked_map, position_at
from codec.models.photo.synthesis import (
    LANCZOS_TAPS,
    Renderer,
    SynthesisWeights,
    synthesize_reduced,
)
from codec.models.weights_files import read_config
from codec.system.processors import bands, keep_freed_memory, share

if TYPE_CHECKING:
    import torch

    from codec.coding.tiling import TileGrid
    from codec.models.photo.network import PhotoModel
    from codec.models.photo.torch_network import TorchTransforms

DEFAULT_TUNE = "visual"

ONE_PASS_CURVATURE = 36.0
"""Bits that a squared error of one quantiser step is worth if only the dead zone is optimised; see
`codec.models.photo.effort.FIRST_CURVATURE`."""
ONE_PASS_EFFORT = 2
"""The highest effort that makes only one pass through the networks."""

ANALYSIS_CONTEXT = 2
"""Margin of the analysis around a tile, in latents, although its receptive field reaches six. Files
are as good as with six, and inner tiles take a fifth less time."""

ERROR_PER_BIT = 0.05
"""Squared error, in quantiser steps, that is accepted to save a bit when channels are left out. At
high rates theory gives 2 ln 2 / 12 = 0.12; with half of that, files have the same PSNR at the same
size."""

LAYERS = PHOTO.layers
"""Layers of a file: hyper-latents and first group, second group, third group, all others."""

REDUCED_GROUPS = {1: 5, 2: 4, 4: 3, 8: 2}
"""How many groups of channels are decoded for each reduction. With these, previews of all three
sizes are about equally close to the block means of the full picture."""

PREVIEW_REDUCTION = 8
"""The reduction at which a preview is synthesised and then enlarged. The first layer has the mean
and the slopes of each block, which 2×2 pixels show almost completely. On 25 pictures of gb82 the
preview is as close to the original as the network's picture of this layer."""
_PREVIEW_CONTEXT = math.ceil(LANCZOS_TAPS * PREVIEW_REDUCTION / LATENT_STRIDE)

_BAND_VALUES = 2**16  # rounded at once, so that they stay in the cache

Choose = Callable[[Float32Array, Int32Array, slice], Int32Array]


def hyper_indexes(
    position: int, table_sets: int, channels: int, height: int, width: int
) -> Int32Array:
    """Table of every hyper-latent, one per channel, from the set fitted nearest to the position.

    position   in hundredths, 100 .. 10000
    """
    chosen = table_set(position, table_sets)
    tables = np.arange(chosen * channels, (chosen + 1) * channels, dtype=np.int32)
    return np.repeat(tables, height * width)


@dataclass(frozen=True)
class TileSymbols:
    """The coded numbers of one tile.

    hyper_latents   int32 (Z, ⌈h/4⌉, ⌈w/4⌉)
    parts           the latents of the first channels: those that are coded, or all
    decoded         int32 (768 + hidden, h, w), the input of the synthesis in units of 2⁻¹⁰: latents
                    in quantiser steps, 0 in channels that are not coded, and then the last features
                    of the hyper-synthesis
    """

    hyper_latents: Int32Array
    parts: Sequence[CodedPart]
    decoded: Int32Array

    def first(self, channels: int) -> TileSymbols:
        """The same tile with only its first channels, at least those of the first group."""
        decoded = self.decoded.copy()
        decoded[channels:COEFFICIENTS] = 0
        return TileSymbols(self.hyper_latents, self.first_parts(channels), decoded)

    def first_parts(self, channels: int) -> list[CodedPart]:
        """The parts of its first channels."""
        return [p.first(channels) for p in self.parts if p.place.channels.start < channels]

    @property
    def channels(self) -> int:
        """Number of channels of all parts together."""
        return int(self.parts[-1].place.channels.stop)

    @cached_property
    def symbols(self) -> Int32Array:
        """int32 (channels, h, w)."""
        return self._whole([part.symbols for part in self.parts])

    @cached_property
    def indexes(self) -> Int32Array:
        """The table of each symbol, int32 (channels, h, w)."""
        return self._whole([part.indexes for part in self.parts])

    @cached_property
    def means(self) -> Int32Array:
        """int32 (channels, h, w), in units of 2⁻¹⁰ quantiser steps."""
        return self._whole([part.means for part in self.parts])

    def _whole(self, arrays: Sequence[Int32Array]) -> Int32Array:
        whole = np.empty((self.channels, *self.decoded.shape[1:]), dtype=np.int32)
        for part, array in zip(self.parts, arrays, strict=True):
            part.place.put(whole, array)
        return whole


class Transforms(Protocol):
    """The networks of the photo model that a decoder's parsing does not need.

    weights      weights of the synthesis
    renderer     computes the synthesis network
    hundredths   position on the networks' scale of conditions, 100 .. 10000
    tune         number of the tune
    """

    @property
    def weights(self) -> SynthesisWeights: ...

    @property
    def renderer(self) -> Renderer: ...

    def renderer_of(self, weights: SynthesisWeights) -> Renderer:
        """A renderer for other weights."""

    def analyze(self, pixels: Uint8Array | Uint16Array, hundredths: int, tune: int) -> Float32Array:
        """Pixels (16·h, 16·w, 3) to latents float32 (768, h, w) in quantiser steps.

        pixels   uint8, or uint16 with white at 65535
        """

    def hyper_analyze(self, latents: Float32Array, hundredths: int, tune: int) -> Float32Array:
        """Latents (768, h, w) to unrounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉)."""

    def synthesize(
        self, decoded: Int32Array, hundredths: int, tune: int, *, deep: bool = False
    ) -> Uint8Array | Uint16Array:
        """`TileSymbols.decoded` to pixels (16·h, 16·w, 3), uint8, or uint16 if `deep`."""


class PhotoCoder:
    """The photo model, loaded. See `codec.models.base.LoadedModel` for the methods.

    transforms  the networks on the device: in ONNX Runtime on the CPU, otherwise in torch. Both
                give the same pixels
    arrays      those of the weights file
    device      "cpu", "cuda", or a torch device
    tune        what it codes for, see `TUNES`

    Raises `WeightsMismatchError` for arrays that do not fit the sizes.
    """

    model_id, name = PHOTO.model_id, PHOTO.name
    layers = LAYERS
    layers_can_be_joined = True
    stride = LATENT_STRIDE
    tunes: tuple[str, ...] = TUNES
    reduction, enlarges = 1, False

    def __init__(
        self,
        arrays: Mapping[str, Array],
        config: PhotoConfig,
        weights_hash: bytes,
        *,
        device: torch.device | str = "cpu",
        tune: str = DEFAULT_TUNE,
    ) -> None:
        self.arrays, self.config, self.weights_hash = arrays, config, weights_hash
        self.hyper_tables = TableSet.from_arrays(arrays, "hyper_tables.")
        self.latent_tables = TableSet.from_arrays(arrays, "latent_tables.")
        self.hyper_sets = len(self.hyper_tables) // config.hyper_channels
        self.quality_map = checked_map(arrays.get("quality_map"))
        self._check_tables()
        # Each block reads one position further, at 1/16, 1/8 or 1/4 resolution.
        self.context = math.ceil(config.blocks_16 + config.blocks_8 / 2 + config.blocks_4 / 4)
        self.analysis_context = ANALYSIS_CONTEXT
        self._device = str(device)
        self._coding = threading.Lock()
        keep_freed_memory()
        self.transforms: Transforms = self._transforms()
        self._by_tune = {tune: self}  # shared by the copies of `with_tune`
        self._take(tune)

    def _take(self, tune: str) -> None:
        self.tune, self.tune_number = tune, TUNES.index(tune)
        arrays, config, number = self.arrays, self.config, self.tune_number
        self.exact = hyper_synthesis_from_arrays(arrays, number, config)
        self.exact_context = context_from_arrays(arrays, number, config, len(self.latent_tables))

    def with_tune(self, tune: str) -> PhotoCoder:
        """The same model with another tune. See `codec.models.base.TunedModel`."""
        if tune not in TUNES:
            raise UsageError(f"tune {tune!r} was given, expected one of {', '.join(TUNES)}")
        if tune not in self._by_tune:
            other = copy.copy(self)
            other._take(tune)
            self._by_tune[tune] = other
        return self._by_tune[tune]

    def with_realism(self, realism: float, noise_seed: int = 0) -> PhotoCoder:
        """See `codec.models.base.RealisticModel` and `codec.models.photo.realism`."""
        from codec.models.photo.realism import with_realism

        return with_realism(self, realism, noise_seed)

    def with_reduction(self, reduce: int) -> PhotoCoder:
        """See `codec.models.base.ReducingModel`. Such a model only decodes."""
        other = copy.copy(self)
        # Only the inverse transform runs, so pixels depend on no latents but their own.
        other.reduction, other.context = reduce, 0
        other._by_tune = {other.tune: other}
        return other

    def with_preview(self) -> PhotoCoder:
        """See `codec.models.base.PreviewingModel`. Such a model only decodes."""
        other = self.with_reduction(PREVIEW_REDUCTION)
        other.enlarges, other.context = True, _PREVIEW_CONTEXT
        return other

    def _transforms(self) -> Transforms:
        if self._device == "cpu":
            from codec.models.photo import runtime

            return runtime.Transforms(self.arrays, self.config)
        return self.torch_transforms

    @cached_property
    def torch_transforms(self) -> TorchTransforms:
        """The networks in torch, on the coder's device."""
        import torch

        from codec.models.photo.torch_network import TorchTransforms

        return TorchTransforms(self.arrays, self.config, torch.device(self._device))

    def trainable(self) -> PhotoModel:
        """The model with all networks in differentiable floating point; its weights are frozen."""
        import torch

        from codec.models.photo.torch_network import read_model

        model = read_model(self.arrays, self.config)
        return model.to(self._device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _check_tables(self) -> None:
        latent_tables = self.latent_tables
        if self.hyper_tables.certain.any() or latent_tables.minimums[latent_tables.certain].any():
            raise WeightsMismatchError(
                "weights file: only tables of latents can be certain, and of zero alone"
            )
        if self.hyper_sets < 1 or len(self.hyper_tables) % self.config.hyper_channels:
            raise WeightsMismatchError(
                f"weights file: {len(self.hyper_tables)} hyper-latent tables, "
                f"expected a multiple of {self.config.hyper_channels}"
            )

    def position(self, quality: float) -> int:
        """The position, in hundredths 100 .. 10000, of a quality rounded as in the header."""
        return position_at(self.quality_map[self.tune_number], round(quality * 100))

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (H, W, 3), multiples of 16, to latents (768, H/16, W/16)."""
        return self.transforms.analyze(pixels, self.position(quality), self.tune_number)

    def synthesize(self, latents: Int32Array, quality: float) -> Uint8Array:
        """What `decode_tile` returns, or a window of it, to pixels uint8 (16·h, 16·w, 3)."""
        return self._synthesize(latents, quality, deep=False).astype(np.uint8, copy=False)

    def analyze_deep(self, pixels: Uint16Array, quality: float) -> Float32Array:
        """As `analyze`, but from pixels uint16 with white at 65535."""
        return self.transforms.analyze(pixels, self.position(quality), self.tune_number)

    def synthesize_deep(self, latents: Int32Array, quality: float) -> Uint16Array:
        """As `synthesize`, but to pixels uint16 with white at 65535."""
        return self._synthesize(latents, quality, deep=True).astype(np.uint16, copy=False)

    def _synthesize(
        self, latents: Int32Array, quality: float, *, deep: bool
    ) -> Uint8Array | Uint16Array:
        transforms, condition = self.transforms, (self.position(quality), self.tune_number)
        if self.reduction > 1:
            return synthesize_reduced(
                transforms.weights,
                latents,
                *condition,
                self.reduction,
                enlarge=self.enlarges,
                deep=deep,
            )
        return self._draw(latents, condition, deep=deep)

    def _draw(
        self, latents: Int32Array, condition: tuple[int, int], *, deep: bool
    ) -> Uint8Array | Uint16Array:
        return self.transforms.synthesize(latents, *condition, deep=deep)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code latents (768, h, w), float32 in quantiser steps.

        Leaves out the last channels if their bits are worth more than the error that they remove.
        """
        hyper_latents, channels = (
            self.hyper_latents(latents, quality),
            self.channels_in_use(latents),
        )
        # One tile at a time, because each takes a hundred megabytes.
        with self._coding:
            tile = self.symbols(latents, quality, channels=channels, hyper_latents=hyper_latents)
            return self.encode_symbols(tile, quality, most=self.useful_channels(tile, latents))

    def encode_symbols(
        self, tile: TileSymbols, quality: float, *, most: int = COEFFICIENTS
    ) -> tuple[bytes, ...]:
        """Code the result of `symbols`, as one payload per layer.

        The first layer has the number of channels, the hyper-latents and the first group; the
        second and third have one group each, and the last has the rest. Channels after the last
        nonzero symbol are left out, as are those from `most` on. The payloads joined together are
        the payload of a file of one layer.
        """
        channels = self.coded_channels(tile, most)
        encoder = StackEncoder()
        hyper_latents = tile.hyper_latents
        indexes = self._hyper_indexes(hyper_latents.shape, quality)
        encoder.put(hyper_latents.ravel(), indexes, self.hyper_tables)
        starts = [0]
        for part in tile.first_parts(channels):
            encoder.put(part.symbols.ravel(), part.indexes.ravel(), self.latent_tables)
            starts.append(part.place.channels.start)
        layers = [write_varint(channels), *[b""] * (self.layers - 1)]
        for start, data in zip(starts, encoder.finish(), strict=True):
            layers[self._layer_of(start)] += data
        return tuple(layers)

    def _layer_of(self, channel: int) -> int:
        """The layer that contains the symbols of a channel."""
        group = sum(channel >= group.stop for group in self.exact_context.groups)
        return min(group, self.layers - 1)

    def rate_bits(self, tile: TileSymbols, quality: float) -> float:
        """Code length of the result of `symbols` by the tables, escapes included."""
        hyper = tile.hyper_latents
        indexes = self._hyper_indexes(hyper.shape, quality)
        bits = self.hyper_tables.code_length_bits(hyper.ravel(), indexes)
        for part in tile.parts:
            bits += self.latent_tables.code_length_bits(part.symbols.ravel(), part.indexes.ravel())
        return bits

    def coded_channels(self, tile: TileSymbols, most: int = COEFFICIENTS) -> int:
        """The smallest number of first channels that contain all nonzero symbols of a tile.

        most   ignore the channels from this one on
        """
        for part in reversed(tile.first_parts(most)):
            used = np.flatnonzero(part.symbols.any(axis=1))
            if used.size and part.place.channels.start >= self.exact_context.fewest:
                return int(part.place.channels.start + used[-1]) + 1
        return self.exact_context.fewest

    def useful_channels(self, tile: TileSymbols, latents: Float32Array) -> int:
        """The number of channels after which the symbols of a tile cost more than they gain.

        Their gain is the reduction in squared error against zeros. A few symbols in late channels
        would also make the decoder compute all channels before them.
        """
        for part in reversed(tile.parts):
            if part.place.channels.start < self.exact_context.fewest:
                break
            losses = np.cumsum(self._losses(part, part.place.take(latents))[::-1])[::-1]
            # The first minimum, so that channels of zeros before the cut are left out, too.
            cut = int(np.append(losses, 0.0).argmin())
            if cut:
                return int(part.place.channels.start) + cut
        return self.exact_context.fewest

    def _losses(self, part: CodedPart, latents: Float32Array) -> Float64Array:
        """The net loss from zeroing each channel of a part, in squared steps: float64 (c,).

        It is the added squared error less the worth of the saved bits.
        """
        used = np.flatnonzero(part.symbols)
        symbols, tables, means = (
            np.ascontiguousarray(array).ravel()[used]
            for array in (part.symbols, part.indexes, part.means)
        )
        saved_bits = self._bits(symbols, tables) - self._bits(np.zeros_like(symbols), tables)
        around = residuals(latents.ravel()[used], means).astype(np.float64)
        values = around + means * 2.0**-ACTIVATION_BITS
        losses = values**2 - (around - symbols) ** 2 - ERROR_PER_BIT * saved_bits
        channels = used // part.symbols.shape[1]
        by_channel = np.bincount(channels, weights=losses, minlength=len(part.symbols))
        return by_channel.astype(np.float64)

    def _bits(self, symbols: Int32Array, tables: Int32Array) -> Float64Array:
        """Approximate bits of symbols under their tables: float64 (n,)."""
        chosen = self.latent_tables
        entries = np.clip(symbols - chosen.minimums[tables], 0, chosen.sizes[tables])
        frequencies = chosen.frequencies[chosen.starts[tables] + entries]
        bits: Float64Array = PRECISION - np.log2(np.maximum(frequencies, 1).astype(np.float64))
        return bits

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Int32Array:
        """Decode a tile to int32 (768 + hidden, height, width): see `TileSymbols.decoded`."""
        return self.decode_symbols(payloads, height, width, quality).decoded

    def decode_symbols(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> TileSymbols:
        """Parse a tile in integer arithmetic, the same on every machine. Raises `PayloadError`.

        payloads   those of all layers, or all joined into one

        For a reduced picture the last groups of channels are neither read nor checked.
        """
        groups = REDUCED_GROUPS[self.reduction]
        return self.first_symbols(payloads, (height, width), quality, groups)

    def first_symbols(
        self,
        payloads: Sequence[bytes],
        size: tuple[int, int],
        quality: float,
        groups: int,
        generator: np.random.Generator | None = None,
    ) -> TileSymbols:
        """Parse the first groups of a tile of (rows, columns). Raises `PayloadError`.

        payloads    those of the layers that have these groups, or all layers joined into one
        generator   samples the symbols of the other groups; without one they count as not coded
        """
        coded, data = self._read_channels(payloads[0])
        decoder = StackDecoder(b"".join([data, *payloads[1:]]))
        # A group's symbols are coded together, so it is read as a whole or not at all.
        known = min(coded, self.exact_context.groups[groups - 1].stop)
        shape = (self.config.hyper_channels, -(-size[0] // 4), -(-size[1] // 4))
        indexes = self._hyper_indexes(shape, quality)
        hyper_latents = decoder.get(indexes, self.hyper_tables).reshape(shape)
        layers_read = 0

        def end_layers(read: int) -> None:
            # Layers must end exactly where the encoder divides the symbols.
            nonlocal layers_read
            while len(payloads) > 1 and layers_read < read:
                layers_read += 1
                if decoder.unread_bytes != sum(map(len, payloads[layers_read:])):
                    raise PayloadError(
                        f"layer {layers_read - 1} has other symbols than an encoder puts there: "
                        "the payload is damaged, or was written with another model"
                    )

        def code(part: Part) -> Int32Array:
            tables, start = part.indexes.ravel(), part.place.channels.start
            if start < known:
                end_layers(self._layer_of(start))
                symbols = decoder.get(tables, self.latent_tables)
            else:
                assert generator is not None
                symbols = draw_symbols(self.latent_tables, tables, generator)
            return symbols.reshape(part.indexes.shape)

        channels = known if generator is None else coded
        tile = self._code(hyper_latents, size, quality, channels, code)
        end_layers(len(payloads) if known == coded else min(groups, LAYERS - 1))
        if known == coded:
            decoder.finish()
        return tile

    def tile_decoder(self, height: int, width: int, quality: float) -> PhotoTileDecoder:
        """A decoder for the layers of one tile. See `codec.models.base.LayeredModel`."""
        return PhotoTileDecoder(self, height, width, quality)

    def _read_channels(self, payload: bytes) -> tuple[int, bytes]:
        fewest = self.exact_context.fewest
        try:
            channels, offset = read_varint(payload)
        except TruncatedError as error:
            raise PayloadError(
                f"a payload of {len(payload)} bytes ends inside its number of channels: it is cut "
                "short"
            ) from error
        if not fewest <= channels <= COEFFICIENTS:
            raise PayloadError(
                f"the payload codes {channels} channels, expected {fewest} .. {COEFFICIENTS}: it "
                "is damaged, or was written with another model"
            )
        return channels, payload[offset:]

    def symbols(
        self,
        latents: Float32Array,
        quality: float,
        *,
        channels: int | None = None,
        hyper_latents: Int32Array | None = None,
        choose: Choose | None = None,
    ) -> TileSymbols:
        """Quantise the latents of a tile (768, h, w).

        channels       how many of the first channels; None for all
        hyper_latents  int32 (Z, ⌈h/4⌉, ⌈w/4⌉) to code instead of those of the network
        choose         replaces rounding with a dead zone: takes residuals y − μ, float32 (c, n),
                       the indexes of their tables, int32 (c, n), and their channels; returns
                       symbols int32 (c, n). Called for every part in coding order
        """
        if hyper_latents is None:
            hyper_latents = self.hyper_latents(latents, quality)

        def code(part: Part) -> Int32Array:
            own, tables = part.place.take(latents), self.latent_tables
            if choose is not None:
                symbols = choose(residuals(own, part.means), part.indexes, part.place.channels)
                # Certain tables can code only zero (`_check_tables`).
                return symbols * ~tables.certain[part.indexes]
            symbols = np.empty(own.shape, np.int32)

            def band(rows: slice) -> None:
                around, indexes = residuals(own[rows], part.means[rows]), part.indexes[rows]
                found = deadzone_symbols(around, indexes, tables, ONE_PASS_CURVATURE)
                np.multiply(found, ~tables.certain.take(indexes), out=symbols[rows])

            share(band, bands(len(own), _BAND_VALUES, own.shape[1]))
            return symbols

        count = COEFFICIENTS if channels is None else channels
        return self._code(hyper_latents, latents.shape[1:], quality, count, code)

    def channels_in_use(self, latents: Float32Array) -> int:
        """The number of channels after which all latents of a tile (768, h, w) round to 0.

        At least the channels with predicted means, as the others have the mean 0.
        """
        start = self.config.corrected
        used = np.flatnonzero((np.abs(latents[start:]) > 0.5).any(axis=(1, 2)))
        return start + (int(used[-1]) + 1 if used.size else 0)

    def searches(self, effort: int) -> bool:
        """Whether an effort needs more than one pass. See `codec.models.base.SearchingModel`."""
        return effort > ONE_PASS_EFFORT

    def tile_encoder(
        self,
        grid: TileGrid,
        pixels: SampleArray,
        quality: float,
        effort: int,
        *,
        analyze: Callable[[int, float], Float32Array],
        progress: Callable[[float], None],
    ) -> Callable[[int], tuple[bytes, ...]]:
        """See `codec.models.base.SearchingModel` and `codec.models.photo.effort_tiles`."""
        from codec.models.photo.effort_tiles import EffortEncoder

        encoder = EffortEncoder(
            self, grid, pixels, quality, effort, analyze=analyze, progress=progress
        )
        return encoder.encode

    def hyper_latents(self, latents: Float32Array, quality: float) -> Int32Array:
        """The rounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉) of latents (768, h, w)."""
        return round_hyper_latents(
            self.transforms.hyper_analyze(latents, self.position(quality), self.tune_number)
        )

    def _code(
        self,
        hyper_latents: Int32Array,
        size: tuple[int, ...],
        quality: float,
        channels: int,
        code: Callable[[Part], Int32Array],
    ) -> TileSymbols:
        """The symbols of a tile of (rows, columns); `code` gives them part by part."""
        rows, columns = size
        position = self.position(quality)
        features = self.exact.features(hyper_latents, position)
        hidden = np.ascontiguousarray(features[:, :rows, :columns])
        predict = self.exact.predictor(hidden, position)
        decoded = np.empty((COEFFICIENTS + len(hidden), rows, columns), dtype=np.int32)
        decoded[channels:COEFFICIENTS] = 0
        decoded[COEFFICIENTS:] = hidden
        parts = self.exact_context(predict, hidden, position, code, decoded[:channels])
        return TileSymbols(hyper_latents, parts, decoded)

    def _hyper_indexes(self, shape: tuple[int, ...], quality: float) -> Int32Array:
        channels, height, width = shape
        return hyper_indexes(self.position(quality), self.hyper_sets, channels, height, width)


class PhotoTileDecoder:
    """Decodes the layers of one tile. See `codec.models.base.TileDecoder`.

    It keeps only the bytes of the layers, and parses them again each time: most of the time is
    spent in the networks, whose input changes with every layer anyway.
    """

    def __init__(self, coder: PhotoCoder, height: int, width: int, quality: float) -> None:
        """height, width   size of the tile in latents"""
        self._coder, self._size, self._quality = coder, (height, width), quality
        self._payloads: list[bytes] = []

    def read(self, payload: bytes) -> None:
        """Take the next layer; raises `PayloadError` if there are too many.

        A damaged layer is detected by `latents`.
        """
        if len(self._payloads) == LAYERS:
            raise PayloadError(f"more than the {LAYERS} layers of the model")
        self._payloads.append(payload)

    def latents(self, generator: np.random.Generator | None = None) -> Int32Array:
        """See `TileSymbols.decoded`. Raises `PayloadError`.

        Latents of missing layers are 0, which is the predicted mean of most of them, or a sample.
        """
        coder, size, quality = self._coder, self._size, self._quality
        groups = REDUCED_GROUPS[coder.reduction]
        if len(self._payloads) < LAYERS:
            groups = min(groups, len(self._payloads))
        return coder.first_symbols(self._payloads, size, quality, groups, generator).decoded


def read_sizes(metadata: Mapping[str, str]) -> PhotoConfig:
    """The sizes in the metadata of a weights file. Raises `WeightsMismatchError`."""
    return read_config(metadata, PhotoConfig, far_passes=0)


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
    return PhotoCoder(arrays, read_sizes(metadata), weights_hash, device=device)
