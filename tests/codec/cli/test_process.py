"""The command as a process: start-up, real pipes, real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import codec

COMMAND = [sys.executable, "-m", "codec"]
ROOT = Path(__file__).parents[3]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"], ["models"]])
def test_start_up_loads_no_torch(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from codec.cli import app\n"
        f"app({arguments}, standalone_mode=False)\n"
        "heavy = {'numpy', 'torch', 'PIL.Image', 'matplotlib', 'skimage', 'scipy'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), stdout=-3)


def test_start_up_is_quick() -> None:
    # 0.3 seconds on an idle machine; on a busy machine only CPU time can be limited.
    seconds = []
    for _ in range(3):
        before = os.times()
        subprocess.run([*COMMAND, "--help"], check=True, env=environment(), stdout=-3)
        after = os.times()
        seconds.append(after.children_user - before.children_user)
    assert min(seconds) < 1.0


def test_inspect_loads_no_torch(tiny_weights: Path, photograph: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.calo"
    path.write_bytes(codec.compress(photograph))
    code = (
        "import sys, codec\n"
        "assert codec.inspect(sys.argv[1]).width == 64\n"
        "assert not {'numpy', 'torch', 'PIL.Image'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment())


def test_nothing_is_written_to_the_home_folder(
    tiny_weights: Path, photograph: Any, tmp_path: Path
) -> None:
    # Libraries may store caches and identifiers there, and may print messages if they cannot.
    home = tmp_path / "home"
    home.mkdir()
    Image.fromarray(photograph).save(tmp_path / "photo.png")
    for folder in (home, Path(os.devnull) / "nothing"):
        surroundings = {
            name: value
            for name, value in environment().items()
            if not name.startswith(("XDG_", "ORT_"))
        }
        for arguments in (
            ["compress", "-f", "photo.png"],
            ["decompress", "-f", "photo.calo", "-o", "back.png"],
        ):
            done = subprocess.run(
                [*COMMAND, *arguments],
                cwd=tmp_path,
                env={**surroundings, "HOME": str(folder)},
                capture_output=True,
                text=True,
            )
            assert (done.returncode, done.stderr) == (0, "")
    assert list(home.iterdir()) == []


def test_a_pipeline(tiny_weights: Path, photograph: Any, tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    Image.fromarray(photograph).save(source)
    with source.open("rb") as stdin:
        first = subprocess.Popen(
            [*COMMAND, "compress", "-"], stdin=stdin, stdout=subprocess.PIPE, env=environment()
        )
        second = subprocess.run(
            [*COMMAND, "decompress", "-"],
            stdin=first.stdout,
            capture_output=True,
            env=environment(),
        )
        assert first.stdout is not None
        first.stdout.close()
    assert (first.wait(), second.returncode, second.stderr) == (0, 0, b"")
    assert second.stdout.startswith(b"\x89PNG")


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    # It waits in the middle of writing, and needs no weights.
    script = (
        "import time\n"
        "from codec import api, cli\n"
        "def compress_with(options, image, fo, **more):\n"
        "    fo.write(b'half')\n"
        "    print('writing', flush=True)\n"
        "    time.sleep(60)\n"
        "api.compress_with = compress_with\n"
        "cli.main()\n"
    )
    (tmp_path / "x.png").write_bytes(b"")
    process = subprocess.Popen(
        [sys.executable, "-c", script, "compress", "x.png"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert len(list(tmp_path.glob(".x.calo.*.part"))) == 1
    time.sleep(0.05)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_a_signal_ends_a_models_code_as_well(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(
        "import time\n"
        "def model():\n"
        "    print('loading', flush=True)\n"
        "    time.sleep(60)\n"
    )  # fmt: skip
    process = subprocess.Popen(
        [*COMMAND, "bound", "model.py:model", "--data", "x.npy"],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (143, "")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
@pytest.mark.parametrize(
    "arguments",
    [["inspect", "-"], ["verify", "-"], ["decompress", "-", "-o", "x.png"],
     ["decompress", "--partial", "-", "-o", "x.png"],
     ["decompress", "--partial", "/dev/zero", "-o", "x.png"]],
    ids=" ".join,
)  # fmt: skip
def test_what_never_ends_and_is_no_calo_file_is_refused_at_once(
    tmp_path: Path, arguments: list[str]
) -> None:
    limited = (
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30));"
        "from codec.cli import main; main()"
    )
    with Path("/dev/zero").open("rb") as zero:
        done = subprocess.run(
            [sys.executable, "-c", limited, *arguments],
            cwd=tmp_path,
            env=environment(),
            stdin=zero,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 3, done.stderr
    assert "it is not a .calo file: it begins with the bytes 00 00" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("module", ["typer", "codec.cli.compress", "codec.cli.files"])
def test_an_interrupt_while_modules_are_loaded(module: str) -> None:
    script = (
        "import os, signal, sys\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "from codec.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "compress", "gone.png"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 130
    assert done.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_lists_what_is_finished(tmp_path: Path, jobs: str) -> None:
    # The second file waits; with two workers the third is done before it.
    script = (
        "import sys, time\n"
        "from codec import api, cli\n"
        "from codec.results import Compression\n"
        "def compress_with(options, image, fo, **more):\n"
        "    if image.name == 'b.png':\n"
        "        time.sleep(0.5)\n"
        "        print('writing', file=sys.stderr, flush=True)\n"
        "        time.sleep(60 if sys.argv[-1] == '1' else 2)\n"
        "    fo.write(b'whole')\n"
        "    return Compression(5, 1, 1, 40.0, 75.0, 'photo', None, None, 1, 0.0, ())\n"
        "api.compress_with = compress_with\n"
        "cli.main()\n"
    )
    for name in "abc":
        (tmp_path / f"{name}.png").write_bytes(b"")
    process = subprocess.Popen(
        [sys.executable, "-c", script, "compress", "a.png", "b.png", "c.png", "-j", jobs],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "writing\n"
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    written = sorted(path.stem for path in tmp_path.glob("*.calo"))
    assert written == (["a"] if jobs == "1" else ["a", "b", "c"])
    assert [line[0] for line in out.splitlines()] == written
    assert f"calotype: interrupted: {len(written)} of 3 files finished" in errors
    assert "with --skip-existing, the same command continues" in errors
