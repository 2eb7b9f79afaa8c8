"""A decoder of model 2, written from FORMAT.md alone."""

from __future__ import annotations

import numpy as np

from tests.bitstream.format_decoded import (
    Decoded,
    Message,
    Starts,
    Weights,
    reader_of,
)
from tests.bitstream.format_networks import Draw, Integers, limited, shuffle, unshuffle
from tests.bitstream.format_reader import (
    File,
    Tables,
)


def decode_draw(file: File, weights: Weights, starts: Starts) -> Decoded:
    header, found, config = file.header, Decoded(), weights.config
    whole = config["stride"] << (len(config["hidden"]) - 1)
    tiles = header.tiles(whole)
    found.messages = [[] for _ in file.coded]
    found.pixels = np.zeros((header.height, header.width, 3), dtype=np.uint8)
    for number, (top, left, rows, columns) in enumerate(tiles):
        draw = Draw(config, weights.arrays, header.q)
        h, c = (draw.zeros(rows * whole, columns * whole) for _ in range(2))
        start = draw.stored("start")[:, None, None]
        r: Integers = np.broadcast_to(start, (3, rows * whole, columns * whole))
        tables = Tables(weights.arrays, "step_tables")
        for step in range(header.layers):
            place = step * len(tiles) + number
            coder, get = reader_of(file.coded[place], found.messages[place])
            for level in reversed(range(draw.levels)):
                above = draw.above(h, level)
                mean, m = np.split(draw.layer(f"prior{level}", h[level], *above), 2)
                indexes = np.clip((m + 12416) >> 8, 0, 128).ravel().tolist()
                if file.coded[place]:
                    k = np.array(get(indexes, tables)).reshape(mean.shape)
                else:
                    k = np.zeros_like(mean)
                    found.messages[place].append(Message(k.ravel().tolist(), indexes))
                z = limited(mean + draw.step_size(level) * k)
                if not step and not number and level == draw.levels - 1:
                    found.numbers["codes"] = z.ravel().tolist()
                canvas = [unshuffle(r, draw.s)] if level == 0 else []
                gates = draw.layer(f"decoder{level}", z, *above, *canvas, h[level])
                h[level], c[level] = draw.advance(gates, c[level])
            coder.finish()
            r = limited(r + shuffle(draw.layer("paint", h[0]), draw.s))
        if not number:
            found.numbers["canvas"] = r[:, 0].T.ravel().tolist()
        drawn = np.clip((r + 4096) >> 5, 0, 255).astype(np.uint8).transpose(1, 2, 0)
        area = found.pixels[top * whole :, left * whole :][: rows * whole, : columns * whole]
        area[:] = drawn[: area.shape[0], : area.shape[1]]
    return found
