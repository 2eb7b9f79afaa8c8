"""Arguments of the parts of this room, and the weights and images that they name."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from benchmarks.harness.results import Measured, Report, timed
from benchmarks.harness.small_images import DrawModel, held_out_images, load_draw_model
from codec.datasets.arrays import Images

SCHEMA, RESULT = "calotype.draw/1", "draw.json"


def add_subject(parser: ArgumentParser, *, limit: int | None = None) -> None:
    """Add the options that all parts have.

    limit   default number of test images, the first ones; None for all
    """
    parser.add_argument("--weights", type=Path, required=True, help="exported (.safetensors)")
    parser.add_argument("--data", type=Path, required=True, help="64×64 pictures, or MNIST's files")
    parser.add_argument("--limit", type=int, default=limit, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)


def measured(
    options: Namespace, part: str, measure: Callable[[DrawModel, Images], Report]
) -> Iterator[Measured]:
    """The results of `measure` for the weights and the images that the options name."""
    torch.set_num_threads(options.threads)

    def by_name() -> dict[str, Report]:
        model = load_draw_model(options.weights)
        images = held_out_images(model.config, options.data, options.limit)
        about = {"model": model.name, "weights_sha256": model.weights_sha256}
        return {model.name: {**about, **measure(model, images)}}

    yield from timed(part, by_name, data=options.data.name)
