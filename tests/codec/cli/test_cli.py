"""The command, run in this process: outputs, names, refusals, pipes and exit codes."""

import io
import os
import re
import signal
import stat
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import codec
from codec.cli import app

pytestmark = pytest.mark.usefixtures("tiny_weights")


def run(*arguments: object, stdin: bytes | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def folder(tmp_path: Path, photograph: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with photo.png and sub/small.png."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph).save("photo.png")
    Path("sub").mkdir()
    Image.fromarray(photograph[:9, :5]).save("sub/small.png")
    return tmp_path


def test_there_and_back_with_default_names(folder: Path) -> None:
    before = Path("photo.png").read_bytes()
    result = run("compress", "photo.png")
    size = Path("photo.calo").stat().st_size
    assert result.stdout.startswith("photo.png -> photo.calo  64×48  ")
    assert re.search(rf"  {size:,} bytes  [\d.]+ bpp  quality 75  [\d.]+ s\n$", result.stdout)
    assert result.stderr == ""
    Path("photo.png").rename("kept.png")
    run("decompress", "photo.calo")
    with Image.open("photo.png") as image:
        assert (image.format, image.size) == ("PNG", (64, 48))
        assert np.array_equal(np.asarray(image), codec.decompress("photo.calo", as_="numpy"))
    assert Path("kept.png").read_bytes() == before
    assert names(folder) == ["kept.png", "photo.calo", "photo.png", "sub/small.png"]


def test_the_suffix_of_the_output_picks_the_format(folder: Path) -> None:
    run("compress", "photo.png", "-o", "x.calo")
    for suffix, format_name in ((".jpg", "JPEG"), (".webp", "WEBP"), (".tiff", "TIFF")):
        run("decompress", "x.calo", "-o", f"y{suffix}")
        with Image.open(f"y{suffix}") as image:
            assert image.format == format_name
    assert "expected one of .png" in run("decompress", "x.calo", "-o", "y.gif", code=2).stderr


def test_existing_outputs_are_refused_without_force(folder: Path) -> None:
    Path("photo.calo").write_bytes(b"mine")
    assert "-f to replace" in run("compress", "photo.png", code=6).stderr
    assert Path("photo.calo").read_bytes() == b"mine"
    run("compress", "photo.png", "-f")
    assert Path("photo.calo").read_bytes() != b"mine"
    assert "-f to replace" in run("decompress", "photo.calo", code=6).stderr


def test_an_input_is_never_replaced(folder: Path) -> None:
    before = Path("photo.png").read_bytes()
    assert (
        "is an input as well"
        in run("compress", "photo.png", "-f", "-o", "photo.png", code=6).stderr
    )
    assert Path("photo.png").read_bytes() == before


def test_a_calo_file_is_no_image_to_compress(folder: Path) -> None:
    run("compress", "photo.png")
    before = Path("photo.calo").read_bytes()
    for more in ((), ("-f",), ("-o", "photo.calo")):
        assert "use calotype decompress" in run("compress", "photo.calo", *more, code=3).stderr
    assert Path("photo.calo").read_bytes() == before


def test_verify_goes_through_folders(folder: Path) -> None:
    run("compress", "-r", ".", "-o", "all")
    said = run("verify", "-r", "all").stdout.splitlines()
    assert [line.split("  ")[0] for line in said] == ["all/photo.calo", "all/sub/small.calo"]
    assert "give -r" in run("verify", "all", code=2).stderr
    Path("all/sub/small.calo").write_bytes(b"damaged")
    assert "all/sub/small.calo: " in run("verify", "-r", "all", code=1).stderr
    assert "no file to work on" in run("verify", "-r", "sub", code=2).stderr


def test_deep_pictures_are_rounded_on_request(folder: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 65536, (9, 12), dtype=np.uint16)
    Image.fromarray(samples).save("deep.png")
    run("compress", "deep.png")
    assert "--reduce-depth" in run("decompress", "deep.calo", "-o", "x.jpg", code=2).stderr
    run("decompress", "deep.calo", "--reduce-depth", "-o", "x.png")
    deep = codec.decompress("deep.calo", as_="numpy")
    reduced = codec.decompress("deep.calo", as_="numpy", reduce_depth=True)
    assert reduced.dtype == np.uint8
    np.testing.assert_array_equal(reduced, np.round(deep / 257))
    with Image.open("x.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), reduced)
    run("decompress", "deep.calo", "--reduce-depth", "-o", "x.jpg")


def test_a_failure_leaves_no_new_folder(folder: Path) -> None:
    Path("broken.png").write_bytes(b"no image")
    Path("broken.calo").write_bytes(b"no file")
    for command in ("compress", "decompress"):
        name = "broken.png" if command == "compress" else "broken.calo"
        run(command, name, "-o", "new/deep/", code=3)
        assert not Path("new").exists()
    run("compress", "photo.png", "broken.png", "-o", "new/deep", "-j", 2, code=1)
    assert names(Path("new")) == ["deep/photo.calo"]


def test_folders_are_mirrored(folder: Path) -> None:
    Path("sub/notes.txt").write_text("no image")
    assert "give -r" in run("compress", "sub", code=2).stderr
    run("compress", "-r", ".", "-o", "out", "-j", "2")
    assert names(Path("out")) == ["photo.calo", "sub/small.calo"]
    run("decompress", "-r", "out", "-o", "back")
    assert names(Path("back")) == ["photo.png", "sub/small.png"]
    run("compress", "-r", "sub")
    assert names(Path("sub")) == ["notes.txt", "small.calo", "small.png"]


def test_output_folders(folder: Path) -> None:
    run("compress", "photo.png", "-o", "new/")
    run("compress", "photo.png", "sub/small.png", "-o", "two")
    Path("there").mkdir()
    run("compress", "photo.png", "-o", "there")
    assert names(folder)[:1] == ["new/photo.calo"]
    assert names(Path("two")) == ["photo.calo", "small.calo"]
    assert names(Path("there")) == ["photo.calo"]
    message = run("compress", "photo.png", "sub/small.png", "-o", "photo.png", code=2).stderr
    assert "expected a folder" in message


def test_one_bad_file_does_not_stop_the_others(folder: Path) -> None:
    Path("bad.png").write_bytes(b"no image")
    result = run("compress", "bad.png", "photo.png", "gone.png", code=1)
    assert Path("photo.calo").exists()
    assert "bad.png is not an image" in result.stderr
    assert "cannot read gone.png" in result.stderr
    assert result.stderr.endswith("calotype: 2 of 3 files failed\n")
    assert not Path("bad.calo").exists()


def test_two_inputs_with_one_output_name(folder: Path) -> None:
    Image.open("photo.png").save("photo.webp")
    result = run("compress", "photo.png", "photo.webp", code=1)
    assert "would both become photo.calo" in result.stderr
    assert Path("photo.calo").exists()


def test_an_input_that_was_given_twice(folder: Path) -> None:
    result = run("compress", "photo.png", "./photo.png", code=1)
    assert "photo.png was given twice" in result.stderr
    assert Path("photo.calo").exists()


def test_pipes(folder: Path) -> None:
    data = run("compress", "-", "-q", "80", stdin=Path("photo.png").read_bytes()).stdout_bytes
    assert data == codec.compress("photo.png", quality=80)
    assert run("compress", "photo.png", "-q", "80", "-o", "-").stdout_bytes == data
    png = run("decompress", "-", stdin=data).stdout_bytes
    with Image.open(io.BytesIO(png)) as image:
        assert (image.format, image.size) == ("PNG", (64, 48))
    assert "64×48" in run("inspect", "-", stdin=data).stdout
    assert "ok" in run("verify", "-", stdin=data).stdout
    run("compress", "-", "-o", "named.calo", stdin=Path("photo.png").read_bytes())
    assert Path("named.calo").exists()
    run("compress", "-", "-", stdin=b"", code=2)
    run("compress", "photo.png", "sub/small.png", "-o", "-", code=2)
    run("compress", "photo.png", "-o", "-", "--json", code=2)
    run("decompress", "-", "--json", stdin=data, code=2)


def test_binary_is_not_written_to_a_terminal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codec.cli import files

    class Terminal:
        @staticmethod
        def isatty() -> bool:
            return True

    monkeypatch.setattr(files, "sys", type("sys", (), {"stdout": Terminal, "stdin": Terminal}))
    assert "standard output is a terminal" in run("compress", "photo.png", "-o", "-", code=2).stderr
    assert "standard input is a terminal" in run("compress", "-", "-o", "x.calo", code=2).stderr
    assert "standard input is a terminal" in run("verify", "-", code=2).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["compress", "gone.png"], 3, "cannot read gone.png"),
        (["compress", "sub/bad.png"], 3, "not an image"),
        (["compress", "photo.png", "-q", "0"], 2, "1 .. 100"),
        (["compress", "photo.png", "-q", "50", "--size", "9kB"], 2, "quality and size"),
        (["compress", "photo.png", "--size", "9 apples"], 2, "50KiB"),
        (["compress", "photo.png", "--size", "20"], 2, "at quality 1 the file has"),
        (["compress", "photo.png", "-e", "10"], 2, "1 .. 9"),
        (["compress", "photo.png", "--device", "tpu"], 2, "tpu"),
        (["compress", "photo.png", "-m", "vapor"], 5, "'vapor'"),
        (["compress", "photo.png", "-o", "photo.png/x.calo"], 6, "cannot make photo.png"),
        (["compress"], 2, "Missing argument"),
        (["decompress", "gone.calo"], 3, "cannot read gone.calo"),
        (["decompress", "photo.png", "-o", "x.png"], 3, "not a .calo file"),
        (["decompress", "sub"], 2, "sub: it is a folder; give -r"),
        (["decompress", "."], 2, "error: .: it is a folder; give -r"),
        (["decompress", "sub", "-o", "out"], 2, "sub: it is a folder; give -r"),
        (["decompress", "good.calo", "-o", "x.png", "--layers", "2"], 2, "layers 2"),
        (["decompress", "good.calo", "-o", "x.png", "--region", "1,2,3"], 2, "X,Y,W,H"),
        (["decompress", "good.calo", "-o", "x.png", "--region", "60,0,9,9"], 2, "region"),
        (["decompress", "good.calo", "-o", "x.png", *2 * ["--region", "0,0,9,9"]], 2, "2 times"),
        (["compress", "photo.png", *2 * ["--roi", "0,0,9,9"]], 2, "2 times"),
        (["decompress", "good.calo", "-o", "x"], 2, "-o x.png, or -o x/ for a folder"),
        (["decompress", "good.calo", "-o", "x.png", "--seed", "-1"], 2, "seed"),
        (["decompress", "cut.calo", "-o", "x.png"], 4, "cut.calo: the file ends"),
        (["inspect", "photo.png"], 3, "photo.png: it is not a .calo file"),
        (["inspect", "gone.calo"], 3, "cannot read gone.calo"),
        (["verify", "cut.calo"], 4, "cut.calo: the file ends"),
        (["verify", "good.calo", "cut.calo"], 1, "1 of 2 files failed"),
        (["unknown"], 2, "No such command"),
    ],
)
def test_exit_codes(folder: Path, arguments: Sequence[str], code: int, message: str) -> None:
    Path("sub/bad.png").write_bytes(b"no image")
    data = codec.compress("photo.png")
    Path("good.calo").write_bytes(data)
    Path("cut.calo").write_bytes(data[:-20])
    before = names(folder)
    result = run(*arguments, code=code)
    assert message in result.stderr
    assert names(folder) == before


