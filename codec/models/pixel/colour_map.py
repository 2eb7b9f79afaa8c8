"""Which pixels have a colour that was there before: screenshots, drawings, text.

Where pictures repeat their colours, a map says so before any pixel is coded. It gives every pixel
the number of its colour, 1, 2 … in the order in which they are first seen, or 0 for a colour that
no other pixel takes up. A pixel whose number was seen before is not coded again.

The map is coded by answers to questions, pixels in the order of `codec.models.pixel.wavefront`. Is
it the colour that followed the same colours around it last time? Is it that of a neighbour: to the
left, above, above right, above left? Is it any colour of the map, and which? See
`codec.models.pixel.answers`. To look up what followed the same surroundings is prediction by
partial matching (Cleary and Witten 1984); asking about neighbours goes back to the coding of
palette images (Ausbeck 1998, "Context models for palette images").

Everything is integer arithmetic.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import BoolArray, Int16Array, Int32Array, Int64Array, SampleArray
from bitstream.errors import PayloadError
from codec.models.pixel.answers import Answer, Answers
from codec.models.pixel.wavefront import (
    NE,
    NN,
    NNE,
    NW,
    NWW,
    WW,
    Front,
    N,
    Place,
    W,
)

FEW_REPEATED = 0.5
"""Share of pixels with the colour of a neighbour, below which a map of colours seldom pays."""
_MIDDLE = 1024
"""Pixels of a side that tell whether a picture repeats colours."""
NUMBER_BITS = 14
LARGEST = 2**NUMBER_BITS - 1
"""So many colours a map has at most."""

NNW = (-2, -1)
AROUND: tuple[tuple[Place, ...], ...] = (
    (W, N, NW, NE, WW, NN, NNE, NWW, NNW),
    (W, N, NW, NE),
    (W, N),
)
"""What the colours of three lookups are found by."""
_FACTORS = np.array(
    [
        0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5,
        0x85EBCA77C2B2AE63, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0xD6E8FEB86659FD93,
        0xA0761D6478BD642F,
    ],
    np.uint64,
)  # fmt: skip
"""Odd numbers that numbers around a pixel are multiplied by; the sums modulo 2⁶⁴ are keys."""
SLOT_BITS = 16
_SURE = 7
"""How often a lookup was right in turn, at most as far as it is counted."""
NEIGHBOURS = (W, N, NE, NW)
"""Whose colours are asked for, in this order."""

_GUESS, _NEIGHBOUR = 0, len(AROUND) * 8 * 32
_KNOWN = _NEIGHBOUR + len(NEIGHBOURS) * 2 * 4 * 128
_KEPT = _KNOWN + 4
_NUMBER = _KEPT + 4
_CONTEXTS = _NUMBER + 2**NUMBER_BITS

_NO_ENTRY = "the payload is damaged, or it was written with another model"


def repeated_share(planes: Int32Array) -> float:
    """The share of pixels of planes (1 or 3, h, w) with the colour of that to the left or above."""
    colours = _colours(planes)
    same = np.zeros(colours.shape, np.bool_)
    same[:, 1:] = colours[:, 1:] == colours[:, :-1]
    same[1:] |= colours[1:] == colours[:-1]
    return float(same.mean())


def repeats_colours(pixels: SampleArray) -> bool:
    """Whether enough pixels in the middle of a picture have the colour of a neighbour.

    pixels   (height, width, 1 or 3), see `FEW_REPEATED`
    """
    top, left = (max(0, (side - _MIDDLE) // 2) for side in pixels.shape[:2])
    middle = pixels[top : top + _MIDDLE, left : left + _MIDDLE]
    return repeated_share(middle.transpose(2, 0, 1).astype(np.int32)) >= FEW_REPEATED


def colour_count(planes: Int32Array) -> int:
    """How many colours planes (1 or 3, h, w) of pixels 0 .. 255 have."""
    return len(np.unique(_colours(planes)))


def numbers_of(planes: Int32Array) -> Int32Array:
    """The map of planes (1 or 3, h, w) of pixels 0 .. 255: int32 (h, w)."""
    colours, order, times = _colours(planes), *_order(*planes.shape[1:])
    _, first, which, counts = np.unique(
        colours.ravel()[order], return_index=True, return_inverse=True, return_counts=True
    )
    kept = np.flatnonzero(counts > 1)
    # Of too many colours, those of most pixels.
    kept = kept[np.argsort(-counts[kept], kind="stable")][:LARGEST]
    kept = kept[np.argsort(first[kept])]
    of_colour = np.zeros(len(counts), np.int32)
    of_colour[kept] = np.arange(1, len(kept) + 1)
    numbers = of_colour[which]
    # Of pixels that have the same new colour at the same time, only the first introduces it.
    first_time = times[first][which]
    numbers[(times == first_time) & (np.arange(len(which)) != first[which])] = 0
    found = np.empty_like(numbers)
    found[order] = numbers
    return found.reshape(colours.shape)


def _colours(planes: Int32Array) -> Int32Array:
    """Planes (1 or 3, h, w) as one number for each colour, (h, w)."""
    found: Int32Array = functools.reduce(lambda high, low: (high << 8) | low, planes)
    return found


def _order(height: int, width: int) -> tuple[Int64Array, Int64Array]:
    """Places of pixels in the order of decoding, int64 (h · w,), and the time of each."""
    times = np.add.outer(2 * np.arange(height), np.arange(width)).ravel()
    order = np.argsort(times, kind="stable")
    return order, times[order]


@dataclass(frozen=True)
class ColourMap:
    """The colours of a tile.

    numbers   int16 (h, w)
    coded     bool (h, w), the pixels that it does not make known: those of the number 0, and the
              first of every other
    """

    numbers: Int16Array
    coded: BoolArray

    def fill(self, colours: Int32Array, front: Front, values: Int32Array) -> Int32Array:
        """All pixels of a front, int32 (n,), from those that are coded.

        colours   int32 (planes, LARGEST + 1), of each number; those of this front are added
        """
        parts = front.parts
        planes = np.repeat([part.plane for part in parts], [len(part.rows) for part in parts])
        numbers = np.concatenate([self.numbers[part.rows, part.columns] for part in parts])
        colours[planes[front.coded], numbers[front.coded]] = values
        found: Int32Array = colours[planes, numbers]
        found[front.coded] = values  # those of the number 0 have a colour each
        return found


def code_map(
    shape: tuple[int, ...], answer: Answer, numbers: Int32Array | None = None
) -> ColourMap:
    """Ask all questions about a map, and return it.

    shape     height, width
    answer    codes bits: an encoder is given them, a decoder is not
    numbers   int32 (height, width), where they are known

    Raises `PayloadError` for a number that is none of the map's.
    """
    height, width = shape
    coder = _MapCoder(height, width, answer, numbers)
    for time in range(width + 2 * (height - 1)):
        first = max(0, -((width - 1 - time) // 2))
        end = min(height, time // 2 + 1)
        if end > first:
            rows = np.arange(first, end)
            coder.visit(rows, time - 2 * rows)
    return ColourMap(coder.numbers, coder.coded)


class _MapCoder:
    _TOP, _LEFT, _RIGHT = 2, 2, 1

    def __init__(self, height: int, width: int, answer: Answer, numbers: Int32Array | None) -> None:
        self._ask, self._known = Answers(answer, _CONTEXTS).ask, numbers
        # With zeros outside.
        shape = (self._TOP + height, self._LEFT + width + self._RIGHT)
        self._padded = np.zeros(shape, np.int16)
        self.numbers = self._padded[self._TOP :, self._LEFT : self._LEFT + width]
        self.coded = np.zeros((height, width), np.bool_)
        self._count = 0
        slots = (len(AROUND), 2**SLOT_BITS)
        self._tags = np.full(slots, -1, np.int64)
        self._colours, self._right = np.zeros((2, *slots), np.int32)

    def visit(self, rows: Int64Array, columns: Int64Array) -> None:
        """Code the pixels of one time."""
        truth = None if self._known is None else self._known[rows, columns]
        around = {place: self._at(rows, columns, place) for place in AROUND[0]}
        keys = [self._keys(around, level) for level in range(len(AROUND))]
        found = np.zeros(len(rows), np.int32)
        open_ = np.ones(len(rows), np.bool_)
        asked_before: list[Int32Array] = []

        def ask(candidates: Int32Array, context: Int32Array) -> None:
            """Ask whether pixels have colours, where there are any that they may have."""
            asked = open_ & (candidates > 0)
            for other in asked_before:
                asked &= candidates != other
            asked_before.append(candidates)
            places = np.flatnonzero(asked)
            if places.size:
                own = candidates[places]
                bits = None if truth is None else (truth[places] == own).astype(np.int32)
                hits = places[self._ask(context[places], bits) == 1]
                found[hits] = candidates[hits]
                open_[hits] = False

        guess, context = self._guess(around, keys)
        ask(guess, _GUESS + context)
        pattern = _pattern(around) + 512 * (guess > 0)
        for number, place in enumerate(NEIGHBOURS):
            ask(around[place], _NEIGHBOUR + 1024 * number + pattern)
        before = self._count
        self._introduce(found, np.flatnonzero(open_), around, truth)
        self.numbers[rows, columns] = found
        self.coded[rows, columns] = (found == 0) | (found > before)
        for level, key in enumerate(keys):
            self._remember(level, key, found)

    def _introduce(
        self,
        found: Int32Array,
        places: Int64Array,
        around: Mapping[Place, Int32Array],
        truth: Int32Array | None,
    ) -> None:
        """The numbers at places that have none of those around them."""
        if not places.size:
            return
        own = None if truth is None else truth[places]
        zeros = ((around[W] == 0).astype(np.int32) + 2 * (around[N] == 0))[places]
        if self._count:
            bits = None if own is None else ((own > 0) & (own <= self._count)).astype(np.int32)
            known = self._ask(_KNOWN + zeros, bits) == 1
        else:
            known = np.zeros(len(places), np.bool_)
        if known.any():
            found[places[known]] = self._number(
                None if own is None else own[known], int(known.sum())
            )
        fresh = np.flatnonzero(~known)
        if fresh.size and self._count < LARGEST:
            bits = None if own is None else (own[fresh] > 0).astype(np.int32)
            kept = places[fresh[self._ask(_KEPT + zeros[fresh], bits) == 1]]
            if len(kept) > LARGEST - self._count:
                raise PayloadError(f"a map of more than {LARGEST} colours was decoded: {_NO_ENTRY}")
            found[kept] = np.arange(self._count + 1, self._count + 1 + len(kept))
            self._count += len(kept)

    def _number(self, own: Int32Array | None, count: int) -> Int32Array:
        """Numbers of colours of the map, bit by bit from the highest."""
        nodes = np.ones(count, np.int32)
        for bit in reversed(range(NUMBER_BITS)):
            bits = None if own is None else (own >> bit) & 1
            nodes = 2 * nodes + self._ask(_NUMBER + nodes, bits)
        numbers: Int32Array = nodes - np.int32(2**NUMBER_BITS)
        if numbers.min() < 1 or numbers.max() > self._count:
            raise PayloadError(
                f"a colour that is none of the {self._count} of a map was decoded: {_NO_ENTRY}"
            )
        return numbers

    def _at(self, rows: Int64Array, columns: Int64Array, place: Place) -> Int32Array:
        down, right = place
        found = self._padded[rows + (self._TOP + down), columns + (self._LEFT + right)]
        return found.astype(np.int32)

    def _keys(self, around: Mapping[Place, Int32Array], level: int) -> Int64Array:
        """Slots of a lookup, and the tags of who may use them: int64 (2, n)."""
        places = AROUND[level]
        seen = np.array([around[place] for place in places], np.uint64)
        sums = (seen * _FACTORS[: len(places), None]).sum(axis=0, dtype=np.uint64)
        sums ^= sums >> np.uint64(29)
        sums *= _FACTORS[0]
        return np.array(
            [sums >> np.uint64(48), (sums >> np.uint64(16)) & np.uint64(0xFFFFFFFF)], np.int64
        )

    def _guess(
        self, around: Mapping[Place, Int32Array], keys: Sequence[Int64Array]
    ) -> tuple[Int32Array, Int32Array]:
        """What followed the same colours around last time, 0 for nothing, and its context.

        By the lookup of most colours that knows any.
        """
        guess, context = np.zeros((2, len(around[W])), np.int32)
        for level, (slots, tags) in reversed(list(enumerate(keys))):
            colours = self._colours[level, slots] * (self._tags[level, slots] == tags)
            has = colours > 0
            guess[has] = colours[has]
            context[has] = 8 * level + self._right[level, slots[has]]
        left, above = around[W], around[N]
        flags = (guess == left, guess == above, left == above, above == around[NE],
                 above == around[NW])  # fmt: skip
        return guess, _joined(context, flags)

    def _remember(self, level: int, key: Int64Array, found: Int32Array) -> None:
        """Keep what was found, for the same colours around."""
        # Of pixels with the same slot, the topmost one counts.
        slots, first = np.unique(key[0], return_index=True)
        tags, numbers = key[1][first], found[first]
        colours, right = self._colours[level], self._right[level]
        same = self._tags[level, slots] == tags
        agrees = same & (colours[slots] == numbers)
        stays = same & ~agrees & (right[slots] > 1)
        colours[slots] = np.where(stays, colours[slots], numbers)
        right[slots] = np.where(
            agrees, np.minimum(right[slots] + 1, _SURE), np.where(stays, right[slots] >> 1, 0)
        )
        self._tags[level, slots] = tags


def _pattern(around: Mapping[Place, Int32Array]) -> Int32Array:
    """Which colours around a pixel are alike, and which unknown: int32 (n,), 0 .. 511."""
    alike = ((W, N), (N, NW), (N, NE), (W, NW), (W, WW), (N, NN), (W, NE))
    flags = [around[one] == around[other] for one, other in alike]
    flags += [around[W] == 0, around[N] == 0]
    return _joined(np.zeros(len(flags[0]), np.int32), flags)


def _joined(context: Int32Array, flags: Sequence[BoolArray]) -> Int32Array:
    """A context, and more bits behind it."""
    for flag in flags:
        context = 2 * context + flag
    return context
