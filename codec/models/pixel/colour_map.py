"""A map of repeated colours, for screenshots, drawings and text.

If a picture repeats colours, a map is coded before any pixel. It gives every pixel the number of
its colour, 1, 2 … in the order of first appearance, or 0 for a colour that no other pixel refers
to. A pixel whose number has appeared before is not coded again.

The map is coded as answers to questions, pixel by pixel in the order of
`codec.models.pixel.wavefront`. Is it the colour that occurred last time with the same colours
around it? Is it that of a neighbour: left, above, above right, above left? Is it any colour of the
map, and which? See `codec.models.pixel.answers`. Looking up what occurred in the same surroundings
is prediction by partial matching (Cleary and Witten 1984); asking about neighbours goes back to the
coding of palette images (Ausbeck 1998, "Context models for palette images").

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
"""If a smaller share of pixels has the colour of a neighbour, a colour map seldom pays."""
_MIDDLE = 1024
"""Side in pixels of the middle part that decides whether a picture repeats colours."""
NUMBER_BITS = 14
LARGEST = 2**NUMBER_BITS - 1
"""The largest number of colours in a map."""

NNW = (-2, -1)
AROUND: tuple[tuple[Place, ...], ...] = (
    (W, N, NW, NE, WW, NN, NNE, NWW, NNW),
    (W, N, NW, NE),
    (W, N),
)
"""The places whose colours are the key of each of the three lookups."""
_FACTORS = np.array(
    [
        0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5,
        0x85EBCA77C2B2AE63, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0xD6E8FEB86659FD93,
        0xA0761D6478BD642F,
    ],
    np.uint64,
)  # fmt: skip
"""Odd multipliers of the numbers around a pixel; the sums modulo 2⁶⁴ are hashed to keys."""
SLOT_BITS = 16
_SURE = 7
"""The largest count of successive correct guesses of a lookup."""
NEIGHBOURS = (W, N, NE, NW)
"""The neighbours whose colours are asked about, in this order."""

_GUESS, _NEIGHBOUR = 0, len(AROUND) * 8 * 32
_KNOWN = _NEIGHBOUR + len(NEIGHBOURS) * 2 * 4 * 128
_KEPT = _KNOWN + 4
_NUMBER = _KEPT + 4
_CONTEXTS = _NUMBER + 2**NUMBER_BITS

_NO_ENTRY = "the payload is damaged, or it was written with another model"


def repeated_share(planes: Int32Array) -> float:
    """The share of pixels in planes (1 or 3, h, w) that equal their left or upper neighbour."""
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
    """The number of colours in planes (1 or 3, h, w) of pixels 0 .. 255."""
    return len(np.unique(_colours(planes)))


def numbers_of(planes: Int32Array) -> Int32Array:
    """The map of planes (1 or 3, h, w) of pixels 0 .. 255: int32 (h, w)."""
    colours, order, times = _colours(planes), *_order(*planes.shape[1:])
    _, first, which, counts = np.unique(
        colours.ravel()[order], return_index=True, return_inverse=True, return_counts=True
    )
    kept = np.flatnonzero(counts > 1)
    # If there are too many colours, keep those with the most pixels.
    kept = kept[np.argsort(-counts[kept], kind="stable")][:LARGEST]
    kept = kept[np.argsort(first[kept])]
    of_colour = np.zeros(len(counts), np.int32)
    of_colour[kept] = np.arange(1, len(kept) + 1)
    numbers = of_colour[which]
    # If several pixels have the same new colour at the same time, only the first introduces it.
    first_time = times[first][which]
    numbers[(times == first_time) & (np.arange(len(which)) != first[which])] = 0
    found = np.empty_like(numbers)
    found[order] = numbers
    return found.reshape(colours.shape)


def _colours(planes: Int32Array) -> Int32Array:
    """Planes (1 or 3, h, w) packed into one number per pixel, (h, w)."""
    found: Int32Array = functools.reduce(lambda high, low: (high << 8) | low, planes)
    return found


def _order(height: int, width: int) -> tuple[Int64Array, Int64Array]:
    """Flat indexes of the pixels in decoding order, int64 (h · w,), and the time of each."""
    times = np.add.outer(2 * np.arange(height), np.arange(width)).ravel()
    order = np.argsort(times, kind="stable")
    return order, times[order]


@dataclass(frozen=True)
class ColourMap:
    """The colours of a tile.

    numbers   int16 (h, w)
    coded     bool (h, w), the pixels that must still be coded: those with the number 0, and the
              first one of every other number
    """

    numbers: Int16Array
    coded: BoolArray

    def fill(self, colours: Int32Array, front: Front, values: Int32Array) -> Int32Array:
        """All pixels of a front, int32 (n,), from the values of those that are coded.

        colours   int32 (planes, LARGEST + 1), the colour of each number; updated by this front
        """
        parts = front.parts
        planes = np.repeat([part.plane for part in parts], [len(part.rows) for part in parts])
        numbers = np.concatenate([self.numbers[part.rows, part.columns] for part in parts])
        colours[planes[front.coded], numbers[front.coded]] = values
        found: Int32Array = colours[planes, numbers]
        found[front.coded] = values  # pixels with the number 0 each have their own colour
        return found


def code_map(
    shape: tuple[int, ...], answer: Answer, numbers: Int32Array | None = None
) -> ColourMap:
    """Code a map by asking all questions, and return it.

    shape     height, width
    answer    codes bits; an encoder passes them, a decoder passes None
    numbers   int32 (height, width) in an encoder, None in a decoder

    Raises `PayloadError` for a number that is not in the map.
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
        # Padded with zeros.
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
            """Ask whether open pixels have the candidate colours; skip those already ruled out."""
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
        """Code the numbers of pixels for which no question so far was answered with yes."""
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
        """Code numbers of existing colours, bit by bit from the highest."""
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
        """Hash slots of a lookup, and the tags that verify them: int64 (2, n)."""
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
        """The number that last occurred in the same surroundings, 0 for none, and its context.

        It comes from the longest lookup that has an entry.
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
        """Store the numbers found for these surroundings."""
        # If pixels share a slot, the topmost one counts.
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
    """Which colours around a pixel are equal, and which are 0: int32 (n,), 0 .. 511."""
    alike = ((W, N), (N, NW), (N, NE), (W, NW), (W, WW), (N, NN), (W, NE))
    flags = [around[one] == around[other] for one, other in alike]
    flags += [around[W] == 0, around[N] == 0]
    return _joined(np.zeros(len(flags[0]), np.int32), flags)


def _joined(context: Int32Array, flags: Sequence[BoolArray]) -> Int32Array:
    """A context with more bits appended."""
    for flag in flags:
        context = 2 * context + flag
    return context