def test_missing_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(codec.compress("photo.png"))
    from dataclasses import replace

    from bitstream import container_from_bytes, container_to_bytes

    container = container_from_bytes(bytes(data))
    header = replace(container.header, weights_hash=bytes(8))
    Path("other.calo").write_bytes(container_to_bytes(replace(container, header=header)))
    assert "0000000000000000" in run("decompress", "other.calo", code=5).stderr


def test_a_cut_file_with_partial(folder: Path) -> None:
    Path("cut.calo").write_bytes(codec.compress("photo.png")[:-1])
    result = run("decompress", "cut.calo", "--partial")
    assert "notice: cut.calo: 1 of 1 layers" in result.stderr
    assert Path("cut.png").exists()


def test_inspect_shows_what_stands_before_the_damage(folder: Path) -> None:
    data = codec.compress("photo.png", quality=60)
    Path("whole.calo").write_bytes(data)
    Path("cut.calo").write_bytes(data[:-1])
    Path("head.calo").write_bytes(data[:8])
    result = run("inspect", "cut.calo", code=4)
    assert result.stderr.startswith("calotype: error: cut.calo: the file ends")
    whole = run("inspect", "whole.calo").stdout.splitlines()
    shown = result.stdout.splitlines()
    assert shown[0].startswith("file      cut.calo, intact up to byte ")
    assert [line for line in whole if line.startswith(("image", "quality", "model", "tiles"))] == [
        line for line in shown if line.startswith(("image", "quality", "model", "tiles"))
    ]
    assert "layers    1 of 1 before the damage" in shown
    assert not [line for line in shown if line.startswith(("rate", "metadata", "payload"))]
    assert run("inspect", "-", stdin=data[:-1], code=4).stdout.startswith("file      -, intact")
    for arguments in (["head.calo"], ["cut.calo", "--json"]):
        result = run("inspect", *arguments, code=4)
        assert result.stdout == ""
        assert "the file ends" in result.stderr


