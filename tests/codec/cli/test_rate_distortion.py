"""`rd`, `plot` and `demo` as a user calls them, on small pictures and without weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from bitstream.errors import CalotypeError, OutputError, UsageError
from codec.cli.demo import PICTURES, demo, load_picture, nearest_in_size
from codec.cli.plot import plot
from codec.cli.rate_distortion import parse_rate_range, rd
from codec.rate_distortion import MissingExtraError, OperationalCodec, find_codec, read_result
from codec.rate_distortion.files import bd_rate as bd_rates
from codec.rate_distortion.report import figure as drawing

APP = typer.Typer()
for command in (rd, plot, demo):
    APP.command()(command)


def call(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit status, stdout and stderr; our own exceptions pass through."""
    result = CliRunner().invoke(APP, [str(argument) for argument in arguments])
    if isinstance(result.exception, CalotypeError):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.usefixtures("fake_photo")
def test_rd_writes_all_outputs_and_plot_reads_them(picture_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("bjontegaard")
    out = tmp_path / "out"
    status, stdout, _ = call("rd", picture_folder, "--codecs", "photo,webp", "-o", out, "-j", "2")
    assert status == 0
    assert sorted(path.name for path in out.iterdir()) == ["rd.csv", "rd.json", "rd.png", "rd.svg"]
    # The reference is measured although it is not in the list, and photo comes first.
    found = read_result(out / "rd.json")
    assert [curve.codec for curve in found.curves] == ["photo", "jpeg", "webp"]
    assert found.curves[0].data_set == "pictures"
    assert str(tmp_path) not in (out / "rd.json").read_text()
    assert "BD-rate against jpeg" in stdout
    picture = tmp_path / "curve.svg"
    chosen = "--codecs", "photo,jpeg", "--label", "ours", "--label", "theirs"
    status, stdout, _ = call("plot", out / "rd.json", "-o", picture, *chosen)
    assert ">theirs" in picture.read_text("utf-8")
    assert (status, "2 curves" in stdout) == (0, True)
    assert "<svg" in picture.read_text()
    with pytest.raises(OutputError, match="-f"):
        call("plot", out / "rd.json", "-o", picture)
    with pytest.raises(UsageError, match="no curve of avif in the files; there are jpeg"):
        call("plot", out / "rd.json", "-o", tmp_path / "x.svg", "--codecs", "avif")
    with pytest.raises(OutputError, match="-f"):
        call("rd", picture_folder, "--codecs", "photo", "-o", out)


@pytest.mark.usefixtures("fake_photo")
def test_rd_json_has_stable_keys(picture_folder: Path, tmp_path: Path) -> None:
    _, stdout, _ = call("rd", picture_folder, "--codecs", "photo", "-o", tmp_path / "o", "--json")
    summary = json.loads(stdout)
    assert set(summary) == {
        "schema", "data_set", "images", "written", "failed", "curves", "bd_rates",
    }  # fmt: skip
    assert summary["schema"] == "calotype.rd_summary/1"
    assert set(summary["curves"][0]) == {"codec", "encoder", "setting_name", "points"}
    assert set(summary["curves"][0]["points"][0]) == {
        "setting", "mean_bpp", "mean_psnr_db", "psnr_of_mean_mse_db", "mean_ms_ssim",
    }  # fmt: skip


@pytest.mark.usefixtures("fake_photo")
def test_rd_keeps_what_it_measured_where_there_is_nothing_to_draw(tmp_path: Path) -> None:
    for library in ("matplotlib", "ssimulacra2"):
        pytest.importorskip(library)
    # Too small for a score, and every file has more than 2 bits per pixel.
    Image.new("RGB", (6, 6), (9, 99, 199)).save(tmp_path / "small.png")
    out = tmp_path / "out"
    arguments = ("rd", tmp_path / "small.png", "--codecs", "photo", "--html", "-o", out)
    status, stdout, stderr = call(*arguments, "--metric", "psnr,ssimulacra2")
    assert status == 0
    assert sorted(path.name for path in out.iterdir()) == ["rd.csv", "rd.html", "rd.json"]
    assert ".svg" not in stdout
    assert "notice: no rd-ssimulacra2.svg: no SSIMULACRA2 within 0–2 bpp" in stderr
    assert "<svg" not in (out / "rd.html").read_text("utf-8")
    with pytest.raises(UsageError, match="measured with ms-ssim: measure again by calotype rd"):
        call("plot", out / "rd.json", "-o", tmp_path / "x.svg", "--metric", "ms-ssim")


@pytest.mark.usefixtures("fake_photo")
def test_rd_json_of_two_metrics_has_both(picture_folder: Path, tmp_path: Path) -> None:
    for library in ("bjontegaard", "ssimulacra2"):
        pytest.importorskip(library)
    out = tmp_path / "o"
    _, stdout, _ = call(
        "rd", picture_folder, "--codecs", "photo,webp", "--metric", "psnr,ssimulacra2", "-o", out,
        "--json",
    )  # fmt: skip
    summary = json.loads(stdout)
    points = [point for curve in summary["curves"] for point in curve["points"]]
    assert all(set(point) == {
        "setting", "mean_bpp", "mean_psnr_db", "psnr_of_mean_mse_db", "mean_ms_ssim",
        "mean_ssimulacra2",
    } for point in points)  # fmt: skip
    shared = {
        "reference", "test", "data_set", "method", "rate_range_bpp", "bd_rate_percent", "overlap",
        "per_image_mean_percent", "per_image_count", "image_count",
    }  # fmt: skip
    of_psnr, of_score = summary["bd_rates"][:2], summary["bd_rates"][2:]
    assert [delta["test"] for delta in of_psnr] == [delta["test"] for delta in of_score]
    assert all(set(delta) == shared | {"low_db", "high_db"} for delta in of_psnr)
    assert all(set(delta) == shared | {"metric", "low", "high"} for delta in of_score)
    assert all(delta["per_image_count"] == 2 for delta in of_score)
    # The files have the scores of every picture, and the table has their means.
    content = json.loads((out / "rd.json").read_text())
    assert all(
        len(point["ssimulacra2"]) == len(point["psnr_db"]) == 2
        for curve in content["curves"]
        for point in curve["points"]
    )
    header, first, *_ = (out / "rd.csv").read_text().splitlines()
    row = dict(zip(header.split(","), first.split(","), strict=True))
    assert float(row["mean_ssimulacra2"]) == points[0]["mean_ssimulacra2"]
    assert float(row["mean_psnr_db"]) == points[0]["mean_psnr_db"]


@pytest.mark.usefixtures("fake_photo")
def test_rd_leaves_out_what_it_cannot_measure_and_says_so(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGBA", (8, 8), (1, 2, 3, 4)).save(picture_folder / "glass.png")
    for module in (drawing, bd_rates):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    out = tmp_path / "out"
    status, stdout, stderr = call("rd", picture_folder, "--codecs", "photo", "-o", out)
    assert status == 1
    assert "rates in bpp" in stdout
    assert "BD-rate" not in stdout
    assert "over dB" not in stdout
    assert "left out: glass.png: has an alpha channel" in stderr
    # Only once, before the work begins.
    assert stderr.count("calotype: notice: no pictures of the curves: ") == 1
    assert stderr.count("install the extra 'plot'") == 1
    assert stderr.count("install the extra 'bench'") == 1
    assert sorted(path.name for path in out.iterdir()) == ["rd.csv", "rd.json"]


@pytest.mark.usefixtures("fake_photo")
def test_rd_says_what_an_earlier_run_has_left(picture_folder: Path, tmp_path: Path) -> None:
    for path in sorted(picture_folder.iterdir())[1:]:
        path.unlink()
    out = picture_folder / "curves"
    out.mkdir()
    for name in ("rd-ssimulacra2.png", "rd.html", "notes.txt"):
        (out / name).write_bytes(b"earlier")
    status, stdout, stderr = call("rd", picture_folder, "--codecs", "photo", "-o", out)
    assert status == 0
    assert "pictures: 1 picture, real files" in stdout
    assert "rd.html" not in stdout
    assert "left out: curves/rd-ssimulacra2.png: the result of an earlier run" in stderr
    left = f"left unchanged, from an earlier run: {out / 'rd-ssimulacra2.png'}, {out / 'rd.html'}"
    assert f"{left}\n" in stderr
    status, _, stderr = call("rd", picture_folder, "--codecs", "photo", "-o", out, "-f", "--html")
    assert status == 0
    assert f"from an earlier run: {out / 'rd-ssimulacra2.png'}\n" in stderr
    assert [one.name for one in read_result(out / "rd.json").curves[0].images] == [
        path.name for path in picture_folder.iterdir() if path.is_file()
    ]


@pytest.mark.usefixtures("fake_photo")
def test_rd_at_equal_ssimulacra2(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("matplotlib", "bjontegaard", "ssimulacra2"):
        pytest.importorskip(library)
    out = tmp_path / "out"
    arguments = ("rd", picture_folder, "--codecs", "photo", "--metric", "ssimulacra2", "--html")
    status, stdout, _ = call(*arguments, "-o", out)
    assert status == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "rd-ssimulacra2.png", "rd-ssimulacra2.svg", "rd.csv", "rd.html", "rd.json", "rd.png",
        "rd.svg",
    ]  # fmt: skip
    assert "over SSIMULACRA2" in stdout
    found = read_result(out / "rd.json")
    scores = [point.mean_score("ssimulacra2") for point in found.curves[0].points]
    assert None not in scores
    assert scores == sorted(scores, key=lambda score: score or 0)
    assert {one.get("metric", "psnr") for one in found.extra["bd_rates"]} == {
        "psnr", "ssimulacra2",
    }  # fmt: skip
    assert "mean_ssimulacra2" in (out / "rd.csv").read_text().splitlines()[0]
    page = (out / "rd.html").read_text("utf-8")
    assert (page.count("<svg"), "BD-rate against jpeg at equal SSIMULACRA2" in page) == (2, True)
    picture = tmp_path / "s.svg"
    call("plot", out / "rd.json", "-o", picture, "--metric", "ssimulacra2", "--rate-range", "0,9")
    assert ">SSIMULACRA2" in picture.read_text()
    with pytest.raises(UsageError, match="metric 'vmaf' is unknown"):
        call("rd", picture_folder, "--metric", "vmaf", "-o", out, "-f")
    for option in ("--metric", "--codecs"):
        for nothing in ("", " ,"):
            with pytest.raises(UsageError, match=f"{option} '{nothing}' was given"):
                call("rd", picture_folder, option, nothing, "-o", out, "-f")
    monkeypatch.setattr("codec.system.missing_extra.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="install the extra 'metrics'"):
        call("rd", picture_folder, "--metric", "psnr,ssimulacra2", "-o", out, "-f")


@pytest.mark.parametrize("text", ["", "1", "1,2,3", "2,1", "a,b", "-1,2", "nan,1"])
def test_rate_ranges_that_make_no_sense(text: str) -> None:
    with pytest.raises(UsageError, match="expected two rates in bpp"):
        parse_rate_range(text)


def test_rate_range() -> None:
    assert parse_rate_range("0.15, 1.2") == (0.15, 1.2)


def test_plot_wants_a_file_for_named_anchors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --anchors FILE"):
        call("plot", tmp_path / "x.json", "--anchor", "vtm")


@pytest.mark.usefixtures("fake_photo")
def test_demo_writes_pictures_and_a_table(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    status, stdout, _ = call("demo", "-o", out, "--picture", "chelsea")
    assert status == 0
    assert "PSNR in dB" in stdout
    assert "SSIMULACRA2" in stdout
    names = {path.name for path in out.iterdir()}
    assert {"chelsea.png", "chelsea-q75.calo", "chelsea-q75.png"} <= names
    assert {"chelsea-q75-nearest.jpg", "chelsea-q75-nearest.webp"} <= names
    with Image.open(out / "chelsea-q75.png") as back, Image.open(out / "chelsea.png") as original:
        assert (back.size, back.mode) == (original.size, original.mode)
    with pytest.raises(OutputError, match="-f"):
        call("demo", "-o", out, "--picture", "chelsea")


@pytest.mark.usefixtures("fake_photo")
def test_demo_without_the_extra_shows_psnr_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.system.missing_extra.find_spec", lambda name: None)
    status, stdout, stderr = call("demo", "-o", tmp_path, "--picture", "chelsea")
    assert (status, stderr) == (0, "")
    assert "PSNR in dB" in stdout
    assert stdout.count("SSIMULACRA2") == 1
    assert "the extra metrics adds SSIMULACRA2 to the table" in stdout


def test_photographs_of_the_demo() -> None:
    assert [load_picture(name).shape for name in PICTURES] == [
        (400, 600, 3),
        (512, 512, 3),
        (300, 451, 3),
    ]
    with pytest.raises(UsageError, match="unknown photograph"):
        load_picture("lena")


def test_nearest_in_size_is_the_nearest_of_all_qualities() -> None:
    from tests.codec.rate_distortion.made_up_pictures import photo_like

    jpeg: OperationalCodec = find_codec("jpeg")
    picture = photo_like(height=64, width=64)
    sizes = {quality: len(jpeg.encode(picture, quality)) for quality in range(1, 96)}
    target = sizes[50] + 3
    found = nearest_in_size(jpeg, picture, target)
    assert abs(len(found.data) - target) == min(abs(size - target) for size in sizes.values())
    assert found.pixels.shape == picture.shape
