"""Full disks, killed processes, and two writers of one file, tested in separate processes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

# The command with a codec that needs no weights: each file has 200,000 bytes, all of which are the
# first letter of its name.  It waits in the middle for as long as the file "wait" exists.
SCRIPT = """
import sys, time
from pathlib import Path
from codec import api, cli, results

def compress_with(options, image, fo, **more):
    fo.write(image.name[:1].encode(errors="replace") * 100_000)
    if Path("wait").exists():
        Path(f"begun-{image.name}").touch()
    while Path("wait").exists():
        time.sleep(0.01)
    fo.write(image.name[:1].encode(errors="replace") * 100_000)
    return results.Compression(200_000, 1, 1, 8.0, 75.0, "photo", None, None, 1, 0.0, ())

api.compress_with = compress_with
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **more}


def start(folder: Path, *arguments: str, before: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", f"{SCRIPT}{before}\ncli.main()", "compress", *arguments],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def wait_for(path: Path) -> None:
    for _ in range(3000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_disk_that_is_full_in_the_middle(tmp_path: Path) -> None:
    # A limit on file sizes fails in the kernel like a full disk, at the same calls.
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
    code, out, err = finish(start(tmp_path, "a.png", "b.png", "-j", "2", before=limit))
    assert (code, out) == (1, "")
    assert err.count("cannot write") == 2
    assert err.endswith("calotype: 2 of 2 files failed\n")
    assert names(tmp_path) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_standard_output_on_a_full_disk(tmp_path: Path) -> None:
    for arguments in (["a.png", "-o", "-"], ["a.png", "b.png"], ["a.png", "--json", "-f"]):
        with Path("/dev/full").open("w") as full:
            process = subprocess.run(
                [sys.executable, "-c", f"{SCRIPT}\ncli.main()", "compress", *arguments],
                cwd=tmp_path,
                env=environment(),
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
            )
        assert process.returncode == 6, process.stderr
        assert "No space left on device" in process.stderr
        assert "Traceback" not in process.stderr
    code, _, err = finish(start(tmp_path, "c.png", "-o", "/dev/full"))
    assert (code, "No space left on device" in err) == (6, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_on_a_full_disk(option: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "codec", option],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
        )
    assert done.returncode == 6
    assert done.stderr == "calotype: error: cannot write: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
@pytest.mark.parametrize("stderr", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_standard_error_that_takes_nothing(stderr: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"{SCRIPT}\ncli.main()")
    command = f'"{sys.executable}" script.py compress'
    for arguments, code in (("a.png", 0), ("a.png", 6), ("a.png b.png", 1)):
        done = subprocess.run(
            f"{command} {arguments} {stderr}", shell=True, cwd=tmp_path, env=environment()
        )
        assert done.returncode == code
    # No printed text went into a file.
    for name in ("a", "b"):
        assert (tmp_path / f"{name}.calo").read_bytes() == name.encode() * 200_000


def test_a_terminal_that_is_closed(tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    process = start(tmp_path, "a.png")
    wait_for(tmp_path / "begun-a.png")
    process.send_signal(signal.SIGHUP)
    assert finish(process)[0] == 128 + signal.SIGHUP
    assert names(tmp_path) == ["begun-a.png", "wait"]


def test_a_terminal_that_is_closed_under_nohup(tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    ignore = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = start(tmp_path, "a.png", before=ignore)
    wait_for(tmp_path / "begun-a.png")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    (tmp_path / "wait").unlink()
    assert finish(process)[0] == 0
    assert names(tmp_path) == ["a.calo", "begun-a.png"]


def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    (tmp_path / "b.calo").write_bytes(b"earlier")
    process = start(tmp_path, "a.png", "b.png", "-f", "-j", "2")
    for name in ("begun-a.png", "begun-b.png"):
        wait_for(tmp_path / name)
        (tmp_path / name).unlink()
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    (tmp_path / "wait").unlink()
    left = [path for path in tmp_path.iterdir() if path.suffix == ".part"]
    assert names(tmp_path) == sorted(["b.calo", *(path.name for path in left)])
    assert len(left) == 2
    assert (tmp_path / "b.calo").read_bytes() == b"earlier"
    # Remaining files do no harm, and are not taken for inputs.
    assert finish(start(tmp_path, "a.png", "b.png", "-f"))[0] == 0
    assert (tmp_path / "a.calo").read_bytes() == b"a" * 200_000
    assert finish(start(tmp_path, "-r", "."))[0] == 2


@pytest.mark.parametrize("force", [False, True])
def test_two_processes_that_write_one_file(tmp_path: Path, force: bool) -> None:
    (tmp_path / "wait").touch()
    options = ["-o", "same.calo", *(["-f"] if force else [])]
    both = [start(tmp_path, name, *options) for name in ("a.png", "b.png")]
    for name in ("begun-a.png", "begun-b.png"):
        wait_for(tmp_path / name)
        (tmp_path / name).unlink()
    (tmp_path / "wait").unlink()
    ends = [finish(process) for process in both]
    codes = [code for code, _, _ in ends]
    content = (tmp_path / "same.calo").read_bytes()
    if force:
        assert codes == [0, 0]
        assert content in (b"a" * 200_000, b"b" * 200_000)
    else:
        assert sorted(codes) == [0, 6]
        assert content == (b"a", b"b")[codes.index(0)] * 200_000
        assert "same.calo appeared meanwhile" in ends[codes.index(6)][2]
    assert names(tmp_path) == ["same.calo"]


@pytest.mark.parametrize("as_json", [False, True])
def test_two_processes_that_skip_what_is_there(tmp_path: Path, as_json: bool) -> None:
    (tmp_path / "wait").touch()
    options = ["a.png", "b.png", "--skip-existing", *(["--json"] if as_json else [])]
    both = [start(tmp_path, *options) for _ in range(2)]
    for _ in both:
        wait_for(tmp_path / "begun-a.png")
    time.sleep(1)  # so that the other one has begun as well
    (tmp_path / "wait").unlink()
    ends = [finish(process) for process in both]
    assert [(code, err) for code, _, err in ends] == [(0, ""), (0, "")]
    for name in ("a", "b"):
        assert (tmp_path / f"{name}.calo").read_bytes() == name.encode() * 200_000
    if as_json:
        done = [json.loads(out) for _, out, _ in ends]
        for one in done:
            assert sorted([f["input"] for f in one["files"]] + one["skipped"]) == options[:2]
        assert sorted(f["input"] for one in done for f in one["files"]) == options[:2]
    else:
        lines = [line for _, out, _ in ends for line in out.splitlines()]
        assert sorted(line.partition(" ")[0] for line in lines) == options[:2]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.png")
    command = [sys.executable, "-c", f"{SCRIPT}\ncli.main()", "compress", name]
    for encoding in ("utf-8", "ascii"):
        for options in ([], ["-f", "--json"]):
            done = subprocess.run(
                [*command, *options, "-o", f"{encoding}.calo"],
                cwd=tmp_path,
                env=environment(PYTHONIOENCODING=encoding),
                capture_output=True,
            )
            assert done.returncode == 0, done.stderr
            if options:
                assert json.loads(done.stdout)["files"][0]["input"] == name
            else:
                shown = {"utf-8": rb"\udcff\udcfe", "ascii": b"??"}[encoding]
                assert done.stdout.startswith(shown + b".png -> ")


def test_closed_standard_streams(tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m codec compress -'
    for closed, message in (("<&-", "standard input is closed"), (">&-", "output is closed")):
        done = subprocess.run(
            f"echo x | {command} {'-o x.calo' if '<' in closed else ''} {closed}",
            shell=True,
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
        )
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert names(tmp_path) == []
