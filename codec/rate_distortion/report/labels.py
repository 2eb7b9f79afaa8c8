"""Places the names of lines in a picture so that they cover neither lines nor each other.

The axes are a box of `width` × `height` units with y upwards; a character is assumed to be 0.68 of
the font size wide.  Names are placed outside at the right, beside the last points, or inside, each
where it covers least around its line, near the first point if there is room.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from codec.rate_distortion.report.lines import Line, Picture

CHARACTER = 0.68
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
FEWEST_POINTS, ALONG = 8, 4.0
"""Lines of at least `FEWEST_POINTS` points may also have their names further along; this costs as
much as `ALONG` font sizes of distance from the first point."""

FAR = 3.0
"""From this distance on, in font sizes, a thin line joins a name inside the axes to its point."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Label:
    """Place of a name: its vertical middle, and its left or right end (`align`), in units.

    start     the point of the line to which it belongs, in units
    leader    whether a thin line joins the two
    """

    x: float
    y: float
    align: str
    leader: bool
    start: tuple[float, float]


def place_labels(picture: Picture, width: float, height: float, font: float) -> list[Label]:
    """A place for the name of each line, in the order of `picture.lines`; all must have points."""
    paths = [
        [(picture.across(p.x) * width, picture.up(p.y) * height) for p in line.points]
        for line in picture.lines
    ]
    if not picture.names_inside:
        ends = [path[-1] for path in paths]
        heights = spread([end[1] for end in ends], 1.25 * font)
        return [
            Label(width + 0.8 * font, y, "left", leader=True, start=end)
            for y, end in zip(heights, ends, strict=True)
        ]
    found: dict[int, Label] = {}
    taken: list[tuple[Box, float]] = []
    for ceiling in picture.ceilings:
        y = picture.up(ceiling.y) * height
        # Covering a thin line is less bad than covering a name.
        taken += [((0, y - 1, width, y + 1), 6.0)]
        taken += [((width - 16 * font, y, width, y + 1.2 * font), 30.0)]
    covered = [place for path in paths for place in _along(path)]
    # From the top, because lines further down need the space above a line least.
    for i in sorted(range(len(paths)), key=lambda i: -paths[i][0][1]):
        found[i] = _inside(picture.lines[i], paths[i], covered, taken, (width, height, font))
        taken.append((_box(picture.lines[i], found[i], font), 30.0))
    return [found[i] for i in range(len(paths))]


def _inside(
    line: Line,
    path: list[tuple[float, float]],
    covered: list[tuple[float, float]],
    taken: list[tuple[Box, float]],
    size: tuple[float, float, float],
) -> Label:
    width, height, font = size
    margin = 0.3 * font  # half a marker
    best, least = None, float("inf")
    last = len(path) - 1
    tried = [(place, path[0], 0.0) for place in _PLACES]
    for share in (0.25, 0.5, 0.75) if last >= FEWEST_POINTS else ():
        tried += [(place, path[round(share * last)], ALONG + share) for place in _NEAR]
    for (right, up, align), start, further in tried:
        far = abs(right) > FAR or abs(up) > FAR
        label = Label(start[0] + right * font, start[1] + up * font, align, far, start)
        box = _box(line, label, font)
        # Preferably near its point, above rather than below, and to the right.
        cost = further + abs(up - 0.4) + 0.5 * abs(right) + (0.3 if align == "right" else 0.0)
        cost += sum(covering for other, covering in taken if _meet(box, other))
        if box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
            cost += 100
        if cost < least:
            cost += sum(3.0 for place in covered if _is_in(place, box, margin))
        if cost < least:
            best, least = label, cost
    assert best is not None
    return best


def _box(line: Line, label: Label, font: float) -> Box:
    length = CHARACTER * font * len(line.label)
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


def _is_in(place: tuple[float, float], box: Box, margin: float) -> bool:
    inside = box[0] - margin <= place[0] <= box[2] + margin
    return inside and box[1] - margin <= place[1] <= box[3] + margin


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Move positions apart until neighbours are at least `gap` apart, keeping their order.

    Groups that would collide are centred on their common mean, so names stay near their lines.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    groups: list[tuple[float, list[int]]] = []
    for index in order:
        centre, members = positions[index], [index]
        while groups and (
            groups[-1][0] + gap * (len(groups[-1][1]) - 1) / 2 + gap
            > centre - gap * (len(members) - 1) / 2
        ):
            previous_centre, previous = groups.pop()
            total = len(previous) + len(members)
            centre = (previous_centre * len(previous) + centre * len(members)) / total
            members = previous + members
        groups.append((centre, members))
    placed = [0.0] * len(positions)
    for centre, members in groups:
        for rank, index in enumerate(members):
            placed[index] = centre + gap * (rank - (len(members) - 1) / 2)
    return placed
