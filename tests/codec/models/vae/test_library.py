"""The VAE models in the library, the command and the weights files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

import codec
from bitstream import TableError, WeightsMismatchError
from codec import loading
from codec.cli import app
from codec.models.generative.networks import GenerativeConfig, GenerativeModel
from codec.models.generative.weights_file import save_generative
from codec.models.vae.archive import load_bits_back
from codec.models.vae.coder import vae_loader
from codec.models.weights_files import WEIGHTS_FOLDER
from tests.codec.models.vae.tiny import (
    LOSSY,
    NAMES,
    binary,
    digits,
    generative,
    lossy_arrays,
    sheet,
)
from training.commands import main as train
from training.generative import digits_export

CPU = torch.device("cpu")


@pytest.fixture
def pixels() -> npt.NDArray[np.uint8]:
    return binary(sheet(digits(24, seed=14), 6))


@pytest.mark.parametrize("name", NAMES)
def test_the_library_codes_and_decodes(
    name: str, tiny_digits: Path, pixels: npt.NDArray[np.uint8]
) -> None:
    data = codec.compress(pixels, model=name, quality=60)
    info = codec.inspect(data)
    assert (info.model_name, info.channels, info.tiles_x, info.layers) == (name, 1, 1, 1)
    assert codec.verify(data).model_name == name
    decoded = codec.decompress(data, as_="numpy")
    assert decoded.shape == pixels.shape
    if name == "vae-bits-back":
        np.testing.assert_array_equal(decoded, pixels)
    else:
        small = codec.compress(pixels, model=name, size=len(data) - 5)
        assert len(small) <= len(data) - 5


def test_the_command_codes_and_decodes(
    tiny_digits: Path, pixels: npt.NDArray[np.uint8], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(pixels).save("sheet.png")
    for arguments in (
        ["compress", "sheet.png", "-m", "vae-dither", "-q", "60"],
        ["inspect", "sheet.calo"],
        ["verify", "sheet.calo"],
        ["decompress", "sheet.calo", "-o", "again.png"],
    ):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    with Image.open("again.png") as image:
        assert (image.mode, image.size) == ("L", (168, 112))
    Image.new("RGB", (30, 30), (9, 8, 7)).save("colour.png")
    result = CliRunner().invoke(app, ["compress", "colour.png", "-m", "vae-dither"])
    assert result.exit_code == 2
    assert "'photo'" in result.output


def test_one_weights_file_serves_four_models(tiny_digits: Path) -> None:
    registry = json.loads((tiny_digits / "registry.json").read_text("utf-8"))
    shared = {registry[name][0]["file"] for name in LOSSY}
    assert shared == {"digits-vae.safetensors"}
    assert len(list(tiny_digits.glob("*.safetensors"))) == 2
    hashes = {loading.load_model(name, device="cpu").weights_hash for name in LOSSY}
    assert len(hashes) == 1
    card = (tiny_digits / "digits-vae.md").read_text("utf-8")
    assert all(f"`{name}`" in card for name in LOSSY)


def without(arrays: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("vae-round", "rung_offsets"), ("vae-dither", "rung_offsets"), ("vae-rec", "rec_layouts"),
        ("vae-round", "encoder.layers.0.weight"), ("vae-vbq", "decoder.layers.1.bias"),
        ("vae-rec", "rec_tables.starts"),
    ],
)  # fmt: skip
def test_incomplete_weights_are_refused(model: str, name: str) -> None:
    config = {"config": json.dumps(vars(generative("gaussian").config))}
    with pytest.raises((WeightsMismatchError, TableError)):
        vae_loader(model)(without(lossy_arrays(), name), config, bytes(8), device=CPU)


def test_tables_of_another_size_are_refused() -> None:
    config = {"config": json.dumps(vars(generative("gaussian").config))}
    swapped = dict(lossy_arrays())
    for part in ("frequencies", "starts", "minimums"):
        swapped[f"dither_tables.{part}"] = swapped[f"round_tables.{part}"]
        swapped[f"rec_tables.{part}"] = swapped[f"round_tables.{part}"]
        swapped[f"vbq_tables.{part}"] = swapped[f"round_tables.{part}"]
    for name in ("vae-dither", "vae-rec", "vae-vbq"):
        with pytest.raises(WeightsMismatchError):
            vae_loader(name)(swapped, config, bytes(8), device=CPU)
    gaps = {**lossy_arrays(), "rec_layouts": np.full((25, 4), 2, np.int32)}
    with pytest.raises(WeightsMismatchError, match="blocks"):
        vae_loader("vae-rec")(gaps, config, bytes(8), device=CPU)
    for shape in ((25, 5), (25, 3), (25,)):
        other = {**lossy_arrays(), "rec_layouts": np.zeros(shape, np.int32)}
        with pytest.raises(WeightsMismatchError, match=r"expected int32\[sets, 4\]"):
            vae_loader("vae-rec")(other, config, bytes(8), device=CPU)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"family": "vae"}'])
def test_an_unreadable_configuration_is_refused(text: str) -> None:
    with pytest.raises(WeightsMismatchError):
        vae_loader("vae-round")(lossy_arrays(), {"config": text}, bytes(8), device=CPU)


def test_the_archive_takes_no_gaussian_model() -> None:
    config = {"config": json.dumps(vars(generative("gaussian").config))}
    with pytest.raises(WeightsMismatchError, match="bernoulli"):
        load_bits_back(lossy_arrays(), config, bytes(8), device=CPU)
    config = {"config": json.dumps(vars(generative("bernoulli").config))}
    with pytest.raises(WeightsMismatchError, match="posterior"):
        load_bits_back(lossy_arrays(), config, bytes(8), device=CPU)


def test_the_exporter_refuses_what_it_cannot_freeze() -> None:
    with pytest.raises(codec.UsageError, match="expected a vae"):
        digits_export.lossy_arrays(generative("bernoulli"), digits(4))
    with pytest.raises(codec.UsageError, match="expected a vae"):
        digits_export.bits_back_arrays(generative("gaussian"))


def test_the_exporter_is_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "trained.safetensors"
    save_generative(source, generative("bernoulli"))
    out = tmp_path / "weights"
    assert train(["export", str(source), "-o", str(out)]) == 0
    assert capsys.readouterr().out.strip().endswith("digits-vae-binary.safetensors")
    assert "encoder.0.weight" in load_file(out / "digits-vae-binary.safetensors")
    assert train(["export", str(tmp_path / "none"), "-o", str(out)]) == 3
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "none").write_bytes(b"no weights")
    assert train(["export", str(tmp_path / "none"), "-o", str(out)]) == 5
    assert "not a weights file" in capsys.readouterr().err
    save_generative(source, generative("gaussian"))
    assert train(["export", str(source), "-o", str(out)]) == 2
    assert "training images" in capsys.readouterr().err
    assert train(["export", str(source), "-o", str(out), "--full"]) == 2
    assert "--full" in capsys.readouterr().err


def test_another_prior_is_refused() -> None:
    model = generative("gaussian")
    config: GenerativeConfig = model.config

    class Other:
        dim = config.code

    odd = GenerativeModel(config, model.decoder, model.encoder, Other())  # type: ignore[arg-type]
    with pytest.raises(codec.UsageError, match="expected StandardNormal"):
        digits_export.lossy_arrays(odd, digits(4))


SHIPPED = [
    name
    for name in NAMES
    if name in json.loads((WEIGHTS_FOLDER / "registry.json").read_text("utf-8"))
]


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_weights_draw_what_they_were_given(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(loading.ENVIRONMENT_VARIABLE, raising=False)
    # A bar and a ring, which are close enough to a one and a zero.
    rows, columns = np.mgrid[:28, :28]
    bar = (abs(columns - 14) <= 1) & (abs(rows - 14) <= 9)
    radius = np.hypot(rows - 13.5, (columns - 13.5) * 1.3)
    strokes = [bar, (radius > 6) & (radius < 9)]
    pixels = np.concatenate([np.where(s, 255, 0).astype(np.uint8) for s in strokes], axis=1)
    data = codec.compress(pixels, model=name, quality=75, device="cpu")
    decoded = codec.decompress(data, as_="numpy", device="cpu")
    errors = ((decoded.astype(float) - pixels) / 255) ** 2
    assert errors.sum() < 0.5 * (pixels / 255).sum()
    assert len(data) < 400
