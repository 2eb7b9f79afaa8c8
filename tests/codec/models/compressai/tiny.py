"""Tiny networks with the attributes of CompressAI's models, which do not need that library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from bitstream.tables import gaussian_tables
from codec.models.compressai import ARCHITECTURES, COMPRESSAI
from codec.models.compressai.checkpoint import take_apart
from codec.models.compressai.coder import ZooCoder, ZooNetwork

LATENTS, HYPER_LATENTS = 6, 4
AUTOREGRESSIVE = ("mbt2018", "cheng2020-anchor", "cheng2020-attn")
KINDS = ("bmshj2018-factorized", "bmshj2018-hyperprior", "mbt2018-mean", "mbt2018")
"""One architecture for each coding method."""
SCALES = np.geomspace(0.3, 20, 9)


def cdfs_of(scales: npt.NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Cumulative frequencies of 16 bits, their lengths, and offsets, as CompressAI stores them."""
    tables = gaussian_tables(scales, tail_mass=1e-5)
    rows = []
    for begin, end in zip(tables.starts[:-1], tables.starts[1:], strict=True):
        entries = np.maximum(tables.frequencies[begin:end] >> 8, 1)
        entries[entries.argmax()] += 2**16 - entries.sum()
        rows.append(np.append(0, np.cumsum(entries)))
    lengths = [len(row) for row in rows]
    padded = [np.pad(row, (0, max(lengths) - len(row))) for row in rows]
    return (
        torch.from_numpy(np.stack(padded)).int(),
        torch.tensor(lengths, dtype=torch.int32),
        torch.from_numpy(tables.minimums.copy()),
    )


class Entropy(nn.Module):
    """Tables under the names of CompressAI's entropy models, as buffers."""

    def __init__(self, scales: npt.NDArray[np.float64]) -> None:
        super().__init__()
        for name, tensor in zip(
            ("quantized_cdf", "cdf_length", "offset"), cdfs_of(scales), strict=True
        ):
            self.register_buffer(name, tensor)
        self.lower_bound_scale: Any = SimpleNamespace(bound=torch.tensor(scales[0]))


class Stand(nn.Module):
    """A stand-in for one architecture: random networks of one or two convolutions."""

    def __init__(self, architecture: str) -> None:
        super().__init__()
        has_hyper, channels = "factorized" not in architecture, LATENTS
        self.g_a: Any = nn.Conv2d(3, LATENTS, 16, stride=16)
        self.g_s: Any = nn.ConvTranspose2d(LATENTS, 3, 16, stride=16)
        if has_hyper:
            channels = HYPER_LATENTS
            outputs = LATENTS if architecture == "bmshj2018-hyperprior" else 2 * LATENTS
            self.h_a: Any = nn.Conv2d(LATENTS, HYPER_LATENTS, 7, stride=4, padding=3)
            self.h_s: Any = nn.ConvTranspose2d(HYPER_LATENTS, outputs, 4, stride=4)
            self.gaussian_conditional: Any = Entropy(SCALES)
            self.gaussian_conditional.register_buffer("scale_table", torch.from_numpy(SCALES))
        if architecture in AUTOREGRESSIVE:
            self.context_prediction: Any = nn.Conv2d(LATENTS, 2 * LATENTS, 5, padding=2)
            self.entropy_parameters: Any = nn.Sequential(
                nn.Conv2d(4 * LATENTS, 3 * LATENTS, 1),
                nn.LeakyReLU(),
                nn.Conv2d(3 * LATENTS, 2 * LATENTS, 1),
            )
        self.entropy_bottleneck: Any = Entropy(np.linspace(1, 5, channels))
        self.entropy_bottleneck.quantiles = nn.Parameter(torch.randn(channels, 1, 3))
        with torch.no_grad():  # latents some steps wide, scales of the same size
            self.g_a.weight.mul_(15)
            for name in ("h_a", "h_s"):
                if has_hyper:
                    getattr(self, name).weight.mul_(3)
            if has_hyper:
                self.h_s.bias[:LATENTS] += 3
            if architecture in AUTOREGRESSIVE:
                self.entropy_parameters[-1].weight.mul_(3)
        self.eval().requires_grad_(False)


def stand(architecture: str, seed: int = 0) -> Stand:
    """A stand-in with random weights from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Stand(architecture)


def stand_in_network(architecture: str, state: Mapping[str, torch.Tensor]) -> ZooNetwork:
    """A replacement for `codec.models.compressai.checkpoint.network_of`, which may also raise
    KeyError."""
    model = stand(architecture)
    model.load_state_dict(dict(state))
    return take_apart(architecture, model)


def coder(architecture: str, seed: int = 0) -> ZooCoder:
    """A loaded stand-in."""
    network = take_apart(architecture, stand(architecture, seed))
    return ZooCoder(COMPRESSAI.variant(architecture), network, b"standing")


def write_checkpoint(folder: Path, architecture: str, seed: int = 0) -> Path:
    """Write a stand-in's state_dict to a file as a training run does."""
    path = folder / f"{architecture}-{seed}.pth.tar"
    torch.save({"epoch": 3, "state_dict": stand(architecture, seed).state_dict()}, path)
    return path


def latents_of(model: ZooCoder, height: int, width: int, seed: int = 0) -> Any:
    """Latents float32 (LATENTS, height, width) of a random picture."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return model.analyze(coarse.repeat(16, axis=0).repeat(16, axis=1), 75)


assert set(KINDS) | set(AUTOREGRESSIVE) <= set(ARCHITECTURES)
