"""`calotype compare`: the comparison of two files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import codec
from codec.cli import app
from codec.rate_distortion import metrics
from codec.system import missing_extra

pytestmark = pytest.mark.usefixtures("tiny_weights")


def run(*arguments: object, stdin: bytes | None = None, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["compare", *(str(a) for a in arguments)], input=stdin)
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def record(*arguments: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*arguments, "--json").stdout)
    return found


@pytest.fixture
def folder(tmp_path: Path, photograph: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with a.png, and a.calo made from it."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph).save("a.png")
    Path("a.calo").write_bytes(codec.compress("a.png"))
    return tmp_path


def test_an_image_and_its_file(folder: Path, photograph: Any) -> None:
    found = record("a.png", "a.calo", "--metrics", "psnr")
    sizes = {name: Path(name).stat().st_size for name in ("a.png", "a.calo")}
    decoded = codec.decompress("a.calo", as_="numpy")
    db = metrics.psnr_db(photograph, decoded)
    most = int(np.abs(photograph.astype(int) - decoded).max())
    plain = {"channels": 3, "bit_depth": 8, "has_alpha": False, "notices": []}
    assert found == {
        "schema": "calotype.compare/1",
        "a": {
            "file": "a.png", "format": "PNG", "size_bytes": sizes["a.png"],
            "rate_bpp": 8 * sizes["a.png"] / 3072, **plain,
        },
        "b": {
            "file": "a.calo", "format": "CALO", "size_bytes": sizes["a.calo"],
            "rate_bpp": 8 * sizes["a.calo"] / 3072, **plain,
        },
        "width": 64, "height": 48, "identical": False, "psnr_db": db, "ms_ssim": None,
        "ssimulacra2": None, "alpha_psnr_db": None, "max_error": most,
    }  # fmt: skip
    lines = run("a.png", "a.calo", "--metrics", "psnr").stdout.splitlines()
    assert (
        lines[0]
        == f"a.png   PNG  64×48  {sizes['a.png']:,} bytes  {found['a']['rate_bpp']:.3f} bpp"
    )
    assert lines[1].startswith("a.calo  CALO ")
    assert lines[2:4] == [f"PSNR         {db:.2f} dB", f"max error    {most} of 255"]


def test_equal_images(folder: Path) -> None:
    Image.open("a.png").save("a.tiff")
    found = record("a.png", "a.tiff", "--metrics", "psnr")
    assert (found["identical"], found["psnr_db"], found["b"]["format"]) == (True, None, "TIFF")
    assert found["max_error"] == 0
    assert "PSNR         infinite: equal" in run("a.png", "a.tiff").stdout


def test_perceptual_measures(folder: Path, photograph: Any) -> None:
    pytest.importorskip("pytorch_msssim")
    pytest.importorskip("ssimulacra2")
    large = Image.fromarray(photograph).resize((200, 170))
    large.save("l.png")
    large.save("fine.jpg", quality=95)
    large.save("coarse.jpg", quality=10)
    equal, fine, coarse = (record("l.png", n) for n in ("l.png", "fine.jpg", "coarse.jpg"))
    for name in ("ms_ssim", "ssimulacra2"):
        assert equal[name] > fine[name] > coarse[name]
    assert (round(equal["ms_ssim"], 6), equal["ssimulacra2"]) == (1, 100)
    text = run("l.png", "fine.jpg").stdout
    assert f"MS-SSIM      {fine['ms_ssim']:.5f}\n" in text
    assert f"SSIMULACRA2  {fine['ssimulacra2']:.2f}\n" in text
    # Too small for five scales, and for a single one.
    assert record("a.png", "a.calo")["ms_ssim"] is None
    Image.new("RGB", (7, 90)).save("thin.png")
    assert record("thin.png", "thin.png")["ssimulacra2"] is None


def test_measures_that_are_not_installed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_extra, "find_spec", lambda name: None)
    result = run("a.png", "a.calo")
    assert "PSNR" in result.stdout
    (notice,) = result.stderr.splitlines()
    assert notice == (
        "calotype: notice: without MS-SSIM and SSIMULACRA2: install the extra 'metrics'"
    )
    assert "SSIMULACRA2 needs" in run("a.png", "a.calo", "--metrics", "ssimulacra2", code=2).stderr
    assert run("a.png", "a.calo", "--metrics", "psnr").stderr == ""
    for text in ("lpips", "", "psnr,lpips"):
        assert "expected some of psnr" in run("a.png", "a.calo", "--metrics", text, code=2).stderr


def test_alpha_is_measured_apart(folder: Path) -> None:
    clear = Image.open("a.png")
    clear.putalpha(Image.linear_gradient("L").resize((64, 48)))
    clear.save("clear.png")
    Path("clear.calo").write_bytes(codec.compress("clear.png"))
    found = record("clear.png", "clear.calo", "--metrics", "psnr")
    assert (found["identical"], found["alpha_psnr_db"]) == (False, None)
    assert "alpha PSNR   infinite: equal" in run("clear.png", "clear.calo").stdout
    # A picture without alpha counts as opaque.
    found = record("a.png", "clear.png", "--metrics", "psnr")
    alpha = np.asarray(clear)[..., 3].astype(float)
    expected = 10 * np.log10(255**2 / np.mean((255 - alpha) ** 2))
    assert found["alpha_psnr_db"] == pytest.approx(expected)
    assert (found["psnr_db"], found["identical"]) == (None, False)
    assert (found["a"]["has_alpha"], found["b"]["has_alpha"]) == (False, True)


def test_gray_is_compared_with_colours(folder: Path) -> None:
    gray = Image.open("a.png").convert("L")
    gray.save("gray.png")
    gray.convert("RGB").save("rgb.png")
    assert record("gray.png", "rgb.png")["identical"] is True


def test_both_are_upright(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open("a.png").save("tagged.png", exif=exif)
    Path("tagged.calo").write_bytes(codec.compress("tagged.png"))
    Path("turned.calo").write_bytes(codec.compress("tagged.png", apply_orientation=True))
    for name in ("tagged.calo", "turned.calo"):
        found = record("tagged.png", name, "--metrics", "psnr")
        assert (found["width"], found["height"]) == (48, 64)
        assert found["psnr_db"] > 15


def test_pipes_and_suffixes_that_lie(folder: Path) -> None:
    data = Path("a.calo").read_bytes()
    Path("odd.png").write_bytes(data)
    assert json.loads(run("-", "odd.png", "--json", stdin=data).stdout)["identical"] is True
    assert "one standard input" in run("-", "-", stdin=data, code=2).stderr


def test_exit_codes(folder: Path) -> None:
    Image.new("RGB", (4, 5)).save("small.png")
    Image.new("I;16", (64, 48), 40000).save("deep.png")
    Path("text.png").write_text("no image")
    Path("cut.calo").write_bytes(Path("a.calo").read_bytes()[:-1])
    for arguments, code, message in (
        (["a.png", "small.png"], 2, "64×48 and 4×5 pixels, expected equal sizes"),
        (["a.png", "a.png", "--device", "tpu"], 2, "tpu"),
        (["a.png", "gone.png"], 3, "cannot read gone.png"),
        (["a.png", "."], 3, "cannot read ."),
        (["a.png", "text.png"], 3, "text.png is not an image"),
        (["a.png", "cut.calo"], 4, "cut.calo: the file ends"),
    ):
        result = run(*arguments, code=code)
        assert message in result.stderr
        assert result.stdout == ""
    result = run("a.png", "deep.png", "--reduce-depth")
    assert "notice: deep.png: mode I;16 was reduced to 8 bits" in result.stderr
    assert run("a.png", "deep.png", "--reduce-depth", "--quiet").output == ""


def test_the_largest_difference_has_its_scale(folder: Path) -> None:
    for name, value in (("low", 1000), ("high", 4000)):
        Image.new("I;16", (64, 48), value).save(f"{name}.png")
    Image.new("L", (64, 48), 0).save("black.png")
    lines = run("low.png", "high.png", "--metrics", "psnr").stdout.splitlines()
    assert "max error    3000 of 65535" in lines
    assert "max error    4000 of 65535" in run("black.png", "high.png").stdout
    found = record("black.png", "high.png", "--metrics", "psnr")
    assert (found["a"]["bit_depth"], found["b"]["bit_depth"]) == (8, 16)


def test_a_picture_of_the_differences(folder: Path, photograph: Any) -> None:
    changed = photograph.astype(int)
    changed[:10] += 3
    changed[10:20, :, 1] -= 5
    changed[20:25] += 100
    changed = np.clip(changed, 0, 255).astype(np.uint8)
    Image.fromarray(changed).save("b.png")
    shown = run("a.png", "b.png", "--metrics", "psnr", "--difference", "d.png").stdout
    assert shown.endswith("difference   written to d.png\n")
    expected = np.clip(128 + 4 * (changed.astype(int) - photograph), 0, 255)
    found = np.asarray(Image.open("d.png"))
    np.testing.assert_array_equal(found, expected)
    assert (found[30:] == 128).all()
    # Gray is compared with colour, and 16 bits with 8.
    Image.fromarray(photograph).convert("L").save("gray.png")
    assert run("gray.png", "gray.png", "--difference", "gray.tif", "--quiet").output == ""
    assert np.unique(np.asarray(Image.open("gray.tif"))).tolist() == [128]
    gray = np.asarray(Image.open("gray.png")).astype(np.uint16)
    Image.fromarray(257 * gray).save("deep.png")
    run("gray.png", "deep.png", "--metrics", "psnr", "--difference", "deep.webp")
    assert np.unique(np.asarray(Image.open("deep.webp"))).tolist() == [128]


def test_what_a_picture_of_the_differences_does_not_replace(folder: Path) -> None:
    for arguments, code, message in (
        (["--difference", "a.png"], 6, "is an input as well"),
        (["--difference", "a.png", "-f"], 6, "is an input as well"),
        (["--difference", "./a.calo", "-f"], 2, "expected one of .png"),
        (["--difference", "there.png"], 6, "exists: give another name, or -f"),
        (["--difference", "d.txt"], 2, "expected one of .png"),
        (["--difference", "-"], 2, "expected one of .png"),
        (["--difference", "."], 2, "expected one of .png"),
    ):
        Path("there.png").write_text("mine")
        before = Path("a.png").read_bytes()
        assert message in run("a.png", "a.calo", *arguments, code=code).stderr
        assert Path("a.png").read_bytes() == before
        assert Path("there.png").read_text() == "mine"
    run("a.png", "a.calo", "--difference", "there.png", "-f")
    with Image.open("there.png") as image:
        assert image.size == (64, 48)
