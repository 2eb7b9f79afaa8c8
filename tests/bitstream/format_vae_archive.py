"""A decoder of model 8, written from FORMAT.md alone."""

from __future__ import annotations

from itertools import islice

import numpy as np

from tests.bitstream import format_networks as networks
from tests.bitstream.format_decoded import (
    Decoded,
    Message,
    Pixels,
    Starts,
    Weights,
    interpolated,
    raster_of,
    sheet_of,
)
from tests.bitstream.format_networks import limited
from tests.bitstream.format_reader import (
    File,
    StackReader,
    Tables,
    Uniform,
    raw_numbers,
    read_message,
    read_varint,
)


def decode_vae_archive(file: File, weights: Weights, starts: Starts) -> Decoded:
    """Model 8."""
    arrays, count = weights.arrays, len(raster_of(file, 28))
    w, at = read_varint(file.coded[0], 0)
    assert 16 <= w <= 2**14
    stack = StackReader(file.coded[0][at:])
    centres = limited(arrays["posterior.centres"].astype(np.int64))
    bins, k = len(centres), arrays["decoder.0.weight"].shape[1]
    edges, F = arrays["posterior.edges"].tolist(), arrays["posterior.distribution"].tolist()
    reciprocals = arrays["posterior.reciprocals"].tolist()
    found, groups = Decoded([[]], {"seed words": [w]}), []
    begin = 0
    while begin < count:
        size = min(max(1, begin // 4), 64, 2**22 // (k * (bins + 1)), count - begin)
        groups.append((begin, begin + size))
        begin += size
    found.numbers["groups"] = [end - begin for begin, end in groups]
    prior, tables = Uniform()[bins.bit_length() - 1], Tables(arrays, "pixel_tables")
    images: dict[int, Pixels] = {}
    for begin, end in reversed(groups):
        codes = [stack.entry(prior) for _ in range(k * (end - begin))]
        outputs = networks.exact_mlp(arrays, "decoder", centres[np.reshape(codes, (-1, k))])
        indexes = np.clip(((outputs + 64) >> 7) + 128, 0, 256).ravel().tolist()
        pixels = read_message(stack, indexes, tables)
        assert set(pixels) <= {0, 1}
        assert stack.number >= 2**64
        if end == count:
            found.numbers["codes"] = codes
            found.messages[0].append(Message(pixels, indexes))
        rows = np.reshape(pixels, (-1, 784))
        said = networks.exact_mlp(arrays, "encoder", rows.astype(np.int64) << 10).tolist()
        entries = []
        for number, outputs_of_block in enumerate(said):
            images[begin + number] = (255 * rows[number]).astype(np.uint8).reshape(28, 28, 1)
            for d in range(k):
                mean, log_variance = outputs_of_block[d], outputs_of_block[k + d]
                rho = reciprocals[min(max((log_variance + 12416) >> 8, 0), 59)]
                j, sides = codes[number * k + d], []
                for edge in (j - 1, j):
                    if 0 <= edge < len(edges):
                        p = ((edges[edge] - 64 * mean) * rho >> 12) + 2**19
                        sides.append(interpolated(F, min(max(p, 0), 2**20 - 1)))
                    else:
                        sides.append(0 if edge < 0 else F[-1])
                # Every earlier bin has its share plus one.
                entries.append((sides[0] + j, sides[1] - sides[0] + 1))
        for below, frequency in reversed(entries):
            stack.push(below, frequency)
    start = [number >> 32 for number in islice(raw_numbers(starts[0xCA13], 0), w)]
    start[-1] |= 2**31
    assert stack.words == start
    blocks = [images[number] for number in range(count)]
    found.pixels = sheet_of(blocks, file.header.height, file.header.width)
    return found
