"""The decoder's last step in integers: latents and texture to pixels, the same on every machine.

First comes the inverse transform, exact in float64: coefficients are integers in units of 2⁻⁶
levels, cosines in units of 2⁻¹³, and no sum reaches 2⁵³. Then follows the network of
`codec.models.photo.network`, whose activations have 8 bits (`codec.models.photo.quantised`). It is
described here once, as calls of a `Backend`: ONNX Runtime computes it with 8-bit kernels, NumPy
and torch in float32, in which all sums are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Protocol, TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from bitstream.arrays import (
    Array,
    BoolArray,
    Float32Array,
    Float64Array,
    Int8Array,
    Int16Array,
    Int32Array,
    Int64Array,
    Uint8Array,
    Uint16Array,
)
from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import ACTIVATION_BITS, interpolate_knots
from codec.models.photo.config import COEFFICIENTS, LATENT_STRIDE, PhotoConfig
from codec.models.photo.integers import (
    BIAS_LIMIT,
    GAIN_BITS,
    GAIN_LIMIT,
    RECTIFIED_BITS,
    SHIFT_LIMIT,
    STEP_BITS,
    WEIGHT_LIMIT,
    kind_of,
)
from codec.models.photo.transform import COLOURS, channel_order, cosine_basis
from codec.system.processors import bands, share

LEVEL_BITS = 6
"""Fraction bits of the coefficients and the image of the inverse transform."""
_HALF = np.int16(1 << (LEVEL_BITS - 1))
_CENTRE = np.int16(255 << (LEVEL_BITS - 1))  # 127.5, the centre of pixels; the network uses 128
_SEEN_ZERO = np.int16(128 << LEVEL_BITS)
RENDERED_BITS = 5
"""A unit of the network's output is 2⁵ units of the image: half a level."""

_LIMITS = {
    "weight": WEIGHT_LIMIT,
    "bias": BIAS_LIMIT,
    "gain": GAIN_LIMIT,
    "shift": SHIFT_LIMIT,
}
_BASIS_BITS = 13
_LARGEST_COEFFICIENT = 2.0**20  # pictures have at most 2¹⁹
_LARGEST_LEVEL = 2.0**14 - 1  # 256 levels: such a pixel is clipped whatever the correction
_BAND_COLUMNS = 192  # blocks that are transformed at once, so that they stay in the cache
_BAND_VALUES = 2**17  # pixel values that are processed at once, likewise
_MANTISSA_BITS = 14
LANCZOS_TAPS = 3
"""How many pixels on either side of a position an enlarged picture depends on."""
_LANCZOS_BITS = 16

Value = TypeVar("Value")


def is_conditioned(name: str) -> bool:
    """Whether bias and multiplier of the layer of this name depend on tune and quality."""
    return name.endswith(".spatial")


class Backend(Protocol[Value]):
    """Computes the network, with activations (channels, h, w) in its own representation."""

    def image(self, factor: int) -> Value:
        """The input pixels, unshuffled by a factor: (3 · factor², h, w)."""

    def texture(self) -> Value:
        """The last features of the hyper-synthesis."""

    def layer(self, name: str, values: Value) -> Value:
        """Apply the convolution of this name; its sums are rounded to units, halves to even."""

    def add(self, one: Value, other: Value) -> Value:
        """The sum of signed activations, clipped to their range."""

    def shuffle(self, values: Value) -> Value:
        """Pixel shuffle by two, in torch's order."""

    def unshuffle(self, values: Value) -> Value:
        """The inverse of `shuffle`."""


