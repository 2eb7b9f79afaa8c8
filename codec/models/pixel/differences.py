"""A list of the colour differences that occur, for photographs decoded from luma and chroma.

JPEG and AVIF files store luma and two chroma values. Luma is added equally to red, green and blue,
so each pair of chroma values gives one pair of differences, R − G and B − G, whatever the luma.
With JPEG's colours, only about one pair in four can occur. So a list of the pairs that do occur is
coded first, and then only the values of blue that green and red leave possible are considered::

    B − G   ·  ×  ·  ·  ×  ·  ·  ·          R − G is known when blue is decoded: only the crosses
            ·  ·  ×  ·  ·  ·  ×  ·    ◄──   in its row are possible
            ·  ×  ·  ·  ·  ×  ·  ·

Excluding values that do not occur is histogram packing (Pinho 2002, "An online preprocessing
technique for improving the lossless compression of images with sparse histograms"), here in two
dimensions. Clipped values follow no such rule: if green or red is 0 or 255, every blue is
possible, and blue values of 0 and 255 always are.

Everything is integer arithmetic.
"""

from __future__ import annotations

import numpy as np

from bitstream.arrays import BoolArray, Float64Array, Int32Array
from bitstream.errors import PayloadError
from bitstream.symbols import StackDecoder, StackEncoder
from bitstream.tables import TOTAL, TableSet
from codec.coding.prior_tables import uniform_tables
from codec.models.pixel.answers import EVEN, Answer, Answers
from codec.models.pixel.wavefront import PEAK

SIDE = 2 * PEAK + 1
"""The number of differences of two values, −255 .. 255."""
WINDOW, BELOW = 64, 32
"""Number of values around a centre that have their own entries, and how many are below it."""
AROUND = (
    (0, -1), (0, -2), (0, -3),
    (-1, -2), (-1, -1), (-1, 0), (-1, 1), (-1, 2),
    (-2, -1), (-2, 0), (-2, 1),
)  # fmt: skip
"""Row and column offsets from a pair to those that predict whether it occurs."""
_TOP, _LEFT, _RIGHT = 2, 3, 2
_WINDOW = np.arange(WINDOW)
_BOUND_BITS = 9
_BITS = 8
"""Raw bits of a value outside the window."""
_BITS_OF_A_PAIR = 8
"""Roughly an upper bound for the bits of a pair in the list; few pictures need half as many."""
_NEAR = 4
"""The density of pairs is measured over this many neighbours on either side."""


def differences_of(planes: Int32Array) -> BoolArray | None:
    """The pairs in planes (3, h, w), as `code_differences` takes them; None if it does not pay."""
    green, red, blue = planes
    inside = ((planes > 0) & (planes < PEAK)).all(axis=0)
    places = (red - green)[inside] + PEAK, (blue - green)[inside] + PEAK
    pairs = np.zeros((SIDE, SIDE), np.bool_)
    pairs[places] = True
    sums = np.zeros((SIDE, SIDE + 2 * _NEAR + 1))
    np.cumsum(np.pad(pairs, ((0, 0), (_NEAR, _NEAR))), axis=1, out=sums[:, 1:])
    near = (sums[:, 2 * _NEAR + 1 :] - sums[:, : -2 * _NEAR - 1])[places]
    saved = -np.log2(near / (2 * _NEAR + 1)).sum()
    return pairs if saved > _BITS_OF_A_PAIR * pairs.sum() else None


