"""Codes pixels one after another: predictions of `wavefront`, tables by a network, an ANS stack.

::

    wavefront ─ prediction ───────────────────┬─► centre ── symbol = pixel − centre, in steps
        └────── inputs ─► network ─► shift ───┘      └─ rounding error ────┐
                             └─────► scale ────────────────────────────────┴─► table

The step is 1 for lossless coding. With steps of 2N + 1, no pixel changes by more than N;
predictions then use decoded pixels, as in the near-lossless mode of JPEG-LS (Weinberger, Seroussi
and Sapiro 2000, "The LOCO-I lossless image compression algorithm").
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import (
    Array,
    BoolArray,
    Float32Array,
    Float64Array,
    Int32Array,
    SampleArray,
    Uint8Array,
)
from bitstream.errors import PayloadError, WeightsMismatchError
from bitstream.symbols import StackDecoder, StackEncoder
from bitstream.tables import TableSet
from codec.coding.exact_layers import (
    ACTIVATION_BITS,
    Integers,
    nearest_tables,
    read_layer,
    rectify,
)
from codec.coding.exact_logarithm import logarithm
from codec.models.pixel import NEAR_LOSSLESS, PIXEL
from codec.models.pixel.answers import answer_tables
from codec.models.pixel.colour_map import (
    FEW_REPEATED,
    LARGEST,
    code_map,
    colour_count,
    numbers_of,
    repeated_share,
    repeats_colours,
)
from codec.models.pixel.differences import Blues, code_differences, differences_of
from codec.models.pixel.wavefront import INPUTS, PEAK, STEPS, Front, sweep
from codec.models.sheets import only_payload
from codec.models.weights_files import read_config, stored

GREEN_FIRST = (1, 0, 2)
"""The channel of each plane: green comes first because it predicts the others best."""
_QUALITY = 100  # for layers that do not depend on it
WITH_MAP = 16
"""Flag in the first byte of a payload: a map of repeated colours precedes the pixels."""
WITH_DIFFERENCES = 32
"""Flag in the first byte of a payload: a list of colour differences precedes the pixels."""
_MOST_REPEATED = 0.9
"""If a larger share of a tile's pixels has the colour of a neighbour, only the map is tried."""
_FEW_COLOURS, _PIXELS_OF_A_COLOUR = 256, 4
"""A tile with at most 256 colours, and at least 4 pixels per colour on average, is tried with a map
however few pixels have the colour of a neighbour."""
_NO_ENTRY = "the payload is damaged, or it was written with another model"


@dataclass(frozen=True)
class PixelConfig:
    """Sizes of the network: channels of its hidden layers."""

    hidden: tuple[int, ...] = (48, 32)


