"""Previews of every model: fewer pixels."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import codec
from bitstream import UsageError
from bitstream.arrays import SampleArray
from bitstream.container import container_to_bytes
from codec import loading
from codec.cli import app
from codec.pictures.box_mean import box_mean, box_means
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.tiny import photographs
from tests.codec.tiny_layers import Blocks

pytestmark = pytest.mark.usefixtures("tiny_weights")

SIDES = 150, 133  # with tiles of 64 pixels; neither is a multiple of 8


@pytest.fixture
def data(tiny_weights: Path) -> bytes:
    """A picture with alpha on nine tiles."""
    height, width = SIDES
    model = loading.load_model("photo", device="cpu")
    pixels = photographs(1, side=height)[0][:, :width].copy()
    alpha = (np.arange(height * width) % 256).astype(np.uint8).reshape(SIDES)
    return container_to_bytes(
        compress_picture(Picture(pixels, alpha), model, quality=80, tile_size=64)
    )


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(16, 24, 3), (1, 1, 1), (17, 9, 3), (7, 31)])
@pytest.mark.parametrize("side", [2, 4, 8])
def test_means_are_exact(kind: type, shape: tuple[int, ...], side: int) -> None:
    peak = np.iinfo(kind).max
    values = np.random.default_rng(side).integers(0, peak + 1, shape)
    samples: SampleArray = values.astype(kind)
    found = box_mean(samples, side)
    assert found.dtype == kind
    assert found.shape == (-(-shape[0] // side), -(-shape[1] // side), *shape[2:])
    for row in range(found.shape[0]):
        for column in range(found.shape[1]):
            square = samples[row * side : (row + 1) * side, column * side : (column + 1) * side]
            square = square.reshape(square.shape[0] * square.shape[1], -1)
            for mean, own in zip(np.atleast_1d(found[row, column]), square.T.tolist(), strict=True):
                exact = Fraction(sum(own), len(own)) + Fraction(1, 2)
                assert mean == exact.__floor__()


@pytest.mark.parametrize("rows", [[17], [1] * 17, [8, 9], [3, 11, 2, 1]])
def test_bands_of_any_number_of_rows_have_the_same_means(rows: list[int]) -> None:
    samples = np.random.default_rng(1).integers(0, 256, (17, 10, 3)).astype(np.uint8)
    bands = np.split(samples, np.cumsum(rows)[:-1])
    found = np.concatenate(list(box_means(bands, 4)))
    np.testing.assert_array_equal(found, box_mean(samples, 4))


@pytest.mark.parametrize("reduce", [2, 4, 8])
def test_other_models_average_their_pixels(reduce: int) -> None:
    model = Blocks()
    container = compress_picture(Picture(photographs(1, side=150)[0]), model, quality=50)
    whole = decompress_container(container, model).pixels
    found = decompress_container(container, model, reduce=reduce).pixels
    np.testing.assert_array_equal(found, box_mean(whole, reduce))


@pytest.mark.parametrize("reduce", [2, 4, 8])
@pytest.mark.parametrize("region", [(0, 0, 133, 150), (3, 5, 61, 70), (132, 149, 1, 1)])
def test_a_region_has_all_pixels_that_it_touches(
    data: bytes, reduce: int, region: tuple[int, int, int, int]
) -> None:
    x, y, width, height = region
    preview = codec.decompress(data, as_="numpy", reduce=reduce)
    part = codec.decompress(data, as_="numpy", reduce=reduce, region=region)
    rows = slice(y // reduce, -(-(y + height) // reduce))
    columns = slice(x // reduce, -(-(x + width) // reduce))
    np.testing.assert_array_equal(part, preview[rows, columns])


def test_a_damaged_file(data: bytes) -> None:
    damaged = bytearray(data)
    damaged[-30] ^= 1  # in the last tile
    part = codec.decompress(bytes(damaged), as_="numpy", reduce=4, partial=True)
    assert part.shape == (38, 34, 4)
    assert (part[32:, 32:, :3] == 128).all()
    preview = codec.decompress(data, as_="numpy", reduce=4)
    np.testing.assert_array_equal(part[:16, :16], preview[:16, :16])
    np.testing.assert_array_equal(part[..., 3], preview[..., 3])


def test_forms_and_values(data: bytes) -> None:
    image = codec.decompress(data, reduce=2)
    assert (image.size, image.mode) == ((67, 75), "RGBA")
    tensor = codec.decompress(data, reduce=8, as_="torch")
    assert tensor.shape == (4, 19, 17)
    assert codec.decompress(data, reduce=1).size == (133, 150)
    assert codec.inspect(data).width == 133
    for value in (0, 3, 16, -2, 2.0, True, "2", None):
        with pytest.raises(UsageError, match="reduce"):
            codec.decompress(data, reduce=value)  # type: ignore[arg-type]


def test_the_command(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "photo.calo"
    path.write_bytes(data)
    done = CliRunner().invoke(app, ["decompress", str(path), "--reduce", "4"])
    assert (done.exit_code, done.stdout.split()[-2:]) == (0, ["34×38", "PNG"])
    with Image.open(tmp_path / "photo.png") as image:
        np.testing.assert_array_equal(
            np.asarray(image), codec.decompress(data, as_="numpy", reduce=4)
        )
    wrong = CliRunner().invoke(app, ["decompress", str(path), "-f", "--reduce", "3"])
    assert wrong.exit_code == 2
    assert "expected one of 1, 2, 4, 8" in wrong.stderr


def test_pillow_drafts_previews(data: bytes) -> None:
    import codec.plugins.pillow

    with Image.open(io.BytesIO(data)) as image:
        mode, box = image.draft(None, (40, 40)) or (None, None)
        assert (mode, box, image.size) == ("RGBA", (0, 0, 133 / 2, 150 / 2), (67, 75))
        assert image.draft(None, (10, 10)) is None, "it is a draft already"
        part = image.crop((5, 6, 67, 75))
        preview = codec.decompress(data, as_="numpy", reduce=2)
        np.testing.assert_array_equal(np.asarray(part), preview[6:75, 5:67])
        np.testing.assert_array_equal(np.asarray(image), preview)
        assert image.draft(None, (10, 10)) is None, "it is loaded"
    with Image.open(io.BytesIO(data)) as image:
        assert image.draft("L", (100, 100)) == ("RGBA", (0, 0, 133, 150))
        assert image.size == (133, 150)
    with Image.open(io.BytesIO(data)) as image:
        image.thumbnail((20, 20))
        assert image.size == (18, 20)
