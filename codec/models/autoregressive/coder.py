"""Codes sheets of black-and-white digits, every pixel with its probability given those before it.

A black-and-white picture of up to 4096×4096 pixels is padded by repeating its last rows and
columns, cut into blocks of 28×28, and coded as one tile. Blocks are coded in groups of up to 1,024,
in raster order; in a group, the first pixels of all blocks come first, then the second pixels::

    pixels before ─► network, in integers ─► log-odds ─► table of the nearest eighth ─► pixel

Encoder and decoder do the same work, so encoding takes as long as decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from bitstream.arrays import Array, BoolArray, Float32Array, Int32Array, Uint8Array
from bitstream.errors import PayloadError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.coding.bits_back_tables import LOG_ODDS_REACH, log_odds_index
from codec.models.autoregressive import MODELS
from codec.models.autoregressive.config import PIXELS, AutoregressiveConfig
from codec.models.autoregressive.networks import ExactNetwork, exact_network
from codec.models.sheets import (
    BLOCK,
    blocks_of,
    check_black_and_white,
    only_payload,
    sheet_of,
)
from codec.models.weights_files import read_config

GROUP = 1024

CodePixel = Callable[[slice, int, Int32Array], BoolArray]
"""From a group of images, a place and the tables (n,) of that pixel to the pixel of each image."""


class AutoregressiveCoder:
    """A model, loaded. See `codec.models.base.LoadedModel` for the methods.

    Latents are the images: (784, h, w), 0 or 1. The quality has no effect.
    """

    layers = 1
    stride = BLOCK
    context = 0

    def __init__(
        self, name: str, network: ExactNetwork, tables: TableSet, weights_hash: bytes
    ) -> None:
        self.name, self.weights_hash = name, weights_hash
        self.model_id = {spec.name: spec.model_id for spec in MODELS}[name]
        self.network, self.tables = network, tables
        if len(tables) != 2 * LOG_ODDS_REACH + 1:
            raise WeightsMismatchError(
                f"weights file: {len(tables)} tables, expected {2 * LOG_ODDS_REACH + 1}"
            )

    def check_picture(self, pixels: Uint8Array) -> None:
        """Raise `UsageError` for a picture (H, W, C) that is not black and white, or too large."""
        check_black_and_white(pixels, self.name)

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (28h, 28w, 3), 0 or 255, to float32 (784, h, w), 0 or 1."""
        images = blocks_of(pixels).reshape(-1, PIXELS) >= 128
        height, width = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
        return np.ascontiguousarray(images.T, dtype=np.float32).reshape(PIXELS, height, width)

    def synthesize(self, latents: Uint8Array, quality: float) -> Uint8Array:
        """The result of `decode_tile` to pixels uint8 (28h, 28w, 3), 0 or 255."""
        height, width = latents.shape[1:]
        levels = np.ascontiguousarray(latents.reshape(PIXELS, -1).T) * np.uint8(255)
        return sheet_of(levels.reshape(-1, 1, BLOCK, BLOCK), height, width)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code images (784, h, w): one payload."""
        images = latents.reshape(PIXELS, -1) >= 0.5
        encoder = SymbolEncoder()

        def code(group: slice, place: int, indexes: Int32Array) -> BoolArray:
            pixels = images[place, group]
            encoder.put(pixels.astype(np.int32), indexes, self.tables)
            return pixels

        self.sweep(images.shape[1], code)
        return (encoder.finish(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Uint8Array:
        """Decode images uint8 (784, height, width). Raises `PayloadError`."""
        decoder = SymbolDecoder(only_payload(payloads))
        images = np.empty((PIXELS, height * width), np.bool_)

        def code(group: slice, place: int, indexes: Int32Array) -> BoolArray:
            pixels = decoder.get(indexes, self.tables)
            if ((pixels < 0) | (pixels > 1)).any():
                raise PayloadError("a pixel that is neither 0 nor 1: the payload is damaged")
            images[place, group] = pixels
            return images[place, group]

        self.sweep(images.shape[1], code)
        decoder.finish()
        return images.astype(np.uint8).reshape(PIXELS, height, width)

    def sweep(self, images: int, code: CodePixel) -> None:
        """Call `code` for every group of `images` images, and in each for every place."""
        for begin in range(0, images, GROUP):
            group = slice(begin, min(begin + GROUP, images))
            places = iter(range(PIXELS))
            self.network.sweep(
                group.stop - begin,
                lambda log_odds, group=group, places=places: code(  # type: ignore[misc]
                    group, next(places), log_odds_index(log_odds)
                ),
            )


def load_autoregressive(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: str,
) -> AutoregressiveCoder:
    """Build the coder from the contents of a weights file; it computes with NumPy on any `device`.

    Raises `WeightsMismatchError`, `TableError`.
    """
    config = read_config(metadata, AutoregressiveConfig)
    name = f"digits-{config.kind}"
    network = exact_network(config, arrays)
    return AutoregressiveCoder(
        name, network, TableSet.from_arrays(arrays, "pixel_tables."), weights_hash
    )