@pytest.mark.parametrize(("quality", "raised"), [(60, 90), (80, 100)])
def test_the_quality_of_a_region_is_printed_as_inspect_shows_it(
    folder: Path, quality: int, raised: int
) -> None:
    result = run("compress", "photo.png", "-q", quality, "--roi", "1,2,20,20:30")
    said = f"  quality {quality} ({raised} in the region, which inspect shows)  "
    assert said in result.stdout
    said = f"quality   {raised}; if --roi was used, lower outside the region\n"
    assert said in run("inspect", "photo.calo").stdout


def test_options_reach_the_codec(folder: Path) -> None:
    run("compress", "photo.png", "--bpp", "4", "-o", "a.calo")
    assert codec.inspect("a.calo").rate_bpp <= 4
    run("compress", "photo.png", "--size", "1.5KiB", "-o", "b.calo")
    assert Path("b.calo").stat().st_size <= 1536
    stdout = run("compress", "photo.png", "--psnr", "15", "-o", "c.calo").stdout
    assert re.search(r" s  [\d.]+ dB\n$", stdout)
    run("decompress", "a.calo", "-o", "part.png", "--region", "1,2,10,20")
    with Image.open("part.png") as image:
        assert image.size == (10, 20)
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open("photo.png") as image:
        image.save("turned.png", exif=exif)
    run("compress", "turned.png", "--apply-orientation", "-o", "d.calo")
    assert (codec.inspect("d.calo").width, codec.inspect("d.calo").height) == (48, 64)
    run("compress", "turned.png", "--strip", "-o", "e.calo")
    assert codec.inspect("e.calo").exif_bytes == 0
    Image.new("I;16", (4, 4), 40000).save("deep.png")
    assert "--reduce-depth" in run("compress", "deep.png", "-m", "draw", code=3).stderr
    result = run("compress", "deep.png", "--reduce-depth")
    assert "notice: deep.png: mode I;16 was reduced to 8 bits" in result.stderr


