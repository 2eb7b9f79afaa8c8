"""The commands of training/README.md run unchanged, with tiny presets and few steps."""

from __future__ import annotations

import functools
import re
import shlex
from pathlib import Path

import pytest
from PIL import Image
from typer.testing import CliRunner

from codec import loading
from codec.cli import app
from tests.codec.tiny import photographs
from tests.training.dplc.test_export import GENERATOR
from tests.training.generative.test_learners import save_idx
from training.commands import main
from training.dplc.config import DPLC_PRESETS
from training.dplc.prior_fit import fit_prior
from training.draw.config import DRAW_PRESETS
from training.generative.config import GENERATIVE_PRESETS
from training.generative.digits_export import lossy_arrays
from training.photo.config import PRESETS
from training.presets import FAMILIES
from training.realism.config import REALISM_PRESETS

GUIDE = (Path(__file__).parents[2] / "training" / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"<!-- run -->\n```sh\n(.*?)```", GUIDE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the commands run: photographs, digits, and presets that take no time."""
    monkeypatch.chdir(tmp_path)
    Path("photographs").mkdir()
    for number, scene in enumerate(photographs(3)):
        Image.fromarray(scene).save(f"photographs/{number}.png")
    Image.fromarray(photographs(1)[0]).save("photo.png")
    save_idx(tmp_path / "mnist")
    monkeypatch.setitem(PRESETS, "photo", PRESETS["photo-tiny"])
    monkeypatch.setitem(REALISM_PRESETS, "photo-realism", REALISM_PRESETS["photo-realism-tiny"])
    monkeypatch.setitem(DRAW_PRESETS, "draw-digits", DRAW_PRESETS["draw-tiny"])
    monkeypatch.setitem(DPLC_PRESETS, "dplc-digits", DPLC_PRESETS["dplc-tiny"])
    monkeypatch.setitem(GENERATIVE_PRESETS, "dplc-digits-flow", GENERATOR)
    for name in ("mnist-vae-10", "digits-vae"):
        monkeypatch.setitem(GENERATIVE_PRESETS, name, GENERATIVE_PRESETS["digits-tiny"])
    monkeypatch.setattr("training.dplc.export.fit_prior", functools.partial(fit_prior, steps=20))
    fewer = functools.partial(lossy_arrays, rec_images=2, dyadic_rounds=1)
    monkeypatch.setattr("training.generative.digits_export.lossy_arrays", fewer)
    return tmp_path


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one line, with 2 steps if it trains, and 4 if it resumes."""
    words = shlex.split(line)
    if words[0].startswith("CALOTYPE_WEIGHTS="):
        monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, words[0].partition("=")[2])
        assert words[1] == "calotype"
        result = CliRunner().invoke(app, words[2:])
        assert result.exit_code == 0, (line, result.output)
        return
    assert words[0] in ("python", "torchrun")
    words = words[words.index("training") + 1 :]
    if "--minutes" in words:
        place = words.index("--minutes")
        words[place : place + 2] = ["--steps", "4" if "--resume" in words else "2"]
    assert main([*words, "--device", "cpu"]) == 0, line


@pytest.mark.timeout(600)
def test_every_command_of_the_guide(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [line for block in BLOCKS for line in block.splitlines()]
    assert len(lines) > 15
    for line in lines:
        run(line, monkeypatch)
    assert (folder / "photo.calo").stat().st_size > 0
    names = {path.stem for path in (folder / "my-weights").glob("*.safetensors")}
    assert names == {"photo", "photo-realism", "draw-digits", "dplc-digits", "digits-vae"}
    assert names == {path.stem for path in (folder / "my-weights").glob("*.md")}
    for name in ("checkpoint.pt", "log.csv", "validation.csv"):
        assert f"`{name}`" in GUIDE


def test_the_guide_names_presets_that_exist() -> None:
    table = GUIDE.partition("| Family | Presets |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) > 5
    for row in rows:
        cells = row.split("|")
        assert cells[1].strip() in FAMILIES
        named = re.findall(r"`([a-z0-9-]+)`", cells[2])
        presets = FAMILIES[cells[1].strip()].presets
        parts = ("gan", "wae", "rae", "vae", "wpp")
        assert all(name in presets or name in parts for name in named)
