"""Untrained distribution-preserving codecs, generators and small data sets for the measurements."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from benchmarks.dplc.__main__ import PARTS
from benchmarks.harness.command import measure
from bitstream.arrays import Uint8Array
from codec.models.dplc.networks import DplcConfig
from codec.models.generative.networks import Decoder, GenerativeModel
from codec.models.generative.weights_file import save_generative
from codec.priors import StandardNormal
from tests.codec.models.dplc.tiny import arrays, metadata
from training.features.train import FeatureConfig, FeatureNetwork, save_features

GREY = DplcConfig(1, 32, 5, (4, 5), (4, 4, 4, 5), 4, noise=1, rates=(0, 1, 3))
COLOUR = dataclasses.replace(GREY, channels=3, rates=(2, 5))
PLAIN = tuple(dataclasses.replace(GREY, noise=0, rates=(symbols,)) for symbols in (1, 3))
CONFIGS = {"grey": GREY, "colour": COLOUR, "plain1": PLAIN[0], "plain3": PLAIN[1]}
COUNT = 24

Report = dict[str, Any]


def digit_like(count: int, seed: int) -> Uint8Array:
    """Light strokes on black, uint8 (count, 28, 28)."""
    rng = np.random.default_rng(seed)
    ink = np.zeros((count, 28, 28), dtype=np.uint8)
    for image in ink:
        y, x = rng.integers(4, 16, 2)
        image[y : y + 9, x : x + 3] = 255
        image[y + 3 : y + 6, x - 3 : x + 8] = 180
    return ink


def write_idx(path: Path, values: Uint8Array) -> None:
    """A gzipped IDX file of unsigned bytes."""
    head = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(head + values.tobytes()))


def write_all(folder: Path) -> None:
    """Write weights of all kinds, of a classifier, and a folder of digits."""
    for name, config in CONFIGS.items():
        save_file(arrays(config), folder / f"{name}.safetensors", metadata=metadata(config))
    torch.manual_seed(0)
    save_features(
        folder / "features.safetensors", FeatureNetwork(FeatureConfig(3, (4, 6), 5)).eval(), {}
    )
    for seed in range(4):
        torch.manual_seed(seed)
        sizes = GREY.generator
        figures = {} if seed < 3 else {"pattern_entropy_bits": 0.25, "critic_estimate": 1.0}
        card = {"validation": json.dumps(figures)}
        prior = StandardNormal(sizes.code)
        model = GenerativeModel(sizes, Decoder(sizes), None, prior, card=card)
        save_generative(folder / f"generator{seed}.safetensors", model)
    digits = folder / "digits"
    digits.mkdir()
    for part, seed in (("train", 1), ("t10k", 2)):
        write_idx(digits / f"{part}-images-idx3-ubyte.gz", digit_like(COUNT, seed))
        labels = np.arange(COUNT).astype(np.uint8)
        write_idx(digits / f"{part}-labels-idx1-ubyte.gz", labels)


def run(folder: Path, output: Path, part: str, *words: str) -> Report:
    """Run one part of the measurement; return all of its entries in the result file."""
    data = () if part in ("gaussian", "trellis", "probes") else ("--data", str(folder / "digits"))
    measure("dplc", PARTS, [part, *data, "--output", str(output), *words])
    text = output.read_text("utf-8")
    assert str(folder) not in text
    kept: Report = json.loads(text)[part]
    for found in kept.values():
        assert {"provenance", "load_average", "seconds", "found"} <= set(found)
    return kept