def test_a_score_is_printed_where_it_was_the_target(folder: Path) -> None:
    pytest.importorskip("ssimulacra2")
    stdout = run("compress", "photo.png", "--ssimulacra2", "-3.5", "-o", "f.calo").stdout
    assert re.search(r" s  SSIMULACRA2 -?[\d.]+\n$", stdout)
    result = run("compress", "photo.png", "--ssimulacra2", "99", "-o", "g.calo", code=2)
    assert "at quality 100 the SSIMULACRA2 is" in result.stderr
    result = run("compress", "sub/small.png", "--ssimulacra2", "9", "-o", "g.calo", code=2)
    assert "5×9 pixels, but SSIMULACRA2 needs 8 on each side" in result.stderr
    result = run("compress", "photo.png", "--ssimulacra2", "101", "-o", "g.calo", code=2)
    assert "ssimulacra2 101 was given, expected -50 .. 100" in result.stderr
    assert not Path("g.calo").exists()
    # Only those files fail that are too small.
    result = run("compress", "photo.png", "sub/small.png", "--ssimulacra2", "0", code=1)
    assert "1 of 2 files failed" in result.stderr
    assert Path("photo.calo").exists()


def test_alpha_needs_a_format_that_has_it(folder: Path) -> None:
    Image.new("RGBA", (4, 4), (1, 2, 3, 4)).save("clear.png")
    run("compress", "clear.png")
    assert "cannot hold it" in run("decompress", "clear.calo", "-o", "clear.jpg", code=2).stderr
    assert not Path("clear.jpg").exists()
    run("decompress", "clear.calo", "-o", "clear.webp")
    with Image.open("clear.webp") as image:
        assert image.getchannel("A").getextrema() == (4, 4)


