"""Distribution-preserving codecs small enough for tests: untrained, with real integer priors."""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import save_file

from codec.models.dplc import DPLC
from codec.models.dplc.coder import DplcCoder, dplc_arrays, load_dplc
from codec.models.dplc.networks import DplcConfig, DplcNetworks
from codec.models.dplc.prior import ExactBitPrior
from codec.models.sheets import blocks_of
from tests.codec.tiny import photographs
from training.loop.export import register

COLOUR = DplcConfig(3, 32, 6, (4, 5, 6), (4, 4, 5, 6), 6, noise=2, rates=(0, 1, 3))
GREY = DplcConfig(1, 16, 4, (4, 5), (4, 4, 4, 5), 4, noise=1, rates=(0, 2, 5))
FLOW_SIZES: dict[str, Any] = {"flow_blocks": 2, "flow_width": 5, "flow_steps": 3}
FLOW = dataclasses.replace(COLOUR, **FLOW_SIZES)
CODES = dataclasses.replace(FLOW, codes_from=3)
PLAIN = dataclasses.replace(COLOUR, noise=0, rates=(2,))

Array = npt.NDArray[np.generic]
Uint8Array = npt.NDArray[np.uint8]


def scene(height: int, width: int, channels: int = 3, seed: int = 0) -> Uint8Array:
    """An artificial picture, uint8 (height, width, channels)."""
    side = max(height, width, 16)
    return photographs(1, side, seed)[0][:height, :width, :channels]


@torch.no_grad()
def networks(config: DplcConfig) -> DplcNetworks:
    """Random networks, but with different pictures, and bits that are 0 as often as 1."""
    torch.manual_seed(12)
    found = DplcNetworks(config).requires_grad_(False)
    for network in (found.generator, found.maps):
        for name, parameter in network.named_parameters():
            if name.endswith("weight"):
                parameter.mul_(3)
    if found.generator.flow is not None:
        for parameter in found.generator.flow.parameters():
            parameter.normal_(0, 0.6)  # untrained, it would be the identity
    pixels = blocks_of(scene(8 * config.side, 8 * config.side), config.side, config.channels)
    for rate, symbols in enumerate(config.rates):
        if symbols:
            values = found.analyze(torch.from_numpy(pixels).float() / 255, rate)
            last = found.encoders[rate].last
            last.bias.sub_(values.transpose(0, 1).flatten(1).median(1).values)  # type: ignore[union-attr,operator]
    return found


def random_prior(size: int, seed: int, spread: float = 0.7) -> ExactBitPrior:
    """A prior of `size` bits with different log-odds."""
    rng = np.random.default_rng(seed)
    weight = np.tril(rng.normal(0, spread, (size, size)), -1)
    bias = rng.normal(0, spread, size)
    return ExactBitPrior.to_fixed_point(torch.from_numpy(weight), torch.from_numpy(bias))


@functools.cache
def arrays(config: DplcConfig) -> dict[str, Array]:
    """All arrays of a weights file."""
    sizes = [config.symbols(rate) for rate in range(len(config.rates))]
    priors = [random_prior(size, rate) if size else None for rate, size in enumerate(sizes)]
    return dplc_arrays(networks(config), priors)


def metadata(config: DplcConfig) -> dict[str, str]:
    """The sizes in the metadata of a weights file."""
    return {"config": json.dumps(dataclasses.asdict(config))}


@functools.cache
def coder(config: DplcConfig = COLOUR) -> DplcCoder:
    """The model as it is loaded."""
    return load(config, {})


def load(config: DplcConfig, other: dict[str, Array]) -> DplcCoder:
    """The model with other arrays."""
    found = {**arrays(config), **other}
    return load_dplc(found, metadata(config), bytes(8), device=torch.device("cpu"))


def write_tiny_dplc(folder: Path, config: DplcConfig = COLOUR, name: str = DPLC.name) -> None:
    """Weights of the model, in a folder for CALOTYPE_WEIGHTS."""
    path = folder / f"{name}.safetensors"
    save_file(arrays(config), path, metadata=metadata(config))
    register(path, [DPLC.name])
