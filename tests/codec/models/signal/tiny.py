"""Signal models small enough for tests: untrained networks whose shifts and scales differ."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch

from bitstream.arrays import Array, Int16Array
from codec.models.signal.coder import SignalCoder
from codec.models.signal.network import SignalConfig
from training.loop.origin import Origin
from training.signal.export import export_arrays, write_weights
from training.signal.network import SignalNetwork

CONFIG = SignalConfig(channels=5, dilations=(1, 3))


def tiny_network() -> SignalNetwork:
    torch.manual_seed(7)
    network = SignalNetwork(CONFIG)
    weight = torch.randn(3, 5, 1) * torch.tensor([2.0, 0.3, 0.4])[:, None, None]
    network.output.load_state_dict({"weight": weight, "bias": torch.tensor([-2.0, 0.1, 0.5])})
    return network


@functools.cache
def tiny_arrays() -> dict[str, Array]:
    return export_arrays(tiny_network())


@functools.cache
def tiny_coder() -> SignalCoder:
    return SignalCoder(tiny_arrays(), CONFIG, bytes(8))


def write_tiny_signal(folder: Path) -> Path:
    return write_weights(folder, tiny_arrays(), CONFIG, Origin("none", "Apache-2.0", "untrained"))


def tone(count: int, seed: int = 0, amplitude: float = 9000.0) -> Int16Array:
    """An artificial signal int16 (count,): two swelling tones, noise, and a silent stretch."""
    rng = np.random.default_rng(seed)
    time = np.arange(count)
    wave = np.sin(time / 7.3) + 0.5 * np.sin(time / (3.1 + seed)) + 0.02 * rng.normal(size=count)
    wave *= amplitude * (0.55 + 0.45 * np.sin(time / 97)) / 1.6
    wave[count // 2 : count // 2 + count // 8] = 0
    return np.rint(wave).astype(np.int16)