def network(backend: Backend[Value], config: PhotoConfig) -> Value:
    """The whole network; returns its last activations (48, 4·h, 4·w), in half levels."""

    def stage(name: str, blocks: int, stream: Value) -> Value:
        for block in (f"{name}.blocks.{number}" for number in range(blocks)):
            hidden = stream
            for part in ("spatial", "expand", "project"):
                hidden = backend.layer(f"{block}.{part}", hidden)
            stream = backend.add(stream, hidden)
        return stream

    seen_8 = backend.layer("in_8", backend.image(8))
    stream = backend.layer("down", backend.unshuffle(seen_8))
    stream = backend.add(stream, backend.layer("texture", backend.texture()))
    stream = stage("stage_16", config.blocks_16, stream)
    stream = backend.add(backend.shuffle(backend.layer("up_16", stream)), seen_8)
    stream = stage("stage_8", config.blocks_8, stream)
    seen_4 = backend.layer("in_4", backend.image(4))
    stream = backend.add(backend.shuffle(backend.layer("up_8", stream)), seen_4)
    return backend.layer("out", stage("stage_4", config.blocks_4, stream))


class Renderer(Protocol):
    """Computes `network` with a backend."""

    def __call__(
        self, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        """The correction of pixels (H, W, 3), in units of half a level: int8 (H, W, 3).

        pixels    uint8 (H, W, 3), in levels: 128 is zero
        texture   uint8 (hidden, H / 16, W / 16), in units of 2⁻⁵
        """


def synthesize(
    weights: SynthesisWeights,
    render: Renderer,
    decoded: Int32Array,
    hundredths: int,
    tune: int,
    *,
    deep: bool = False,
) -> Uint8Array | Uint16Array:
    """Decoded latents and features, int32 (768 + hidden, h, w), to pixels (16·h, 16·w, 3).

    decoded      latents in 2⁻¹⁰ quantiser steps, then the last features of the hyper-synthesis in
                 units of 2⁻¹⁰
    hundredths   position in hundredths, 100 .. 10000
    deep         whether pixels are uint16, 0 .. 65535, instead of uint8
    """
    latents, hidden = decoded[:COEFFICIENTS], decoded[COEFFICIENTS:]
    image = inverse_transform(latents, weights.steps(hundredths, tune), tune)
    rendered = render(seen_pixels(image), seen_texture(hidden), hundredths, tune)
    return deep_pixels_of(image, rendered) if deep else pixels_of(image, rendered)


def synthesize_reduced(
    weights: SynthesisWeights,
    decoded: Int32Array,
    hundredths: int,
    tune: int,
    reduce: int,
    *,
    enlarge: bool = False,
    deep: bool = False,
) -> Uint8Array | Uint16Array:
    """As `synthesize`, but to pixels (16·h / reduce, 16·w / reduce, 3), without the network.

    reduce    2, 4 or 8
    enlarge   whether the small picture is enlarged to (16·h, 16·w, 3)
    """
    steps = weights.steps(hundredths, tune)
    image = inverse_transform(decoded[:COEFFICIENTS], steps, tune, reduce)
    if enlarge:
        image = enlarged(image, reduce)
    nothing = np.zeros(image.shape, np.int8)
    return deep_pixels_of(image, nothing) if deep else pixels_of(image, nothing)


class SynthesisWeights:
    """The integers of the synthesis in a weights file: `synthesis.*` and `log_step`.

    Raises `WeightsMismatchError` if they do not fit the sizes.
    """

    def __init__(self, arrays: Mapping[str, Array], config: PhotoConfig) -> None:
        self.config = config
        self._arrays: dict[str, Array] = {}
        for name, (shape, dtype) in _expected(config).items():
            found = arrays.get(name)
            if found is None or found.shape != shape or found.dtype != dtype:
                what = "missing" if found is None else f"{found.dtype}{list(found.shape)}"
                raise WeightsMismatchError(
                    f"weights file: {name} is {what}, expected {dtype}{list(shape)}"
                )
            self._arrays[name.removeprefix("synthesis.")] = found
        for name, array in self._arrays.items():
            limit = _LIMITS.get(name.rpartition(".")[2])
            if limit is not None and np.abs(array.astype(np.int64)).max() > limit:
                raise WeightsMismatchError(
                    f"weights file: synthesis.{name} has numbers beyond ±{limit}"
                )

    def weight(self, name: str) -> Array:
        """Weights of a layer, int8 (out, in, k, k), −63 .. 63; k is 3 for depthwise layers."""
        return self._arrays[f"{name}.weight"]

    def condition(self, name: str, hundredths: int, tune: int) -> tuple[Int32Array, Float32Array]:
        """Bias and multiplier of a layer, int32 and float32 (out,).

        The bias is in units of the sums. A sum times the multiplier is in units of the outputs; the
        product is exact.
        """
        kind = kind_of(name)
        exponent = self._arrays[f"{name}.exponent"].astype(np.float64)
        multiplier = np.exp2(exponent - kind.inputs + kind.outputs).astype(np.float32)
        if not is_conditioned(name):
            bias: Int32Array = self._arrays[f"{name}.bias"]  # type: ignore[assignment]
            return bias, multiplier
        block = name.rpartition(".")[0]
        shift, gain = (
            interpolate_knots(self._arrays[f"{block}.{part}"][tune].astype(np.int32), hundredths)
            for part in ("shift", "gain")
        )
        multiplier *= gain.astype(np.float32) * np.float32(2.0**-GAIN_BITS)
        return shift.astype(np.int32), multiplier

    def steps(self, hundredths: int, tune: int) -> Float64Array:
        """Factors from latents in 2⁻¹⁰ quantiser steps to coefficients in 2⁻⁶ levels: (768,)."""
        octaves = interpolate_knots(self._arrays["log_step"][tune], hundredths)
        mantissa = _mantissas()[octaves & (2**STEP_BITS - 1)]
        exponent = (octaves >> STEP_BITS) - _MANTISSA_BITS - ACTIVATION_BITS + LEVEL_BITS
        steps: Float64Array = mantissa * np.exp2(exponent.astype(np.float64))
        return steps


def _expected(config: PhotoConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of every array of the synthesis, by its name in a weights file."""
    found: dict[str, tuple[tuple[int, ...], str]] = {}

    def layer(name: str, outputs: int, inputs: int, size: int = 1) -> None:
        found[f"synthesis.{name}.weight"] = ((outputs, inputs, size, size), "int8")
        found[f"synthesis.{name}.exponent"] = ((outputs,), "int8")
        if not is_conditioned(name):
            found[f"synthesis.{name}.bias"] = ((outputs,), "int32")

    def blocks(name: str, width: int, count: int) -> None:
        for block in (f"{name}.blocks.{number}" for number in range(count)):
            layer(f"{block}.spatial", width, 1, 3)
            layer(f"{block}.expand", 2 * width, width)
            layer(f"{block}.project", width, 2 * width)
            found[f"synthesis.{block}.shift"] = ((2, config.knots, width), "int32")
            found[f"synthesis.{block}.gain"] = ((2, config.knots, width), "int16")

    width_16, width_8, width_4 = config.width_16, config.width_8, config.width_4
    layer("in_8", width_8, 3 * 64)
    layer("down", width_16, 4 * width_8)
    layer("texture", width_16, config.hidden)
    blocks("stage_16", width_16, config.blocks_16)
    layer("up_16", 4 * width_8, width_16)
    blocks("stage_8", width_8, config.blocks_8)
    layer("up_8", 4 * width_4, width_8)
    layer("in_4", width_4, 3 * 16)
    blocks("stage_4", width_4, config.blocks_4)
    layer("out", 3 * 16, width_4)
    found["log_step"] = ((2, config.knots, COEFFICIENTS), "int32")
    return found


@lru_cache(maxsize=1)
def _mantissas() -> Float64Array:
    """2¹⁴ · 2^(i / 1024), rounded to the nearest integer."""
    fractions = np.arange(2**STEP_BITS) / 2**STEP_BITS
    return np.asarray(np.rint(np.exp2(_MANTISSA_BITS + fractions)))


@lru_cache(maxsize=4 * len(COLOURS))
def _bases(tune: int, reduce: int) -> tuple[Float64Array, Float64Array]:
    """The inverse transform over rows, (places, 16 frequencies), and over columns and colours.

    The latter, (48 frequencies, 3 · places), is scaled so that results are in units of 2⁻⁶ levels.
    There are 16 / reduce places, each the mean of `reduce` samples.
    """
    space = cosine_basis(LATENT_STRIDE).reshape(LATENT_STRIDE, -1, reduce).mean(axis=2)
    both = np.einsum("vj,wc->vwjc", space, COLOURS[tune]).reshape(3 * LATENT_STRIDE, -1)
    unit = 2.0**_BASIS_BITS
    return np.ascontiguousarray(np.rint(space * unit).T), np.rint(both * unit) / unit**2


@lru_cache(maxsize=1)
def _places() -> Int64Array:
    """The latent channel of each frequency: (16 of rows, 48 of columns and colours)."""
    channels = np.empty(COEFFICIENTS, dtype=np.int64)
    channels[channel_order()] = np.arange(COEFFICIENTS)
    return channels.reshape(16, 48)


def inverse_transform(
    latents: Int32Array, steps: Float64Array, tune: int, reduce: int = 1
) -> Int16Array:
    """Latents (768, h, w) in 2⁻¹⁰ quantiser steps to levels in units of 2⁻⁶: (16·h, 16·w, 3).

    reduce   1, 2, 4 or 8: side of the squares of pixels that are each replaced by one mean value

    Coefficients and levels are rounded to whole units, halves to even. Levels are centred on 127.5
    and clipped to ±256. The result is exact in any order of summation.
    """
    _, height, width = latents.shape
    rows, others = _bases(tune, reduce)
    side = LATENT_STRIDE // reduce
    image = np.empty((height, side, width, 3 * side), dtype=np.int16)
    # Most high frequencies are zero in all blocks, and are skipped.
    used: BoolArray = np.any(latents.reshape(COEFFICIENTS, -1), axis=1)[_places()]
    groups = np.flatnonzero(used.any(axis=1))
    order = _places()[used]
    ends = np.cumsum(used[groups].sum(axis=1)).tolist()
    products = [
        (others[used[row]], slice(*own))
        for row, own in zip(groups, pairwise([0, *ends]), strict=True)
    ]
    rows, scale = np.ascontiguousarray(rows[:, groups]), steps[order, None, None]

    def band(own: slice) -> None:
        values = latents[order, own] * scale
        np.rint(values, out=values)
        np.clip(values, -_LARGEST_COEFFICIENT, _LARGEST_COEFFICIENT, out=values)
        values = values.reshape(len(order), (own.stop - own.start) * width)
        sums = np.empty((len(groups), values.shape[1], 3 * side))
        for (matrix, frequencies), into in zip(products, sums, strict=True):
            np.matmul(values[frequencies].T, matrix, out=into)
        pixels = rows @ sums.reshape(len(groups), values.shape[1] * 3 * side)
        np.clip(pixels, -_LARGEST_LEVEL, _LARGEST_LEVEL, out=pixels)
        np.rint(pixels, out=pixels)
        image[own] = pixels.reshape(side, -1, width, 3 * side).swapaxes(0, 1)

    share(band, bands(height, _BAND_COLUMNS, width))
    return image.reshape(side * height, side * width, 3)


@lru_cache(maxsize=1)
def _lanczos(times: int) -> Float64Array:
    """The weights of small pixels in each enlarged one: (times, 7), integers in units of 2⁻¹⁶.

    Lanczos, "Applied Analysis", 1956: a sinc, windowed by the main lobe of a sinc three times as
    wide.
    """
    places = (np.arange(times) + 0.5) / times - 0.5
    away = np.arange(-LANCZOS_TAPS, LANCZOS_TAPS + 1) - places[:, None]
    inside = np.abs(away) < LANCZOS_TAPS
    weights = np.where(inside, np.sinc(away) * np.sinc(away / LANCZOS_TAPS), 0)
    weights = np.rint(weights / weights.sum(axis=1, keepdims=True) * 2.0**_LANCZOS_BITS)
    weights[:, LANCZOS_TAPS] += 2.0**_LANCZOS_BITS - weights.sum(axis=1)  # flat areas stay flat
    return np.asarray(weights)


def enlarged(image: Int16Array, times: int) -> Int16Array:
    """The image of `inverse_transform` (h, w, 3), enlarged to (times · h, times · w, 3).

    Values are rounded to whole units, halves to even, and clipped to ±256 levels. The result is
    exact. Edge pixels are repeated beyond the borders.
    """
    weights, margin = _lanczos(times), (LANCZOS_TAPS, LANCZOS_TAPS)

    def upwards(values: Float64Array) -> Float64Array:
        """Lines (n + 6, m), including margins, to (times · n, m)."""
        around = sliding_window_view(values, 2 * LANCZOS_TAPS + 1, axis=0)
        lines: Float64Array = weights @ around.swapaxes(1, 2)
        return lines.reshape(-1, values.shape[1])

    height, width, colours = image.shape
    padded = np.pad(image.swapaxes(0, 1), (margin, margin, (0, 0)), mode="edge")
    wide = upwards(padded.reshape(len(padded), -1).astype(np.float64))
    wide = wide.reshape(times * width, -1, colours).swapaxes(0, 1).reshape(padded.shape[1], -1)
    whole: Int16Array = np.empty((height, times, wide.shape[1]), np.int16)

    def band(own: slice) -> None:
        pixels = upwards(wide[own.start : own.stop + 2 * LANCZOS_TAPS])
        pixels *= 2.0 ** (-2 * _LANCZOS_BITS)
        np.clip(pixels, -_LARGEST_LEVEL, _LARGEST_LEVEL, out=pixels)
        whole[own] = np.rint(pixels, out=pixels).reshape(-1, times, wide.shape[1])

    share(band, bands(height, _BAND_VALUES, whole[0].size))
    return whole.reshape(times * height, times * width, colours)


def seen_pixels(image: Int16Array) -> Uint8Array:
    """The image of `inverse_transform` in whole levels, as input of the network: 128 is zero."""
    seen: Uint8Array = np.empty(image.shape, np.uint8)

    def band(own: slice) -> None:
        seen[own] = _to_levels(image[own] + _SEEN_ZERO)

    share(band, _lines(image))
    return seen


def seen_texture(hidden: Int32Array) -> Uint8Array:
    """Hyper-synthesis features from units of 2⁻¹⁰ to units of 2⁻⁵, as input of the network."""
    shift = ACTIVATION_BITS - RECTIFIED_BITS
    nearest = (np.minimum(hidden, 2**20) + (1 << (shift - 1))) >> shift
    seen: Uint8Array = np.clip(nearest, 0, 255).astype(np.uint8)
    return seen


def pixels_of(image: Int16Array, rendered: Int8Array) -> Uint8Array:
    """The image of `inverse_transform`, corrected by the network's output (H, W, 3): uint8."""
    pixels: Uint8Array = np.empty(image.shape, np.uint8)

    def band(own: slice) -> None:
        pixels[own] = _to_levels(_corrected(image[own], rendered[own]))

    share(band, _lines(image))
    return pixels


def deep_pixels_of(image: Int16Array, rendered: Int8Array) -> Uint16Array:
    """As `pixels_of`, but with 16 bits: 257 per level."""
    white = 255 << LEVEL_BITS
    levels = np.clip(_corrected(image, rendered), 0, white).astype(np.int32)
    levels *= 65535
    levels += white // 2
    levels //= white
    return levels.astype(np.uint16)


def _corrected(image: Int16Array, rendered: Int8Array) -> Int16Array:
    """The sum of both in units of 2⁻⁶ levels, from 0 for black."""
    levels: Int16Array = np.left_shift(rendered, RENDERED_BITS, dtype=np.int16)
    levels += image  # int16 does not overflow: 256 + 64 + 128 levels are less than 512
    levels += _CENTRE
    return levels


def _to_levels(units: Int16Array) -> Int16Array:
    """Round units of 2⁻⁶ levels to the nearest of 0 .. 255, halves up; overwrites the input."""
    units += _HALF
    units >>= LEVEL_BITS
    return np.clip(units, 0, 255, out=units)


def _lines(image: Int16Array) -> list[slice]:
    """Split the lines of an image into bands that stay in the cache."""
    return bands(len(image), _BAND_VALUES, image[0].size)
