"""FORMAT.md is enough for what golden files lack: layers with units, colour archives, free noise.

The weights are made from those of golden files, so that the product accepts them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

import codec
from tests.bitstream.format_decoded import Decoded, Weights
from tests.bitstream.format_examples import GOLDEN
from tests.bitstream.format_models import DECODERS
from tests.bitstream.format_reader import File, read_file
from tests.bitstream.format_text import document, pcg_starts

Arrays = dict[str, npt.NDArray[Any]]
Uint8Array = npt.NDArray[np.uint8]


def golden(name: str) -> tuple[dict[str, Any], Arrays]:
    """Configuration and arrays of a golden weights file."""
    with safe_open(GOLDEN / f"{name}.safetensors", framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return json.loads(file.metadata()["config"]), arrays


def install(folder: Path, model: str, weights: Weights) -> None:
    """Write a weights file, and register it where the product searches."""
    path = folder / "variant.safetensors"
    metadata = {"config": json.dumps(weights.config), "side": str(weights.side)}
    save_file({name: a.copy() for name, a in weights.arrays.items()}, path, metadata)
    entry = {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (folder / "registry.json").write_text(json.dumps({model: [entry]}), "utf-8")


def decoded(file: File, weights: Weights) -> Decoded:
    return DECODERS[file.header.model](file, weights, pcg_starts(document()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CALOTYPE_WEIGHTS", str(tmp_path))
    return tmp_path


def picture() -> Uint8Array:
    with Image.open(GOLDEN / "photo-visual-v1.png") as image:
        return np.asarray(image)


def test_layers_of_photo_with_other_units_and_positions(folder: Path) -> None:
    config, arrays = golden("photo")
    for name in [name for name in arrays if name.startswith("context.")]:
        layer, kind = name.rsplit(".", 1)
        if kind == "weight":
            usual = arrays.get(f"{layer}.units", np.array([10, 12, 2**22]))
            arrays[f"{layer}.units"] = np.array([4, usual[1] - 2, 900], dtype=np.int32)
            arrays[name] = (arrays[name] >> 2).astype(np.int16)
    # Qualities that differ from positions, and end before the last position.
    rising = np.arange(100) + np.rint(9000 * np.linspace(0, 1, 100) ** 1.5)
    arrays["quality_map"] = (100 + np.stack([rising, 0.9 * rising])).astype(np.int32)
    weights = Weights(config, 0, arrays)
    install(folder, "photo", weights)
    image = picture()[:75, :90]
    data = codec.compress(image, model="photo:variant", quality=81.25, device="cpu")
    found = decoded(read_file(data), weights)
    assert [len(message.symbols) for message in found.messages[0][:5]] == [32, 45, 36, 54, 135]
    drawn = codec.decompress(data, as_="numpy", device="cpu")
    np.testing.assert_array_equal(found.pixels, drawn)


@pytest.mark.parametrize(("far", "counts"), [(1, [9, 4]), (2, [5, 4, 4]), (3, [4, 1, 4, 4])])
def test_far_passes_of_photo(folder: Path, far: int, counts: list[int]) -> None:
    config, arrays = golden("photo")
    names = {"corners_4": "diagonal", "edges_4": "coarse", "corners_2": "black"}
    for name, near in list(names.items())[-far:]:
        for key in [key for key in arrays if key.startswith(f"context.{near}.")]:
            arrays[key.replace(near, name)] = arrays[key]
    config["far_passes"] = far
    weights = Weights(config, 0, arrays)
    install(folder, "photo", weights)
    image = picture()[:150, :160]
    data = codec.compress(image, model="photo:variant", quality=70, device="cpu")
    found = decoded(read_file(data), weights)
    first = [len(message.symbols) // 9 for message in found.messages[0][1 : far + 2]]
    assert first == counts
    drawn = codec.decompress(data, as_="numpy", device="cpu")
    np.testing.assert_array_equal(found.pixels, drawn)


def colour_archive() -> Weights:
    """A small network that draws in colour, with random weights and three maps of bins."""
    _, arrays = golden("draw-bits-back")
    generator = np.random.default_rng(8)
    s, (H, H_above), (N, N_above) = 2, (4, 3), (2, 1)
    config = {
        "channels": 3, "likelihood": "logistic", "posterior": "gaussian", "steps": 2, "stride": s,
        "hidden": [H, H_above], "codes": [N, N_above], "knots": 1,
    }  # fmt: skip
    seen = 3 * s * s
    found = {
        name: arrays[name]
        for name in arrays
        if name in ("exact.sigmoid", "exact.tanh", "exact.scales")
        or name in ("posterior.quantiles", "posterior.reciprocals", "posterior.distribution")
    }
    for name, inputs, outputs in (
        ("prior0", H + H_above, 2 * N),
        ("prior1", H_above, 2 * N_above),
        ("posterior0", H + H_above, 2 * N),
        ("posterior1", H_above, 2 * N_above),
        ("encoder0", seen + 2 * H, 4 * H),
        ("encoder1", H + 2 * H_above, 4 * H_above),
        ("decoder0", N + H_above + seen + H, 4 * H),
        ("decoder1", N_above + H_above, 4 * H_above),
        ("image", seen, 4 * H),
        ("paint", H, 9 * s * s),
    ):
        weight = generator.integers(-900, 901, (outputs, inputs, 3, 3), dtype=np.int16)
        found[f"exact.{name}.weight"] = weight
        found[f"exact.{name}.bias"] = generator.integers(-2000, 2001, (1, outputs), dtype=np.int32)
        found[f"exact.{name}.weight_bits"] = np.array(10, dtype=np.int32)
    start = [100, -200, 50, -4000, -3500, -4500, 900, -800, 700]
    found["exact.start"] = np.array(start, dtype=np.int32)
    found["posterior.bits0"] = (
        np.array([[0, 0], [2, 1], [4, 3]], np.uint8).repeat(2, 0).reshape(3, 2, 2, 1, 1)
    )
    found["posterior.bits1"] = np.array([0, 3, 5], np.uint8).repeat(2).reshape(3, 2, 1, 1, 1)
    levels, places = np.arange(145) / 16 - 7, np.arange(-(2**14), 2**14 + 1) / 2**10
    found["pixels.reciprocals"] = np.rint(np.exp(-levels) * 2**12).astype(np.int32)
    rising = 1 / (1 + np.exp(-places))
    rising = (rising - rising[0]) / (rising[-1] - rising[0])
    found["pixels.distribution"] = np.rint(rising * (2**24 - 256)).astype(np.int32)
    return Weights(config, 4, found)


def test_an_archive_in_colour(folder: Path) -> None:
    weights = colour_archive()
    install(folder, "draw-bits-back", weights)
    image = picture()[20:41, 10:34]
    data = codec.compress(image, model="draw-bits-back:variant", device="cpu")
    found = decoded(read_file(data), weights)
    np.testing.assert_array_equal(found.pixels, image)
    # The last groups have several blocks, and their bins are not zero.
    assert len(found.numbers["runs"]) > 4
    assert len(set(found.numbers["bins"])) > 8


def test_noise_that_is_free(folder: Path) -> None:
    config, arrays = golden("dplc")
    weights = Weights(config, 0, arrays)
    install(folder, "dplc", weights)
    image = picture()[:40, :50]
    data = codec.compress(image, model="dplc:variant", quality=50, device="cpu", noise_seed=None)
    file = read_file(data)
    assert file.header.free_noise
    assert file.header.noise_seed is None
    seed = 2**62 + 5
    seeded = replace(file, header=replace(file.header, noise_seed=seed))
    found = decoded(seeded, weights)
    drawn = codec.decompress(data, as_="numpy", device="cpu", seed=seed)
    assert np.abs(found.pixels.astype(int) - drawn).max() <= 1
