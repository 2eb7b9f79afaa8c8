"""A reader of model 3 in plain integers, written from FORMAT.md alone.

It uses no code of the codec, only the configuration and arrays of a weights file. It is slow, and
without checks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from itertools import islice
from statistics import NormalDist
from typing import Any

from tests.golden.oracle import Arrays, Message, raw_numbers, read, table_of

Config = Mapping[str, Any]


def rate_of(config: Config, q: int) -> int:
    return (q - 1) * len(config["rates"]) // 10000


def bits_of_block(config: Config, q: int) -> int:
    return config["rates"][rate_of(config, q)] * (config["side"] // 16) ** 2  # type: ignore[no-any-return]


def decode_bits(
    data: bytes, config: Config, arrays: Arrays, blocks: int, q: int
) -> list[list[int]]:
    """Bits of each block."""
    r = rate_of(config, q)
    s: list[list[int]] = [[] for _ in range(blocks)]
    messages: list[Message] = []
    tables = {t: table_of(arrays, "bit_tables", t) for t in range(257)}
    for i in range(bits_of_block(config, q)):
        indexes = []
        for block in s:
            o = int(arrays[f"prior.{r}.bias"][i])
            for j in range(i):
                W = int(arrays[f"prior.{r}.weight"][i * (i - 1) // 2 + j])
                o += W * (2 * block[j] - 1)
            indexes.append(min(max(((o + 64) >> 7) + 128, 0), 256))
        messages.append((indexes, {t: tables[t] for t in set(indexes)}))
        for block, symbol in zip(s, read(data, messages), strict=True):
            block.append(symbol)
    return s


def noise(config: Config, blocks: int, q: int, S: int) -> list[list[float]]:  # noqa: N803
    """Noise of each block."""
    text = (resources.files("bitstream") / "FORMAT.md").read_text(encoding="utf-8")
    (jump,) = re.findall(r"seed 0xCA14, offset S · (0x[0-9A-F]{32}), modulo 2¹²⁸", text)
    n, m = bits_of_block(config, q), config["side"] // 16
    k = m * m * config["noise"] if n else config["code"]
    raw = islice(raw_numbers(0xCA14, S * int(jump, 16) % 2**128), blocks * k)
    unit = [((x >> 12) + 0.5) / 2**52 for x in raw]
    values = [u - 0.5 if n else NormalDist().inv_cdf(u) for u in unit]
    return [values[at : at + k] for at in range(0, blocks * k, k)]
