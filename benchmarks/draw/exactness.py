"""Whether DRAW's symbols are the same wherever they are computed.

The same pictures are coded, and coded again with

    threads     two threads instead of one
    order       the input channels of every convolution in another order: other partial sums
    integers    the sums of every convolution in 64-bit integers, without floating point

Each must give the same files.  As a control, the network runs in floating point, both unchanged and
with small relative errors in every convolution, like those of another processor.  The symbols and
tables that differ are counted: a single one makes the rest of a file unreadable.
"""

from __future__ import annotations

import copy
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.draw import subject
from benchmarks.draw.files import padded_latents
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import (
    DrawModel,
    LayeredFile,
    as_picture,
    decode_prefixes,
    sheets,
    write_file,
)
from bitstream.arrays import Uint8Array
from bitstream.errors import PayloadError
from codec.coding.exact_layers import ACTIVATION_LIMIT
from codec.datasets.arrays import Images
from codec.models.draw.coder import DrawCoder
from codec.models.draw.exact import SCALE_STEP_BITS, UNIT_BITS, ExactDraw
from codec.models.draw.network import DrawNetwork
from codec.models.draw.recursion import Prior

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
RELATIVE_ERRORS = (1e-6, 1e-5, 1e-4)

Messages = list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


class ReorderedDraw(ExactDraw):
    """The same network, with the channels of each convolution added in another order."""

    def __init__(self, network: ExactDraw, seed: int) -> None:
        self.__dict__.update(network.__dict__)
        generator = torch.Generator().manual_seed(seed)
        self._orders = {
            name: torch.randperm(one.taps.shape[3], generator=generator)
            for name, one in network._convolutions.items()
        }
        self._convolutions = {
            name: replace(one, taps=one.taps[..., self._orders[name]].contiguous())
            for name, one in network._convolutions.items()
        }

    def convolve(self, name: str, values: Tensor) -> Tensor:
        return super().convolve(name, values[:, self._orders[name]])


class IntegerDraw(ExactDraw):
    """The same network, with sums of products in 64-bit integers."""

    def __init__(self, network: ExactDraw) -> None:
        self.__dict__.update(network.__dict__)

    def convolve(self, name: str, values: Tensor) -> Tensor:
        one = self._convolutions[name]
        whole, bits = F.pad(values, (1, 1, 1, 1)).long(), one.weight_bits
        height, width = values.shape[2:]
        found = torch.zeros((), dtype=torch.int64)
        for row, column in product(range(3), range(3)):
            seen = whole[:, :, row : row + height, column : column + width].flatten(2)
            found = found + one.taps[row, column].long() @ seen
        shifted = (found + (1 << (bits - 1))) >> bits
        sums = shifted.view(*shifted.shape[:2], height, width) + self._bias_now[name].long()
        return sums.clamp(-ACTIVATION_LIMIT, ACTIVATION_LIMIT).double()


class NoisyDraw(DrawNetwork):
    """The floating-point network with a small relative error in every convolution."""

    generator: torch.Generator
    relative_error: float

    def convolve(self, name: str, values: Tensor) -> Tensor:
        found = super().convolve(name, values)
        noise = torch.randn(found.shape, generator=self.generator)
        return found * (1 + self.relative_error * noise)


@torch.inference_mode()
def float_symbols(network: DrawNetwork, coder: DrawCoder, pixels: Uint8Array, quality: float
                  ) -> Messages:  # fmt: skip
    """Symbols and table indexes that the floating-point network would choose."""
    latents = padded_latents(coder, pixels, quality)
    levels = torch.from_numpy(coder.synthesize(latents, quality).transpose(2, 0, 1).copy())[None]
    image = (2 * levels.float() - 255) / 256
    network.set_quality(torch.tensor([(quality - 1) / 99]))
    recursion = network.recursion
    state = recursion.begin(1, *image.shape[2:])
    part = recursion.image_part(image)
    lowest, found = network.config.log_scales[0], []
    for _ in range(network.config.steps):
        recursion.look(state, image, part)

        def choose(level: int, prior: Prior) -> Tensor:
            symbols = recursion.posterior(state, level).round()
            steps = (network.log_scale(prior.scale) - lowest) * 2 ** (UNIT_BITS - SCALE_STEP_BITS)
            found.append((symbols.int().numpy().ravel(), steps.round().int().numpy().ravel()))
            return symbols

        recursion.step(state, choose)
    network.set_quality(None)
    return found


