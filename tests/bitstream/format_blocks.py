"""Decoders of models 3 to 7, which code blocks by codes, written from FORMAT.md alone."""

from __future__ import annotations

from itertools import islice
from statistics import NormalDist

import numpy as np

from tests.bitstream import format_networks as networks
from tests.bitstream.format_decoded import (
    Decoded,
    Starts,
    Weights,
    raster_of,
    reader_of,
    sheet_of,
    uniform_numbers,
)
from tests.bitstream.format_networks import Reals
from tests.bitstream.format_reader import (
    File,
    Tables,
    Uniform,
    raw_numbers,
)

SEED_DISTANCE = 0x9E3779B97F4A7C15F39CC0605CEDC835


def decode_dplc(file: File, weights: Weights, starts: Starts) -> Decoded:
    header, config, arrays = file.header, weights.config, weights.arrays
    B, m = config["side"], config["side"] // 16
    count = len(raster_of(file, B))
    r = (header.q - 1) * len(config["rates"]) // 10000
    n = config["rates"][r] * m * m
    found = Decoded([[]], {"rate": [r], "bits of a block": [n]})
    coder, get = reader_of(file.coded[0], found.messages[0])
    s: list[list[int]] = [[] for _ in range(count)]
    tables = Tables(arrays, "bit_tables")
    for i in range(n):
        bias, weight = int(arrays[f"prior.{r}.bias"][i]), arrays[f"prior.{r}.weight"].tolist()
        row = weight[i * (i - 1) // 2 :][:i]
        odds = [
            bias + sum(w * (2 * bit - 1) for w, bit in zip(row, block, strict=True)) for block in s
        ]
        indexes = [min(max(((o + 64) >> 7) + 128, 0), 256) for o in odds]
        for block, bit in zip(s, get(indexes, tables), strict=True):
            assert bit in (0, 1)
            block.append(bit)
    coder.finish()
    k = m * m * config["noise"] if n else config["code"]
    noise: list[list[float]] = [[] for _ in range(count)]
    if k:
        assert header.noise_seed is not None
        unit = uniform_numbers(
            raw_numbers(starts[0xCA14], header.noise_seed * SEED_DISTANCE), count * k
        )
        values = [u - 0.5 if n else NormalDist().inv_cdf(u) for u in unit]
        noise = [values[at : at + k] for at in range(0, count * k, k)]
    has_flow = config.get("flow_blocks", 0) > 0
    if 0 < config.get("codes_from", 0) <= config["rates"][r]:
        has_flow = False
    blocks, codes, drawn = [], [], []
    for bits, own in zip(s, noise, strict=True):
        code = np.array(own)
        if n:
            halves = np.array(bits).reshape(-1, m, m) - 0.5
            code = networks.dplc_code(arrays, r, halves, code.reshape(-1, m, m))
        codes.append(code.tolist())
        drawn.append(networks.dplc_flow(arrays, config, code) if has_flow else code)
        blocks.append(networks.dplc_block(arrays, config, drawn[-1]))
    found.numbers |= {"noise": noise[0], "code": codes[0], "bits": s[0]}
    if has_flow:
        found.numbers["flow"] = drawn[0].tolist()
    found.pixels = sheet_of(blocks, header.height, header.width)
    return found


def decode_rungs(file: File, weights: Weights, starts: Starts) -> Decoded:
    """The models 4, 5 and 7."""
    header, arrays = file.header, weights.arrays
    count, k = len(raster_of(file, 28)), weights.config["code"]
    move = (12 * (header.q - 7500) + 1250) // 2500
    rungs = [min(max(int(o) + move, 0), 54) for o in arrays["rung_offsets"]]
    found = Decoded([[]], {"rungs": rungs})
    coder, get = reader_of(file.coded[0], found.messages[0])
    indexes, name = rungs * count, {4: "round", 5: "dither", 7: "vbq"}[header.model]
    steps = [8 * 2 ** (-r / 6) for r in indexes]
    noise = [x >> 32 for x in islice(raw_numbers(starts[0xCA12], 0), count * k)]
    if header.model == 5:
        indexes = [16 * r + (n >> 28) for r, n in zip(indexes, noise, strict=True)]
        found.numbers["noise"] = noise
    symbols = get(indexes, Tables(arrays, f"{name}_tables"))
    coder.finish()
    if header.model == 4:
        codes = [step * x for step, x in zip(steps, symbols, strict=True)]
    elif header.model == 5:
        relative = [(n + 0.5) / 2**32 - 0.5 for n in noise]
        codes = [d * (x - u) for d, x, u in zip(steps, symbols, relative, strict=True)]
    else:
        codes = [NormalDist().inv_cdf(x / 2**12) for x in symbols]
    return _with_vae_pixels(found, codes, file, weights)


def decode_rec(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Model 6."""
    layouts = weights.arrays["rec_layouts"]
    sets, k = layouts.shape
    s = ((file.header.q - 100) * (sets - 1) + 4950) // 9900
    layout = [int(part) for part in layouts[s]]
    parts, count = max(layout) + 1, len(raster_of(file, 28))
    found = Decoded([[]], {"set": [s], "layout": layout})
    coder, get = reader_of(file.coded[0], found.messages[0])
    classes = get([s * k + b for b in range(parts)] * count, Tables(weights.arrays, "rec_tables"))
    assert max(classes) <= 15
    values = get(classes, Uniform())
    coder.finish()
    indexes = [2**c + v - 1 for c, v in zip(classes, values, strict=True)]
    found.numbers["indexes"] = indexes
    codes = [0.0] * (count * k)
    for t, index in enumerate(indexes):
        block, part = divmod(t, parts)
        own = [d for d in range(k) if layout[d] == part]
        numbers = raw_numbers(starts[0xCA10], 2**24 * t + len(own) * index)
        for d, u in zip(own, uniform_numbers(numbers, len(own)), strict=True):
            codes[block * k + d] = NormalDist().inv_cdf(u)
    return _with_vae_pixels(found, codes, file, weights)


def _with_vae_pixels(found: Decoded, codes: list[float], file: File, weights: Weights) -> Decoded:
    config = weights.config
    assert (config["architecture"], config["activation"]) == ("mlp", "tanh")
    rows: Reals = np.array(codes).reshape(-1, config["code"])
    found.numbers["codes"] = rows[0].tolist()
    blocks = [networks.vae_block(weights.arrays, row) for row in rows]
    found.pixels = sheet_of(blocks, file.header.height, file.header.width)
    return found
