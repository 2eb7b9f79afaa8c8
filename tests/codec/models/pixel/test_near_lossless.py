"""The nearly lossless model: values stay within the bound, and larger bounds give smaller files."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import codec
from bitstream import (
    HeaderError,
    InputError,
    UsageError,
    container_from_bytes,
    container_to_bytes,
)
from codec import loading
from codec.cli import app
from codec.models.pixel.coder import NearLosslessCoder, quantize_pixels
from codec.options import CompressOptions
from codec.pictures.picture import Picture
from codec.pipeline.bound_check import BrokenBoundError, check_bound
from codec.pipeline.encode import compress_picture
from tests.codec.models.pixel.test_coder import PICTURES
from tests.codec.models.pixel.tiny import (
    Uint8Array,
    drawing,
    scene,
    tiny_near_lossless,
    write_tiny_near_lossless,
    write_tiny_pixel,
)

BOUNDS = (1, 2, 5, 16)


@pytest.fixture(autouse=True)
def _weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "weights"
    write_tiny_pixel(folder)
    write_tiny_near_lossless(folder)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(folder))


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def largest_error(one: Uint8Array, other: Uint8Array) -> int:
    return int(np.abs(one.astype(np.int32) - other).max())


def test_a_drawing_is_kept_whole_where_that_takes_fewer_bytes(tmp_path: Path) -> None:
    pixels = drawing(90, 120)
    kept = codec.compress(pixels, max_error=1)
    assert kept == codec.compress(pixels, lossless=True)
    bounded = codec.compress(pixels, max_error=1, model="near-lossless")
    assert len(kept) < len(bounded)
    models = [codec.inspect(data).model_name for data in (kept, bounded)]
    assert models == ["pixel", "near-lossless"]
    assert codec.inspect(codec.compress(scene(90, 120), max_error=1)).model_name == models[1]
    Image.fromarray(pixels).save(tmp_path / "drawing.png")
    run("compress", "--max-error", "4", tmp_path / "drawing.png", "-o", tmp_path / "a.calo")
    assert codec.inspect(tmp_path / "a.calo").model_name == "pixel"


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("max_error", BOUNDS)
def test_no_value_is_further_off(name: str, max_error: int) -> None:
    pixels, coder = PICTURES[name], tiny_near_lossless(max_error)
    payloads = coder.encode_tile(coder.analyze(pixels, 100), 100)
    height, width = pixels.shape[:2]
    decoded = coder.synthesize(coder.decode_tile(payloads, height, width, 100), 100)
    assert largest_error(decoded, pixels) <= max_error
    if name == "noise":  # the bound is used
        assert largest_error(decoded, pixels) == max_error
    assert payloads[0][0] == (1 if name == "grey" else 3)


@pytest.mark.parametrize("max_error", range(1, 17))
def test_every_pixel_has_a_symbol_that_keeps_the_bound(max_error: int) -> None:
    pixels, centres = (grid.ravel().astype(np.int32) for grid in np.mgrid[:256, :256])
    symbols, kept = quantize_pixels(pixels, centres, max_error)
    assert np.abs(kept - pixels).max() == max_error
    assert (kept.min(), kept.max()) == (0, 255)
    assert (symbols[np.abs(pixels - centres) <= max_error] == 0).all()
    assert (symbols[np.abs(pixels - centres) > max_error] != 0).all()


def test_files_get_smaller_as_the_bound_grows() -> None:
    sizes = [len(codec.compress(scene(48, 48), max_error=bound)) for bound in (1, 2, 4, 8, 16)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < sizes[0] / 3


@pytest.mark.parametrize("kind", ["colour", "grey", "alpha", "grey with alpha"])
def test_every_kind_of_picture(kind: str) -> None:
    pixels = scene(33, 21)
    array = {
        "colour": pixels,
        "grey": pixels[:, :, 0],
        "alpha": np.dstack([pixels, pixels[:, :, 0]]),
        "grey with alpha": pixels[:, :, :2],
    }[kind]
    data = codec.compress(array, max_error=3)
    decoded = codec.decompress(data, as_="numpy")
    assert decoded.shape == array.shape
    assert 0 < largest_error(decoded, array) <= 3
    if "alpha" in kind:
        np.testing.assert_array_equal(decoded[..., -1], array[..., -1])
    codec.verify(data)


def test_what_a_file_says_of_itself() -> None:
    info = codec.inspect(codec.compress(scene(12, 12), max_error=5))
    assert (info.model_name, info.model_id, info.max_error) == ("near-lossless", 13, 5)
    assert codec.inspect(codec.compress(scene(12, 12), lossless=True)).max_error == 0


def test_a_bound_of_nothing_is_the_lossless_model() -> None:
    pixels = scene(20, 20)
    data = codec.compress(pixels, max_error=0)
    assert (
        data
        == codec.compress(pixels, lossless=True)
        == codec.compress(pixels, lossless=True, max_error=0)
    )
    np.testing.assert_array_equal(codec.decompress(data, as_="numpy"), pixels)


def test_tiles_and_regions_keep_the_bound() -> None:
    pixels = scene(150, 140)
    model = loading.with_max_error(loading.load_model("near-lossless"), 2)
    container = compress_picture(Picture(pixels), model, quality=100, tile_size=64)
    data = container_to_bytes(container)
    whole = codec.decompress(data, as_="numpy")
    assert largest_error(whole, pixels) == 2
    part = codec.decompress(data, as_="numpy", region=(60, 50, 70, 30))
    np.testing.assert_array_equal(part, whole[50:80, 60:130])
    cut = codec.decompress(data[:-40], as_="numpy", partial=True)
    assert largest_error(cut[:128], pixels[:128]) == 2


def test_a_bound_that_is_not_kept_is_an_error_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pixels = scene(16, 16)
    fo = io.BytesIO()
    synthesize = NearLosslessCoder.synthesize

    def wrong(self: NearLosslessCoder, latents: Uint8Array, quality: float) -> Uint8Array:
        drawn = synthesize(self, latents, quality)
        drawn[3, 4, 1] ^= 128
        return drawn

    monkeypatch.setattr(NearLosslessCoder, "synthesize", wrong)
    with pytest.raises(BrokenBoundError, match="expected at most 2"):
        codec.compress_to_file(pixels, fo, max_error=2)
    assert fo.getvalue() == b""


def test_another_alpha_is_found_as_well() -> None:
    pixels = scene(16, 16)
    model = loading.with_max_error(loading.load_model("near-lossless"), 1)
    picture = Picture(pixels, pixels[:, :, 0].copy())
    data = container_to_bytes(compress_picture(picture, model, quality=100))
    check_bound(data, picture, model, 1)
    for alpha in (255 - pixels[:, :, 0], None):
        with pytest.raises(BrokenBoundError, match="another alpha"):
            check_bound(data, replace(picture, alpha=alpha), model, 1)


@pytest.mark.parametrize("variant", [None, 0, 17, 65535])
def test_a_header_with_no_bound_is_refused(variant: int | None) -> None:
    container = container_from_bytes(codec.compress(scene(12, 12), max_error=5))
    header = replace(container.header, variant=variant)
    with pytest.raises(HeaderError, match="bound"):
        codec.decompress(container_to_bytes(replace(container, header=header)))


def test_a_header_with_another_bound_is_no_crash() -> None:
    container = container_from_bytes(codec.compress(scene(12, 12), max_error=5))
    header = replace(container.header, variant=6)
    with pytest.raises(codec.StreamError):
        codec.decompress(container_to_bytes(replace(container, header=header)))


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"max_error": 17}, "max_error 17"),
        ({"max_error": -1}, "max_error -1"),
        ({"max_error": 1.5}, "max_error 1.5"),
        ({"max_error": True}, "max_error True"),
        ({"max_error": 2, "lossless": True}, "only one"),
        ({"max_error": 2, "model": "pixel"}, "'pixel'"),
        ({"max_error": 0, "model": "near-lossless"}, "'near-lossless'"),
        ({"max_error": 2, "model": "draw"}, "keeps no bound"),
        ({"max_error": 2, "model": "photo"}, "'photo', which keeps no bound: leave one"),
        ({"max_error": 0, "model": "photo"}, "'photo', which keeps no bound"),
        ({"model": "near-lossless"}, "no max_error"),
        ({"max_error": 2, "quality": 80}, "quality and max_error"),
        ({"max_error": 2, "size": 900}, "size and max_error"),
        ({"max_error": 2, "roi": (0, 0, 4, 4)}, "roi and max_error"),
        ({"max_error": 2, "tune": "psnr"}, "tune"),
    ],
    ids=str,
)  # fmt: skip
def test_options_that_do_not_fit(options: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        CompressOptions(**options)  # type: ignore[arg-type]


def test_more_than_8_bits_are_refused() -> None:
    with pytest.raises(InputError, match="16 bits per channel"):
        codec.compress(scene(12, 12).astype(np.uint16) * 257, max_error=2)


def test_the_command(tmp_path: Path) -> None:
    source = tmp_path / "photo.png"
    Image.fromarray(scene(30, 40)).save(source)
    assert "error ≤ 4" in run("compress", "--max-error", 4, source).stdout
    run("decompress", tmp_path / "photo.calo", "-o", tmp_path / "back.png")
    with Image.open(source) as before, Image.open(tmp_path / "back.png") as after:
        assert 0 < largest_error(np.asarray(after), np.asarray(before)) <= 4
    assert "no pixel value changed by more than 4" in run("inspect", tmp_path / "photo.calo").stdout
    run("verify", tmp_path / "photo.calo")
    run("compress", "--max-error", 4, "-q", 80, source, "-f", code=2)
    run("compress", "--max-error", 17, source, "-f", code=2)
    run("compress", "-m", "near-lossless", source, "-f", code=2)


def test_zarr_and_numcodecs_keep_the_bound() -> None:
    numcodecs = pytest.importorskip("codec.plugins.numcodecs")
    chunk = scene(17, 19)
    found = numcodecs.Calotype(max_error=2)
    config = {"id": "calotype", "model": "near-lossless", "effort": 1, "max_error": 2}
    assert found.get_config() == config
    decoded = np.asarray(found.decode(found.encode(chunk)))
    assert 0 < largest_error(decoded, chunk) <= 2
    zarr = pytest.importorskip("codec.plugins.zarr")
    stored = zarr.Calotype(max_error=2).to_dict()["configuration"]
    assert stored == {"model": "near-lossless", "effort": 1, "max_error": 2}
    assert zarr.Calotype.from_dict({"name": "calotype", "configuration": stored}).max_error == 2