def control(
    model: DrawModel, pictures: list[Uint8Array], quality: float, relative_error: float
) -> dict[str, Any]:
    """How many symbols and indexes an error changes in floating point."""
    noisy, coder = NoisyDraw(model.config), model.file_coder()
    noisy.load_state_dict(model.network.state_dict())
    noisy.eval().relative_error = relative_error
    noisy.generator = torch.Generator().manual_seed(0)
    counts = np.zeros(3, dtype=np.int64)
    for picture in pictures:
        one = float_symbols(model.network, coder, picture, quality)
        other = float_symbols(noisy, coder, picture, quality)
        for (symbols, indexes), (again, again_indexes) in zip(one, other, strict=True):
            counts += [len(symbols), (symbols != again).sum(), (indexes != again_indexes).sum()]
    return {
        "relative_error": relative_error,
        "symbols": int(counts[0]),
        "other_symbols": int(counts[1]),
        "other_tables": int(counts[2]),
    }


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def with_network(coder: DrawCoder, network: ExactDraw) -> DrawCoder:
    other = copy.copy(coder)
    other.network = network
    return other


def decoded(coder: DrawCoder, file: LayeredFile) -> list[Uint8Array]:
    """Pixels of all prefixes that can be decoded."""
    found: list[Uint8Array] = []
    with suppress(PayloadError):
        found.extend(decode_prefixes(coder, file, 0))
    return found


def measure_exactness(
    model: DrawModel, pictures: list[Uint8Array], *, quality: float = 75
) -> dict[str, Any]:
    """The part `exactness`: pictures uint8 (h, w, 3) of one tile each."""
    coder = model.file_coder()
    with threads(1):
        reference = [write_file(coder, picture, quality) for picture in pictures]
        pixels = [decoded(coder, file) for file in reference]

    def same(other: DrawCoder) -> dict[str, Any]:
        files = [write_file(other, picture, quality) for picture in pictures]
        again = [decoded(other, file) for file in reference]
        return {
            "same_files": sum(a.data == b.data for a, b in zip(files, reference, strict=True)),
            "same_pixels_of_all_prefixes": sum(
                len(a) == len(b) == coder.layers and all(map(np.array_equal, a, b))
                for a, b in zip(again, pixels, strict=True)
            ),
        }

    rows = {}
    with threads(2):
        rows["threads"] = same(coder)
    with threads(1):
        rows["order"] = same(with_network(coder, ReorderedDraw(coder.network, seed=0)))
        rows["integers"] = same(with_network(coder, IntegerDraw(coder.network)))
    return {
        "quality": quality,
        "pictures": len(pictures),
        "bytes": sum(len(file.data) for file in reference),
        "what": {
            "threads": "two threads in place of one",
            "order": "input channels of every convolution summed in another order",
            "integers": "sums of every convolution in 64-bit integers, without floating point",
        },
        "found": rows,
        "all_same": all(n == len(pictures) for row in rows.values() for n in row.values()),
        "control_in_floating_point": [
            control(model, pictures, quality, error) for error in RELATIVE_ERRORS
        ],
    }


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_subject(parser, limit=16)
    parser.add_argument("--quality", type=float, default=75)
    parser.add_argument("--columns", type=int, default=4, help="of a sheet")


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DrawModel, images: Images) -> Report:
        pictures = [as_picture(image) for image in images]
        pictures += sheets(images, options.columns)[:1]
        return measure_exactness(model, pictures, quality=options.quality)

    return subject.measured(options, "exactness", measure)
