"""Decoders of models 4 to 8 in plain integers, written from FORMAT.md alone.

They use no code of the codec, only the arrays of a weights file. They are slow, without checks, and
without escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import islice, pairwise
from statistics import NormalDist
from typing import Any

from tests.bitstream.oracle import Stack, Table, range_decode

Arrays = Mapping[str, Any]
Codes = list[list[float]]

MULTIPLIER = 0x2360ED051FC65DA44385DF649FCCF645


def _starts() -> dict[int, tuple[int, int]]:
    text = (resources.files("bitstream") / "FORMAT.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (0xCA1\d) \| (0x[0-9A-F]+) \| (0x[0-9A-F]+) \|$", text, re.M)
    return {int(seed, 16): (int(state, 16), int(step, 16)) for seed, state, step in rows}


def raw_numbers(seed: int, offset: int) -> Iterator[int]:
    state, increment = _starts()[seed]
    # The composition of `offset` steps, by squaring.
    scale, shift, power = MULTIPLIER, increment, offset
    while power:
        if power & 1:
            state = (scale * state + shift) % 2**128
        scale, shift = scale * scale % 2**128, (scale * shift + shift) % 2**128
        power >>= 1
    while True:
        state = (MULTIPLIER * state + increment) % 2**128
        mixed, turn = (state >> 64) ^ (state % 2**64), state >> 122
        yield (mixed >> turn | mixed << (64 - turn)) % 2**64


def table_of(arrays: Arrays, name: str, number: int) -> tuple[int, list[int]]:
    """Smallest symbol and entries of a stored table."""
    starts = arrays[f"{name}.starts"]
    entries = arrays[f"{name}.frequencies"][starts[number] : starts[number + 1]]
    return int(arrays[f"{name}.minimums"][number]), [int(f) for f in entries]


def uniform(bits: int) -> tuple[int, list[int]]:
    return 0, [2 ** (24 - bits)] * (2**bits - 1) + [2 ** (24 - bits) - 1, 1]


Message = tuple[Sequence[int], Mapping[int, tuple[int, Sequence[int]]]]  # table of each; tables


def _order(indexes: Sequence[int]) -> list[int]:
    return sorted(range(len(indexes)), key=lambda place: indexes[place])


def read(data: bytes, messages: Sequence[Message]) -> list[int]:
    """Symbols of the last of several messages."""
    tables: list[Table] = []
    for indexes, chosen in messages:
        tables += [chosen[indexes[place]][1] for place in _order(indexes)]
    indexes, chosen = messages[-1]
    entries = range_decode(data, tables)[-len(indexes) :]
    return _symbols(entries, indexes, chosen)


def _symbols(
    entries: Sequence[int],
    indexes: Sequence[int],
    chosen: Mapping[int, tuple[int, Sequence[int]]],
) -> list[int]:
    symbols = [0] * len(indexes)
    for entry, place in zip(entries, _order(indexes), strict=True):
        minimum, frequencies = chosen[indexes[place]]
        assert entry < len(frequencies) - 1, "an escape, which this reader does not know"
        symbols[place] = minimum + entry
    return symbols


def decode_rungs(model: str, data: bytes, arrays: Arrays, blocks: int, q: int) -> Codes:
    """Codes of the models 4, 5 and 7."""
    change = (12 * (q - 7500) + 1250) // 2500
    rungs = [min(max(int(o) + change, 0), 54) for o in arrays["rung_offsets"]]
    k = len(rungs)
    noise = [n >> 32 for n in islice(raw_numbers(0xCA12, 0), blocks * k)]
    indexes = rungs * blocks
    if model == "vae-dither":
        indexes = [16 * r + (n >> 28) for r, n in zip(indexes, noise, strict=True)]
    name = model.removeprefix("vae-") + "_tables"
    chosen = {number: table_of(arrays, name, number) for number in set(indexes)}
    codes = []
    for i, symbol in enumerate(read(data, [(indexes, chosen)])):
        step = 8 * 2 ** (-rungs[i % k] / 6)
        if model == "vae-round":
            codes.append(step * symbol)
        elif model == "vae-dither":
            codes.append(step * (symbol - ((noise[i] + 0.5) / 2**32 - 0.5)))
        else:
            codes.append(NormalDist().inv_cdf(symbol / 2**12))
    return [codes[at : at + k] for at in range(0, len(codes), k)]


def decode_rec(data: bytes, arrays: Arrays, blocks: int, q: int) -> Codes:
    """Codes of model 6."""
    layouts = arrays["rec_layouts"]
    sets, k = layouts.shape
    s = ((q - 100) * (sets - 1) + 4950) // 9900
    layout = [int(part) for part in layouts[s]]
    parts = max(layout) + 1
    first: Message = (
        [s * k + b for b in range(parts)] * blocks,
        {s * k + b: table_of(arrays, "rec_tables", s * k + b) for b in range(parts)},
    )
    classes = read(data, [first])
    values = read(data, [first, (classes, {c: uniform(c) for c in set(classes)})])
    codes = [[0.0] * k for _ in range(blocks)]
    for stream, (c, v) in enumerate(zip(classes, values, strict=True)):
        block, part = divmod(stream, parts)
        own = [d for d in range(k) if layout[d] == part]
        index = 2**c + v - 1
        raw = raw_numbers(0xCA10, 2**24 * stream + len(own) * index)
        for dimension, number in zip(own, raw, strict=False):
            codes[block][dimension] = NormalDist().inv_cdf(((number >> 12) + 0.5) / 2**52)
    return codes


def _network(prefix: str, arrays: Arrays, values: list[int]) -> list[int]:
    count = sum(f"{prefix}.{number}.weight" in arrays for number in range(99))
    for number in range(count):
        weight, bias = arrays[f"{prefix}.{number}.weight"], arrays[f"{prefix}.{number}.bias"]
        b = int(arrays[f"{prefix}.{number}.weight_bits"])
        low = -(2**22) if number == count - 1 else 0
        sums = [
            sum(w * x for w, x in zip(row, values, strict=True) if x) for row in weight.tolist()
        ]
        outputs = [(s + 2 ** (b - 1) >> b) + o for s, o in zip(sums, bias.tolist(), strict=True)]
        values = [min(max(o, low), 2**22) for o in outputs]
    return values


def _posterior(arrays: Arrays, m: int, log_variance: int) -> list[int]:
    """Entries of the table of one code."""
    level = min(max((log_variance + 12416) >> 8, 0), 59)
    reciprocal = int(arrays["posterior.reciprocals"][level])
    F = arrays["posterior.distribution"].tolist()
    bounds = [0]
    for a in arrays["posterior.edges"].tolist():
        p = min(max(((a - 64 * m) * reciprocal >> 12) + 2**19, 0), 2**20 - 1)
        bounds.append(F[p >> 6] + ((F[(p >> 6) + 1] - F[p >> 6]) * (p % 64) >> 6))
    bounds.append(F[-1])
    return [right - left + 1 for left, right in pairwise(bounds)] + [1]


def decode_archive(data: bytes, arrays: Arrays, blocks: int) -> list[list[int]]:
    """Pixels 0 and 1 of the blocks of model 8."""
    w, at = 0, 0
    while True:
        w |= (data[at] & 127) << 7 * at
        at += 1
        if data[at - 1] < 128:
            break
    body = data[at:]
    stack = Stack([int.from_bytes(body[i : i + 4], "little") for i in range(0, len(body), 4)])
    centres = [min(max(c, -(2**22)), 2**22) for c in arrays["posterior.centres"].tolist()]
    bins = len(centres)
    k = arrays["decoder.0.weight"].shape[1]
    groups, begin = [], 0
    while begin < blocks:
        size = min(max(1, begin // 4), 64, 2**22 // (k * (bins + 1)), blocks - begin)
        groups.append((begin, begin + size))
        begin += size
    prior = uniform(bins.bit_length() - 1)
    images: dict[int, list[int]] = {}
    for begin, end in reversed(groups):
        codes = [stack.pop(prior[1]) for _ in range(k * (end - begin))]
        indexes: list[int] = []
        for at in range(0, len(codes), k):
            outputs = _network("decoder", arrays, [centres[z] for z in codes[at : at + k]])
            indexes += [min(max(((o + 64) >> 7) + 128, 0), 256) for o in outputs]
        chosen = {number: table_of(arrays, "pixel_tables", number) for number in set(indexes)}
        entries = [stack.pop(chosen[indexes[place]][1]) for place in _order(indexes)]
        pixels = _symbols(entries, indexes, chosen)
        assert sum(word << 32 * n for n, word in enumerate(stack.to_words())) >= 2**64
        tables = []
        for number in range(end - begin):
            images[begin + number] = pixels[784 * number : 784 * (number + 1)]
            outputs = _network("encoder", arrays, [x << 10 for x in images[begin + number]])
            tables += [_posterior(arrays, outputs[d], outputs[k + d]) for d in range(k)]
        for z, table in reversed(list(zip(codes, tables, strict=True))):
            stack.push(z, table)
    start = [number >> 32 for number in islice(raw_numbers(0xCA13, 0), w)]
    start[-1] |= 2**31
    assert stack.to_words() == start
    return [images[number] for number in range(blocks)]
