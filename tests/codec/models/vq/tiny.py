"""Codecs of vector quantisation small enough for tests: untrained, with real integer priors."""

from __future__ import annotations

import dataclasses
import functools
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from codec.coding.bits_back_tables import bit_tables
from codec.coding.exact_layers import to_fixed_point
from codec.models.sheets import blocks_of
from codec.models.vq import VQ
from codec.models.vq.coder import VqCoder, load_vq, vq_arrays
from codec.models.vq.networks import MIDDLE, VqConfig, VqNetworks, squared_distances
from codec.models.vq.prior import ExactCodePrior, network_inputs
from tests.codec.tiny import photographs
from training.loop.export import register

COLOUR = VqConfig(3, 32, (8, 4), (4, 8), 4, 8, 1, 3, 6, 3, (1e-4, 2e-2))
GREY = VqConfig(1, 16, (4,), (16,), 3, 6, 1, 2, 5, 2, (1e-4, 2e-2))

Array = npt.NDArray[np.generic]
Uint8Array = npt.NDArray[np.uint8]


def scene(height: int, width: int, channels: int = 3, seed: int = 0) -> Uint8Array:
    """An artificial picture, uint8 (height, width, channels)."""
    side = max(height, width, 16)
    return photographs(1, side, seed)[0][:height, :width, :channels]


@torch.no_grad()
def networks(config: VqConfig) -> VqNetworks:
    """Random networks, but with codebooks of latents, so that all codes occur."""
    torch.manual_seed(14)
    found = VqNetworks(config).requires_grad_(False)
    pixels = blocks_of(scene(6 * config.side, 6 * config.side), config.side, config.channels)
    x = torch.from_numpy(pixels).float() / 255
    quality = torch.full((len(x),), 0.5)
    features, drawn, rest = found.features(x, quality), None, x - MIDDLE
    for number, codes in enumerate(config.codes):
        level = found.level(number)
        latents = level.analyze(rest, features[number], drawn, quality)
        rows = latents.permute(0, 2, 3, 1).flatten(0, 2)
        level.codebook.copy_(rows[torch.linspace(0, len(rows) - 1, codes).long()])
        level.unproject.weight.copy_(level.project.weight.transpose(0, 1))
        drawn, rest = level.draw(latents, drawn, quality), rest - level.pixels(latents)
        # At the middle quality, choosing another code costs some bits.
        apart = squared_distances(latents, level.codebook).mean()
        found.gains[number] = 10 / (config.weight(quality[0]) * apart)
    found.painter.last.weight.mul_(10)
    return found


def random_prior(config: VqConfig, level: int, spread: float = 0.7) -> ExactCodePrior:
    """A prior whose log-odds depend on neighbouring codes and on quality."""
    rng = np.random.default_rng(level)
    codes, size = config.codes[level], config.embedding

    def embedding(count: int) -> npt.NDArray[np.int16]:
        return np.rint(rng.normal(0, 1024, (count + 1, size))).astype(np.int16)

    sizes = (network_inputs(config, level), config.hidden, config.hidden, codes - 1)
    layers = tuple(
        to_fixed_point(
            rng.normal(0, spread / np.sqrt(into), (out, into, 1, 1)),
            rng.normal(0, spread, (config.knots, out)),
        )
        for into, out in pairwise(sizes)
    )
    above = embedding(config.codes[level - 1]) if level else None
    return ExactCodePrior(config, level, embedding(codes), above, layers, bit_tables())


@functools.cache
def arrays(config: VqConfig) -> dict[str, Array]:
    """All arrays of a weights file."""
    priors = [random_prior(config, level) for level in range(config.levels)]
    return vq_arrays(networks(config), priors)


def metadata(config: VqConfig) -> dict[str, str]:
    """The sizes in the metadata of a weights file."""
    return {"config": json.dumps(dataclasses.asdict(config))}


@functools.cache
def coder(config: VqConfig = COLOUR) -> VqCoder:
    """The model as it is loaded."""
    return load(config, {})


def load(config: VqConfig, other: dict[str, Array]) -> VqCoder:
    """The model with other arrays."""
    found = {**arrays(config), **other}
    return load_vq(found, metadata(config), bytes(8), device=torch.device("cpu"))


def write_tiny_vq(folder: Path, config: VqConfig = COLOUR, stem: str = VQ.name) -> None:
    """Weights of the model, in a folder for CALOTYPE_WEIGHTS."""
    path = folder / f"{stem}.safetensors"
    save_file(arrays(config), path, metadata=metadata(config))
    register(path, [VQ.name])
