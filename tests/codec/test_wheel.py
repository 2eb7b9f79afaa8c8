"""The wheel: small, with the weights for the base installation, and a way to get the others."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import codec
from codec.cli import app
from codec.loading import load_model
from codec.models import weights_files
from codec.models.catalog import all_models, find_model
from codec.models.photo.realism import NAME as REALISM
from codec.models.signal import SIGNAL
from codec.models.weights_files import WEIGHTS_FOLDER, registered, user_folder
from codec.rate_distortion.user_code.adapters import SHIPPED

ROOT = Path(__file__).resolve().parents[2]
MAX_BYTES = 20_000_000
"""Of a wheel without the earlier weights that it contains for files of earlier releases."""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with only the wheel's weights, and a user's folder."""
    folder = tmp_path / "package" / "weights"
    folder.mkdir(parents=True)
    shutil.copy(WEIGHTS_FOLDER / "registry.json", folder)
    for file in registered(WEIGHTS_FOLDER, "photo"):
        shutil.copy(file.path, folder)
    monkeypatch.setattr(weights_files, "WEIGHTS_FOLDER", folder)
    monkeypatch.setattr("codec.cli.models.WEIGHTS_FOLDER", folder)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "data"))
    monkeypatch.delenv("CALOTYPE_WEIGHTS", raising=False)
    return folder


def test_the_wheel_is_small_and_codes_photographs(tmp_path: Path) -> None:
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        registry = json.loads(archive.read("codec/weights/registry.json"))
        sizes = {Path(info.filename).name: info.compress_size for info in archive.infolist()}
    earlier = {entry["file"] for files in registry.values() for entry in files[1:]}
    earlier -= {files[0]["file"] for files in registry.values()}
    assert wheel.stat().st_size - sum(sizes.get(name, 0) for name in earlier) < MAX_BYTES
    weights = {Path(name).name for name in names if name.endswith(".safetensors")}
    base = {model.name for model in (*all_models(), SIGNAL) if not model.needs_torch} | {REALISM}
    expected = {
        entry["file"] for model, files in registry.items() for entry in files if model in base
    }
    assert expected
    assert weights == expected | {f"{name}.safetensors" for name in SHIPPED}
    # Cards and hashes of the others are included, so that these can be found.
    cards = {Path(name).stem for name in names if Path(name).parts[:2] == ("codec", "weights")}
    assert {Path(entry["file"]).stem for files in registry.values() for entry in files} <= cards
    for name in ("bitstream/FORMAT.md", "codec/photographs/coffee.webp", "training/__main__.py"):
        assert name in names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]


def test_other_weights_are_fetched_from_a_checkout(package: Path) -> None:
    pixels = np.zeros((28, 28), np.uint8)
    with pytest.raises(codec.WeightsMissingError, match="calotype models --fetch CHECKOUT"):
        codec.compress(pixels, model="vae-round")
    runner = CliRunner()
    assert "(not installed)" in runner.invoke(app, ["models"]).stdout
    done = runner.invoke(app, ["models", "--fetch", str(ROOT)])
    assert done.exit_code == 0, done.output
    assert "(not installed)" not in done.stdout
    copies = {path.name for path in user_folder().iterdir()}
    models = (*(model.name for model in (*all_models(), SIGNAL)), REALISM)
    listed = {f.path.name for model in models for f in registered(package, model)}
    there = {path.name for path in package.glob("*.safetensors")}
    assert copies == listed - there
    assert done.stderr.count("notice: copied") == len(copies)
    data = codec.compress(pixels, model="vae-round")
    assert codec.decompress(data, as_="numpy").shape == (28, 28)
    # The order is that of the registry.
    default = registered(WEIGHTS_FOLDER, "draw-bits-back")[0].path.stem
    assert weights_files.find_weights(find_model("draw-bits-back"), None, None).path.stem == default
    again = runner.invoke(app, ["models", "--fetch", str(ROOT)])
    said = "calotype: notice: nothing was copied: all weights are here already\n"
    assert (again.exit_code, again.stderr) == (0, said)

    stale = user_folder() / "digits-vae.safetensors"
    shutil.copy(WEIGHTS_FOLDER / "digits-vae-binary.safetensors", stale)
    with pytest.raises(codec.WeightsMismatchError, match="another version: calotype models --fet"):
        codec.compress(pixels, model="vae-round")
    again = runner.invoke(app, ["models", "--fetch", str(ROOT)])
    assert again.stderr == f"calotype: notice: copied {stale}\n"
    assert codec.compress(pixels, model="vae-round") == data


def test_a_file_of_a_model_whose_weights_are_missing(package: Path) -> None:
    sha256 = registered(package, "dplc")[0].sha256
    for weights_hash in (None, bytes.fromhex(sha256)[:8]):
        with pytest.raises(codec.WeightsMissingError, match="models --fetch"):
            load_model("dplc", weights_hash=weights_hash, device="cpu")
    with pytest.raises(codec.WeightsMissingError, match="install the version"):
        load_model("dplc", weights_hash=bytes(8), device="cpu")


def test_what_cannot_be_fetched(package: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    for folder in (tmp_path, tmp_path / "gone", ROOT / "README.md"):
        done = runner.invoke(app, ["models", "--fetch", str(folder)])
        assert done.exit_code == 5
        assert "none of the weights that are not installed" in done.stderr
    other = tmp_path / "other"
    other.mkdir()
    (other / "digits-vae.safetensors").write_bytes(b"other weights")
    done = runner.invoke(app, ["models", "--fetch", str(other)])
    assert done.exit_code == 5
    assert "the checkout is of another version" in done.stderr
    assert not user_folder().exists()
    user_folder().parent.mkdir(parents=True)
    user_folder().write_text("a file")
    done = runner.invoke(app, ["models", "--fetch", str(ROOT)])
    assert done.exit_code == 6
    assert "cannot make" in done.stderr


def test_a_checkout_that_cannot_be_read(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Path.is_dir

    def is_dir(path: Path) -> bool:
        if path.is_relative_to(tmp_path / "closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    with pytest.raises(codec.WeightsMissingError, match=r"closed: Permission denied"):
        weights_files.fetch_weights(tmp_path / "closed")


def test_the_users_folder_is_that_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/someone")
    assert user_folder() == Path("/home/someone/.local/share/calotype/weights")
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert user_folder() == Path("/data/calotype/weights")