def test_devices_are_written_in_place(folder: Path) -> None:
    run("compress", "photo.png", "-o", os.devnull)
    assert stat.S_ISCHR(Path(os.devnull).stat().st_mode)


def test_version_and_help() -> None:
    assert run("--version").stdout == f"calotype {codec.__version__}\n"
    text = run("--help").stdout
    assert "..." not in text.partition("Commands:")[2]  # no description is truncated
    names = "compress decompress inspect verify compare models rd bound plot demo"
    for name in names.split():
        assert f"  {name} " in text
        shown = run(name, "--help").stdout
        assert "Usage: " in shown
        assert shown.count(f"Example: calotype {name}") == 1


def test_an_interrupt_is_130_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from codec import api

    def interrupted(options: object, image: object, fo: io.BytesIO, **more: object) -> None:
        fo.write(b"half a file")
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(api, "compress_with", interrupted)
    before = names(folder)
    run("compress", "photo.png", "sub/small.png", code=130)
    assert names(folder) == before


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
def test_a_failed_write_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from codec import api

    def full(options: object, image: object, fo: io.BytesIO, **more: object) -> None:
        fo.write(b"half a file")
        raise OSError(28, "No space left on device")

    Path("photo.calo").write_bytes(b"earlier")
    monkeypatch.setattr(api, "compress_with", full)
    before = names(folder)
    assert "No space left" in run("compress", "-f", "photo.png", code=6).stderr
    assert names(folder) == before
    assert Path("photo.calo").read_bytes() == b"earlier"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_named_pipes_are_read_once(folder: Path) -> None:
    os.mkfifo("pipe")

    def feed(data: bytes) -> threading.Thread:
        thread = threading.Thread(target=Path("pipe").write_bytes, args=(data,), daemon=True)
        thread.start()
        return thread

    image = Path("photo.png").read_bytes()
    for arguments in (["compress", "pipe", "-o", "piped.calo"], ["compare", "pipe", "photo.png"]):
        thread = feed(image)
        run(*arguments)
        thread.join(10)
        assert not thread.is_alive()
    assert Path("piped.calo").read_bytes() == codec.compress("photo.png")
    for command in ("decompress", "inspect", "verify"):
        thread = feed(Path("piped.calo").read_bytes())
        run(command, "pipe", *(["-o", "back.png"] if command == "decompress" else []))
        thread.join(10)
        assert not thread.is_alive()
    with Image.open("back.png") as back, Image.open("photo.png") as first:
        assert back.size == first.size
