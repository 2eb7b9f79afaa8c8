"""Contact sheets: what images look like if their file is cut after each layer.

There is a row for each image and a column for each layer, with the bytes below. Two pictures are
written: FILE-mean.png takes the prior's mean for the missing part, FILE-sampled.png a sample.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.draw import subject
from benchmarks.harness.contact_sheets import contact_sheet
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import (
    DrawModel,
    as_picture,
    decode_prefixes,
    rounded,
    write_file,
)
from codec.datasets.arrays import Images
from training.data.small_images import evenly

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_subject(parser)
    parser.add_argument("--quality", type=float, default=75)
    parser.add_argument("--rows", type=int, default=8, help="images, evenly spaced")
    parser.add_argument("--picture", type=Path, required=True, help="FILE.png")


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DrawModel, images: Images) -> Report:
        coder, output = model.file_coder(), options.picture
        pictures = [as_picture(image) for image in evenly(images, options.rows)]
        files = [write_file(coder, picture, options.quality) for picture in pictures]
        labels = [[f"{end} bytes" for end in file.layer_ends] for file in files]
        output.parent.mkdir(parents=True, exist_ok=True)
        written = []
        for name, chosen in (("mean", None), ("sampled", options.seed)):
            decoded = [
                list(decode_prefixes(coder, file, None if chosen is None else chosen + number))
                for number, file in enumerate(files)
            ]
            path = output.with_name(f"{output.stem}-{name}.png")
            contact_sheet(pictures, decoded, labels).save(path, optimize=True)
            written.append(path.name)
        means = np.mean([file.layer_ends for file in files], axis=0)
        return {
            "quality": options.quality,
            "images": len(pictures),
            "seed": options.seed,
            "files": written,
            "found": {"mean_bytes_of_each_prefix": rounded(means, 6)},
        }

    return subject.measured(options, "sheet", measure)
