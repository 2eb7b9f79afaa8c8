"""Measurements of convolutional DRAW as a layered codec, one part at a time.

    python benchmarks/draw/__main__.py likelihood --weights FILE --data DATA [--importance K]
    python benchmarks/draw/__main__.py files      --weights FILE --data DATA
    python benchmarks/draw/__main__.py prefix     --weights FILE --data DATA --features FILE
    python benchmarks/draw/__main__.py sheet      --weights FILE --data DATA --picture PNG
    python benchmarks/draw/__main__.py rate       --weights FILE --data DATA
    python benchmarks/draw/__main__.py archive    --weights FILE --data MNIST
    python benchmarks/draw/__main__.py exactness  --weights FILE --data DATA

Each part is kept in `benchmarks/results/draw.json` under its name and that of the weights, with
where it comes from; what is not measured again stays as it was.  DATA are 64×64 colour pictures,
averaged down to 32×32, or MNIST's files.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.draw.archive import measure_archive
from benchmarks.draw.exactness import measure_exactness
from benchmarks.draw.files import measure_files
from benchmarks.draw.likelihood import measure_likelihood
from benchmarks.draw.prefix import measure_prefix
from benchmarks.draw.rate import measure_rate
from benchmarks.harness.contact_sheets import draw_contact_sheets
from benchmarks.harness.provenance import load_average, provenance
from benchmarks.harness.result_parts import Report, keep_part
from benchmarks.harness.small_images import DrawModel, held_out_images, load_draw_model, sheets
from codec.datasets.arrays import Images
from codec.rate_distortion.files.result_file import format_json
from training.draw.data import evenly
from training.features.train import load_features

RESULTS = Path(__file__).resolve().parents[1] / "results"
SCHEMA = "calotype.draw/1"


def likelihood(options: argparse.Namespace, model: DrawModel, images: Images) -> Report:
    """All test images, unless told otherwise."""
    return measure_likelihood(
        model, images, importance=options.importance, subset=options.subset, seed=options.seed
    )


def files(options: argparse.Namespace, model: DrawModel, images: Images) -> Report:
    """Bytes against the bound."""
    return measure_files(model, images, options.qualities, columns=options.columns)


def prefix(options: argparse.Namespace, model: DrawModel, images: Images) -> Report:
    """Files that break off, and their peers."""
    network = None if options.features is None else load_features(options.features)
    return measure_prefix(
        model, images, options.qualities, network=network, columns=options.columns,
        singles=options.singles, seed=options.seed, peers=options.peers,
    )  # fmt: skip


def sheet(options: argparse.Namespace, model: DrawModel, images: Images) -> Report:
    """Two pictures."""
    chosen = evenly(images, options.rows)
    return draw_contact_sheets(
        model, chosen, options.picture, quality=options.quality, seed=options.seed
    )


def rate(options: argparse.Namespace, model: DrawModel, images: Images) -> Report:
    """R_p(D) and what stands beside it."""
    picture = options.picture or options.output.with_name(f"draw_rate_{model.name}")
    return measure_rate(
        model, evenly(images, options.count), picture, data_set=f"{options.data.name}, test",
        betas=options.betas, steps=options.steps, quality=options.quality,
        temperatures=options.temperatures, chains=options.chains,
        simulations=options.simulations, leapfrog=options.leapfrog, seed=options.seed,
    )  # fmt: skip


def archive(options: argparse.Namespace, model: DrawModel, images: Images) -> Report:
    """A lossless archive."""
    return measure_archive(
        model, options.weights, images, columns=options.columns, seed=options.seed
    )


def exactness(options: argparse.Namespace, model: DrawModel, images: Images) -> Report:
    """The same files again: single images, and one sheet of some of them."""
    pictures = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images]
    pictures += sheets(images, options.columns)[:1]
    return measure_exactness(model, pictures, quality=options.quality)


PARTS: dict[str, Callable[[argparse.Namespace, DrawModel, Images], Report]] = {
    "likelihood": likelihood,
    "files": files,
    "prefix": prefix,
    "sheet": sheet,
    "rate": rate,
    "archive": archive,
    "exactness": exactness,
}
LIMITS = {"archive": 1000, "files": 500, "exactness": 16}
"""Images of the test set that a part takes where --limit is not given, the first ones."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="part", required=True)
    parts = {name: commands.add_parser(name) for name in PARTS}
    for name, one in parts.items():
        one.add_argument("--weights", type=Path, required=True, help="exported (.safetensors)")
        one.add_argument("--data", type=Path, required=True, help="pictures, .npz or IDX")
        one.add_argument("--limit", type=int, default=LIMITS.get(name), help="test images")
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--threads", type=int, default=1)
        one.add_argument("--output", type=Path, default=RESULTS / "draw.json")
    parts["likelihood"].add_argument("--importance", type=int, default=0, help="samples, 0: none")
    parts["likelihood"].add_argument("--subset", type=int, default=500, help="images for these")
    for name, qualities in (("files", [25, 50, 75, 100]), ("prefix", [75])):
        parts[name].add_argument("--qualities", type=float, nargs="+", default=qualities)
    for name, columns in (("files", 16), ("prefix", 16), ("exactness", 4), ("archive", 40)):
        parts[name].add_argument("--columns", type=int, default=columns, help="of a sheet")
    for name in ("sheet", "rate", "exactness"):
        parts[name].add_argument("--quality", type=float, default=75)
    parts["prefix"].add_argument(
        "--features",
        type=Path,
        help="such as benchmarks/features/natural32.safetensors; without: no Fréchet distance",
    )
    parts["prefix"].add_argument("--singles", type=int, default=100, help="images one by one")
    parts["prefix"].add_argument("--peers", nargs="*", default=["jpeg", "jpeg2000", "avif"])
    parts["sheet"].add_argument("--rows", type=int, default=8, help="images")
    parts["sheet"].add_argument("--picture", type=Path, required=True, help="PNG to write")
    one = parts["rate"]
    one.add_argument("--picture", type=Path, help="SVG and PNG to write")
    one.add_argument("--count", type=int, default=20, help="images, evenly spaced")
    one.add_argument("--steps", type=int, help="that have noise of their own; default all")
    one.add_argument("--betas", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0])
    one.add_argument("--temperatures", type=int, default=60)
    one.add_argument("--chains", type=int, default=4)
    one.add_argument("--simulations", type=int, default=2)
    one.add_argument("--leapfrog", type=int, default=5)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one part and keep what it found."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    load, begin = load_average(), time.perf_counter()
    model = load_draw_model(options.weights)
    images = held_out_images(model.config, options.data, options.limit)
    found = PARTS[options.part](options, model, images)
    about = {
        "provenance": provenance(),
        "load_average": load,
        "seconds": round(time.perf_counter() - begin, 1),
        "data": options.data.name,
    }
    keep_part(options.output, SCHEMA, options.part, model.name, {**about, **found})
    print(format_json(found["found"]))


if __name__ == "__main__":
    main()
