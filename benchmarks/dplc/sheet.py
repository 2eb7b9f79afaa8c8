"""Contact sheets: the codec's rates beside the plain autoencoder's, and several decodings of one
file at each rate.

Two pictures are written, FILE-rates.png and FILE-samples.png.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.dplc import subject
from benchmarks.harness.contact_sheets import contact_sheet
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import (
    DplcModel,
    LayeredFile,
    as_picture,
    load_dplc_model,
    read_file,
    write_file,
)
from bitstream.arrays import Uint8Array
from training.data.small_images import evenly

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT


def coded(
    model: DplcModel, rate: int, pixels: Uint8Array, seed: int
) -> tuple[LayeredFile, Uint8Array]:
    """The file of one image at a rate, and one decoding of it (h, w, 3)."""
    file = write_file(model.coder, pixels, model.quality(rate), noise_seed=seed)
    return file, in_colour(read_file(model.coder, file.data))


def in_colour(pixels: Uint8Array) -> Uint8Array:
    """Pixels (h, w, 1 or 3) as (h, w, 3)."""
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_common(parser)
    subject.add_weights(parser, plain="without them they are not in the picture")
    subject.add_data(parser)
    parser.add_argument("--picture", type=Path, required=True, help="FILE.png")
    parser.add_argument("--rows", type=int, default=8, help="images, evenly spaced")
    parser.add_argument("--samples", type=int, default=8, help="decodings of one file")


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DplcModel) -> Report:
        plain, seed = [load_dplc_model(path) for path in options.plain], options.seed
        images = evenly(subject.images_for(options, model), options.rows)
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
        output = options.picture
        output.parent.mkdir(parents=True, exist_ok=True)
        paths = [output.with_name(f"{output.stem}-{name}.png") for name in ("rates", "samples")]
        originals = [in_colour(pixels) for pixels in pictures]
        contact_sheet(originals, rows, labels).save(paths[0], optimize=True)

        again, texts, seeds = [], [], range(seed, seed + options.samples)
        for rate in rates:
            file, _ = coded(model, rate, pictures[0], seed)
            again.append([in_colour(read_file(model.coder, file.data, one)) for one in seeds])
            texts.append([f"{model.config.rates[rate]}: seed {one}" for one in seeds])
        contact_sheet([originals[0]] * len(again), again, texts).save(paths[1], optimize=True)
        return {
            "plain": [one.name for one in plain],
            "images": len(images),
            "seed": seed,
            "labels": "symbols per position: bytes of the image's file",
            "files": [path.name for path in paths],
            "found": {"columns": len(labels[0]), "samples": options.samples},
        }

    return subject.measured_model(options, "sheet", measure)
