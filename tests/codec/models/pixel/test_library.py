"""The lossless model in the library and the command."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import codec
from bitstream import InputError, UsageError
from codec import loading
from codec.cli import app
from codec.options import CompressOptions
from tests.codec.models.pixel.tiny import scene, write_tiny_pixel


@pytest.fixture(autouse=True)
def _weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "weights"
    write_tiny_pixel(folder)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(folder))


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def png(image: Image.Image) -> bytes:
    fo = io.BytesIO()
    image.save(fo, "PNG")
    return fo.getvalue()


def pictures() -> dict[str, Image.Image]:
    colour = scene(33, 21)
    masked = np.dstack([colour, colour[:, :, 0]])
    return {
        "colour": Image.fromarray(colour),
        "grey": Image.fromarray(colour[:, :, 0]),
        "colour with alpha": Image.fromarray(masked),
        "grey with alpha": Image.fromarray(np.ascontiguousarray(masked[:, :, 2:])),
        "palette": Image.fromarray(colour).quantize(16),
        "black and white": Image.fromarray(colour[:, :, 0] > 127),
        "one pixel": Image.fromarray(colour[:1, :1]),
    }


@pytest.mark.parametrize("name", list(pictures()))
def test_every_kind_of_picture_comes_back(name: str) -> None:
    image = pictures()[name]
    data = codec.compress(png(image), lossless=True)
    decoded = codec.decompress(data)
    expected = image.convert("RGB") if name == "palette" else image
    if name == "black and white":
        expected = image.convert("L")
    assert decoded.mode == expected.mode
    np.testing.assert_array_equal(np.asarray(decoded), np.asarray(expected))
    assert codec.inspect(data).model_name == "pixel"
    codec.verify(data)


def test_colours_under_full_transparency_are_kept() -> None:
    pixels = np.dstack([scene(20, 20), np.zeros((20, 20), np.uint8)])
    decoded = codec.decompress(codec.compress(pixels, model="pixel"), as_="numpy")
    np.testing.assert_array_equal(decoded, pixels)


def test_a_region_is_read_tile_by_tile(tmp_path: Path) -> None:
    from bitstream.container import container_to_bytes
    from codec.pictures.picture import Picture
    from codec.pipeline.encode import compress_picture

    pixels = scene(150, 140)
    container = compress_picture(
        Picture(pixels), loading.load_model("pixel"), quality=100, tile_size=64
    )
    data = container_to_bytes(container)
    assert container.header.tile_count == 9
    np.testing.assert_array_equal(codec.decompress(data, as_="numpy"), pixels)
    part = codec.decompress(data, as_="numpy", region=(60, 50, 70, 30))
    np.testing.assert_array_equal(part, pixels[50:80, 60:130])


def test_more_than_8_bits_are_refused_unless_reduced() -> None:
    deep = scene(12, 12).astype(np.uint16) * 257
    with pytest.raises(InputError, match="16 bits per channel"):
        codec.compress(deep, lossless=True)
    reduced = codec.compress(deep, lossless=True, reduce_depth=True)
    np.testing.assert_array_equal(codec.decompress(reduced, as_="numpy"), scene(12, 12))


@pytest.mark.parametrize("target", [{"quality": 90}, {"bpp": 2.0}, {"size": 900}, {"psnr": 40}])
def test_it_takes_no_quality_and_no_target(target: dict[str, float]) -> None:
    for how in ({"lossless": True}, {"model": "pixel"}):
        with pytest.raises(UsageError, match=f"{next(iter(target))} was given"):
            CompressOptions(**target, **how)  # type: ignore[arg-type]


def test_lossless_is_refused_with_a_model_that_is_not() -> None:
    with pytest.raises(UsageError, match="'draw', which is lossy"):
        CompressOptions(lossless=True, model="draw")
    with pytest.raises(UsageError, match="'photo', which is lossy"):
        CompressOptions(lossless=True, model="photo")
    assert CompressOptions(lossless=True).model == "pixel"
    assert CompressOptions(lossless=True, model="pixel").asked_quality == 100


def test_the_command(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    source.write_bytes(png(pictures()["colour with alpha"]))
    said = run("compress", "--lossless", source).stdout
    assert "lossless" in said
    run("decompress", tmp_path / "photo.calo", "-o", tmp_path / "back.png")
    with Image.open(source) as before, Image.open(tmp_path / "back.png") as after:
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
    assert "lossless" in run("inspect", tmp_path / "photo.calo").stdout
    run("verify", tmp_path / "photo.calo")
    run("compress", "--lossless", "-q", 80, source, "-f", code=2)


def test_zarr_and_numcodecs_keep_every_value() -> None:
    numcodecs = pytest.importorskip("codec.plugins.numcodecs")
    chunk = scene(17, 19)
    found = numcodecs.Calotype(model="pixel")
    assert found.get_config() == {"id": "calotype", "model": "pixel", "effort": 1}
    np.testing.assert_array_equal(np.asarray(found.decode(found.encode(chunk))), chunk)
