"""Large images: how much is read, decoded and held in memory, and what is refused."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner

import codec
from bitstream import InputError, OutputError, container_to_bytes, limits, read_container, scan
from bitstream.chunks import chunk_bytes
from codec import loading
from codec.cli import app
from codec.models.photo.coder import PhotoCoder
from codec.pictures.alpha import AlphaReader, encode_alpha
from codec.pictures.bands import bands_of
from codec.pictures.picture import Picture
from codec.pictures.read import picture_from
from codec.pictures.save import format_of_suffix, save_bands
from codec.pipeline.decode import decode_bands, tiles_of_region
from codec.pipeline.encode import compress_picture
from tests.codec.tiny import photographs

Uint8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]

REGION = (200, 150, 40, 30)


class CountingFile(io.BytesIO):
    """Counts the bytes that are read."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.bytes_read += len(data)
        return data


class Means:
    """A model of mean colours (3, h, w), so cheap that only the pipeline takes memory."""

    model_id, name, weights_hash = 65001, "means", bytes(8)
    layers, stride, context = 1, 16, 1

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        height, width = pixels.shape[0] // 16, pixels.shape[1] // 16
        cells = pixels.reshape(height, 16, width, 16, 3).mean(axis=(1, 3), dtype=np.float32)
        means: Float32Array = cells.transpose(2, 0, 1)
        return means

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        pixels: Uint8Array = latents.transpose(1, 2, 0).astype(np.uint8)
        return pixels.repeat(16, axis=0).repeat(16, axis=1)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        return (latents.astype(np.uint8).tobytes(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        return np.frombuffer(payloads[0], np.uint8).reshape(3, height, width).astype(np.float32)


def peak_bytes(work: Callable[[], object]) -> int:
    """Peak memory of Python and NumPy while `work` ran, beyond what they held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_region_reads_and_decodes_only_its_tiles(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = loading.load_model("photo", device="cpu")
    picture = Picture(photographs(1, side=448)[0], icc=bytes(3000))
    data = container_to_bytes(compress_picture(picture, model, quality=75, tile_size=64))
    decoded: list[tuple[int, int]] = []
    drawn: list[tuple[int, int]] = []

    def decode_tile(
        self: PhotoCoder, payloads: Any, height: int, width: int, quality: float
    ) -> Any:
        decoded.append((height, width))
        return original_decode(self, payloads, height, width, quality)

    def synthesize(self: PhotoCoder, latents: Int32Array, quality: float) -> Uint8Array:
        drawn.append((latents.shape[1], latents.shape[2]))
        return original_synthesize(self, latents, quality)

    original_decode, original_synthesize = PhotoCoder.decode_tile, PhotoCoder.synthesize
    monkeypatch.setattr(PhotoCoder, "decode_tile", decode_tile)
    monkeypatch.setattr(PhotoCoder, "synthesize", synthesize)

    chunks = scan(io.BytesIO(data)).chunks
    header = read_container(io.BytesIO(data)).header
    tiles = tiles_of_region(header, model, REGION)
    assert 1 < len(tiles) < header.tile_count / 4
    coded = [chunk for chunk in chunks if chunk.type == b"DATA"]
    # Everything before the tiles, once, and the chunks of the tiles.
    expected = coded[0].offset + sum(chunk_bytes(coded[tile].length) for tile in tiles)

    file = CountingFile(data)
    part = codec.decompress(file, region=REGION, as_="numpy", device="cpu")
    assert file.bytes_read == expected < 0.5 * len(data)
    assert decoded == [(4, 4)] * len(tiles)
    # The region's latents, and a context around each of the windows in which they are drawn.
    assert len(drawn) <= len(tiles)
    assert (
        sum(height * width for height, width in drawn) <= len(tiles) * (4 + 2 * model.context) ** 2
    )

    x, y, width, height = REGION
    whole = codec.decompress(data, as_="numpy", device="cpu")[y : y + height, x : x + width]
    assert np.abs(part.astype(int) - whole).max() <= 1


def test_a_region_of_alpha_inflates_no_row_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    alpha = photographs(1, side=256)[0][..., 0]
    picture = Picture(photographs(1, side=256)[0], alpha)
    container = compress_picture(picture, Means(), quality=50, tile_size=64)
    rows: list[int] = []
    original = AlphaReader.read

    def read(self: AlphaReader, count: int) -> Uint8Array:
        rows.append(count)
        return original(self, count)

    monkeypatch.setattr(AlphaReader, "read", read)
    part = decode_bands(container, Means(), region=(30, 70, 100, 50)).picture()
    assert part.alpha is not None
    assert np.array_equal(part.alpha, alpha[70:120, 30:130])
    assert sum(rows) == 120


@pytest.mark.parametrize("format_name", ["PNG", "PPM"])
@pytest.mark.parametrize("has_alpha", [False, True])
def test_memory_of_a_decoded_picture_does_not_grow_with_its_height(
    format_name: str, has_alpha: bool
) -> None:
    if has_alpha and format_name == "PPM":
        pytest.skip("PPM has no alpha")

    class Sink(io.BytesIO):
        def write(self, data: Any, /) -> int:
            return memoryview(data).nbytes

    def peak(height: int) -> int:
        pixels = np.tile(photographs(1, side=128)[0], (height // 128, 4, 1))
        picture = Picture(pixels, pixels[..., 0] if has_alpha else None)
        container = compress_picture(picture, Means(), quality=50, tile_size=64)
        bands = decode_bands(container, Means())
        del pixels, picture
        return peak_bytes(lambda: save_bands(bands, Sink(), format_name))

    low, high = peak(512), peak(4096)
    assert high < 1.25 * low
    assert high < 0.6 * 4096 * 512 * (3 + has_alpha)


@pytest.mark.parametrize(
    ("mode", "copies"),
    [("RGB", 1), ("RGBA", 1), ("L", 1), ("P", 3), ("CMYK", 0.75), ("I;16", 0.5), ("I", 0.25)],
)
@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_an_image_file_is_in_memory_once(
    mode: str, copies: float, suffix: str, tmp_path: Path
) -> None:
    # Besides Pillow's own copy, which tracemalloc does not see, and which is closed afterwards.
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1600, 3), np.uint8))
    if mode.startswith("I"):
        image = image.convert("L").convert("I")
    image = image.convert(mode)
    if suffix == ".png" and mode in ("CMYK", "I"):
        pytest.skip("PNG has no such mode")
    path = tmp_path / f"image{suffix}"
    image.save(path)
    size_bytes = len(image.tobytes())
    pictures: list[Picture] = []
    peak = peak_bytes(lambda: pictures.append(picture_from(path, reduce_depth=True)))
    picture = pictures[0]
    assert (picture.width, picture.height) == (1600, 1500)
    # One band of 2²⁰ pixels is in flight.
    assert peak < copies * size_bytes + 16 * 2**20


@pytest.mark.parametrize("suffix", [".png", ".tiff", ".ppm"])
@pytest.mark.parametrize("bit_depth", [10, 16])
def test_a_deep_file_is_in_memory_twice(suffix: str, bit_depth: int, tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(0, 2**bit_depth, (1500, 1600, 3), np.uint16)
    path = tmp_path / f"image{suffix}"
    with path.open("wb") as fo:
        save_bands(bands_of(Picture(samples, bit_depth=bit_depth)), fo, format_of_suffix(suffix))
    # Once as stored in the file, and once at the depth of its source.
    peak = peak_bytes(lambda: picture_from(path, keep_depth=True))
    assert peak < 2 * samples.nbytes + 24 * 2**20


def test_deep_arrays_are_reduced_in_bands() -> None:
    array = np.random.default_rng(0).random((2000, 2000, 3))
    assert peak_bytes(lambda: picture_from(array, reduce_depth=True)) < array.size + 90 * 2**20
    rows = [row * 100 for row in range(20)]
    picture = picture_from(array, reduce_depth=True)
    assert np.array_equal(picture.pixels[rows], np.rint(array[rows] * 255).astype(np.uint8))


def test_pictures_of_several_bands_are_those_of_pillow() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1100, 1000, 4), np.uint8)
    rgba = Image.fromarray(noise)
    for image in (rgba, rgba.convert("CMYK"), rgba.convert("RGB").quantize(16)):
        expected = np.asarray(image.convert("RGB"))
        assert np.array_equal(picture_from(image).pixels, expected)
    alpha = picture_from(rgba).alpha
    assert alpha is not None
    assert np.array_equal(alpha, noise[..., 3])


@pytest.mark.parametrize("has_edge", [False, True])
def test_alpha_in_pieces_is_alpha_at_once(has_edge: bool) -> None:
    rng = np.random.default_rng(1)
    alpha = np.full((600, 50), 200, np.uint8)
    if has_edge:
        alpha[300:] = rng.integers(0, 2, (300, 50)) * 255
        alpha[123] = np.arange(50)
    coded = encode_alpha(alpha)
    for step in (1, 37, 256, 600):
        reader = AlphaReader(coded, 600, 50)
        rows = [reader.read(min(step, 600 - top)) for top in range(0, 600, step)]
        reader.finish()
        assert np.array_equal(np.concatenate(rows), alpha)


def png_head(width: int, height: int) -> bytes:
    """A PNG that ends before its pixels."""

    def chunk(kind: bytes, payload: bytes) -> bytes:
        crc = zlib.crc32(kind + payload)
        return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", crc)

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100))[:20]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", pixels)


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (20_000, 20_000, "limit is 1048576 on a side and 268435456 in all: cut it into parts"),
        (30_000, 20_000, "limit of a .calo file is 268435456: cut it into parts"),
    ],
)
def test_the_command_refuses_what_no_file_may_hold(
    width: int, height: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    path = tmp_path / "x.png"
    path.write_bytes(png_head(width, height))
    with warnings.catch_warnings():
        result = CliRunner().invoke(app, ["compress", str(path)])
    assert result.exit_code == InputError.exit_code
    assert message in result.stderr.replace("\n", " ")
    assert "Warning" not in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]


def test_the_library_says_what_pillow_wants(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photographs(1, side=64)[0]).save(buffer, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(InputError, match=r"set PIL\.Image\.MAX_IMAGE_PIXELS, up to the 268435456"):
        picture_from(buffer.getvalue())
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4096)
    assert picture_from(buffer.getvalue()).width == 64
    monkeypatch.setattr(limits, "MAX_PIXELS", 1000)
    with pytest.raises(InputError, match="cut it into parts"):
        picture_from(buffer.getvalue())


@pytest.mark.parametrize(("format_name", "side"), [("WEBP", 16384), ("JPEG", 65501)])
def test_formats_that_are_too_small_are_refused_before_decoding(
    format_name: str, side: int
) -> None:
    bands = bands_of(Picture(np.zeros((1, side, 3), np.uint8)))
    with pytest.raises(OutputError, match=rf"{side}×1 pixels.*\.png"):
        save_bands(bands, io.BytesIO(), format_name)
    assert next(bands.bands)[0].shape == (1, side, 3)
