"""An artificial layered model: mean colours of blocks, refined by a factor of four per layer."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

import codec
from bitstream import (
    StreamError,
    SymbolDecoder,
    SymbolEncoder,
    container_to_bytes,
    gaussian_tables,
    scan,
)
from bitstream.chunks import chunk_bytes
from codec.pictures.picture import Picture
from codec.pipeline.encode import compress_picture
from tests.codec.tiny import photographs

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Uint8Array = npt.NDArray[np.uint8]

T = TypeVar("T")

LAYERS, TILES = 3, 6
STEPS = np.float32(32) / np.float32(4) ** np.arange(LAYERS, dtype=np.float32)
TABLES = gaussian_tables(np.array([0.5, 2.0]))


class Blocks:
    """`LoadedModel` and `LayeredModel`. Latents (3, h, w): mean colours of blocks, minus 128.

    Pixels depend on a latent's four neighbours, tables on the symbols of the layer before.
    """

    model_id, name, weights_hash = 65000, "blocks", b"made-up!"
    layers, stride, context = LAYERS, 16, 1

    def __init__(self) -> None:
        self.decoders_made = self.payloads_read = self.latents_asked = 0

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        height, width = pixels.shape[0] // 16, pixels.shape[1] // 16
        cells = pixels.reshape(height, 16, width, 16, 3).astype(np.float32)
        means: Float32Array = cells.mean(axis=(1, 3)).transpose(2, 0, 1) - np.float32(128)
        return means

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        around = np.pad(latents, ((0, 0), (1, 1), (1, 1)), mode="edge")
        crosses = around[:, :-2, 1:-1] + around[:, 2:, 1:-1]
        crosses = crosses + around[:, 1:-1, :-2] + around[:, 1:-1, 2:]
        levels = np.clip(np.round((crosses + 4 * latents) / 8 + 128), 0, 255).astype(np.uint8)
        pixels: Uint8Array = levels.transpose(1, 2, 0).repeat(16, axis=0).repeat(16, axis=1)
        return pixels

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        payloads, rest = [], latents
        indexes = np.zeros(latents.shape, dtype=np.int32)
        for step in STEPS:
            symbols = np.round(rest / step).astype(np.int32)
            encoder = SymbolEncoder()
            encoder.put(symbols.ravel(), indexes.ravel(), TABLES)
            payloads.append(encoder.finish())
            rest, indexes = rest - symbols * step, next_indexes(symbols)
        return tuple(payloads)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        decoder = self.tile_decoder(height, width, quality)
        for payload in payloads:
            decoder.read(payload)
        return decoder.latents()

    def tile_decoder(self, height: int, width: int, quality: float) -> BlocksDecoder:
        return BlocksDecoder(self, (3, height, width))


class BlocksDecoder:
    """`TileDecoder` of `Blocks`, which counts its requests."""

    def __init__(self, model: Blocks, shape: tuple[int, int, int]) -> None:
        self.model, self.count = model, 0
        model.decoders_made += 1
        self.sum: Float32Array = np.zeros(shape, dtype=np.float32)
        self.indexes: Int32Array = np.zeros(shape, dtype=np.int32)

    def read(self, payload: bytes) -> None:
        decoder = SymbolDecoder(payload)
        symbols = decoder.get(self.indexes.ravel(), TABLES).reshape(self.sum.shape)
        decoder.finish()
        self.sum = self.sum + symbols.astype(np.float32) * STEPS[self.count]
        self.indexes = next_indexes(symbols)
        self.count += 1
        self.model.payloads_read += 1

    def latents(self, generator: np.random.Generator | None = None) -> Float32Array:
        self.model.latents_asked += 1
        # A model may draw after its last layer, too: the pipeline gives no generator then.
        if generator is None:
            return self.sum
        noise = generator.uniform(-0.5, 0.5, self.sum.shape).astype(np.float32)
        drawn: Float32Array = self.sum + noise * STEPS[self.count - 1]
        return drawn


def next_indexes(symbols: Int32Array) -> Int32Array:
    """Tables of the next layer, int32, in the shape of the symbols."""
    indexes: Int32Array = (symbols != 0).astype(np.int32)
    return indexes


def picture() -> Picture:
    """150 × 100 pixels with alpha and metadata: 3 × 2 tiles of 64."""
    pixels = photographs(1, side=150)[0][:100]
    alpha = (np.arange(100 * 150) % 251 // 100).astype(np.uint8).reshape(100, 150)
    return Picture(pixels, alpha, icc=b"icc", exif=b"II*\0exif", xmp=b"<x/>")


def layered_file(model: Blocks | None = None) -> bytes:
    """`picture` as a file of three layers of six tiles."""
    container = compress_picture(picture(), model or Blocks(), quality=50, tile_size=64)
    return container_to_bytes(container)


def layer_ends(data: bytes) -> list[int]:
    """How many bytes a file has up to the end of each layer."""
    found = scan(io.BytesIO(data))
    chunks = [info for info in found.chunks if info.type == b"DATA"]
    last = chunks[found.header.tile_count - 1 :: found.header.tile_count]
    return [info.offset + chunk_bytes(info.length) for info in last]


def until_error(items: Iterator[T]) -> tuple[list[T], StreamError]:
    """The items before an iterator's StreamError, and the error; raises StopIteration if none."""
    found: list[T] = []
    while True:
        try:
            found.append(next(items))
        except StreamError as error:
            return found, error


DATA = layered_file()
ENDS = layer_ends(DATA)


def pixels_of(data: bytes, **options: Any) -> Uint8Array:
    """The pixels that the library decodes from a file, uint8 (height, width, 2..4)."""
    array: Uint8Array = codec.decompress(data, as_="numpy", **options)
    return array


def has_alpha(again: Picture) -> bool:
    """Whether a picture has the alpha of `picture`."""
    expected = picture().alpha
    assert again.alpha is not None
    assert expected is not None
    return np.array_equal(again.alpha, expected)
