"""Runs the commands and code that the README shows."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from benchmarks.harness.results import RESULTS
from benchmarks.readme import __main__ as figures
from codec.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


def fenced(language: str, mark: str = "", page: str = README) -> list[str]:
    """The fenced blocks of a language that follow a mark directly."""
    pattern = re.escape(mark) + rf"```{language}\n(.*?)```"
    return re.findall(pattern, page, re.DOTALL)


@pytest.fixture
def folder(
    tmp_path: Path, tiny_weights: Path, photograph: Any, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph).save("photo.png")
    Path("pictures").mkdir()
    Image.fromarray(photograph).save("pictures/one.png")
    return tmp_path


@pytest.mark.parametrize("number", range(len(fenced("python"))))
def test_python_examples(folder: Path, number: int) -> None:
    exec(compile(fenced("python")[number], f"README.md, example {number}", "exec"), {})


def test_command_examples(folder: Path) -> None:
    # The shipped weights of `draw`, in addition to untrained ones of `photo`.
    guide = (ROOT / "codec" / "models" / "README.md").read_text("utf-8")
    (block,) = fenced("sh", "<!-- run -->\n")
    block += "".join(fenced("sh", "<!-- run: draw -->\n", guide))
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    assert len(lines) > 5
    for name, *arguments in lines:
        assert name == "calotype"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, (arguments, result.output)
    assert Path("small.calo").stat().st_size <= 20 * 1024
    assert Path("packed/one.calo").exists()
    with Image.open("part.webp") as image:
        assert image.size == (32, 32)


def test_the_example_of_a_model_to_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (source,) = fenced("python", "<!-- file: model.py -->\n")
    Path("model.py").write_text(source, "utf-8")
    digits = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    np.savez("digits.npz", images=digits)
    (block,) = fenced("sh", "<!-- run: bound -->\n")
    name, *arguments = shlex.split(block)
    assert name == "calotype"
    # An untrained decoder and noise, for a run of seconds instead of minutes.
    quick = ["--betas", "0.001:0.1:4", "--temperatures", "30", "--chains", "10"]
    result = CliRunner().invoke(app, [*arguments, *quick])
    assert result.exit_code == 0, result.output
    assert {path.suffix for path in Path("result").iterdir()} >= {".json", ".csv", ".html"}


@pytest.mark.parametrize("name", ["demo", "test"])
def test_the_two_commands_are_where_they_are_looked_for(name: str) -> None:
    (block,) = fenced("sh", f"<!-- command: {name} -->\n")
    first, install, last = block.splitlines()
    assert first == "python3 -m venv .venv"
    assert install.startswith(".venv/bin/pip install ")
    expected = {"demo": "calotype demo", "test": "pytest -n auto --dist worksteal"}
    assert last == f".venv/bin/{expected[name]}"


def test_figures_are_those_of_the_results() -> None:
    assert figures.main(["--check"]) == 0
    assert "BD-rate" in README


def test_the_platforms_are_those_of_the_distribution() -> None:
    (platforms,) = re.findall(r"^- \*\*Platforms\.\*\* (.*)$", README, re.MULTILINE)
    with (ROOT / "pyproject.toml").open("rb") as file:
        classifiers = tomllib.load(file)["project"]["classifiers"]
    versions = {one.removeprefix("Programming Language :: Python :: ") for one in classifiers}
    assert set(re.findall(r"\b3\.\d+", platforms)) == {v for v in versions if v[:2] == "3."}
    systems = [one for one in classifiers if one.startswith("Operating System")]
    assert systems == ["Operating System :: POSIX :: Linux"]
    assert "tested on Linux" in platforms


def test_what_efforts_give_and_cost_is_what_was_measured() -> None:
    measured = json.loads((RESULTS / "effort.json").read_text("utf-8"))["effort"].values()
    third, ninth = zip(*(part["found"][1:] for part in measured), strict=True)
    assert (third[0]["effort"], ninth[0]["effort"]) == (3, 9)
    assert all(row["bd_rate_percent"] > -0.1 for row in third)  # saved nothing

    def low_to_high(rows: Any, key: str, digits: int) -> str:
        return " to ".join(f"{value:.{digits}f}" for value in sorted(abs(row[key]) for row in rows))

    times = "encode_seconds_over_effort_1"
    assert f"took {low_to_high(third, times, 1)} times as long as `-e 1`" in README
    assert f"`-e 9` saved {low_to_high(ninth, 'bd_rate_percent', 1)} % of the bytes" in README
    assert f"and took {low_to_high(ninth, times, 0)} times as long" in README


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 220


GUIDES = (
    "README.md",
    "CONTRIBUTING.md",
    "bitstream/FORMAT.md",
    "benchmarks/RESULTS.md",
    "codec/models/README.md",
    "codec/models/dplc/README.md",
    "codec/models/draw/README.md",
    "codec/models/vae/README.md",
    "codec/photographs/README.md",
    "codec/rate_distortion/README.md",
    "training/README.md",
)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes from the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", GUIDES)
def test_links_lead_somewhere(name: str) -> None:
    page = ROOT / name
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text("utf-8"))
    for target, anchor in links:
        found = page.parent / target if target else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), f"{target}#{anchor}"


def test_paths_that_contributors_read_of_exist() -> None:
    spans = re.findall(r"`([\w./-]+)`", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    paths = [one for one in spans if "/" in one or one.endswith((".py", ".md", ".toml"))]
    assert len(paths) > 40
    for path in set(paths) - {"__init__.py", "config.py", "learner.py"}:  # of each family's folder
        assert (ROOT / path).exists(), path
