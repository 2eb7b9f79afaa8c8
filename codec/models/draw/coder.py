"""DRAW as a layered codec (catalogue id 2): one chunk of the file for each step.

::

    tile ─ exact recursion ─► e, σ_p ─► K = round(e), table of σ_p ─► one payload per step
    payloads of the first k steps ─► exact recursion ─► canvas; later steps take the prior's
    mean (K = 0) or sample K from its tables

A step in which all K are 0 has an empty payload: late steps add little to small or simple
images, and terminating the coder would cost two bytes for each.

Encoder and decoder run the recursion in fixed point, so symbols, tables and pixels are the
same on every machine. The encoder network, which only chooses symbols, uses the same fixed-point
implementation. All of it runs on the CPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.arrays import Array, Float32Array, Int32Array, Uint8Array
from bitstream.errors import LimitError, PayloadError, UsageError, WeightsMismatchError
from bitstream.limits import MIN_TILE_LOG2
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.coding.draw_symbols import draw_symbols
from codec.models.draw import DRAW
from codec.models.draw.exact import (
    SCALE_LEVELS,
    UNIT_BITS,
    ExactDraw,
    image_levels,
    image_units,
)
from codec.models.draw.recursion import DrawConfig, DrawState, Prior
from codec.models.weights_files import read_config

Message = tuple[Int32Array, Int32Array]
"""Symbols of a step and level, (codes, h, w) in row-major order, and their tables: int32 (n,)."""

SYMBOL_LIMIT = 2**15
MAX_TILE_SIDE = 1024
"""Largest side of a tile in pixels: a tile takes about a kilobyte of memory per pixel."""
TABLE_PREFIX = "step_tables."


class DrawCoder:
    """A DRAW network with uniform posteriors, loaded. See `codec.models.base` for the methods.

    Latents are 8-bit levels as float32, (3 · stride², h, w): the unshuffled pixels. Tiles are coded
    independently, with zero padding, so `context` is 0.
    """

    model_id, name = DRAW.model_id, DRAW.name
    context = 0

    def __init__(self, network: ExactDraw, tables: TableSet, weights_hash: bytes) -> None:
        config = network.config
        if (config.posterior, config.likelihood, config.channels) != ("uniform", "gaussian", 3):
            raise WeightsMismatchError(
                f"weights file: a DRAW network with {config.posterior} posteriors and a "
                f"{config.likelihood} likelihood of {config.channels} channels, expected uniform "
                "ones and a gaussian of 3"
            )
        if 2**MIN_TILE_LOG2 % config.block:
            raise WeightsMismatchError(
                f"weights file: a DRAW network of blocks of {config.block} pixels, of which "
                f"tiles of {2**MIN_TILE_LOG2} hold no whole number"
            )
        if len(tables) != SCALE_LEVELS:
            raise WeightsMismatchError(
                f"weights file: {len(tables)} tables, expected {SCALE_LEVELS}"
            )
        self.network, self.tables, self.weights_hash = network, tables, weights_hash
        self.layers, self.stride = config.steps, config.block

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (H, W, 3) to levels (3 · stride², h, w)."""
        levels = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        return F.pixel_unshuffle(levels.float(), self.stride).numpy()

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """Levels (3 · stride², h, w) to pixels uint8 (H, W, 3)."""
        levels = F.pixel_shuffle(torch.from_numpy(np.ascontiguousarray(latents)), self.stride)
        return levels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy()

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code levels (3 · stride², h, w): one payload for each step. Raises `UsageError`."""
        return tuple(self._payload(step) for step in self.step_symbols(latents, quality))

    def _payload(self, messages: Sequence[Message]) -> bytes:
        if not any(symbols.any() for symbols, _ in messages):
            return b""
        encoder = SymbolEncoder()
        for symbols, indexes in messages:
            encoder.put(symbols, indexes, self.tables)
        return encoder.finish()

    @torch.inference_mode()
    def step_symbols(self, latents: Float32Array, quality: float) -> list[list[Message]]:
        """The messages that `encode_tile` writes, for each step, the coarsest level first.

        Raises `UsageError` for a tile of more than 1024 pixels in either direction.
        """
        network = self.network.at_quality(round(quality * 100))
        pixels = F.pixel_shuffle(torch.from_numpy(np.ascontiguousarray(latents)), self.stride)
        height, width = pixels.shape[1:]
        if max(height, width) > MAX_TILE_SIDE:
            raise UsageError(
                f"a tile of {width}×{height} pixels: the model {self.name} codes tiles of up to "
                f"{MAX_TILE_SIDE} in either direction"
            )
        image = image_units(pixels[None], network.config)
        state = network.recursion.begin(1, height, width)
        part = network.recursion.image_part(image)
        found = []
        for _ in range(self.layers):
            network.recursion.look(state, image, part)
            found.append(_code_step(network, state))
        return found

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        """Decode levels (3 · stride², height, width). Raises `PayloadError`, `LimitError`."""
        if len(payloads) != self.layers:
            raise PayloadError(f"{len(payloads)} layers, expected {self.layers} of {self.name}")
        decoder = self.tile_decoder(height, width, quality)
        for payload in payloads:
            decoder.read(payload)
        return decoder.latents()

    def tile_decoder(self, height: int, width: int, quality: float) -> DrawTileDecoder:
        """A decoder for one tile, layer by layer. Raises `LimitError` if it is too large."""
        network = self.network.at_quality(round(quality * 100))
        height, width = height * self.stride, width * self.stride
        if max(height, width) > MAX_TILE_SIDE:
            raise LimitError(
                f"a tile of {width}×{height} pixels, expected at most {MAX_TILE_SIDE} in either "
                f"direction of the model {self.name}"
            )
        return DrawTileDecoder(network, self.tables, height, width)


class DrawTileDecoder:
    """Decodes the steps of one tile. See `codec.models.base.TileDecoder`.

    A damaged step leaves the decoder unchanged.
    """

    def __init__(self, network: ExactDraw, tables: TableSet, height: int, width: int) -> None:
        """height, width   size of the tile in pixels"""
        self._network, self._tables, self._left = network, tables, network.config.steps
        state = network.recursion.begin(1, height, width)
        self._kept = DrawState(state.canvas, state.decoder, encoder=[]).to(torch.float32)

    def _state(self) -> DrawState:
        # Between steps the state is kept in float32: all its integers are far below 2²⁴.
        return self._kept.to(torch.float64)

    def read(self, payload: bytes) -> None:
        """Decode the next step. Raises `PayloadError`."""
        self.read_messages(payload)

    @torch.inference_mode()
    def read_messages(self, payload: bytes) -> list[Message]:
        """Decode the next step; return its messages, as in `DrawCoder.step_symbols`."""
        if not self._left:
            raise PayloadError("more layers than the model has steps")
        decoder, state = SymbolDecoder(payload) if payload else None, self._state()
        messages: list[Message] = []

        def choose(level: int, prior: Prior) -> Tensor:
            indexes = self._indexes(prior)
            symbols = np.zeros_like(indexes)
            if decoder is not None:
                symbols = decoder.get(indexes, self._tables)
            messages.append((symbols, indexes))
            return _like(symbols, prior.mean)

        self._network.recursion.step(state, choose)
        if decoder is not None:
            decoder.finish()
            if not any(symbols.any() for symbols, _ in messages):
                raise PayloadError("a step of zeros has coded bytes, expected none")
        self._kept = state.to(torch.float32)
        self._left -= 1
        return messages

    @torch.inference_mode()
    def latents(self, generator: np.random.Generator | None = None) -> Float32Array:
        """Levels after the steps read so far; missing steps take the prior's mean or a sample."""
        state, recursion = self._state(), self._network.recursion

        def choose(level: int, prior: Prior) -> Tensor:
            if generator is None:
                return torch.zeros_like(prior.mean)
            symbols = draw_symbols(self._tables, self._indexes(prior), generator)
            return _like(symbols, prior.mean)

        for _ in range(self._left):
            recursion.step(state, choose)
        levels = image_levels(recursion.shown(state))[0].float()
        return F.pixel_unshuffle(levels, self._network.config.block).numpy()

    def _indexes(self, prior: Prior) -> Int32Array:
        return _flat(self._network.scale_levels(prior.scale))


def _code_step(network: ExactDraw, state: DrawState) -> list[Message]:
    """Advance by a step with the symbols that the posterior gives, and return them."""
    messages: list[Message] = []

    def choose(level: int, prior: Prior) -> Tensor:
        residual = network.recursion.posterior(state, level) * 2.0**-UNIT_BITS
        rounded = residual.round_().clamp_(-SYMBOL_LIMIT, SYMBOL_LIMIT)
        messages.append((_flat(rounded), _flat(network.scale_levels(prior.scale))))
        return rounded

    network.recursion.step(state, choose)
    return messages


def load_draw(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: torch.device | str,
) -> DrawCoder:
    """Build the model from the contents of a weights file. Raises `WeightsMismatchError`."""
    tables = TableSet.from_arrays(arrays, TABLE_PREFIX)
    return DrawCoder(ExactDraw(read_config(metadata, DrawConfig), arrays), tables, weights_hash)


def _flat(values: Tensor) -> Int32Array:
    return values.to(torch.int32).flatten().numpy()


def _like(symbols: Int32Array, shape: Tensor) -> Tensor:
    return torch.from_numpy(symbols.astype(np.float64)).reshape(shape.shape)
