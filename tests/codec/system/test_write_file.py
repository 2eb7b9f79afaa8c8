"""Outputs appear complete or not at all."""

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
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


def part_of(path: Path) -> Path:
    """The temporary file of an output, which exists while it is written."""
    found: list[Path] = []
    write_atomically(path, lambda fo: found.extend(path.parent.glob(".*.part")), force=True)
    (part,) = found
    path.unlink()
    return part


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys\n"
        "from codec.system.write_file import write_atomically\n"
        "def write(fo):\n"
        "    fo.write(b'half'); fo.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_atomically(pathlib.Path('x'), write, force=False)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = names(tmp_path)
    assert left.endswith(".part")
    write_atomically(tmp_path / "x", lambda fo: fo.write(b"whole"), force=False)
    assert names(tmp_path) == ["x"]
    assert (tmp_path / "x").read_bytes() == b"whole"


def test_threads_share_new_folders(tmp_path: Path) -> None:
    def work(number: int) -> int:
        random, written = np.random.default_rng(number), 0
        for _ in range(100):
            fails = random.random() < 0.5

            def write(fo: BinaryIO) -> None:
                fo.write(b"whole")
                if fails:  # noqa: B023 - called at once
                    raise ValueError("no picture")

            path = tmp_path / "new" / str(random.integers(2)) / str(random.integers(4))
            with suppress(ValueError):
                write_atomically(path, write, force=True, make_folders=True)
                written += 1
            if random.random() < 0.3:
                path.unlink(missing_ok=True)
        return written

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(8))) > 200
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert all(path.read_bytes() == b"whole" and path.suffix != ".part" for path in left)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX links")
def test_a_link_in_the_place_of_a_temporary_file_is_not_followed(tmp_path: Path) -> None:
    path, precious = tmp_path / "x", tmp_path / "precious"
    part = part_of(path)
    precious.write_bytes(b"precious")
    part.symlink_to(precious)
    write_atomically(path, lambda fo: fo.write(b"1"), force=False)
    assert precious.read_bytes() == b"precious"
    assert path.read_bytes() == b"1"
    assert part.is_symlink()


def test_file_systems_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    part = part_of(tmp_path / "x")
    monkeypatch.setattr(fcntl, "flock", no_locks)
    write_atomically(tmp_path / "x", lambda fo: fo.write(b"1"), force=False)
    assert names(tmp_path) == ["x"]
    part.write_bytes(b"perhaps in use")
    write_atomically(tmp_path / "x", lambda fo: fo.write(b"2"), force=True)
    assert (tmp_path / "x").read_bytes() == b"2"
    assert part.read_bytes() == b"perhaps in use"


def test_a_temporary_file_of_someone_else_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "x"

    def outer(fo: BinaryIO) -> None:
        fo.write(b"outer")
        (theirs,) = tmp_path.glob(".*.part")
        write_atomically(path, lambda fo: fo.write(b"inner"), force=True)
        assert sorted(names(tmp_path)) == sorted([theirs.name, "x"])
        assert path.read_bytes() == b"inner"

    write_atomically(path, outer, force=True)
    assert path.read_bytes() == b"outer"
    assert names(tmp_path) == ["x"]


def test_folders_that_were_made_go_with_the_output_that_failed(tmp_path: Path) -> None:
    def fails(fo: BinaryIO) -> None:
        raise ValueError("no picture")

    def first_works(fo: BinaryIO) -> None:
        write_atomically(
            tmp_path / "a" / "b" / "y", lambda fo: fo.write(b"1"), force=False, make_folders=True
        )
        raise ValueError("no picture")

    path = tmp_path / "a" / "b" / "c" / "x"
    with pytest.raises(ValueError, match="no picture"):
        write_atomically(path, fails, force=False, make_folders=True)
    assert names(tmp_path) == []
    with pytest.raises(ValueError, match="no picture"):
        write_atomically(path, first_works, force=False, make_folders=True)
    assert names(tmp_path / "a") == ["b"]
    assert names(tmp_path / "a" / "b") == ["y"]
    (tmp_path / "own").mkdir()
    with pytest.raises(ValueError, match="no picture"):
        write_atomically(tmp_path / "own" / "x", fails, force=False, make_folders=True)
    assert sorted(names(tmp_path)) == ["a", "own"]
