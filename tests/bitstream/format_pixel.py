"""A decoder of models 12 and 13, written from FORMAT.md alone, in Python's integers."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate, product

import numpy as np

from tests.bitstream.format_decoded import Decoded, Message, Starts, Weights
from tests.bitstream.format_networks import integer_layer, limited
from tests.bitstream.format_reader import File, StackReader, Table, Tables, Uniform, read_message

FEATURES = (
    ((0, "W"), (0, "N"), (0, "NE"), (0, "WW"), (0, "NN"), (0, "NNE"), (0, "NWW")),
    ((1, "W"), (1, "N"), (1, "NE"), (0, "C"), (0, "W"), (0, "N"), (0, "NE")),
    ((2, "W"), (2, "N"), (0, "C"), (0, "N"), (1, "C"), (1, "W"), (1, "N")),
)
STEPS = {"N": (-1, 0), "S": (1, 0), "W": (0, -1), "E": (0, 1), "C": (0, 0)}
NONE = [[0] * 8 for _ in range(8)]
LOOKUPS = (
    ("W", "N", "NW", "NE", "WW", "NN", "NNE", "NWW", "NNW"),
    ("W", "N", "NW", "NE"),
    ("W", "N"),
)
FACTORS = (
    0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x27D4EB2F165667C5,
    0x85EBCA77C2B2AE63, 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0xD6E8FEB86659FD93,
    0xA0761D6478BD642F,
)  # fmt: skip


def within(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def logarithm(n: int) -> int:
    k = (n + 1).bit_length() - 1
    return 128 * (k - 1) + (128 * (n + 1) >> k)


class Tile:
    """Pixels, errors and sums by plane, row and column."""

    def __init__(self, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.pixels: dict[tuple[int, int, int], int] = {}
        self.errors: dict[tuple[int, int, int], int] = {}
        self.sums: dict[tuple[int, int, int], list[list[int]]] = {}
        self.bases: dict[tuple[int, int, int], tuple[list[int], int, list[list[int]]]] = {}

    def place(self, p: int, y: int, x: int) -> tuple[int, int, int] | None:
        """The place whose numbers a place has; None if it has default numbers."""
        y = min(y, self.height - 1)
        if x < 0:
            y, x = y - 1, 0
        if y < 0:
            return None
        return p, y, min(x, self.width - 1)

    def at(self, p: int, y: int, x: int, name: str) -> tuple[int, int, int] | None:
        for step in name:
            y, x = y + STEPS[step][0], x + STEPS[step][1]
        return self.place(p, y, x)

    def pixel(self, p: int, y: int, x: int, name: str) -> int:
        found = self.at(p, y, x, name)
        return 128 if found is None else self.pixels[found]

    def error(self, p: int, y: int, x: int, name: str) -> int:
        found = self.at(p, y, x, name) if p >= 0 else None
        return 0 if found is None else self.errors[found]

    def mean(self, p: int, y: int, x: int) -> int:
        return 3 * (self.pixel(p, y, x, "W") + self.pixel(p, y, x, "N")) - 2 * self.pixel(
            p, y, x, "NW"
        )

    def predict(self, p: int, y: int, x: int) -> tuple[int, int]:
        """The prediction and the energy; stores what `take` needs."""
        f = [4 * self.pixel(a, y, x, name) - self.mean(a, y, x) for a, name in FEATURES[p]]
        base = self.mean(p, y, x)
        if p == 1:
            base += f[3]
        elif p == 2:
            base += (f[2] + f[4]) // 2
        left, above, right = (
            NONE if place is None else self.sums[place]
            for place in (self.at(p, y, x, name) for name in ("W", "N", "NE"))
        )
        around = [
            [(10 * left[k][i] + 8 * above[k][i] + 11 * right[k][i]) // 32 for i in range(8)]
            for k in range(8)
        ]
        m = [[n + 64 * (k == i < 7) for i, n in enumerate(row)] for k, row in enumerate(around)]
        q = [[0] * 8 for _ in range(8)]
        for j in range(7):
            m[j] = [within(n, -(2**28), 2**28) for n in m[j]]
            pivot = max(m[j][j], 64)
            for i in range(j + 1, 8):
                q[j][i] = within(2**16 * m[j][i] // pivot, -(2**22), 2**22)
            for k, i in product(range(j + 1, 8), repeat=2):
                if i >= k:
                    m[k][i] -= m[j][k] * q[j][i] // 2**16
        c = [q[j][7] for j in range(7)]
        for j in reversed(range(7)):
            c[j] = within(c[j], -(2**22), 2**22)
            for i in range(j):
                c[i] -= q[i][j] * c[j] // 2**16
        total = sum(weight * value for weight, value in zip(c, f, strict=True))
        self.bases[p, y, x] = f, base, around
        return within(4 * base + total // 2**14, 0, 4080), max(m[7][7], 0)

    def take(self, p: int, y: int, x: int, pixel: int, prediction: int) -> None:
        f, base, around = self.bases.pop((p, y, x))
        f = [*f, 4 * pixel - base]
        self.pixels[p, y, x], self.errors[p, y, x] = pixel, 16 * pixel - prediction
        self.sums[p, y, x] = [[around[k][i] + f[k] * f[i] for i in range(8)] for k in range(8)]

    def inputs(self, p: int, y: int, x: int, prediction: int, energy: int) -> list[int]:
        def pixel(name: str) -> int:
            return self.pixel(p, y, x, name)

        found = [2**10 * (p == plane) for plane in range(3)]
        names = ("W", "N", "NE", "NW", "WW", "NN", "NNE", "NWW")
        found += [logarithm(abs(self.error(p, y, x, name))) for name in names]
        found.append(logarithm(energy))
        pairs = (("W", "NW"), ("N", "NW"), ("N", "NE"), ("W", "WW"), ("N", "NN"))
        found += [logarithm(16 * abs(pixel(one) - pixel(other))) for one, other in pairs]
        found.append(logarithm(min(prediction, 4080 - prediction)))
        found += [logarithm(abs(self.error(p - 1, y, x, name))) for name in "CESWN"]
        found.append(logarithm(abs(self.error(p - 2, y, x, "C"))))
        signed = [self.error(p, y, x, name) for name in names[:4]]
        signed += [prediction - 16 * pixel(name) for name in names[:4]]
        signed += [self.error(p - 1, y, x, "C"), self.error(p - 2, y, x, "C")]
        return found + [within(number, -1023, 1023) for number in signed]


class Answers:
    """The tables of answers."""

    def __getitem__(self, i: int) -> Table:
        octaves, quarter = divmod(i - 40, 4)
        q = (65536, 77936, 92682, 110218)[quarter] * Fraction(2) ** (octaves - 16)
        one = int(2**24 * q / (q + 1))
        return Table(0, (2**24 - 1 - one, one, 1))


class Contexts:
    """Contexts, with counts of their answers."""

    def __init__(self, stack: StackReader) -> None:
        self.stack = stack
        self.counts: dict[int, list[int]] = {}
        self.messages: list[Message] = []

    def read(self, indexes: list[int]) -> list[int]:
        answers = read_message(self.stack, indexes, Answers())
        assert set(answers) <= {0, 1}
        self.messages.append(Message(answers, indexes))
        return answers

    def ask(self, contexts: list[int]) -> list[int]:
        if not contexts:
            return []
        counts = [self.counts.setdefault(context, [0, 0]) for context in contexts]
        answers = self.read([
            within((logarithm(2 * o) - logarithm(2 * z) >> 5) + 40, 0, 80) for z, o in counts
        ])  # fmt: skip
        for context, answer in zip(contexts, answers, strict=True):
            self.counts[context][answer] += 1
        for context in set(contexts):
            if sum(self.counts[context]) > 1000:
                self.counts[context] = [count >> 1 for count in self.counts[context]]
        return answers


def read_pairs(contexts: Contexts) -> set[tuple[int, int]]:
    """The list of differences: R − G and B − G of each pair."""
    bits = contexts.read([40] * 36)
    top, bottom, left, right = (
        sum(bit << 8 - n for n, bit in enumerate(bits[9 * i : 9 * i + 9])) - 255 for i in range(4)
    )
    assert -255 <= top <= bottom <= 255
    assert -255 <= left <= right <= 255
    pairs: set[tuple[int, int]] = set()
    for t in range(right - left + 3 * (bottom - top) + 1):
        places = [(i, left + t - 3 * (i - top)) for i in range(top, bottom + 1)]
        places = [(i, j) for i, j in places if left <= j <= right]
        steps = [(0, -1), (0, -2), (0, -3), *((-1, n) for n in range(-2, 3)),
                 *((-2, n) for n in range(-1, 2))]  # fmt: skip
        asked = [
            int("".join(str(int((i + di, j + dj) in pairs)) for di, dj in steps), 2)
            for i, j in places
        ]
        answers = contexts.ask(asked)
        pairs |= {place for place, answer in zip(places, answers, strict=True) if answer}
    return pairs


def blue_table(
    table: Table, centre: int, green: int, red: int, pairs: set[tuple[int, int]]
) -> Table:
    """The frequencies of blue; the first entry is for values outside the window."""
    weights = []
    for v in range(centre - 32, centre + 32):
        n = v - centre - table.minimum
        known = 0 <= n < len(table.frequencies) - 1
        occurs = (red - green, v - green) in pairs or v in (0, 255) or {green, red} & {0, 255}
        weights.append((known and table.frequencies[n], known and occurs and 0 <= v <= 255))
    total = 2**24 - sum(weight for weight, occurs in weights if not occurs)
    found = [1 + (weight * (2**24 - 65) // total if occurs else 0) for weight, occurs in weights]
    return Table(0, (2**24 - sum(found), *found))


class ColourMap:
    """The map of colours of a tile."""

    def __init__(self, height: int, width: int, stack: StackReader) -> None:
        self.height, self.width = height, width
        self.contexts = Contexts(stack)
        self.ask, self.messages = self.contexts.ask, self.contexts.messages
        self.n: dict[tuple[int, int], int] = {}
        self.known: dict[tuple[int, int], tuple[int, int]] = {}
        self.slots: list[dict[int, tuple[int, int, int]]] = [{}, {}, {}]
        first: dict[int, tuple[int, int]] = {}
        for t in range(width + 2 * (height - 1)):
            places = [(y, t - 2 * y) for y in range(height) if 0 <= t - 2 * y < width]
            self.time(places, max([0, *self.n.values()]))
            for place in places:
                if self.n[place] in first:
                    self.known[place] = first[self.n[place]]
            first |= {self.n[place]: place for place in places
                      if self.n[place] and self.n[place] not in first}  # fmt: skip

    def around(self, place: tuple[int, int], name: str) -> int:
        y, x = place
        for step in name:
            y, x = y + STEPS[step][0], x + STEPS[step][1]
        return self.n.get((y, x), 0)

    def time(self, places: list[tuple[int, int]], m: int) -> None:
        found: dict[tuple[int, int], int] = {}
        near = {p: {name: self.around(p, name) for name in LOOKUPS[0]} for p in places}
        keys = {p: [self.key(near[p], names) for names in LOOKUPS] for p in places}
        guesses = {}
        for p in places:
            guesses[p] = (0, 0, 0)
            for level in (2, 1, 0):
                slot, tag = keys[p][level]
                entry = self.slots[level].get(slot, (-1, 0, 0))
                if entry[0] == tag and entry[1]:
                    guesses[p] = (entry[1], level, entry[2])

        def put(asked: dict[tuple[int, int], int], contexts: list[int]) -> None:
            for (p, n), answer in zip(asked.items(), self.ask(contexts), strict=True):
                if answer:
                    found[p] = n

        asked = {p: g for p, (g, _, _) in guesses.items() if g}
        contexts = []
        for p in asked:
            (g, level, r), a = guesses[p], near[p]
            flags = (g == a["W"], g == a["N"], a["W"] == a["N"], a["N"] == a["NE"],
                     a["N"] == a["NW"])  # fmt: skip
            contexts.append(list(accumulate((8 * level + r, *flags), lambda c, f: 2 * c + f))[-1])
        put(asked, contexts)
        for i, name in enumerate(("W", "N", "NE", "NW")):
            asked, contexts = {}, []
            for p in places:
                a, before = near[p], [near[p][other] for other in ("W", "N", "NE", "NW")[:i]]
                if p in found or not a[name] or a[name] in (guesses[p][0], *before):
                    continue
                pairs = ("W N", "N NW", "N NE", "W NW", "W WW", "N NN", "W NE")
                alike = [a[k.split()[0]] == a[k.split()[1]] for k in pairs]
                bits = [guesses[p][0] > 0, *alike, a["W"] == 0, a["N"] == 0]
                asked[p] = a[name]
                contexts.append(768 + 1024 * i + int("".join(str(int(bit)) for bit in bits), 2))
            put(asked, contexts)
        left = [p for p in places if p not in found]
        zeros = {p: (near[p]["W"] == 0) + 2 * (near[p]["N"] == 0) for p in left}
        if m:
            answers = self.ask([4864 + zeros[p] for p in left])
            numbered = [p for p, answer in zip(left, answers, strict=True) if answer]
            nodes = dict.fromkeys(numbered, 1)
            for _ in range(14):
                answers = self.ask([4872 + node for node in nodes.values()])
                for p, answer in zip(numbered, answers, strict=True):
                    nodes[p] = 2 * nodes[p] + answer
            for p, node in nodes.items():
                assert 1 <= node - 2**14 <= m
                found[p] = node - 2**14
        left = [p for p in left if p not in found]
        if m < 16383:
            answers = self.ask([4868 + zeros[p] for p in left])
            for p, answer in zip(left, answers, strict=True):
                if answer:
                    m += 1
                    assert m <= 16383
                    found[p] = m
        self.n |= {p: found.get(p, 0) for p in places}
        for level in range(3):
            changed = set()
            for p in places:
                slot, tag = keys[p][level]
                if slot in changed:
                    continue
                changed.add(slot)
                own, n, r = self.slots[level].get(slot, (-1, 0, 0))
                if own == tag and n == self.n[p]:
                    entry = (tag, n, min(r + 1, 7))
                elif own == tag and r > 1:
                    entry = (tag, n, r >> 1)
                else:
                    entry = (tag, self.n[p], 0)
                self.slots[level][slot] = entry

    @staticmethod
    def key(near: dict[str, int], names: tuple[str, ...]) -> tuple[int, int]:
        k = sum(near[name] * factor for name, factor in zip(names, FACTORS, strict=False)) % 2**64
        k = (k ^ k >> 29) * FACTORS[0] % 2**64
        return k >> 48, (k >> 16) % 2**32


def decode_pixel(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Models 12 and 13."""
    arrays, header = weights.arrays, file.header
    bound = 0
    if header.model == 13:
        assert header.variant is not None
        assert 1 <= header.variant <= 16
        bound = header.variant
    step, octaves = 2 * bound + 1, logarithm(2 * bound)
    bits = arrays["phase_bits"].tolist()
    firsts = [sum(2**b for b in bits[:scale]) for scale in range(len(bits))]
    tables, count = Tables(arrays, "tables"), len(weights.config["hidden"]) + 1
    found = Decoded()
    found.pixels = np.zeros((header.height, header.width, header.channels), np.uint8)
    for (top, left, height, width), coded in zip(header.tiles(1), file.coded, strict=True):
        has_map, has_pairs = coded[0] & 16 and not bound, coded[0] == 35 and not bound
        planes = coded[0] - 16 if has_map else coded[0] - 32 if has_pairs else coded[0]
        assert planes in (1, 3)
        data = coded[1:]
        assert data[0] != 0
        stack = StackReader(data[::-1] + bytes(-len(data) % 4))
        tile, messages = Tile(height, width), []
        known: dict[tuple[int, int], tuple[int, int]] = {}
        if has_map:
            colours = ColourMap(height, width, stack)
            known, messages = colours.known, colours.messages
        pairs = set()
        if has_pairs:
            contexts = Contexts(stack)
            pairs, messages = read_pairs(contexts), contexts.messages
        for t in range(width + 2 * (height - 1) + 3 * (planes - 1)):
            places = [
                (p, y, t - 3 * p - 2 * y)
                for p in range(planes)
                for y in range(height)
                if 0 <= t - 3 * p - 2 * y < width
            ]
            if not places:
                continue
            centres, indexes, predictions = [], [], []
            wanted = [place for place in places if place[1:] not in known]
            for p, y, x in wanted:
                prediction, energy = tile.predict(p, y, x)
                inputs = tile.inputs(p, y, x, prediction, energy)
                inputs += [octaves] if bound else []
                values = np.array(inputs, np.int64)[:, None, None]
                for n in range(count):
                    values = limited(values, 0) if n else values
                    values = integer_layer(
                        arrays, f"exact.{n}", values, arrays[f"exact.{n}.bias"][0]
                    )
                shift, scale = values.ravel().tolist()
                scale = within(scale - 32 * octaves + 2**9 >> 10, 0, len(bits) - 1)
                r = within(prediction + (16 * shift + 2**9 >> 10), 0, 4080)
                centres.append(r + 8 >> 4)
                rest = (2 * ((r + 8) % 16 - 8) + step) // (2 * step) + 8
                indexes.append(firsts[scale] + (rest >> 4 - bits[scale]))
                predictions.append(prediction)
            end = sum(p < 2 for p, _, _ in wanted) if has_pairs else len(wanted)
            symbols = []
            if end:
                symbols = read_message(stack, indexes[:end], tables)
                messages.append(Message(symbols, indexes[:end]))
            if end < len(wanted):
                entries = [
                    stack.entry(blue_table(
                        tables[n], c, tile.pixels[0, y, x], tile.pixels[1, y, x], pairs
                    ))
                    for n, c, (_, y, x) in zip(
                        indexes[end:], centres[end:], wanted[end:], strict=True
                    )
                ]  # fmt: skip
                messages.append(Message(entries, indexes[end:]))
                far = [8] * entries.count(0)
                beyond = read_message(stack, far, Uniform())
                messages += [Message(beyond, far)] if far else []
                outside = iter(beyond)
                symbols += [
                    n - 33 if n else next(outside) - c
                    for n, c in zip(entries, centres[end:], strict=True)
                ]
            for p, y, x in places:
                if (y, x) in known:
                    tile.predict(p, y, x)
                    base = within(4 * tile.bases[p, y, x][1], 0, 4080)
                    tile.take(p, y, x, tile.pixels[p, known[y, x][0], known[y, x][1]], base)
            for place, centre, symbol, prediction in zip(
                wanted, centres, symbols, predictions, strict=True
            ):
                value = centre + step * symbol
                assert -bound <= value <= 255 + bound
                tile.take(*place, within(value, 0, 255), prediction)
        assert stack.number == 6209
        found.messages.append(messages)
        if not found.numbers:
            found.numbers = {"planes": [planes], "predictions": _predictions(tile)}
            if has_map:
                row = min(1, height - 1)
                found.numbers["map"] = [colours.n[row, x] for x in range(min(16, width))]
            if has_pairs:
                found.numbers["pairs"] = [len(pairs)]
        order = (1, 0, 2) if planes == 3 else (0, 0, 0)
        for (y, x), channel in product(np.ndindex(height, width), range(header.channels)):
            value = tile.pixels[order[channel], y, x]
            found.pixels[top + y, left + x, channel] = value
    return found


def _predictions(tile: Tile) -> list[int]:
    """The predictions of the first pixels of the first plane in its second row."""
    row = min(1, tile.height - 1)
    return [16 * tile.pixels[0, row, x] - tile.errors[0, row, x] for x in range(min(8, tile.width))]
