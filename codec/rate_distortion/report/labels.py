"""Places the names of lines in a picture so that they cover neither lines nor each other.

The axes are a box of `width` × `height` units with y upwards; without a measure of text, a
character is assumed to be 0.68 of the font size wide.  Names are placed outside at the right,
beside the last points, or inside, each where it covers least, near the first point if there is
room.  Names that are too long lose their middle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bitstream.arrays import Float64Array
from codec.rate_distortion.report.lines import Ceiling, Picture

CHARACTER = 0.68
CEILING_SIZE = 0.82
"""Font size of the ceilings' names, as a share of that of the lines'."""

SAMPLES = 60
"""Number of places along each line that are checked for being covered by a name."""

# Offsets from the first point, in font sizes, and which end of the text is placed there: small
# steps near the point, and larger ones further away.
_NEAR = tuple(
    (right, 0.3 * step, align)
    for right, align in ((0.7, "left"), (-0.7, "right"), (0.0, "left"), (0.0, "right"))
    for step in range(-12, 19)
    if right or abs(step) > 3
)
_PLACES = _NEAR + tuple(
    (float(right), 0.65 * step, "left" if right > 0 else "right")
    for right in (2, 6, 10, 14, -2, -6, -10)
    for step in range(-30, 31)
)
LONGEST_SHARE = 0.55
"""Longest name inside the axes, as a share of their width."""

ELLIPSIS = "…"
LONGEST_TEXT = 200
"""Longer texts lose their middle before they are measured."""

FEWEST_POINTS, ALONG = 8, 4.0
"""Lines of at least `FEWEST_POINTS` points may also have their names further along; this costs as
much as `ALONG` font sizes of distance from the first point."""

ON_A_LINE, ON_A_CEILING, ON_A_NAME, OUTSIDE = 5.0, 4.0, 100.0, 200.0
"""How bad it is to cover a place of a line, a ceiling or a name, or to leave the axes."""

FAR, LEADER = 3.0, 3.0
"""From this distance on, in font sizes, a thin line joins a name inside the axes to its point; this
costs as much as `LEADER` font sizes of distance, because it may cross others."""

Box = tuple[float, float, float, float]
Measure = Callable[[str], float]
"""The width of a text, in units."""


@dataclass(frozen=True)
class Label:
    """Place of a name: its vertical middle, and its left or right end (`align`), in units.

    name      the name as it is shown, which may lack its middle
    start     the point of the line to which it belongs, in units
    leader    whether a thin line joins the two
    """

    name: str
    x: float
    y: float
    align: str
    leader: bool
    start: tuple[float, float]


def shortened(text: str, room: float, measure: Measure) -> str:
    """The text if it is at most `room` units wide, else its two ends, which are.

    At least four characters are left.
    """

    def ends(left: int) -> str:
        return text[: (left + 1) // 2] + ELLIPSIS + text[len(text) - left // 2 :]

    if len(text) <= LONGEST_TEXT and measure(text) <= room:
        return text
    low, high = 4, min(len(text), LONGEST_TEXT)
    if len(text) <= low:
        return text
    while high - low > 1:  # `low` characters fit, or are the fewest
        middle = (low + high) // 2
        low, high = (middle, high) if measure(ends(middle)) <= room else (low, middle)
    return ends(low)


def wrapped(text: str, room: float, measure: Measure) -> list[str]:
    """Lines of at most `room` units, broken before a bracket if possible, else between words."""
    if len(text) > LONGEST_TEXT:
        return wrapped(shortened(text, LONGEST_TEXT, len), room, measure)
    if measure(text) <= room:
        return [text]
    head, bracket, rest = text.partition(" (")
    if bracket:
        return [*wrapped(head, room, measure), *wrapped(f"({rest}", room, measure)]
    lines: list[str] = []
    for word in text.split():
        if lines and measure(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return [shortened(line, room, measure) for line in lines]


def place_labels(
    picture: Picture,
    width: float,
    height: float,
    font: float,
    measure: Measure | None = None,
    longest: float | None = None,
) -> list[Label]:
    """A place for the name of each line, in the order of `picture.lines`; all must have points.

    measure   width of a name in units
    longest   room for a name in units; by default, `LONGEST_SHARE` inside, and any outside
    """
    measure = measure or (lambda text: CHARACTER * font * len(text))
    paths = [
        [(picture.across(p.x) * width, picture.up(p.y) * height) for p in line.points]
        for line in picture.lines
    ]
    if longest is None:
        longest = LONGEST_SHARE * width if picture.names_inside else math.inf
    names = [shortened(line.label, longest, measure) for line in picture.lines]
    if not picture.names_inside:
        ends = [path[-1] for path in paths]
        # Many names also take the room beside the numbers below the axes.
        low, high = -2.5 * font, height - 0.4 * font
        gap = min(1.25 * font, (high - low) / len(ends))
        heights = spread([end[1] for end in ends], gap, (low, high))
        return [
            Label(name, width + 0.8 * font, y, "left", leader=True, start=end)
            for name, y, end in zip(names, heights, ends, strict=True)
        ]
    found: dict[int, Label] = {}
    taken: list[tuple[Box, float]] = []
    for ceiling, y in ceiling_heights(picture, height, font):
        line = picture.up(ceiling.y) * height
        taken += [((0, line - 1, width, line + 1), ON_A_CEILING)]
        length = CEILING_SIZE * measure(ceiling.name)
        taken += [((width - length, y, width, y + CEILING_SIZE * font), ON_A_NAME)]
    covered = np.array([place for path in paths for place in _along(path)])
    # From the top, because lines further down need the space above a line least.
    for i in sorted(range(len(paths)), key=lambda i: -paths[i][0][1]):
        found[i] = _inside(names[i], measure, paths[i], covered, taken, (width, height, font))
        taken.append((_box(found[i], measure(names[i]), font), ON_A_NAME))
    return [found[i] for i in range(len(paths))]


def ceiling_heights(picture: Picture, height: float, font: float) -> list[tuple[Ceiling, float]]:
    """The ceilings within the axes, and the lower ends of their names: above their lines."""
    low, high = picture.y_limits
    shown = [ceiling for ceiling in picture.ceilings if low <= ceiling.y <= high]
    above = [picture.up(ceiling.y) * height + 0.27 * font for ceiling in shown]
    return list(zip(shown, spread(above, CEILING_SIZE * font), strict=True))


def _inside(
    name: str,
    measure: Measure,
    path: list[tuple[float, float]],
    covered: Float64Array,
    taken: list[tuple[Box, float]],
    size: tuple[float, float, float],
) -> Label:
    width, height, font = size
    margin = 0.3 * font  # half a marker
    length = measure(name)
    best, least = None, float("inf")
    last = len(path) - 1
    tried = [(place, path[0], 0.0) for place in _PLACES]
    for share in (0.25, 0.5, 0.75) if last >= FEWEST_POINTS else ():
        tried += [(place, path[round(share * last)], ALONG + share) for place in _NEAR]
    # Anywhere, if there is no room near the line.
    left, low = path[0]
    tried += [
        (((1.25 * font * i - left) / font, (0.4 * font * (k + 1) - low) / font, "left"), path[0], 0)
        for i in range(int(width / (1.25 * font)))
        for k in range(1, int(height / (0.4 * font)))
    ]
    # Preferably near its point, above rather than below, and to the right.
    costs = [
        further
        + abs(up - 0.4)
        + 0.5 * abs(right)
        + (0.3 if align == "right" else 0.0)
        + (LEADER if _is_far(right, up) else 0.0)
        for (right, up, align), _, further in tried
    ]
    for index in sorted(range(len(tried)), key=costs.__getitem__):
        (right, up, align), start, _ = tried[index]
        cost = costs[index]
        if cost >= least:
            break
        far = _is_far(right, up)
        label = Label(name, start[0] + right * font, start[1] + up * font, align, far, start)
        box = _box(label, length, font)
        cost += sum(covering for other, covering in taken if _meet(box, other))
        if box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
            cost += OUTSIDE
        if cost < least:
            cost += ON_A_LINE * _places_in(covered, box, margin)
        if cost < least:
            best, least = label, cost
    assert best is not None
    return best


def _is_far(right: float, up: float) -> bool:
    return abs(right) > FAR or abs(up) > FAR


def _box(label: Label, length: float, font: float) -> Box:
    left = label.x if label.align == "left" else label.x - length
    return left, label.y - 0.6 * font, left + length, label.y + 0.6 * font


def _along(path: list[tuple[float, float]]) -> list[tuple[float, float]]:
    if len(path) == 1:
        return path * 3  # a lone marker is as much an obstacle as a short piece of line
    pieces = max(1, SAMPLES // (len(path) - 1))
    return [
        (x1 + (x2 - x1) * k / pieces, y1 + (y2 - y1) * k / pieces)
        for (x1, y1), (x2, y2) in pairwise(path)
        for k in range(pieces)
    ] + [path[-1]]


def _places_in(places: Float64Array, box: Box, margin: float) -> int:
    """How many of the places (n, 2) a box covers."""
    x, y = places.T
    inside = (box[0] - margin <= x) & (x <= box[2] + margin)
    return int(np.count_nonzero(inside & (box[1] - margin <= y) & (y <= box[3] + margin)))


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def spread(
    positions: Sequence[float],
    gap: float,
    within: tuple[float, float] = (-math.inf, math.inf),
) -> list[float]:
    """Move positions apart until neighbours are at least `gap` apart, keeping their order.

    Groups that would collide are centred on their common mean, so names stay near their lines, but
    not beyond the limits, unless there is no room for all.
    """

    def inside(centre: float, count: int) -> float:
        half = gap * (count - 1) / 2
        return max(min(centre, within[1] - half), within[0] + half)

    order = sorted(range(len(positions)), key=lambda index: positions[index])
    groups: list[tuple[float, list[int]]] = []
    for index in order:
        centre, members = inside(positions[index], 1), [index]
        while groups and (
            groups[-1][0] + gap * (len(groups[-1][1]) - 1) / 2 + gap
            > centre - gap * (len(members) - 1) / 2
        ):
            previous_centre, previous = groups.pop()
            total = len(previous) + len(members)
            centre = (previous_centre * len(previous) + centre * len(members)) / total
            members = previous + members
            centre = inside(centre, len(members))
        groups.append((centre, members))
    placed = [0.0] * len(positions)
    for centre, members in groups:
        for rank, index in enumerate(members):
            placed[index] = centre + gap * (rank - (len(members) - 1) / 2)
    return placed
