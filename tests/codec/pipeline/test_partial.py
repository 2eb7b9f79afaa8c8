"""Damaged files with ``partial``: intact tiles are drawn, the others are grey and listed."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import codec
from bitstream import ChecksumError, PayloadError, StreamError, TruncatedError
from bitstream.arrays import Uint8Array
from bitstream.chunks import chunk_bytes
from bitstream.container import container_to_bytes, read_container
from codec import loading
from codec.api import decompress_to_picture
from codec.cli import app
from codec.pictures.picture import Picture
from codec.pipeline.encode import compress_picture
from tests.codec.tiny import photographs
from tests.codec.tiny_layers import DATA as LAYERED
from tests.codec.tiny_layers import Blocks

pytestmark = pytest.mark.usefixtures("tiny_weights")

TILE = 64
SIZE = 200  # 4 × 4 tiles, the last of each row and column having 8 pixels


@pytest.fixture
def data(tiny_weights: Path) -> bytes:
    model = loading.load_model("photo", device="cpu")
    pixels = photographs(1, side=SIZE)[0]
    alpha = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE)
    picture = Picture(pixels, alpha)
    return container_to_bytes(compress_picture(picture, model, quality=80, tile_size=TILE))


def without(data: bytes, *tiles: int) -> bytes:
    """The file with a changed byte in some tiles."""
    damaged = bytearray(data)
    for tile in tiles:
        payload = read_container(io.BytesIO(data)).payloads[0][tile]
        damaged[data.index(payload) + len(payload) // 2] ^= 1
    return bytes(damaged)


def window(tile: int, margin: int = 0) -> tuple[slice, slice]:
    top, left = TILE * (tile // 4), TILE * (tile % 4)
    return (
        slice(max(0, top - margin), top + TILE + margin),
        slice(max(0, left - margin), left + TILE + margin),
    )


@pytest.mark.parametrize("lost", [(5,), (0,), (15,), (0, 1, 2, 3), (3, 6, 9, 12)])
def test_lost_tiles_are_gray_and_listed(data: bytes, lost: tuple[int, ...]) -> None:
    damaged = without(data, *lost)
    with pytest.raises(ChecksumError, match=r"--partial, partial=True"):
        codec.decompress(damaged)
    found = decompress_to_picture(damaged, partial=True)
    whole = codec.decompress(data, as_="numpy")
    near = np.zeros((SIZE, SIZE), np.bool_)
    for tile in lost:
        assert (found.pixels[window(tile)] == 128).all()
        near[window(tile, 48)] = True  # how far pixels depend on the next tile
    np.testing.assert_array_equal(found.pixels[~near], whole[..., :3][~near])
    assert found.alpha is not None
    np.testing.assert_array_equal(found.alpha, whole[..., 3])
    first = f"{lost[0]} at {TILE * (lost[0] % 4)},{TILE * (lost[0] // 4)}"
    assert found.notices[0].endswith(
        f"its tiles were searched for, and {16 - len(lost)} of 16 found"
    )
    assert found.notices[1].startswith(f"{len(lost)} of 16 tiles are damaged or missing, and grey")
    assert first in found.notices[1]


def test_pixels_beside_a_lost_tile_are_close(data: bytes) -> None:
    found: Uint8Array = codec.decompress(without(data, 5), partial=True, as_="numpy")
    whole: Uint8Array = codec.decompress(data, as_="numpy")
    error = np.abs(found.astype(int) - whole)
    error[window(5)] = 0
    assert error.mean() < 1


def test_a_cut_file_keeps_the_tiles_that_arrived(data: bytes) -> None:
    payload = read_container(io.BytesIO(data)).payloads[0][9]
    cut = data[: data.index(payload)]
    with pytest.raises(TruncatedError, match=r"more bytes; .* \(--partial, partial=True\)"):
        codec.decompress(cut)
    found = decompress_to_picture(cut, partial=True)
    assert (found.pixels[2 * TILE + 8 :, TILE + 8 :] == 128).all()
    assert "7 of 16 tiles" in found.notices[1]
    with pytest.raises(StreamError):
        codec.decompress(data[: data.index(b"DATA")], partial=True)


def test_a_file_whose_header_is_cut_or_damaged_is_not_sent_to_the_same_option(data: bytes) -> None:
    bad = bytearray(data)
    bad[20] ^= 1
    files = [data[:8], data[:9], data[:10], data[:20], data[:33], bytes(bad)]
    for file, partial in product(files, (False, True)):
        with pytest.raises((TruncatedError, ChecksumError), match=" again") as caught:
            codec.decompress(file, partial=partial)
        assert "--partial" not in str(caught.value)
    with pytest.raises(TruncatedError, match=r"expected 1 more byte; get the file again$"):
        codec.decompress(data[:8])


def test_a_file_without_an_intact_tile_is_not_sent_to_the_same_option() -> None:
    damaged = bytearray(codec.compress(photographs(1, side=60)[0], model="photo"))
    damaged[damaged.index(b"DATA") + 20] ^= 1
    with pytest.raises(ChecksumError, match="--partial"):
        codec.decompress(bytes(damaged))
    with pytest.raises(ChecksumError, match="no tile is intact") as caught:
        codec.decompress(bytes(damaged), partial=True)
    assert "--partial" not in str(caught.value)


def test_regions_of_a_damaged_file(data: bytes) -> None:
    damaged = without(data, 5)
    region = (0, 0, 100, 90)
    whole: Uint8Array = codec.decompress(damaged, partial=True, as_="numpy")
    part: Uint8Array = codec.decompress(damaged, partial=True, as_="numpy", region=region)
    np.testing.assert_array_equal(part, whole[:90, :100])
    # Regions that do not show the tile get no notice about it, and a region inside it has nothing.
    away = decompress_to_picture(damaged, partial=True, region=(0, 0, 30, 30))
    assert len(away.notices) == 1
    with pytest.raises(StreamError, match="no requested tile is intact"):
        codec.decompress(damaged, partial=True, region=(70, 70, 20, 20))


def test_a_damaged_alpha_plane_is_left_out(data: bytes) -> None:
    damaged = bytearray(data)
    damaged[data.index(b"ALPH") + 9] ^= 1
    found = decompress_to_picture(bytes(damaged), partial=True)
    assert found.alpha is None
    assert "the transparency is damaged, and was left out" in found.notices
    np.testing.assert_array_equal(found.pixels, codec.decompress(data, as_="numpy")[..., :3])


def test_a_whole_file_has_no_notice(data: bytes) -> None:
    assert decompress_to_picture(data, partial=True).notices == ()


def test_gray_pictures_are_gray(tiny_weights: Path) -> None:
    model = loading.load_model("photo", device="cpu")
    pixels = photographs(1, side=SIZE)[0][..., :1].copy()
    data = container_to_bytes(compress_picture(Picture(pixels), model, quality=80, tile_size=TILE))
    found: Uint8Array = codec.decompress(without(data, 6), partial=True, as_="numpy")
    assert (found[window(6)] == 128).all()


@pytest.mark.parametrize(
    ("damaged", "layers", "said"),
    [(1, None, ["with 1 of 3 layers"]), (2, None, ["with 2 of 3 layers"]),
     (1, 2, ["with 1 of 3 layers"]), (2, 2, [])],
)  # fmt: skip
def test_layers_that_no_tile_has_are_said(
    blocks: Blocks, damaged: int, layers: int | None, said: list[str]
) -> None:
    tiles = read_container(io.BytesIO(LAYERED)).header.tile_count
    chunks = [chunk for chunk in codec.inspect(LAYERED).chunks if chunk.type == b"DATA"]
    changed = bytearray(LAYERED)
    for chunk in chunks[damaged * tiles : (damaged + 1) * tiles]:
        changed[chunk.offset + chunk_bytes(chunk.length) - 1] ^= 1  # a bit of its CRC
    found = decompress_to_picture(bytes(changed), partial=True, layers=layers)
    expected: Uint8Array = codec.decompress(LAYERED, as_="numpy", layers=damaged)
    np.testing.assert_array_equal(found.pixels, expected[..., :3])
    endings = [f"searched for, and {tiles} of {tiles} found, {text}" for text in said]
    assert len(found.notices) == len(endings)
    assert all(map(str.endswith, found.notices, endings))


def test_the_command(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "damaged.calo"
    path.write_bytes(without(data, 5))
    plain = CliRunner().invoke(app, ["decompress", str(path)])
    assert plain.exit_code == 4
    assert "--partial" in plain.stderr
    done = CliRunner().invoke(app, ["decompress", str(path), "--partial"])
    assert done.exit_code == 0
    assert "1 of 16 tiles are damaged or missing, and grey: 5 at 64,64" in done.stderr
    with Image.open(tmp_path / "damaged.png") as image:
        assert np.asarray(image)[70, 70, :3].tolist() == [128, 128, 128]


def malformed(data: bytes, *tiles: int) -> bytes:
    """The file with payloads in some tiles that no encoder writes, with correct CRCs."""
    container = read_container(io.BytesIO(data))
    payloads = list(container.payloads[0])
    for tile in tiles:
        payloads[tile] = payloads[tile][:-1] + bytes([payloads[tile][-1] ^ 1])
    return container_to_bytes(replace(container, payloads=(tuple(payloads),)))


@pytest.mark.parametrize("lost", [(5,), (0, 15), (3, 6, 9, 12)])
def test_payloads_that_cannot_be_decoded_are_lost_tiles(data: bytes, lost: tuple[int, ...]) -> None:
    damaged = malformed(data, *lost)
    with pytest.raises(PayloadError, match=r"--partial, partial=True"):
        codec.decompress(damaged)
    found = decompress_to_picture(damaged, partial=True)
    # As if they were missing, except for the notice on the search for tiles.
    expected = decompress_to_picture(without(data, *lost), partial=True)
    np.testing.assert_array_equal(found.pixels, expected.pixels)
    assert found.notices == expected.notices[1:]
    assert found.notices[0].startswith(f"{len(lost)} of 16 tiles are damaged or missing, and grey")


def test_a_file_with_no_tile_that_can_be_decoded(data: bytes) -> None:
    with pytest.raises(PayloadError, match="no requested tile is intact"):
        codec.decompress(malformed(data, *range(16)), partial=True)


def test_an_alpha_plane_that_cannot_be_decoded_is_left_out(data: bytes) -> None:
    container = read_container(io.BytesIO(data))
    assert container.alpha is not None
    damaged = container_to_bytes(replace(container, alpha=container.alpha[:-9]))
    with pytest.raises(PayloadError, match="alpha"):
        codec.decompress(damaged)
    found = decompress_to_picture(damaged, partial=True)
    assert found.alpha is None
    assert found.notices == ("the transparency is damaged, and was left out",)
    np.testing.assert_array_equal(found.pixels, codec.decompress(data, as_="numpy")[..., :3])


def test_layers_before_one_that_cannot_be_decoded_are_kept(blocks: Blocks) -> None:
    container = read_container(io.BytesIO(LAYERED))
    second = list(container.payloads[1])
    second[1] += b"\1"
    payloads = (container.payloads[0], tuple(second), container.payloads[2])
    damaged = container_to_bytes(replace(container, payloads=payloads))
    found: Uint8Array = codec.decompress(damaged, partial=True, as_="numpy")
    whole: Uint8Array = codec.decompress(LAYERED, as_="numpy")
    first: Uint8Array = codec.decompress(LAYERED, as_="numpy", layers=1)
    # Pixels of the tile, 64 .. 128 of the first 64 rows, depend on 16 more around it.
    np.testing.assert_array_equal(found[:48, 80:112], first[:48, 80:112])
    assert (first[:48, 80:112] != whole[:48, 80:112]).any()
    away = np.ones(whole.shape[:2], np.bool_)
    away[:80, 48:144] = False
    np.testing.assert_array_equal(found[away], whole[away])
    (notice,) = decompress_to_picture(damaged, partial=True).notices
    assert f"1 of {container.header.tile_count} tiles are coarser" in notice
    assert notice.endswith(": 1 at 64,0")
    for options in ({"layers": 1}, {"region": (0, 70, 20, 20)}):
        assert decompress_to_picture(damaged, partial=True, **options).notices == ()
