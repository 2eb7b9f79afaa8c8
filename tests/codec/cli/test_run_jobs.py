"""Batches with bad files, bad folders, bad names and bad disks."""

import errno
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from codec.cli import app
from codec.cli.files import Job, check_targets, plan
from codec.cli.run_jobs import end, run_batch
from codec.cli.terminal import one_line

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX names and links")


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def folder(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a.png, b.png and c.png."""
    monkeypatch.chdir(tmp_path)
    for name in "abc":
        Image.new("RGB", (9, 7), (90, 120, 30)).save(f"{name}.png")
    return tmp_path


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_bad_inputs_of_every_kind_stop_no_other(folder: Path, jobs: str) -> None:
    Path("text.png").write_text("no image")
    Path("empty.png").touch()
    Path("half.png").write_bytes(Path("a.png").read_bytes()[:50])
    Path("inside").mkdir()
    long = "x" * 300 + ".png"
    bad = ["text.png", "empty.png", "half.png", "inside", "gone.png", long]
    result = run("compress", "a.png", *bad, "b.png", "-j", jobs, code=1)
    assert {"a.calo", "b.calo"} == {n for n in names(folder) if n.endswith(".calo")}
    errors = result.stderr.splitlines()
    assert errors.pop() == "calotype: 6 of 8 files failed"
    for name, error in zip(bad, errors, strict=True):
        assert error.startswith("calotype: error: ")
        assert name in error
    assert "give -r" in errors[3]
    assert len(result.stdout.splitlines()) == 2
    assert not list(folder.glob(".*"))


def test_errors_are_records_of_their_own_in_json(folder: Path) -> None:
    Path("inside").mkdir()
    found = json.loads(run("compress", "inside", "a.png", "--json", code=1).stdout)["files"]
    assert [one["error_type"] for one in found] == ["UsageError", None]
    assert run("compress", "inside", code=2).stderr.count("\n") == 1


@posix
def test_loops_of_links(folder: Path) -> None:
    Path("loop").symlink_to("loop")
    Path("one").symlink_to("two")
    Path("two").symlink_to("one")
    Path("tree").mkdir()
    Path("tree/up").symlink_to("..")
    Path("tree/self.png").symlink_to("self.png")
    Image.open("a.png").save("tree/d.png")
    errors = run("compress", "loop", "one", "a.png", code=1).stderr
    assert "cannot read loop: Too many levels of symbolic links" in errors
    assert Path("a.calo").exists()
    # The link to the parent is not followed, and the link to itself is no file.
    run("compress", "-r", "tree", "-o", "out")
    assert names(Path("out")) == ["d.calo"]
    run("compress", "b.png", "-o", "loop", code=6)


def test_a_folder_that_cannot_be_listed_fails_and_stops_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("open", "closed"):
        Path("tree", name).mkdir(parents=True)
        Image.open("a.png").save(f"tree/{name}/x.png")
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        # A superuser may enter every folder, so permission bits would test nothing.
        if Path(path).name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    result = run("compress", "-r", "tree", "-o", "out", code=1)
    assert "cannot read the folder tree/closed: Permission denied" in result.stderr
    assert result.stderr.endswith("calotype: 1 of 2 files failed\n")
    monkeypatch.undo()
    assert names(folder / "out") == ["open/x.calo"]


@posix
def test_names_with_spaces_newlines_and_escapes(folder: Path) -> None:
    odd = [" two  words .png", "line\nbreak.png", "-dash.png", "red\x1b[31m.png", "ü € 漢.png"]
    for name in odd:
        Path(name).write_bytes(Path("a.png").read_bytes())
    result = run("compress", "--", *odd)
    lines = result.stdout.splitlines()
    assert len(lines) == len(odd)
    assert lines[1].startswith("line\\nbreak.png -> line\\nbreak.calo  9×7")
    assert lines[3].startswith("red\\x1b[31m.png ->")
    for name in odd:
        assert Path(name).with_suffix(".calo").stat().st_size > 0
    again = run("compress", "--", *odd, code=1).stderr.splitlines()
    assert len(again) == len(odd) + 1
    found = json.loads(run("verify", "--json", "line\nbreak.calo").stdout)["files"]
    assert (found[0]["input"], found[0]["ok"]) == ("line\nbreak.calo", True)


@posix
def test_a_name_of_the_greatest_length_can_be_written(folder: Path) -> None:
    # 250 bytes of UTF-8 in 125 characters: the name of the temporary file must fit as well.
    name = "é" * 125
    run("compress", "a.png", "-o", name + ".calo")
    assert name + ".calo" in names(folder)
    assert "File name too long" in run("compress", "a.png", "-o", "é" * 130, code=6).stderr


def test_folders_without_a_name_of_their_own(folder: Path) -> None:
    for place in (".", "/", ".."):
        assert "give -r" in run("compress", place, code=2).stderr


def test_what_the_machine_lacks_fails_one_file(folder: Path, capsys: Any) -> None:
    failures: Sequence[BaseException] = (
        MemoryError(),
        RuntimeError("CUDA out of memory"),
        OSError(errno.EIO, "Input/output error"),
    )

    def work(number: int) -> str:
        if number < len(failures):
            raise failures[number]
        return "done"

    for threads in (1, 4):
        outcomes = run_batch(
            ["a", "b", "c", "d"], work, threads=threads, what="x", show=lambda n, r: f"{n} {r}"
        )
        assert [outcome.result for outcome in outcomes] == [None, None, None, "done"]
        with pytest.raises(Exception, match="1"):
            end(outcomes)
        out, err = capsys.readouterr()
        assert out == "3 done\n"
        assert "a: the machine failed: MemoryError\n" in err
        assert "b: the machine failed: RuntimeError: CUDA out of memory\n" in err
        assert "c: the system failed: Input/output error\n" in err
        assert err.endswith("calotype: 3 of 4 files failed\n")


def test_other_exceptions_are_defects_and_end_the_batch() -> None:
    def work(number: int) -> str:
        raise KeyError(number)

    with pytest.raises(KeyError):
        run_batch(["a", "b"], work, what="x", show=lambda n, r: r)


def test_a_link_to_an_input_is_that_input(folder: Path) -> None:
    Path("link.calo").symlink_to("a.png")
    (problem,) = check_targets([Job(Path("a.png"), Path("link.calo"))], force=True)
    assert "is an input as well" in str(problem)


def test_the_plan_of_a_tree_is_in_the_order_of_names(folder: Path) -> None:
    for name in ("z/1.png", "b/2.png", "b/10.png", "a.b/x.png"):
        Path("tree", name).parent.mkdir(parents=True, exist_ok=True)
        Path("tree", name).touch()
    jobs = plan(["tree"], "out", recursive=True, is_wanted=lambda path: True, suffix=".calo")
    found = [str(job.target) for job in jobs]
    assert found == ["out/a.b/x.calo", "out/b/10.calo", "out/b/2.calo", "out/z/1.calo"]


@posix
def test_what_is_no_file_in_a_folder_is_named(folder: Path) -> None:
    Path("tree").mkdir()
    Path("a.png").rename("tree/a.png")
    Path("tree/gone.png").symlink_to("nowhere.png")
    os.mkfifo("tree/pipe.png")
    os.mkfifo("tree/pipe")  # not an image by its name
    result = run("compress", "-r", "tree", "-o", "out")
    assert names(Path("out")) == ["a.calo"]
    assert sorted(result.stderr.splitlines()) == [
        "calotype: notice: tree/gone.png was skipped: it is a broken link, not a file",
        "calotype: notice: tree/pipe.png was skipped: it is a pipe or a device, not a file",
    ]
    assert run("compress", "-r", "tree", "-o", "out", "-f", "--quiet").stderr == ""


def test_pictures_of_a_folder_that_pillow_does_not_read_are_counted(folder: Path) -> None:
    Path("tree/sub").mkdir(parents=True)
    Path("a.png").rename("tree/a.png")
    for name in ("tree/1.HEIC", "tree/sub/2.heic", "tree/3.jxl", "tree/notes.txt"):
        Path(name).touch()
    result = run("compress", "-r", "tree", "-o", "out")
    assert names(Path("out")) == ["a.calo"]
    assert result.stderr.splitlines() == [
        "calotype: notice: tree: files in formats that Pillow does not read were skipped "
        "(2 .heic, 1 .jxl): convert them to PNG or JPEG"
    ]
    assert run("compress", "-r", "tree", "-o", "out", "-f", "--quiet").stderr == ""
    Path("tree/a.png").unlink()
    assert "(2 .heic, 1 .jxl)" in run("compress", "-r", "tree", "-o", "out", code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [["compress", ""], ["compress", "a.png", "-o", ""], ["verify", ""], ["inspect", ""]],
    ids=" ".join,
)
def test_a_name_without_characters_is_no_folder(folder: Path, arguments: list[str]) -> None:
    assert "an empty name was given" in run(*arguments, code=2).stderr
    assert names(folder) == ["a.png", "b.png", "c.png"]


def test_one_line() -> None:
    assert one_line("a b\n\t\x1b\x7f\x9b é\u2028") == "a b\\n\\t\\x1b\\x7f\\x9b é\u2028"


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_damaged_files_stop_no_other(folder: Path, jobs: str) -> None:
    run("compress", "a.png", "b.png", "c.png", "-o", "coded")
    data = Path("coded/b.calo").read_bytes()
    Path("coded/b.calo").write_bytes(data[:30] + b"\xff" + data[31:])
    Path("coded/d.calo").write_bytes(data[:-9])
    Path("coded/e.calo").write_bytes(b"something else")
    for command in (["decompress", "-r", "coded", "-o", "back", "-j", jobs], ["verify"]):
        every = [] if len(command) > 1 else sorted(map(str, Path("coded").iterdir()))
        result = run(*command, *every, code=1)
        errors = result.stderr.splitlines()
        assert errors.pop() == "calotype: 3 of 5 files failed"
        for name, error in zip("bde", errors, strict=True):
            assert error.startswith(f"calotype: error: coded/{name}.calo: ")
        assert len(result.stdout.splitlines()) == 2
    assert names(Path("back")) == ["a.png", "c.png"]


def test_a_rerun_goes_on_where_the_first_was_stopped(folder: Path) -> None:
    run("compress", "-r", ".", "-o", "out")
    whole = {path: path.read_bytes() for path in Path("out").rglob("*.calo")}
    first, *others = whole
    first.unlink()
    old = {path: path.stat().st_mtime_ns for path in others}
    result = run("compress", "-r", ".", "-o", "out", "--skip-existing", "-j", "2")
    assert (
        result.stderr
        == f"calotype: {len(others)} of {len(whole)} files skipped: their outputs exist\n"
    )
    assert result.stdout.count("\n") == 1
    assert {path: path.read_bytes() for path in Path("out").rglob("*.calo")} == whole
    assert {path: path.stat().st_mtime_ns for path in others} == old
    records = json.loads(
        run("compress", "-r", ".", "-o", "out", "--skip-existing", "--json").stdout
    )
    assert records["files"] == []
    assert len(records["skipped"]) == len(whole)
    run("compress", "-r", ".", "-o", "out", "--skip-existing", "-f", code=2)


def test_skipping_hides_no_error(folder: Path) -> None:
    Image.open("a.png").save("a.webp")
    for more in ((), ("--skip-existing",)):
        result = run("compress", "a.png", "a.webp", *more, code=1)
        assert "would both become a.calo" in result.stderr


def test_one_name_in_several_folders_is_mirrored(folder: Path) -> None:
    for place in ("a", "b/c"):
        Path(place).mkdir(parents=True)
        Image.open("a.png").save(f"{place}/same.png")
    run("compress", "a/same.png", "b/c/same.png", "-o", "out")
    assert names(Path("out")) == ["a/same.calo", "b/c/same.calo"]
    run("compress", "-r", "a", "b/c", "-o", "two")
    assert names(Path("two")) == ["a/same.calo", "b/c/same.calo"]
    run("decompress", "-r", "two/a", "two/b", "-o", "back")
    assert names(Path("back")) == ["c/same.png", "same.png"]  # all names differ


def test_formats_and_qualities_of_many_outputs(folder: Path) -> None:
    run("compress", "-r", ".", "-o", "out")
    for name, format_name in (
        ("jpg", "JPEG"),
        (".WebP", "WEBP"),
        ("avif", "AVIF"),
        ("tif", "TIFF"),
    ):
        run("decompress", "-r", "out", "-o", name, "--format", name)
        written = [path for path in Path(name).rglob("*") if path.is_file()]
        assert len(written) == len(list(Path("out").rglob("*.calo")))
        for path in written:
            with Image.open(path) as image:
                assert image.format == format_name
    sizes = []
    for quality in (10, 60, 95):
        run(
            "decompress",
            "-r",
            "out",
            "-o",
            "q",
            "--format",
            "jpg",
            "-f",
            "--output-quality",
            quality,
        )
        sizes.append(sum(path.stat().st_size for path in Path("q").rglob("*.jpg")))
    assert sizes[0] < sizes[1] < sizes[2]
    assert sizes[2] == sum(path.stat().st_size for path in Path("jpg").rglob("*.jpg"))
    message = run("decompress", "-r", "out", "-o", "p", "--output-quality", 50, code=2).stderr
    assert "PNG, which is lossless" in message
    run("decompress", "-r", "out", "-o", "p", "--format", "jpg", "--output-quality", 0, code=2)
    message = run("decompress", "-r", "out", "-o", "p", "--format", "gif", code=2).stderr
    assert "expected one of .png .jpg" in message


def test_a_format_goes_before_the_suffix(folder: Path) -> None:
    run("compress", "a.png", "-o", "x.calo")
    run("decompress", "x.calo", "--format", "webp", "-o", "y.bin")
    with Image.open("y.bin") as image:
        assert image.format == "WEBP"
    run("decompress", "x.calo", "--format", "webp")
    assert Path("x.webp").read_bytes() == Path("y.bin").read_bytes()


def test_a_format_and_a_suffix_that_disagree(folder: Path) -> None:
    run("compress", "a.png", "-o", "x.calo")
    message = run("decompress", "x.calo", "--format", "jpg", "-o", "y.png", code=2).stderr
    assert "give -o y.jpg" in message
    assert not Path("y.png").exists()
    run("decompress", "x.calo", "--format", "jpg", "-o", "y.jpeg")


def test_a_calo_file_does_not_take_the_name_of_an_image(folder: Path) -> None:
    before = Path("b.png").read_bytes()
    for name in ("new.jpg", "b.png"):
        message = run("compress", "a.png", "-f", "-o", name, code=2).stderr
        assert f"give -o {Path(name).with_suffix('.calo')}" in message
    assert not Path("new.jpg").exists()
    assert Path("b.png").read_bytes() == before
    run("compress", "a.png", "-o", "a.bin")


def test_a_calo_file_is_no_image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a separate process the command does not know the plugin that other tests load.
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "CALO"])
    run("compress", "a.png")
    message = run("compress", "a.calo", "-o", "b.calo", code=3).stderr
    assert "a.calo is a .calo file, expected an image" in message


def test_outputs_that_exist_are_skipped_by_an_option_that_the_message_names(folder: Path) -> None:
    run("compress", "a.png")
    hint = "1 of 2 files failed; --skip-existing skips those whose output exists"
    assert hint in run("compress", "a.png", "b.png", code=1).stderr
    assert "--skip" not in run("compress", "a.png", code=6).stderr
    assert "--skip" not in run("compress", "a.png", "gone.png", "-f", code=1).stderr


def test_the_name_of_a_file_is_no_folder_for_several(folder: Path) -> None:
    message = run("compress", "-r", ".", "-o", "all.calo", code=2).stderr
    assert "has the name of a file, expected a folder: give -o all," in message
    run("compress", "-r", ".", "-o", "all.calo/")
    run("decompress", "-r", "all.calo", "-o", "all.jpg", code=2)
    Path("all.jpg").mkdir()
    run("decompress", "-r", "all.calo", "-o", "all.jpg")


def test_an_image_is_no_calo_file(folder: Path) -> None:
    for more in ((), ("-f",), ("-o", "x.png")):
        message = run("decompress", "a.png", *more, code=3).stderr
        assert "a.png: it is not a .calo file: it begins with the bytes" in message
        assert "; calotype compress makes one from an image" in message
    for command in ("inspect", "verify"):
        assert "it is not a .calo file" in run(command, "a.png", code=3).stderr
    run("decompress", "gone.png", code=3)


def test_quiet_prints_errors_only(folder: Path) -> None:
    Image.new("RGBA", (9, 7)).save("clear.png")
    frames = [Image.new("L", (9, 7), value) for value in (1, 2)]
    frames[0].save("pages.tif", save_all=True, append_images=frames[1:])
    loud = run("compress", "-r", ".", "-o", "loud")
    assert "notice: " in loud.stderr
    done = run("compress", "-r", ".", "-o", "out", "--quiet")
    assert done.output == ""
    assert run("compress", "-r", ".", "-o", "out", "--quiet", "--skip-existing").output == ""
    assert run("decompress", "-r", "out", "-o", "back", "--quiet").output == ""
    failed = run("compress", "gone.png", "--quiet", code=3)
    assert failed.output == "calotype: error: cannot read gone.png: No such file or directory\n"
