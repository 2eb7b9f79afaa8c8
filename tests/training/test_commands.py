"""The command line: presets are found, and options that they do not accept are refused."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch

from bitstream.errors import InputError, UsageError
from tests.training.generative.test_learners import save_idx
from training.commands import main
from training.loop.trainer import Preset
from training.presets import FAMILIES, find_preset, read_run


def test_a_preset_has_one_name_and_one_family() -> None:
    names = Counter(name for family in FAMILIES.values() for name in family.presets)
    assert max(names.values()) == 1
    for key, family in FAMILIES.items():
        for name, preset in family.presets.items():
            assert find_preset(name) == (family, preset), key
            assert isinstance(preset, family.kind)
            assert isinstance(preset, Preset)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "foto", "--data", "x", "--steps", "1"],
            "'foto' is unknown, did you mean",
        ),
        (["foto", "--data", "x", "--steps", "1"], "'foto' is unknown"),
        (["photo-tiny", "--data", "x"], "give --minutes or --steps"),
        (["photo-tiny", "--steps", "1"], "required: --data"),
        (["photo-tiny", "--data", "x", "--steps", "one"], "--steps: invalid int value: 'one'"),
        (["photo-tiny", "--data", "x", "--steps", "1", "--frobnicate"], "--frobnicate"),
        (["photo-tiny", "--data", "x", "--steps", "0"], "--steps 0 was given"),
        (["photo-tiny", "--data", "x", "--steps", "-1"], "--steps -1 was given"),
        (["photo-tiny", "--data", "x", "--minutes", "nan"], "--minutes nan was given"),
        (["photo-tiny", "--data", "x", "--minutes", "0"], "--minutes 0 was given"),
        (["photo-tiny", "--data", "x", "--steps", "1", "--threads", "-1"], "--threads -1 was"),
        (["photo-tiny", "--data", "x", "--steps", "1", "--seed", "-1"], "--seed -1 was given"),
        (["photo-tiny", "--data", "x", "--steps", "1", "--learning-rate", "nan"], "nan was given"),
        (["photo-tiny", "--data", "x", "--steps", "1", "--checkpoint-minutes", "-1"], "0 or more"),
        (["--data", "x", "--steps", "1", "foto"], "'foto' is unknown"),
        (["train"], "required: preset"),
        ([], "train|export|features"),
        (["export", "--data", "x"], "RUN|FILE"),
    ],
)
def test_a_wrong_command_line_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == UsageError.exit_code == 2
    error = capsys.readouterr().err
    assert error.startswith("training: ")
    assert message in error


def test_the_help_lists_every_preset_by_family(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    shown = capsys.readouterr().out
    for family in FAMILIES.values():
        _, _, after = shown.partition(f"  {family.title}:\n")
        words = after.partition(":\n")[0].split()
        assert words[: len(family.presets)] == list(family.presets)
    assert max(map(len, shown.splitlines())) <= 100


def test_train_is_what_a_preset_alone_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = save_idx(tmp_path / "data")
    for words in (["train", "digits-tiny"], ["draw-tiny"]):
        assert main([*words, "--data", str(data), "--steps", "1", "--device", "cpu"]) == 0
    for name, family in (("digits-tiny", "generative"), ("draw-tiny", "draw")):
        found, run = read_run(Path("runs", name))
        assert found is FAMILIES[family]
        assert (run.name, run.preset) == (name, FAMILIES[family].presets[name])
        assert run.state["data"] == ["data"]
        header, *rows = (Path("runs", name) / "log.csv").read_text("utf-8").splitlines()
        assert header.startswith("step,seconds,")
        assert [row.partition(",")[0] for row in rows] == ["1"]
    assert main(["export", str(Path("runs", "digits-tiny")), "-o", "weights"]) == 0
    assert "| trained on | data |" in Path("weights", "digits-tiny.md").read_text("utf-8")


def test_presets_come_back_from_their_checkpoints(tmp_path: Path) -> None:
    for key, family in FAMILIES.items():
        for name, preset in family.presets.items():
            changed = dataclasses.replace(preset, seed=7, batch=3)
            state = {
                "family": key, "name": name, "step": 1, "finished": True,
                "preset": dataclasses.asdict(changed), "learner": {},
            }  # fmt: skip
            torch.save(state, tmp_path / "checkpoint.pt")
            found, run = read_run(tmp_path)
            assert (found, run.preset) == (family, changed)
    torch.save({**state, "family": "x"}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="'x'"):
        read_run(tmp_path)


def test_an_export_refuses_options_of_other_families(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = save_idx(tmp_path / "data"), str(tmp_path / "run")
    assert main(["digits-tiny", "--data", str(data), "--run", run, "--steps", "1"]) == 0
    for option in (["--images", "3"], ["--test", str(data)], ["--weights", "w.safetensors"]):
        assert main(["export", run, "-o", str(tmp_path / "out"), *option]) == UsageError.exit_code
        assert f"{option[0]}: the export of 'digits-tiny'" in capsys.readouterr().err
    two = ["--data", str(data), str(data)]
    assert main(["export", run, "-o", str(tmp_path / "out"), *two]) == UsageError.exit_code
    assert "several --data" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_or_file_that_is_no_run_is_a_typed_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(tmp_path)]) == InputError.exit_code
    assert "holds no checkpoint.pt: name the folder of a run" in capsys.readouterr().err
    file = tmp_path / "file"
    file.touch()
    words = ["digits-tiny", "--data", str(tmp_path), "--steps", "1", "--run", str(file)]
    assert main(words) == UsageError.exit_code
    assert f"{file} is a file" in capsys.readouterr().err
