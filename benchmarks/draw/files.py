"""Real files of DRAW compared with the bits that its symbols should cost.

    file = payload + headers       payload: Σ −log₂ P(symbol | tables), and the coder's end marks
    bound: Σ −log₂ p(symbol)       the mass of the prior's bin at the network's own scale, without
                                   rounding the scale to a table, or tables to integers

The bound is the cost under the model's own probabilities.  Tables that were fitted to symbols may
predict these better than the network, and then the payload may be below the bound.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.draw import subject
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import DrawModel, as_picture, rounded, sheets, write_file
from benchmarks.harness.targets import DRAW_FILE_BYTES, DRAW_FILE_PERCENT
from bitstream.arrays import Float32Array, Uint8Array
from bitstream.errors import UsageError
from codec.datasets.arrays import Images
from codec.models.draw.coder import DrawCoder
from codec.models.draw.exact import UNIT_BITS
from codec.models.draw.network import bin_bits
from codec.models.draw.recursion import Prior
from codec.pipeline.encode import DEFAULT_TILE_SIZE

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT


def padded_latents(coder: DrawCoder, pixels: Uint8Array, quality: float) -> Float32Array:
    """Latents of a picture of one tile. Raises `UsageError` for more tiles."""
    height, width = pixels.shape[:2]
    if max(height, width) > DEFAULT_TILE_SIZE:
        raise UsageError(f"a picture of {width}×{height} has several tiles; take a smaller sheet")
    over = ((0, -height % coder.stride), (0, -width % coder.stride), (0, 0))
    return coder.analyze(np.pad(pixels, over, mode="edge"), quality)


@torch.inference_mode()
def ideal_bits(
    coder: DrawCoder, pixels: Uint8Array, quality: float, *, steps: int | None = None
) -> tuple[float, float]:
    """Bits of the picture's symbols: under the continuous bins, and under the integer tables.

    steps  number of steps whose symbols are counted, None for all
    """
    latents = padded_latents(coder, pixels, quality)
    coded = coder.step_symbols(latents, quality)
    network = coder.network.at_quality(round(quality * 100))
    low, high = network.config.log_scales
    _, height, width = latents.shape
    state = network.recursion.begin(1, height * coder.stride, width * coder.stride)
    continuous = tabled = 0.0
    for messages in coded[:steps]:
        left = iter(messages)

        def choose(level: int, prior: Prior, left: Any = left) -> Tensor:
            nonlocal continuous, tabled
            symbols, indexes = next(left)
            scale = (prior.scale * 2.0**-UNIT_BITS).clamp(low, high)
            values = torch.from_numpy(symbols.astype(np.float64)).reshape(scale.shape)
            continuous += float(bin_bits(values, scale).sum())
            tabled += coder.tables.code_length_bits(symbols, indexes)
            return values

        network.recursion.step(state, choose)
    return continuous, tabled


def file_row(coder: DrawCoder, pixels: Uint8Array, quality: float) -> dict[str, float]:
    """One picture: bytes of its file, and bits of the bounds."""
    file = write_file(coder, pixels, quality)
    continuous, tabled = ideal_bits(coder, pixels, quality)
    return {
        "file_bytes": len(file.data),
        "payload_bytes": file.payload_bytes,
        "header_and_chunk_bytes": len(file.data) - file.payload_bytes,
        "bound_bits": continuous,
        "table_bits": tabled,
    }


def summary(rows: list[dict[str, float]], pixels: int) -> dict[str, Any]:
    """Means over pictures of `pixels` pixels each, and for how many the claim holds."""
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    bound = columns["bound_bits"] / 8
    allowed = bound * (1 + DRAW_FILE_PERCENT / 100) + DRAW_FILE_BYTES
    above = columns["payload_bytes"] - bound
    return {
        "pictures": len(rows),
        "pixels_of_each": pixels,
        **{f"mean_{name}": float(values.mean()) for name, values in columns.items()},
        "bits_per_pixel": 8 * float(columns["file_bytes"].mean()) / pixels,
        "payload_above_bound_percent": 100 * float(above.sum() / bound.sum()),
        "payload_above_bound_bytes": float(above.mean()),
        "largest_payload_above_bound_bytes": float(above.max()),
        "tables_above_bound_percent": 100
        * float(columns["table_bits"].sum() / columns["bound_bits"].sum() - 1),
        "within_claim": int((columns["payload_bytes"] <= allowed).sum()),
    }


def measure_files(
    model: DrawModel, images: Images, qualities: list[float], *, columns: int = 16
) -> dict[str, Any]:
    """The part `files`, of images uint8 (n, 3, side, side)."""
    coder = model.file_coder()
    side = images.shape[2]
    rows = []
    for quality in qualities:
        single = [file_row(coder, as_picture(image), quality) for image in images]
        large = file_row(coder, sheets(images, columns)[0], quality)
        one = summary(single, side * side)
        whole = summary([large], (side * columns) ** 2)
        rows.append({"quality": quality, "images": one, "sheet": whole})
        print(
            f"quality {quality:g}: payload of an image {one['payload_above_bound_bytes']:.1f} "
            f"bytes above the bound, of a sheet {whole['payload_above_bound_percent']:.2f} %",
            file=sys.stderr,
        )
    return {
        "claim": f"payload ≤ bound + {DRAW_FILE_PERCENT:g} % + {DRAW_FILE_BYTES:g} bytes",
        "bound": "sum of −log₂ of the prior's bin mass at the network's own scales",
        "sheet": f"{columns}×{columns} of the images as one picture of "
        f"{side * columns}×{side * columns}",
        "found": rounded(rows),
    }


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_subject(parser, limit=500)
    parser.add_argument("--qualities", type=float, nargs="+", default=[25, 50, 75, 100])
    parser.add_argument("--columns", type=int, default=16, help="of a sheet")


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DrawModel, images: Images) -> Report:
        return measure_files(model, images, options.qualities, columns=options.columns)

    return subject.measured(options, "files", measure)
