"""The keys of --json: programs depend on them, so they only change with a release."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from codec.cli import app
from codec.pipeline import quality_search
from codec.pipeline.quality_search import PSNR

pytestmark = pytest.mark.usefixtures("tiny_weights")

FILE_KEYS = ["input", "output", "ok", "error", "error_type"]


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path, photograph: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph).save("photo.png")
    return tmp_path


def test_compress_and_decompress(folder: Path) -> None:
    (good, bad) = run("compress", "photo.png", "gone.png", "--json", code=1)["files"]
    keys = [
        *FILE_KEYS, "size_bytes", "width", "height", "rate_bpp", "quality", "model_name",
        "psnr_db", "ssimulacra2", "trials", "elapsed_seconds", "notices", "max_error",
    ]  # fmt: skip
    assert list(good) == list(bad) == keys
    size = Path("photo.calo").stat().st_size
    assert good.pop("elapsed_seconds") > 0
    assert good == {
        "input": "photo.png", "output": "photo.calo", "ok": True, "error": None,
        "error_type": None, "size_bytes": size, "width": 64, "height": 48,
        "rate_bpp": 8 * size / (64 * 48), "quality": 75.0, "model_name": "photo",
        "psnr_db": None, "ssimulacra2": None, "trials": 1, "notices": [], "max_error": None,
    }  # fmt: skip
    assert (bad["ok"], bad["error_type"], bad["size_bytes"]) == (False, "InputError", None)
    assert bad["elapsed_seconds"] is None

    (done,) = run("decompress", "photo.calo", "-o", "x.png", "--json")["files"]
    assert done == {
        "input": "photo.calo", "output": "x.png", "ok": True, "error": None, "error_type": None,
        "width": 64, "height": 48, "channels": 3, "has_alpha": False, "format": "PNG",
        "notices": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("option", "goal", "key"), [("--psnr", 26, "psnr_db"), ("--ssimulacra2", 2, "ssimulacra2")]
)
def test_a_target_is_in_the_output(folder: Path, option: str, goal: float, key: str) -> None:
    if key == "ssimulacra2":
        pytest.importorskip("ssimulacra2")
    (done,) = run("compress", "photo.png", option, str(goal), "--json")["files"]
    (other,) = {"psnr_db", "ssimulacra2"} - {key}
    assert goal <= done[key] < goal + 3
    assert done[other] is None
    found = run("compare", "photo.png", "photo.calo", "--metrics", "psnr,ssimulacra2", "--json")
    assert found[key] == pytest.approx(done[key], abs=1e-9)


def test_a_perfect_file_has_no_psnr_in_json(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    perfect = replace(PSNR, measure=lambda original, decoded, bit_depth: math.inf)
    monkeypatch.setattr(quality_search, "PSNR", perfect)
    (done,) = run("compress", "photo.png", "--psnr", "90", "--json")["files"]
    assert (done["ok"], done["quality"], done["psnr_db"]) == (True, 1, None)


def test_inspect_verify_and_models(folder: Path) -> None:
    run("compress", "photo.png", "--json")
    size = Path("photo.calo").stat().st_size
    info = run("inspect", "photo.calo", "--json")
    assert list(info) == [
        "file", "size_bytes", "format_version", "width", "height", "channels", "bit_depth",
        "has_alpha", "quality", "model_id", "model_name", "weights_hash", "tune", "max_error",
        "tile_size", "tiles_x", "tiles_y", "layers", "noise", "noise_seed", "portable", "rate_bpp",
        "payload_bytes", "layer_bytes", "alpha_bytes", "icc_bytes", "exif_bytes", "xmp_bytes",
        "chunks",
    ]  # fmt: skip
    assert info["size_bytes"] == size
    assert info["tune"] == "visual"
    assert (info["noise"], info["noise_seed"], info["portable"]) == ("none", None, True)
    head = info["chunks"][0]
    assert list(head) == ["type", "offset", "length", "critical"]
    assert (head["type"], head["offset"], head["critical"]) == ("HEAD", 9, True)

    (found,) = run("verify", "photo.calo", "--json")["files"]
    assert found == {
        "input": "photo.calo", "ok": True, "error": None, "error_type": None, "size_bytes": size,
        "width": 64, "height": 48, "has_alpha": False, "quality": 75.0, "model_name": "photo",
        "weights_hash": info["weights_hash"], "chunks": 3, "tiles": 1, "layers": 1,
    }  # fmt: skip

    for model in run("models", "--json")["models"]:
        assert list(model) == ["model_id", "name", "description", "layers", "weights"]
        for weights in model["weights"]:
            assert list(weights) == ["file", "sha256", "folder", "installed"]


def test_an_error_before_the_work_prints_no_json(folder: Path) -> None:
    result = CliRunner().invoke(app, ["compress", "photo.png", "-q", "0", "--json"])
    assert (result.exit_code, result.stdout) == (2, "")
