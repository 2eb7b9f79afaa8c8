"""Every module of the benchmarks can be imported, and every room lists its options."""

from __future__ import annotations

import json
import pkgutil
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import benchmarks
from benchmarks.harness import command
from benchmarks.harness.results import Measured, write
from bitstream.errors import UsageError
from codec.rate_distortion.errors import MeasurementError

ROOMS = ("photo", "speed", "draw", "dplc", "measurement", "pixel", "vq")
MODULES = [found.name for found in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]
PARTS = [(r, p) for r in ROOMS for p in import_module(f"benchmarks.{r}.__main__").PARTS]


@pytest.mark.parametrize("name", MODULES)
def test_modules_can_be_imported(name: str) -> None:
    assert import_module(name).__doc__


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_list_their_parts(room: str, capsys: pytest.CaptureFixture[str]) -> None:
    main, parts = (
        getattr(import_module(f"benchmarks.{room}.__main__"), n) for n in ("main", "PARTS")
    )
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(f"  {name} " in said and what in said for name, what in parts.items())
    with pytest.raises(SystemExit, match="2"):
        main(["no-such-part"])


def test_the_room_of_tables_says_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        import_module("benchmarks.readme.__main__").main(["--help"])
    assert "--check" in capsys.readouterr().out


@pytest.mark.parametrize(("room", "part"), PARTS)
def test_parts_say_what_they_take(room: str, part: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        import_module(f"benchmarks.{room}.__main__").main([part, "--help"])
    said = capsys.readouterr().out
    assert f"python -m benchmarks.{room} {part}" in said
    assert "benchmarks/results/" in said


def run_made_up_part(
    monkeypatch: pytest.MonkeyPatch, folder: Path, results: list[Measured | Exception]
) -> int:
    def add_arguments(parser: ArgumentParser) -> None:
        parser.add_argument("--name", default="x")

    def run(options: Namespace) -> Iterator[Measured]:
        assert options.output == folder / "made_x.json"
        for result in results:
            if isinstance(result, Exception):
                raise result
            yield result

    part = SimpleNamespace(
        SCHEMA="calotype.made/1", RESULT="made_{name}.json", add_arguments=add_arguments, run=run
    )
    monkeypatch.setattr(command, "load_part", lambda *_: part)
    monkeypatch.setattr(command, "RESULTS", folder)
    return command.main("room", {"part": "what it measures"}, ["part"])


def test_each_result_is_written_and_failures_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Measured({"p": {"a": 1}}, ["a line"], keep_others=True)
    assert run_made_up_part(monkeypatch, tmp_path, [good]) == 0
    bad = Measured({"p": {"b": 2}}, failure="too large", keep_others=True)
    assert run_made_up_part(monkeypatch, tmp_path, [bad, good]) == 1
    assert capsys.readouterr() == ("a line\na line\n", "part: too large\n")
    content = json.loads((tmp_path / "made_x.json").read_text("utf-8"))
    assert content == {"schema": "calotype.made/1", "p": {"a": 1, "b": 2}}
    assert run_made_up_part(monkeypatch, tmp_path, [Measured({"q": 3})]) == 0
    content = json.loads((tmp_path / "made_x.json").read_text("utf-8"))
    assert content == {"schema": "calotype.made/1", "q": 3}


def test_errors_are_exit_codes_and_keep_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for error, code in (
        (UsageError("no"), 2),
        (MeasurementError("odd"), MeasurementError.exit_code),
    ):
        assert run_made_up_part(monkeypatch, tmp_path, [Measured({"q": 3}), error]) == code
        assert capsys.readouterr().err == f"error: {error}\n"
        assert json.loads((tmp_path / "made_x.json").read_text("utf-8"))["q"] == 3


def test_parts_are_not_put_into_a_file_of_another_schema(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write(path, "one/1", Measured({"q": 3}))
    with pytest.raises(UsageError, match="'one/1', expected 'two/1'"):
        write(path, "two/1", Measured({"p": {"a": 1}}, keep_others=True))
    write(path, "two/1", Measured({"q": 4}))
    assert json.loads(path.read_text("utf-8")) == {"schema": "two/1", "q": 4}
