"""Files of a regularised autoencoder compared with its R_p(D): `vae-round:rae` on MNIST.

    python -m benchmarks.measurement rae-codec --data MNIST [--images 100]

Both have the same mixture of Gaussians as prior: the curve is annealed from it or from local
references, and the files use its integer tables.  All images are put on one sheet, which is one
file; it is decoded again.  Squared errors are sums over an image's pixels in [0, 1].  Writes the
ladder (`calotype plot` reads it) and draws it as SVG and PNG.
"""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from benchmarks.harness.generative_rate import SSE
from benchmarks.harness.results import Measured, provenance
from codec.cli.progress import PhaseLines
from codec.datasets.arrays import read_images
from codec.rate_distortion.annealing.rd_curve import rd_curve
from codec.rate_distortion.ladder.ladder import LADDER_SCHEMA, Ladder
from codec.rate_distortion.ladder.model_files import gap_rows, measure_files, rung_of_files
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.report.figure import draw_picture
from codec.rate_distortion.report.lines import picture_of_results
from codec.rate_distortion.user_code.adapters import load_decoder
from training.data.small_images import evenly

SCHEMA, RESULT = LADDER_SCHEMA, "rae_codec.json"
MODEL, DATA_SET = "vae-round:rae", "MNIST test"
QUALITIES = (30.0, 45.0, 60.0, 75.0, 90.0)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="MNIST's folder, IDX or .npz")
    parser.add_argument("--images", type=int, default=100, help="of the test set, evenly spaced")
    parser.add_argument("--betas", type=int, default=12)
    parser.add_argument("--low-beta", type=float, default=0.02)
    parser.add_argument("--high-beta", type=float, default=20.0)
    parser.add_argument("--temperatures", type=int, default=250)
    parser.add_argument("--chains", type=int, default=10)
    # One image in a hundred has a mode that is missed; with only ten simulations at each β, the
    # result would depend on whether such an image is among them.
    parser.add_argument("--simulations", type=int, default=30)


def run(options: Namespace) -> Iterator[Measured]:
    images = evenly(read_images(options.data, shape=(1, 28, 28), part="test"), options.images)
    adapter = load_decoder(MODEL)
    points = measure_files(MODEL, images, SSE, QUALITIES)
    begin = time.perf_counter()
    curve = rd_curve(
        adapter.decode,
        adapter.prior,
        torch.from_numpy(images.astype(np.float32) / 255),
        distortion=SSE,
        betas=[float(b) for b in np.geomspace(options.low_beta, options.high_beta, options.betas)],
        temperatures=options.temperatures,
        chains=options.chains,
        simulations=options.simulations,
        precision="bfloat16",
        progress=PhaseLines(),
    )
    rungs = (Rung.of_curve(curve), rung_of_files(points, SSE))
    ladder = Ladder(MODEL, DATA_SET, curve.images, rungs, (1, 28, 28))
    rows = gap_rows(curve, points)
    content = {
        **ladder.to_json(),
        "provenance": provenance(),
        "files": rows,
        "curve": curve.to_json(),
        "prior": repr(adapter.prior),
        "seconds": round(time.perf_counter() - begin),
    }
    for suffix in (".svg", ".png"):
        draw_picture(picture_of_results([ladder]), options.output.with_suffix(suffix))
    lines = [
        f"quality {row['quality']:g}: {row['file_bits']:.1f} bits, D {row['distortion']:.1f}, "
        + ("R_p not reached" if row["rate_bits"] is None else f"R_p {row['rate_bits']:.1f} bits")
        for row in rows
    ]
    certified = f"{sum(curve.certified)} of {len(curve.beta)} points certified"
    yield Measured(content, [*lines, certified, *map(str, ladder.check())])
