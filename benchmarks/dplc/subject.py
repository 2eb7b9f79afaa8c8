"""Arguments of the parts of this room, and the weights and images that they name."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch

from benchmarks.harness.results import Measured, Report, timed
from benchmarks.harness.small_images import DplcModel, images_of_size, load_dplc_model
from codec.datasets.arrays import Images

SCHEMA, RESULT = "calotype.dplc/1", "dplc.json"


def add_common(parser: ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)


def add_data(parser: ArgumentParser) -> None:
    """Add the option for the images; small ones, such as MNIST's for 32×32, get a black border."""
    parser.add_argument("--data", type=Path, required=True, help="pictures, .npz or IDX")
    parser.add_argument("--limit", type=int, help="test images, the first ones")


def add_weights(parser: ArgumentParser, *, plain: str | None = None) -> None:
    """Add the option for the weights and, if it says what happens without, for the plain ones."""
    parser.add_argument("--weights", type=Path, required=True, help="of the model dplc")
    if plain is not None:
        parser.add_argument("--plain", type=Path, nargs="*", default=[],
                            help=f"weights of plain autoencoders, one a rate; {plain}")  # fmt: skip


def add_features(parser: ArgumentParser) -> None:
    """Add the option for the classifier whose features give the Fréchet distance."""
    parser.add_argument("--features", type=Path, required=True,
                        help="benchmarks/features/digits32.safetensors")  # fmt: skip


def images_for(options: Namespace, model: DplcModel, *, part: str = "test") -> Images:
    """Images (n, C, side, side) of the data set, in the model's size."""
    limit = options.limit if part == "test" else None
    config = model.config
    return images_of_size(options.data, config.channels, config.side, part=part, limit=limit)


def measured(
    options: Namespace, part: str, measure: Callable[[], Mapping[str, Report]]
) -> Iterator[Measured]:
    torch.set_num_threads(options.threads)
    about = {"data": options.data.name} if hasattr(options, "data") else {}
    yield from timed(part, measure, **about)


def measured_model(
    options: Namespace, part: str, measure: Callable[[DplcModel], Report]
) -> Iterator[Measured]:
    """The results of `measure` for the weights that the options name."""

    def by_name() -> dict[str, Report]:
        model = load_dplc_model(options.weights)
        about = {"model": model.name, "weights_sha256": model.weights_sha256}
        return {model.name: about | measure(model)}

    return measured(options, part, by_name)
