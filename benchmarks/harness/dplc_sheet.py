"""Contact sheets of the distribution-preserving codec: its rates beside the plain autoencoder's,
and several decodings of one file at each rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.contact_sheets import contact_sheet
from benchmarks.harness.dplc_model import CodedPicture, DplcModel, as_picture, read_file, write_file
from benchmarks.harness.small_images import Uint8Array
from codec.datasets.arrays import Images


def coded(
    model: DplcModel, rate: int, pixels: Uint8Array, seed: int
) -> tuple[CodedPicture, Uint8Array]:
    """The file of one image at a rate, and one decoding of it (h, w, 3)."""
    file = write_file(model.coder, pixels, model.quality(rate), noise_seed=seed)
    return file, in_colour(read_file(model.coder, file.data))


def in_colour(pixels: Uint8Array) -> Uint8Array:
    """Pixels (h, w, 1 or 3) as (h, w, 3)."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def draw_contact_sheets(
    model: DplcModel,
    plain: Sequence[DplcModel],
    images: Images,
    output: Path,
    *,
    samples: int = 5,
    sampled: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """The part `sheet`: OUTPUT-rates.png and OUTPUT-samples.png, of images uint8 (n, C, s, s).

    samples   decodings of one file on the second sheet
    sampled   number of the image that it shows
    """
    pictures = [as_picture(image) for image in images]
    rates = range(len(model.config.rates))
    rows, labels = [], []
    for number, pixels in enumerate(pictures):
        found = [(model, rate, "") for rate in rates] + [(one, 0, "plain ") for one in plain]
        files = [(coded(one, rate, pixels, seed + number), one, rate, name)
                 for one, rate, name in found]  # fmt: skip
        rows.append([decoded for (_, decoded), *_ in files])
        labels.append([f"{name}{one.config.rates[rate]}: {len(file.data)} B"
                       for (file, _), one, rate, name in files])  # fmt: skip
    output.parent.mkdir(parents=True, exist_ok=True)
    paths = [output.with_name(f"{output.stem}-{name}.png") for name in ("rates", "samples")]
    originals = [in_colour(pixels) for pixels in pictures]
    contact_sheet(originals, rows, labels).save(paths[0], optimize=True)

    again, texts = [], []
    for rate in rates:
        file, _ = coded(model, rate, pictures[sampled], seed)
        again.append([in_colour(read_file(model.coder, file.data, seed + n))
                      for n in range(samples)])  # fmt: skip
        symbols = model.config.rates[rate]
        texts.append([f"{symbols}: seed {seed + n}" for n in range(samples)])
    contact_sheet([originals[sampled]] * len(again), again, texts).save(paths[1], optimize=True)
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "plain": [one.name for one in plain],
        "images": len(images),
        "seed": seed,
        "labels": "symbols per position: bytes of the image's file",
        "files": [path.name for path in paths],
        "found": {"columns": len(labels[0]), "samples": samples},
    }
