"""Measurements of the distribution-preserving codec, one part at a time.

    python benchmarks/dplc/__main__.py gaussian
    python benchmarks/dplc/__main__.py rates   --weights W --plain W2 W8 … --data DATA --features
    FILE
    python benchmarks/dplc/__main__.py samples --weights NAME=FILE,FILE,FILE … --data DATA
    --features FILE
    python benchmarks/dplc/__main__.py sheet   --weights W --plain W2 W8 … --data DATA --picture PNG
    python benchmarks/dplc/__main__.py rate    --weights W --data DATA
    python benchmarks/dplc/__main__.py probes  [--models photo draw dplc] [--weights dplc=FILE …]

Each part is kept in `benchmarks/results/dplc.json` under its name and that of the weights, with
where it comes from; what is not measured again stays as it was.  DATA are what
`read_images` takes; smaller ones, such as MNIST's 28×28 for blocks of 32×32, get a black border.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from benchmarks.dplc.gaussian import RATES_BITS, LinearTraining, measure_gaussian
from benchmarks.dplc.probes import MODELS, measure_probes
from benchmarks.dplc.rate import measure_rate
from benchmarks.dplc.rates import PEERS, RateSettings, measure_rates
from benchmarks.dplc.samples import Group, measure_samples, read_group
from benchmarks.harness.dplc_model import DplcModel, images_of_size, load_dplc_model
from benchmarks.harness.dplc_sheet import draw_contact_sheets
from benchmarks.harness.provenance import load_average, provenance
from benchmarks.harness.result_parts import Report, keep_part
from codec.datasets.arrays import Images
from codec.models.generative.weights_file import load_generative
from codec.rate_distortion.files.result_file import format_json
from training.draw.data import evenly
from training.features.train import load_features

RESULTS = Path(__file__).resolve().parents[1] / "results"
SCHEMA = "calotype.dplc/1"


def _images(options: argparse.Namespace, model: DplcModel, *, part: str = "test") -> Images:
    limit = options.limit if part == "test" else None
    config = model.config
    return images_of_size(options.data, config.channels, config.side, part=part, limit=limit)


def gaussian(options: argparse.Namespace) -> Report:
    """The closed form."""
    settings = LinearTraining(steps=options.steps)
    found = measure_gaussian(
        variance=options.variance, rates_bits=options.rates, settings=settings,
        numbers=options.numbers, seed=options.seed,
    )  # fmt: skip
    return {"normal": found}


def rates(options: argparse.Namespace) -> Report:
    """Each rate of one model."""
    model = load_dplc_model(options.weights)
    settings = RateSettings(
        columns=options.columns, singles=options.singles, decodes=options.decodes,
        variance_columns=options.variance_columns, peer_sheets=options.peer_sheets,
        peers=tuple(options.peers), seed=options.seed,
    )  # fmt: skip
    found = measure_rates(
        model, [load_dplc_model(path) for path in options.plain], _images(options, model),
        _images(options, model, part="train"), load_features(options.features), settings,
    )  # fmt: skip
    return {model.name: {**found, "features": options.features.name}}


def samples(options: argparse.Namespace) -> Report:
    """Generators, not codecs."""
    channels, side, _ = load_generative(options.weights[0].files[0]).config.image_shape
    images = images_of_size(options.data, channels, side, limit=options.limit)
    found = measure_samples(
        options.weights, images, load_features(options.features), samples=options.samples,
        seed=options.seed,
    )  # fmt: skip
    return {options.name: {**found, "features": options.features.name}}


def sheet(options: argparse.Namespace) -> Report:
    """Two pictures."""
    model = load_dplc_model(options.weights)
    found = draw_contact_sheets(
        model, [load_dplc_model(path) for path in options.plain],
        evenly(_images(options, model), options.rows), options.picture,
        samples=options.samples, seed=options.seed,
    )  # fmt: skip
    return {model.name: found}


def rate(options: argparse.Namespace) -> Report:
    """R_p(D) of the generator, and the files."""
    model = load_dplc_model(options.weights)
    picture = options.picture or options.output.with_name(f"dplc_rate_{model.name}")
    found = measure_rate(
        model, evenly(_images(options, model), options.count), picture,
        data_set=f"{options.data.name}, test", betas=options.betas,
        temperatures=options.temperatures, chains=options.chains,
        simulations=options.simulations, leapfrog=options.leapfrog, seed=options.seed,
    )  # fmt: skip
    return {model.name: found}


def probes(options: argparse.Namespace) -> Report:
    """Dots and pies, for each model."""
    return measure_probes(
        options.models, dict(options.weights), count=options.count, side=options.side,
        columns=options.columns, seed=options.seed,
    )  # fmt: skip


PARTS: dict[str, Callable[[argparse.Namespace], Report]] = {
    "gaussian": gaussian,
    "rates": rates,
    "samples": samples,
    "sheet": sheet,
    "rate": rate,
    "probes": probes,
}


def _group(text: str) -> Group:
    try:
        return read_group(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=FILE")
    return name, Path(path)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    commands = parser.add_subparsers(dest="part", required=True)
    parts = {name: commands.add_parser(name) for name in PARTS}
    for one in parts.values():
        one.add_argument("--seed", type=int, default=0)
        one.add_argument("--threads", type=int, default=1)
        one.add_argument("--output", type=Path, default=RESULTS / "dplc.json")
    for name in ("rates", "sheet", "rate"):
        parts[name].add_argument("--weights", type=Path, required=True, help="of the model dplc")
    for name in ("rates", "sheet"):
        parts[name].add_argument("--plain", type=Path, nargs="*", default=[],
                                 help="weights of plain autoencoders, one a rate")  # fmt: skip
    for name in ("rates", "samples", "sheet", "rate"):
        parts[name].add_argument("--data", type=Path, required=True, help="pictures, .npz or IDX")
        parts[name].add_argument("--limit", type=int, help="test images, the first ones")
    for name in ("rates", "samples"):
        parts[name].add_argument("--features", type=Path, required=True,
                                 help="benchmarks/features/digits32.safetensors")  # fmt: skip
    for name in ("sheet", "rate"):
        parts[name].add_argument("--picture", type=Path, required=name == "sheet",
                                 help="to write; endings are added")  # fmt: skip
    one = parts["gaussian"]
    one.add_argument("--variance", type=float, default=2.0)
    one.add_argument("--rates", type=float, nargs="+", default=list(RATES_BITS), help="bits")
    one.add_argument("--steps", type=int, default=LinearTraining.steps, help="of training")
    one.add_argument("--numbers", type=int, default=1_000_000, help="that are coded as bytes")
    one = parts["rates"]
    one.add_argument("--columns", type=int, default=RateSettings.columns, help="of a sheet")
    one.add_argument("--singles", type=int, default=RateSettings.singles)
    one.add_argument("--decodes", type=int, default=RateSettings.decodes, help="of one file")
    one.add_argument("--variance-columns", type=int, default=RateSettings.variance_columns)
    one.add_argument("--peer-sheets", type=int, default=RateSettings.peer_sheets)
    one.add_argument("--peers", nargs="*", default=list(PEERS))
    one = parts["samples"]
    one.add_argument("--weights", type=_group, nargs="+", required=True, metavar="NAME=FILE,FILE")
    one.add_argument("--samples", type=int, default=10_000, help="of each run")
    one.add_argument("--name", default="generators", help="under which it is kept")
    parts["sheet"].add_argument("--rows", type=int, default=8, help="images")
    parts["sheet"].add_argument("--samples", type=int, default=8, help="decodings of one file")
    one = parts["rate"]
    one.add_argument("--count", type=int, default=20, help="images, evenly spaced")
    one.add_argument("--betas", type=float, nargs="+", default=[0.1, 0.3, 1.0, 3.0])
    one.add_argument("--temperatures", type=int, default=300)
    one.add_argument("--chains", type=int, default=8)
    one.add_argument("--simulations", type=int, default=2)
    one.add_argument("--leapfrog", type=int, default=10)
    one = parts["probes"]
    one.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    one.add_argument("--weights", type=_named, nargs="*", default=[], metavar="NAME=FILE",
                     help="of draw or dplc; installed ones where none is given")  # fmt: skip
    one.add_argument("--count", type=int, default=400, help="images of each kind")
    one.add_argument("--side", type=int, default=32, help="of an image")
    one.add_argument("--columns", type=int, default=10, help="of a sheet")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one part and keep what it found."""
    options = parse(arguments)
    torch.set_num_threads(options.threads)
    load, begin = load_average(), time.perf_counter()
    for name, found in PARTS[options.part](options).items():
        about = {
            "provenance": provenance(),
            "load_average": load,
            "seconds": round(time.perf_counter() - begin, 1),
        }
        if hasattr(options, "data"):
            about["data"] = options.data.name
        keep_part(options.output, SCHEMA, options.part, name, {**about, **found})
        print(format_json(found["found"]))


if __name__ == "__main__":
    main()
