"""Outputs appear complete or not at all."""

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from bitstream import OutputError
from codec.system.write_file import write_atomically


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_new_file_has_usual_permissions(tmp_path: Path) -> None:
    path = tmp_path / "x"
    write_atomically(path, lambda fo: fo.write(b"1"), force=False)
    assert path.read_bytes() == b"1"
    plain = tmp_path / "plain"
    plain.touch()
    assert path.stat().st_mode == plain.stat().st_mode


def test_existing_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old")
    with pytest.raises(OutputError, match="exists"):
        write_atomically(path, lambda fo: fo.write(b"new"), force=False)
    assert path.read_bytes() == b"old"
    write_atomically(path, lambda fo: fo.write(b"new"), force=True)
    assert path.read_bytes() == b"new"
    with pytest.raises(OutputError, match="directory"):
        write_atomically(tmp_path, lambda fo: fo.write(b"new"), force=True)
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="exists"):
        write_atomically(dangling, lambda fo: fo.write(b"new"), force=False)


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def slow(fo: BinaryIO) -> None:
        fo.write(b"mine")
        path.write_bytes(b"theirs")

    with pytest.raises(OutputError, match="meanwhile"):
        write_atomically(path, slow, force=False)
    assert path.read_bytes() == b"theirs"
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("error", [OSError(28, "full"), ValueError("x"), KeyboardInterrupt()])
def test_nothing_is_left_behind(tmp_path: Path, error: BaseException) -> None:
    def fails(fo: BinaryIO) -> None:
        fo.write(b"half")
        raise error

    with pytest.raises(OutputError if isinstance(error, OSError) else type(error)):
        write_atomically(tmp_path / "x", fails, force=True)
    assert names(tmp_path) == []


def test_file_systems_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "not permitted")

    monkeypatch.setattr(os, "link", no_links)
    path = tmp_path / "x"
    write_atomically(path, lambda fo: fo.write(b"1"), force=False)
    assert names(tmp_path) == ["x"]
    with pytest.raises(OutputError, match="exists"):
        write_atomically(path, lambda fo: fo.write(b"2"), force=False)


def test_a_temporary_file_of_someone_else_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two processes that draw the same name.
    monkeypatch.setattr("codec.system.write_file.secrets.token_hex", lambda count: "00000000")
    theirs = tmp_path / ".x.00000000.part"
    theirs.write_bytes(b"half of theirs")
    with pytest.raises(OutputError, match="File exists"):
        write_atomically(tmp_path / "x", lambda fo: fo.write(b"mine"), force=True)
    assert theirs.read_bytes() == b"half of theirs"
    assert names(tmp_path) == [theirs.name]
