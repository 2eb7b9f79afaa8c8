"""The base installation, without torch and all other extras: what works, and what names the extra
that it needs.

Every case runs in one process of its own, in which these libraries cannot be imported.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from PIL import Image

from codec.system.missing_extra import EXTRAS, WITH_PYTORCH, extra_needed_by, install_command
from tests.codec.tiny import photographs

ROOT = Path(__file__).parents[2]

WORK = f"""
import contextlib, json, os, sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(EXTRAS)!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import importlib.util
find_spec = importlib.util.find_spec
def absent_or(name, package=None):
    try:
        return find_spec(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = absent_or

from typer.testing import CliRunner
from codec import CalotypeError
from codec.cli import app

results = []
for case in json.load(sys.stdin):
    if isinstance(case, list):
        done = CliRunner().invoke(app, case)
        results.append([done.exit_code, done.output, repr(done.exception)])
    else:
        try:
            exec(case, {{}})
            results.append([0, "", ""])
        except CalotypeError as error:
            results.append([error.exit_code, str(error), type(error).__name__])
        except Exception as error:
            results.append([None, str(error), type(error).__name__])
assert "torch" not in sys.modules
json.dump(results, sys.stdout)
"""

WORKS: dict[str, list[str] | str] = {
    "compress": ["compress", "photo.png", "-o", "a.calo"],
    "compress with effort 2": ["compress", "photo.png", "-e", "2", "-o", "b.calo"],
    "compress to a PSNR": ["compress", "photo.png", "--psnr", "20", "-o", "c.calo"],
    "compress to a size": ["compress", "photo.png", "--size", "2KiB", "-o", "d.calo"],
    "compress to a rate": ["compress", "photo.png", "--bpp", "3", "-o", "e.calo"],
    "decompress": ["decompress", "a.calo", "-o", "back.png"],
    "compress with effort 3": ["compress", "photo.png", "-e", "3", "-o", "h.calo"],
    "compress for PSNR": ["compress", "photo.png", "--tune", "psnr", "-o", "g.calo"],
    "compress without loss": ["compress", "--lossless", "photo.png", "-o", "i.calo"],
    "decompress without loss": ["decompress", "i.calo", "-o", "same.png"],
    "compress within a bound": ["compress", "--max-error", "2", "photo.png", "-o", "j.calo"],
    "decompress within a bound": ["decompress", "j.calo", "-o", "near.png"],
    "compress digits": ["compress", "-m", "digits-pixelcnn", "digits.png", "-o", "k.calo"],
    "decompress digits": ["decompress", "k.calo", "-o", "digits-back.png"],
    "inspect": ["inspect", "a.calo"],
    "verify": ["verify", "a.calo"],
    "compare": ["compare", "photo.png", "a.calo"],
    "models": ["models"],
    "rd": ["rd", "photo.png", "--codecs", "photo,jpeg", "--html", "-o", "rd"],
    "plot as a page": ["plot", "ladder.json", "-o", "ladder.html"],
    "demo": ["demo", "--picture", "chelsea"],
    "library": "import codec; codec.decompress(codec.compress('photo.png'), as_='numpy')",
    "signals": (
        "import numpy as np\n"
        "from codec.signals import compress_signal, decompress_signal\n"
        "decompress_signal(compress_signal(np.zeros(9, np.int16)))"
    ),
    "plugin of Pillow": (
        "import codec.plugins.pillow\n"
        "from PIL import Image\n"
        "Image.open('photo.png').save('f.calo')\n"
        "Image.open('f.calo').load()"
    ),
    "the theory": "from codec.rate_distortion import blahut_arimoto",
}

NEEDS_AN_EXTRA: dict[str, tuple[list[str] | str, str]] = {
    "draw": (["compress", "-m", "draw", "photo.png", "-o", "x.calo"], "torch"),
    "dplc": (["compress", "-m", "dplc", "photo.png", "-o", "x.calo"], "torch"),
    "vq": (["compress", "-m", "vq", "photo.png", "-o", "x.calo"], "torch"),
    "vae-dither": (["compress", "-m", "vae-dither", "photo.png", "-o", "x.calo"], "torch"),
    "vae-bits-back": (["compress", "-m", "vae-bits-back", "photo.png", "-o", "x.calo"], "torch"),
    "draw-bits-back": (["compress", "-m", "draw-bits-back", "photo.png", "-o", "x.calo"], "torch"),
    "a file of another model": (["decompress", "draw.calo", "-o", "x.png"], "torch"),
    "verify a file of another model": (["verify", "draw.calo"], "torch"),
    "effort 4": (["compress", "photo.png", "-e", "4", "-o", "x.calo"], "metrics"),
    "effort 9": (["compress", "photo.png", "-e", "9", "-o", "x.calo"], "metrics"),
    "effort 4 for the least squared error": (
        ["compress", "photo.png", "-e", "4", "--tune", "psnr", "-o", "x.calo"], "torch",
    ),
    "cuda": (["compress", "photo.png", "--device", "cuda", "-o", "x.calo"], "torch"),
    "bound": (["bound", "photo.png", "--data", "photo.png", "-o", "x"], "torch"),
    "compare by MS-SSIM": (
        ["compare", "photo.png", "photo.png", "--metrics", "ms-ssim"], "metrics",
    ),
    "compare by SSIMULACRA2": (
        ["compare", "photo.png", "photo.png", "--metrics", "ssimulacra2"], "metrics",
    ),
    "rd with MS-SSIM": (
        ["rd", "photo.png", "--codecs", "jpeg", "--ms-ssim", "-o", "y"], "metrics",
    ),
    "rd with SSIMULACRA2": (
        ["rd", "photo.png", "--codecs", "jpeg", "--metric", "psnr,ssimulacra2", "-o", "y"],
        "metrics",
    ),
    "compress to an SSIMULACRA2": (
        ["compress", "photo.png", "--ssimulacra2", "60", "-o", "x.calo"], "metrics",
    ),
    "compress to an SSIMULACRA2, from Python": (
        "import codec; codec.compress('photo.png', ssimulacra2=60)", "metrics",
    ),
    "rd with JPEG XL": (["rd", "photo.png", "--codecs", "jxl", "-o", "z"], "bench"),
    "plot": (["plot", "ladder.json", "-o", "ladder.svg"], "plot"),
    "a checkpoint of CompressAI": (
        ["compress", "-m", "compressai:mbt2018-mean", "--checkpoint", "photo.png", "photo.png",
         "-o", "x.calo"],
        "torch",
    ),
    "tensors": ("import codec; codec.decompress('photo.calo', as_='torch')", "torch"),
    "rd_curve": ("from codec.rate_distortion import rd_curve", "torch"),
    "priors": ("import codec.priors", "torch"),
    "distortions": ("import codec.rate_distortion.distortions", "torch"),
    "annealing": ("import codec.rate_distortion.annealing.rd_curve", "torch"),
    "bounds": ("import codec.rate_distortion.bounds.particles", "torch"),
    "adapters": ("import codec.rate_distortion.user_code.adapters", "torch"),
    "plugin of numcodecs": ("import codec.plugins.numcodecs", "zarr"),
    "plugin of zarr": ("import codec.plugins.zarr", "zarr"),
}  # fmt: skip

CASES = {**WORKS, **{name: case for name, (case, _) in NEEDS_AN_EXTRA.items()}}


def run_without_extras(folder: Path, cases: list[list[str] | str]) -> list[Any]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "CALOTYPE_WEIGHTS": str(ROOT / "tests" / "golden"),
    }
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        input=json.dumps(cases),
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    results: list[Any] = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """Exit code, output and error of every case."""
    folder = tmp_path_factory.mktemp("base")
    Image.fromarray(photographs(count=1, side=64)[0]).save(folder / "photo.png")
    golden = ROOT / "tests" / "golden"
    (folder / "digits.png").write_bytes((golden / "digits-pixelcnn-v1.png").read_bytes())
    (folder / "draw.calo").write_bytes((golden / "draw-v1.calo").read_bytes())
    (folder / "photo.calo").write_bytes((golden / "photo-visual-v1.calo").read_bytes())
    ladder = ROOT / "benchmarks" / "results" / "rate_distortion_ladder.json"
    (folder / "ladder.json").write_bytes(ladder.read_bytes())
    return dict(zip(CASES, run_without_extras(folder, list(CASES.values())), strict=True))


@pytest.mark.parametrize("name", WORKS)
def test_what_the_base_installation_does(
    outcomes: dict[str, tuple[int, str, str]], name: str
) -> None:
    code, output, error = outcomes[name]
    assert code == 0, (output, error)


@pytest.mark.parametrize("name", NEEDS_AN_EXTRA)
def test_what_names_the_extra_that_it_needs(
    outcomes: dict[str, tuple[int, str, str]], name: str
) -> None:
    code, output, error = outcomes[name]
    assert code == 2, (output, error)
    extra = NEEDS_AN_EXTRA[name][1]
    text = " ".join(output.split())
    brings = " (it brings PyTorch)" if extra in WITH_PYTORCH else ""
    assert f"not installed; install the extra '{extra}'{brings}: " in text
    assert install_command(extra).partition("install ")[2] in text
    assert "Traceback" not in output


def test_training_names_its_extra() -> None:
    code = "import sys; sys.modules['torch'] = None; import runpy; runpy.run_module('training')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("training: this command needs the library torch")
    assert "install the extra 'train' (it brings PyTorch): " in done.stderr
    assert "Traceback" not in done.stderr


def test_the_extras_are_those_of_the_distribution() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    extras = project["optional-dependencies"]
    for library, extra in EXTRAS.values():
        assert any(line.startswith(library) for line in extras[extra]), (library, extra)
    assert not any(line.startswith("torch") for line in project["dependencies"])
    for extra, lines in extras.items():
        brings = any(line.startswith(("torch", "pytorch")) for line in lines)
        assert brings == (extra in WITH_PYTORCH), extra


class Origin:
    """A distribution whose PEP 610 record says where it came from."""

    def __init__(self, record: object) -> None:
        self.record = record

    def read_text(self, name: str) -> str | None:
        assert name == "direct_url.json"
        return None if self.record is None else json.dumps(self.record)


@pytest.mark.parametrize(
    ("record", "source"),
    [
        (None, "'calotype[torch]'"),
        (
            {"url": "https://x.org/c", "vcs_info": {"vcs": "git", "commit_id": "1"}},
            "'calotype[torch] @ git+https://x.org/c'",
        ),
        (
            {"url": "https://x.org/c.whl", "archive_info": {}},
            "'calotype[torch] @ https://x.org/c.whl'",
        ),
        (
            {"url": "file:///gone/c-1.whl", "archive_info": {}},
            "'./c-1.whl[torch]' (in the folder where c-1.whl is now; it was in /gone)",
        ),
        (
            {"url": "file:///gone/cal%20otype", "dir_info": {"editable": True}},
            "-e './cal otype[torch]' (in the folder where cal otype is now; it was in /gone)",
        ),
    ],
)
def test_the_command_fits_where_the_package_came_from(
    monkeypatch: pytest.MonkeyPatch, record: object, source: str
) -> None:
    monkeypatch.setattr(sys, "executable", "/my env/bin/python")
    monkeypatch.setattr(metadata, "distribution", lambda name: Origin(record))
    assert install_command("torch") == f"'/my env/bin/python' -m pip install {source}"


@pytest.mark.parametrize("editable", [False, True])
def test_the_command_names_a_source_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, editable: bool
) -> None:
    folder = tmp_path / "cal otype"
    folder.mkdir()
    record = {"url": folder.as_uri(), "dir_info": {"editable": True} if editable else {}}
    monkeypatch.setattr(metadata, "distribution", lambda name: Origin(record))
    words = ["install", *(["-e"] if editable else []), f"{folder}[torch]"]
    assert shlex.split(install_command("torch")) == [sys.executable, "-m", "pip", *words]


def test_the_command_works_in_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pip")
    wheel = tmp_path / "small wheels" / "small-1-py3-none-any.whl"
    wheel.parent.mkdir()
    with ZipFile(wheel, "w") as file:
        about = "Metadata-Version: 2.1\nName: small\nVersion: 1\nProvides-Extra: torch\n"
        file.writestr("small-1.dist-info/METADATA", about)
        file.writestr("small-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr("small-1.dist-info/RECORD", "")
    record = {"url": wheel.as_uri(), "archive_info": {}}
    monkeypatch.setattr(metadata, "distribution", lambda name: Origin(record))
    done = subprocess.run(
        f"{install_command('torch')} --dry-run --no-index",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Would install small-1" in done.stdout


def test_the_command_where_nothing_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Origin:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    words = [sys.executable, "-m", "pip", "install", "-e", f"{ROOT}[torch]"]
    assert shlex.split(install_command("torch")) == words


def test_other_modules_that_are_missing_are_defects() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), extra_needed_by("A test"):
        __import__("no_such_module")