class PixelCoder:
    """The lossless model, loaded. See `codec.models.base.LoadedModel` for the methods.

    Latents are the pixels: (3, h, w), red, green, blue. The quality has no effect.

    arrays   those of the weights file: `exact.N.*`, layers of the network, the last one with two
             outputs: a shift of the prediction in units of 2⁻¹⁰ of a step, and the number of a
             scale; `phase_bits`, int32 (scales,), 0 .. 4: a scale has a table for each of 2^bits
             fractions of a step; and these tables as `tables.*`, scale by scale

    Raises `WeightsMismatchError` and `TableError` for arrays that do not fit together.
    """

    model_id, name = PIXEL.model_id, PIXEL.name
    layers = 1
    stride = 1
    context = 0
    inputs = INPUTS
    max_error = 0

    def __init__(
        self, arrays: Mapping[str, Array], config: PixelConfig, weights_hash: bytes
    ) -> None:
        self.weights_hash = weights_hash
        self.network = [
            read_layer(arrays, f"exact.{number}") for number in range(len(config.hidden) + 1)
        ]
        self.tables = TableSet.from_arrays(arrays, "tables.")
        sizes = (self.inputs, *config.hidden, 2)
        found = [layer.weight.shape for layer in self.network]
        expected = [(out, into, 1, 1) for into, out in itertools.pairwise(sizes)]
        if found != expected:
            raise WeightsMismatchError(f"weights file: layers {found}, expected {expected}")
        phase_bits = stored(arrays, "phase_bits")
        if phase_bits.dtype != np.int32 or phase_bits.ndim != 1 or not 0 < len(phase_bits) <= 2**12:
            raise WeightsMismatchError(
                f"weights file: phase_bits is {phase_bits.dtype}{list(phase_bits.shape)}, "
                "expected int32[1 .. 4096]"
            )
        if ((phase_bits < 0) | (phase_bits > 4)).any():
            raise WeightsMismatchError("weights file: phase_bits are not all 0 .. 4")
        counts = 1 << phase_bits
        if len(self.tables) != counts.sum():
            raise WeightsMismatchError(
                f"weights file: {len(self.tables)} tables, expected {counts.sum()} of phase_bits"
            )
        self.drops = 4 - phase_bits
        self.first_tables: Int32Array = (np.cumsum(counts) - counts).astype(np.int32)

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (h, w, 3) to float32 (3, h, w), 0 .. 255."""
        return np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32)

    def synthesize(self, latents: Uint8Array, quality: float) -> Uint8Array:
        """The result of `decode_tile`, or a window of it, to pixels uint8 (h, w, 3)."""
        return np.ascontiguousarray(latents.transpose(1, 2, 0))

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code pixels (3, h, w): one payload.

        Its first byte is the number of planes, plus `WITH_MAP` if a map of colours follows, or
        `WITH_DIFFERENCES` if a list of differences follows.
        """
        payloads = [
            b"".join([bytes([first]), *encoder.finish()]) for first, encoder in self._ways(latents)
        ]
        return (min(payloads, key=len),)

    def code_length_bits(self, latents: Float32Array) -> float:
        """−log₂ p of pixels (3, h, w) by the tables: a lower bound for the payload's bits."""
        return min(encoder.code_length_bits() for _, encoder in self._ways(latents))

    def _ways(self, latents: Float32Array) -> list[tuple[int, StackEncoder]]:
        """The alternative codings of the pixels: first byte, and encoder of the rest."""
        channels = latents.astype(np.int32)
        is_grey = bool((channels == channels[:1]).all())
        planes = channels[:1] if is_grey else channels[list(GREEN_FIRST)]
        pairs = None if is_grey or self.max_error else differences_of(planes)
        return [
            self._encode(planes, map_, pairs if map_ is None else None)
            for map_ in self._maps(planes)
        ]

    def _maps(self, planes: Int32Array) -> list[Int32Array | None]:
        """The colour maps to try for planes (1 or 3, h, w); None stands for coding without one."""
        if self.max_error:
            return [None]
        repeated = repeated_share(planes)
        few = min(_FEW_COLOURS, planes[0].size // _PIXELS_OF_A_COLOUR)
        if repeated < FEW_REPEATED and colour_count(planes) > few:
            return [None]
        numbers = numbers_of(planes)
        return [numbers] if repeated > _MOST_REPEATED else [numbers, None]

    def _encode(
        self, planes: Int32Array, numbers: Int32Array | None, pairs: BoolArray | None
    ) -> tuple[int, StackEncoder]:
        """Code planes (1 or 3, h, w) with a map of their colours, a list of pairs, or neither."""
        encoder = StackEncoder()

        def put(tables: Int32Array, bits: Int32Array | None) -> Int32Array:
            assert bits is not None
            encoder.put(bits, tables, answer_tables())
            return bits

        map_ = None if numbers is None else code_map(numbers.shape, put, numbers)
        blues = None if pairs is None else Blues(code_differences(put, pairs), self.tables)

        def code(front: Front) -> Int32Array:
            pixels = np.concatenate([planes[p.plane, p.rows, p.columns] for p in front.parts])
            if not front.inputs.size:
                return pixels
            centres, tables = self.predict(front)
            own = pixels if front.coded is None else pixels[front.coded]
            symbols, values = quantize_pixels(own, centres, self.max_error)
            end = len(own) if blues is None else front.count_before(2)
            if end:
                encoder.put(symbols[:end], tables[:end], self.tables)
            if blues is not None and end < len(own):
                known = planes[:2, front.parts[-1].rows, front.parts[-1].columns]
                blues.encode(encoder, own[end:], known, centres[end:], tables[end:])
            return values if front.coded is None else pixels

        sweep(planes.shape, code, None if map_ is None else map_.coded)
        flags = WITH_MAP * (map_ is not None) + WITH_DIFFERENCES * (blues is not None)
        return len(planes) + flags, encoder

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Uint8Array:
        """Decode pixels uint8 (3, height, width). Raises `PayloadError`."""
        payload = only_payload(payloads)
        first = payload[0] if payload else 0
        flags = first & (0 if self.max_error else WITH_MAP | WITH_DIFFERENCES)
        count = first - flags
        # Map and differences exclude each other, and differences need three planes.
        if count not in (1, 3) or flags > (WITH_DIFFERENCES if count == 3 else WITH_MAP):
            raise PayloadError(f"a tile of {first} planes was read, expected 1 or 3: {_NO_ENTRY}")
        decoder = StackDecoder(payload[1:])
        planes = np.empty((count, height, width), np.uint8)

        def answer(tables: Int32Array, _: Int32Array | None) -> Int32Array:
            return decoder.get(tables, answer_tables())

        map_ = code_map((height, width), answer) if flags == WITH_MAP else None
        has_pairs = flags == WITH_DIFFERENCES
        blues = Blues(code_differences(answer), self.tables) if has_pairs else None
        colours = np.zeros((count, LARGEST + 1), np.int32)

        def code(front: Front) -> Int32Array:
            values = np.zeros(0, np.int32)
            if front.inputs.size:
                centres, tables = self.predict(front)
                end = len(centres) if blues is None else front.count_before(2)
                if end:
                    symbols = decoder.get(tables[:end], self.tables)
                    values = dequantize_pixels(symbols, centres[:end], self.max_error)
                if blues is not None and end < len(centres):
                    known = planes[:2, front.parts[-1].rows, front.parts[-1].columns]
                    found = blues.decode(
                        decoder, known.astype(np.int32), centres[end:], tables[end:]
                    )
                    values = np.concatenate([values, found])
            if map_ is not None:
                values = map_.fill(colours, front, values)
            start = 0
            for part in front.parts:
                end = start + len(part.rows)
                planes[part.plane, part.rows, part.columns] = values[start:end]
                start = end
            return values

        sweep((count, height, width), code, None if map_ is None else map_.coded)
        decoder.finish()
        return np.repeat(planes, 3, axis=0) if count == 1 else planes[list(GREEN_FIRST)]

    def predict(self, front: Front) -> tuple[Int32Array, Int32Array]:
        """The centre, from which symbols are counted, and the table of each pixel: int32 (n,)."""
        values: Integers = self.network_inputs(front)
        for layer in self.network:
            if layer is not self.network[0]:
                rectify(values)
            values = layer.apply(layer.inputs(values), _QUALITY)
        shifts = values[0].astype(np.float64)
        shifts *= STEPS * 2.0**-ACTIVATION_BITS
        shifts += 0.5
        predictions = front.predictions + np.floor(shifts)
        np.maximum(predictions, 0, out=predictions)
        np.minimum(predictions, STEPS * PEAK, out=predictions)
        sixteenths = predictions.astype(np.int32) + STEPS // 2
        centres = sixteenths >> 4
        scales = nearest_tables(values[1:] - self.scales_of_step(), len(self.drops))[0]
        # The rounding error of the centre, in sixteenths of a symbol step; 8 stands for none.
        places = sixteenths & 15
        if self.max_error:
            step = 2 * self.max_error + 1
            places = (2 * (places - 8) + step) // (2 * step) + 8
        tables = self.first_tables[scales] + (places >> self.drops[scales])
        return centres, tables

    def network_inputs(self, front: Front) -> Float64Array:
        """Integers (inputs, n), in units of 2⁻¹⁰."""
        return front.inputs

    def scales_of_step(self) -> int:
        """The number of scales by which pixels are wider than symbols, in units of 2⁻¹⁰."""
        return 0


class NearLosslessCoder(PixelCoder):
    """The nearly lossless model, loaded: no value changes by more than `max_error`.

    It differs from `PixelCoder` in that the step is one more input of the network. See
    `codec.models.base.BoundedModel`.
    """

    model_id, name = NEAR_LOSSLESS.model_id, NEAR_LOSSLESS.name
    inputs = INPUTS + 1
    max_error = 1

    def with_max_error(self, max_error: int) -> NearLosslessCoder:
        """The same model with another bound, 1 .. 16."""
        other = copy.copy(self)
        other.max_error = max_error
        return other

    def may_cost_more_than_no_error(self, pixels: SampleArray) -> bool:
        """Whether colours repeat, since only the lossless model has colour maps."""
        return repeats_colours(pixels)

    def network_inputs(self, front: Front) -> Float64Array:
        """Integers (inputs, n), in units of 2⁻¹⁰."""
        return with_step(front.inputs, self.max_error)

    def scales_of_step(self) -> int:
        """The number of scales by which pixels are wider than symbols, in units of 2⁻¹⁰."""
        # Four scales per octave.
        return 4 * 2**3 * octaves_of_step(self.max_error)


def octaves_of_step(max_error: int) -> int:
    """About log₂ of the step 2N + 1, in units of 2⁻⁷."""
    return int(logarithm(np.array([2.0 * max_error]))[0])


def with_step(inputs: Float64Array, max_error: int) -> Float64Array:
    """Inputs (INPUTS, n) of a front, plus one more: the octaves of the step."""
    step = np.full((1, inputs.shape[1]), float(octaves_of_step(max_error)))
    return np.concatenate([inputs, step])


def quantize_pixels(
    pixels: Int32Array, centres: Int32Array, max_error: int
) -> tuple[Int32Array, Int32Array]:
    """Symbols of pixels, 0 .. 255, and their decoded values: int32 (n,) each."""
    symbols = (pixels - centres + max_error) // (2 * max_error + 1)
    return symbols, dequantize_pixels(symbols, centres, max_error)


def dequantize_pixels(symbols: Int32Array, centres: Int32Array, max_error: int) -> Int32Array:
    """The inverse of `quantize_pixels`, at most `max_error` off. Raises `PayloadError`."""
    values = centres + (2 * max_error + 1) * symbols.astype(np.int64)
    if values.min() < -max_error or values.max() > PEAK + max_error:
        raise PayloadError(f"a pixel outside 0 .. 255 was decoded: {_NO_ENTRY}")
    # The original pixel is inside 0 .. 255, so clipping only reduces the error.
    kept: Int32Array = np.clip(values, 0, PEAK).astype(np.int32)
    return kept


def load_pixel(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: str,
) -> PixelCoder:
    """Build the coder from the contents of a weights file; it computes with NumPy on any `device`.

    Raises `WeightsMismatchError`, `TableError`.
    """
    return PixelCoder(arrays, read_config(metadata, PixelConfig), weights_hash)


def load_near_lossless(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: str,
) -> NearLosslessCoder:
    """As `load_pixel`."""
    return NearLosslessCoder(arrays, read_config(metadata, PixelConfig), weights_hash)