def code_differences(answer: Answer, pairs: BoolArray | None = None) -> BoolArray:
    """Code which pairs occur: bool (511, 511), indexed by R − G + 255 and B − G + 255.

    answer   codes bits; an encoder passes them, a decoder passes None
    pairs    at least one in an encoder, None in a decoder

    Raises `PayloadError` for impossible bounds.
    """
    answers = Answers(answer, 2 ** len(AROUND))
    shifts = np.arange(_BOUND_BITS)[::-1]
    bits = None
    if pairs is not None:
        ends = [np.flatnonzero(pairs.any(axis=axis))[[0, -1]] for axis in (1, 0)]
        bits = (np.concatenate(ends)[:, None] >> shifts & 1).ravel().astype(np.int32)
    found = answers.code(np.full(4 * _BOUND_BITS, EVEN, np.int32), bits)
    top, bottom, left, right = (found.reshape(4, _BOUND_BITS) << shifts).sum(axis=1).tolist()
    if not (top <= bottom < SIDE and left <= right < SIDE):
        raise PayloadError(
            f"differences {top} .. {bottom} and {left} .. {right} were decoded, expected ascending "
            f"ones below {SIDE}: the payload is damaged, or it was written with another model"
        )
    height, width = bottom - top + 1, right - left + 1
    padded = np.zeros((_TOP + height, _LEFT + width + _RIGHT), np.bool_)
    # All pairs in the context have a smaller x + 3 y.
    for time in range(width + 3 * (height - 1)):
        rows = np.arange(max(0, -((width - 1 - time) // 3)), min(height, time // 3 + 1))
        columns = time - 3 * rows
        context = np.zeros(len(rows), np.int32)
        for down, across in AROUND:
            context = 2 * context + padded[rows + (_TOP + down), columns + (_LEFT + across)]
        known = None if pairs is None else pairs[top + rows, left + columns].astype(np.int32)
        padded[rows + _TOP, columns + _LEFT] = answers.ask(context, known)
    whole = np.zeros((SIDE, SIDE), np.bool_)
    whole[top : bottom + 1, left : right + 1] = padded[_TOP:, _LEFT : _LEFT + width]
    return whole


class Blues:
    """Codes blue, of which the differences leave few possible values.

    pairs    as `code_differences` returns them
    tables   the model's tables, for the probabilities of values around a centre
    """

    def __init__(self, pairs: BoolArray, tables: TableSet) -> None:
        # Padded so that no window extends beyond the array.
        self._pairs = np.pad(pairs, ((0, 0), (WINDOW, WINDOW)))
        self._weights, self._rests = _windows(tables)

    def encode(
        self,
        encoder: StackEncoder,
        values: Int32Array,
        known: Int32Array,
        centres: Int32Array,
        tables: Int32Array,
    ) -> None:
        """Code values of blue, 0 .. 255, with their centres and tables: int32 (n,) each.

        known   green and red of the same pixels, (2, n)
        """
        entries = values - centres + (BELOW + 1)
        entries[(entries < 1) | (entries > WINDOW)] = 0
        encoder.put_rows(entries, self._frequencies(known, centres, tables))
        far = values[entries == 0]
        if far.size:
            encoder.put(far, np.full(len(far), _BITS, np.int32), uniform_tables(_BITS))

    def decode(
        self, decoder: StackDecoder, known: Int32Array, centres: Int32Array, tables: Int32Array
    ) -> Int32Array:
        """Decode values, int32 (n,). Raises `PayloadError`."""
        entries = decoder.get_rows(self._frequencies(known, centres, tables))
        values = centres + entries - (BELOW + 1)
        far = np.flatnonzero(entries == 0)
        if far.size:
            values[far] = decoder.get(np.full(len(far), _BITS, np.int32), uniform_tables(_BITS))
        if values.min() < 0 or values.max() > PEAK:
            raise PayloadError(
                "a pixel outside 0 .. 255 was decoded: the payload is damaged, or it was written "
                "with another model"
            )
        return values

    def _frequencies(
        self, known: Int32Array, centres: Int32Array, tables: Int32Array
    ) -> Int32Array:
        """Rows of frequencies, int32 (n, 65): entry k > 0 is the value centre − 33 + k.

        The first entry stands for all values outside of the window.
        """
        greens, reds = known
        firsts = (reds - greens + PEAK) * self._pairs.shape[1] + (PEAK + WINDOW - BELOW - greens)
        left = self._pairs.ravel().take((firsts + centres)[:, None] + _WINDOW)
        left[((known == 0) | (known == PEAK)).any(axis=0)] = True
        ends = np.flatnonzero((centres <= BELOW) | (centres >= PEAK - BELOW))
        values = centres[ends, None] - BELOW + _WINDOW
        left[ends] |= (values == 0) | (values == PEAK)
        left[ends] &= (values >= 0) & (values <= PEAK)
        weights: Float64Array = self._weights.take(tables, axis=0)
        weights *= left
        totals = weights.sum(axis=1) + self._rests[tables]
        weights *= TOTAL - 1 - WINDOW
        weights /= totals[:, None]
        found = np.empty((len(centres), 1 + WINDOW), np.int32)
        # Truncation is exact: a quotient of integers below 2⁴⁸ and 2²⁴ cannot round up to the next.
        found[:, 1:] = weights
        found[:, 1:] += 1
        found[:, 0] = TOTAL - found[:, 1:].sum(axis=1)
        return found


def _windows(tables: TableSet) -> tuple[Float64Array, Float64Array]:
    """Frequencies of every table around its centre, (tables, 64), and the sum of the others."""
    windows = np.zeros((len(tables), WINDOW))
    for number, (start, size, first) in enumerate(
        zip(tables.starts[:-1], tables.sizes, tables.minimums, strict=True)
    ):
        begin, end = max(int(first), -BELOW), min(int(first) + int(size), WINDOW - BELOW)
        if begin < end:
            windows[number, begin + BELOW : end + BELOW] = tables.frequencies[
                start + begin - first : start + end - first
            ]
    return windows, TOTAL - windows.sum(axis=1)
