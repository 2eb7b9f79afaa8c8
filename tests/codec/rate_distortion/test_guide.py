"""Runs what the researcher's guide, codec/rate_distortion/README.md, shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from codec.cli import app
from codec.cli.bound import bound
from codec.rate_distortion.annealing import summary
from tests.codec.rate_distortion.made_up_pictures import photo_like

GUIDE = Path(__file__).parents[3] / "codec" / "rate_distortion" / "README.md"
TEXT = GUIDE.read_text("utf-8")


def fenced(language: str, mark: str = "") -> list[str]:
    """The fenced blocks of a language that follow a mark directly."""
    return re.findall(re.escape(mark) + rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def run(mark: str, *more: str) -> None:
    """Run the commands of the block with this mark; the first one with more options."""
    (block,) = fenced("sh", f"<!-- run: {mark} -->\n")
    for number, line in enumerate(block.splitlines()):
        name, *arguments = shlex.split(line)
        assert name == "calotype"
        result = CliRunner().invoke(app, [*arguments, *(more if number == 0 else ())])
        assert result.exit_code == 0, (line, result.output)


def test_the_limits_of_the_checks_are_those_of_the_code() -> None:
    table = TEXT.partition("### The checks\n")[2].partition("\n### ")[0]
    for limit in (
        f"at most {summary.LARGEST_GAP_NATS} nats",
        f"more than {summary.CLEARLY_NEGATIVE:g} standard errors",
        f"at least {summary.SMALLEST_ESS} |",
        f"fewer than {summary.FEWEST_CHAINS:g} effective chains",
        f"(or than {summary.SMALLEST_ESS:.0%} of",
        f"at most {summary.MOST_POOR_IMAGES:.0%} of them",
        f"on your images | at most {summary.LARGEST_EXCESS_NATS} nats",
        f"at least {summary.SMALLEST_ACCEPTANCE} |",
        f"neighbouring β | at most {summary.LARGEST_SLOPE_ERROR_NATS} nats",
        f"at most {summary.LARGEST_ROUNDING_NATS} nats",
    ):
        assert limit.replace("%", " %") in table


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("pictures").mkdir()
    for seed in range(2):
        Image.fromarray(photo_like(seed, 64, 96)).save(f"pictures/{seed}.png")
    return tmp_path


@pytest.mark.parametrize("number", range(len(fenced("python"))))
def test_python_examples(folder: Path, number: int) -> None:
    for library in ("bjontegaard", "ssimulacra2"):
        pytest.importorskip(library)
    exec(compile(fenced("python")[number], f"{GUIDE.name}, example {number}", "exec"), {})


def test_a_decoder_from_a_file(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    (source,) = fenced("python", "<!-- file: model.py -->\n")
    Path("model.py").write_text(source, "utf-8")
    digits = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    np.savez("digits.npz", images=digits)
    # An untrained decoder and noise, for a run of seconds instead of minutes.
    run("bound", "--betas", "0.001:0.1:4", "--temperatures", "30", "--chains", "10")
    found = {path.name for path in Path("result").iterdir()}
    assert found >= {"bound.json", "bound.csv", "bound.html", "again.svg"}


def test_codecs(folder: Path) -> None:
    pytest.importorskip("matplotlib")
    run("rd")
    assert {path.name for path in Path("curves").iterdir()} >= {"rd.json", "rd.csv", "rd.html"}
    assert Path("curve.svg").exists()


def test_every_option_of_bound_is_listed_and_no_other() -> None:
    table = TEXT[TEXT.index("### Options of") : TEXT.index("## Read the outputs")]
    listed = set(re.findall(r"`(?:[^`]*?)(--[a-z][a-z-]*)", table))
    annotations = bound.__annotations__
    known = {f"--{name.replace('_', '-')}" for name in annotations} - {"--model", "--return"}
    renamed = {"--jobs": "-j", "--output": "-o", "--force": "-f", "--as-json": "--json"}
    for name in sorted(known):
        assert f"`{renamed.get(name, name)}" in table, name
    assert listed <= known | {"--json"}


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert targets
    for target in targets:
        assert (GUIDE.parent / target).exists(), target
