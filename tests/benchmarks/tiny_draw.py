"""Untrained networks of every kind of DRAW, small data sets, and a run of one measurement."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from benchmarks.draw.__main__ import PARTS
from benchmarks.harness.command import measure
from benchmarks.harness.small_images import DrawModel, held_out_images, load_draw_model
from bitstream import gaussian_tables
from bitstream.arrays import Uint8Array
from codec.models.draw.exact import exact_arrays, log_scale_levels
from codec.models.draw.network import DrawNetwork
from codec.models.draw.recursion import DrawConfig
from tests.codec.rate_distortion.made_up_pictures import photo_like
from training.features.train import FeatureConfig, FeatureNetwork, save_features

FILES = DrawConfig(3, "gaussian", "uniform", 3, 4, (8, 8), (2, 3), knots=2)
DIGITS = DrawConfig(1, "bernoulli", "gaussian", 2, 4, (6,), (1,))
COLOUR = DrawConfig(3, "logistic", "gaussian", 2, 4, (6,), (2,))
CONFIGS = {"files": FILES, "digits": DIGITS, "colour": COLOUR}


def write_weights(folder: Path, name: str, config: DrawConfig) -> None:
    torch.manual_seed(3)
    network = DrawNetwork(config)
    with torch.no_grad():
        # Untrained heads give almost no symbols; scaled ones give symbols and different pictures.
        for key, weight in network.weights.items():
            weight.mul_(30 if key.startswith(("prior", "posterior", "paint")) else 1)
    arrays: dict[str, Any] = dict(exact_arrays(config, network.state_dict()))
    if config.posterior == "uniform":
        tables = gaussian_tables(np.exp(log_scale_levels(config))).to_arrays()
        arrays |= {f"step_tables.{key}": array for key, array in tables.items()}
    save_file(arrays, folder / f"{name}.safetensors", {"config": json.dumps(asdict(config))})


def write_all(made: Path) -> None:
    """Write weights of every kind of network, of a classifier, and data sets of both kinds."""
    for name, config in CONFIGS.items():
        write_weights(made, name, config)
    torch.manual_seed(0)
    classifier = FeatureNetwork(FeatureConfig(3, (4, 6), 5))
    save_features(made / "features.safetensors", classifier.eval(), {})
    colour = np.stack([photo_like(seed, 64, 64) for seed in range(6)])
    np.savez(made / "colour.npz", x_test=colour.transpose(0, 3, 1, 2))
    ink = np.random.default_rng(0).integers(0, 256, (24, 7, 7)).repeat(4, 1).repeat(4, 2)
    np.savez(made / "digits.npz", x_test=ink.astype(np.uint8))


def model(folder: Path, name: str) -> DrawModel:
    return load_draw_model(folder / f"{name}.safetensors")


def images_of(folder: Path, name: str, limit: int | None = None) -> np.ndarray[Any, Any]:
    data = folder / ("digits.npz" if name == "digits" else "colour.npz")
    return held_out_images(CONFIGS[name], data, limit)


def run(folder: Path, output: Path, part: str, name: str, *more: str) -> dict[str, Any]:
    data = "digits.npz" if name == "digits" else "colour.npz"
    measure("draw", PARTS, [
        part, "--weights", str(folder / f"{name}.safetensors"), "--data", str(folder / data),
        "--output", str(output), *more,
    ])  # fmt: skip
    content: dict[str, Any] = json.loads(output.read_text("utf-8"))
    found: dict[str, Any] = content[part][name]
    assert {"provenance", "load_average", "seconds", "data", "weights_sha256"} <= set(found)
    assert str(folder) not in output.read_text("utf-8")
    return found


def as_picture(image: np.ndarray[Any, Any]) -> Uint8Array:
    return np.ascontiguousarray(image.transpose(1, 2, 0))
