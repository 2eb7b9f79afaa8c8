"""A lossless archive of two-valued 28×28 images by bits-back coding (catalogue id 8).

Bits-back coding with ANS (Townsend, Bird and Barber, ICLR 2019). The coder is a stack. To add an
image x, the encoder pops a code z with the posterior, which uses up bits on the stack, and pushes
x and z with the model; the decoder does the reverse and gets the bits back::

    encode   pop z ~ q(z|x)      push x | p(x|z)      push z | p(z)
    decode   push z | q(z|x)     pop  x | p(x|z)      pop  z | p(z)     ▲ last image first

The net cost of an image is its negative evidence lower bound. The first images need bits to pop
when the stack is still empty, so it starts from a fixed pseudo-random seed, whose bits every
archive pays for, whatever its size.

Everything that selects a probability is an integer, on both sides: the networks are
`codec.models.vae.exact_mlp`; z is the number of one of `bins` intervals of equal mass of N(0, 1); a
pixel's table is its log-odds in eighths. The posterior's frequencies of the bins are differences of
a stored, integer normal distribution function, see `codec.coding.bits_back_tables`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch

from bitstream.ans_coder import AnsCoder
from bitstream.arrays import Array, Float32Array, Int32Array, Uint8Array
from bitstream.errors import PayloadError, TruncatedError, WeightsMismatchError
from bitstream.limits import MAX_TABLE_ENTRIES, MAX_TABLES
from bitstream.tables import TableSet
from bitstream.varint import read_varint, write_varint
from codec.coding.bits_back_tables import (
    LEAST_BITS,
    LOG_ODDS_REACH,
    PosteriorTables,
    log_odds_index,
    variance_level,
)
from codec.coding.exact_layers import ACTIVATION_BITS
from codec.coding.prior_tables import uniform_tables
from codec.models.sheets import (
    BLOCK,
    blocks_of,
    check_black_and_white,
    only_payload,
    sheet_of,
)
from codec.models.vae import ARCHIVE
from codec.models.vae.coder import read_vae_config
from codec.models.vae.exact_mlp import ExactMlp, mlp_from_arrays
from codec.models.weights_files import stored

PIXELS = BLOCK * BLOCK
SEED = 0xCA13
FIRST_SEED_WORDS = 16
MAX_SEED_WORDS = 2**14
MAX_GROUP = 64


def groups(count: int, largest: int) -> Iterator[tuple[int, int]]:
    """Begin and end of the groups of images that are coded together.

    A group pops all of its codes before it pushes anything, so its size is limited by what the
    images before it have left on the stack: a quarter of their number, at least one.
    """
    begin = 0
    while begin < count:
        end = min(count, begin + min(largest, max(1, begin // 4)))
        yield begin, end
        begin = end


def read_seed_words(payload: bytes) -> tuple[int, int]:
    """Number of seed words, and the offset of the rest of the payload. Raises `PayloadError`."""
    try:
        words, offset = read_varint(payload)
    except TruncatedError as error:
        raise PayloadError(f"the payload ends in its first number: {error}") from error
    if not FIRST_SEED_WORDS <= words <= MAX_SEED_WORDS:
        raise PayloadError(
            f"a seed of {words} words was read, expected {FIRST_SEED_WORDS} .. {MAX_SEED_WORDS}: "
            "the payload is damaged"
        )
    return words, offset


class BitsBackCoder:
    """The archive, loaded. See `codec.models.base.LoadedModel` for the methods.

    Latents are the images: float32 (784, h, w), 0 or 1. The quality has no effect.
    """

    model_id, name = ARCHIVE.model_id, ARCHIVE.name
    layers = 1
    stride = BLOCK
    context = 0

    def __init__(
        self,
        encoder: ExactMlp,
        decoder: ExactMlp,
        posterior: PosteriorTables,
        pixel_tables: TableSet,
        weights_hash: bytes,
    ) -> None:
        self.encoder, self.decoder = encoder, decoder
        self.posterior, self.pixel_tables = posterior, pixel_tables
        self.weights_hash = weights_hash
        self.dimensions = decoder.inputs
        if encoder.inputs != PIXELS or encoder.outputs != 2 * decoder.inputs:
            raise WeightsMismatchError(
                f"weights file: the encoder maps {encoder.inputs} values to {encoder.outputs}, "
                f"expected {PIXELS} to {2 * decoder.inputs}"
            )
        if decoder.outputs != PIXELS or len(pixel_tables) != 2 * LOG_ODDS_REACH + 1:
            raise WeightsMismatchError(
                f"weights file: the decoder has {decoder.outputs} outputs and "
                f"{len(pixel_tables)} tables, expected {PIXELS} and {2 * LOG_ODDS_REACH + 1}"
            )
        entries = self.dimensions * (posterior.bins + 1)
        if entries > MAX_TABLE_ENTRIES or MAX_GROUP * self.dimensions > MAX_TABLES:
            raise WeightsMismatchError(
                f"weights file: codes of {self.dimensions} dimensions with {entries} frequencies, "
                f"expected at most {MAX_TABLES // MAX_GROUP} and {MAX_TABLE_ENTRIES}"
            )
        self.largest_group = min(MAX_GROUP, MAX_TABLE_ENTRIES // entries)
        self._prior_tables = uniform_tables(posterior.bins.bit_length() - 1)

    def check_picture(self, pixels: Uint8Array) -> None:
        """Raise `UsageError` for a picture (H, W, C) that is not black and white, or too large."""
        check_black_and_white(pixels, self.name)

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (28h, 28w, 3), 0 or 255, to (784, h, w), 0 or 1."""
        blocks = (blocks_of(pixels) >= 128).reshape(-1, PIXELS)
        height, width = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
        return np.ascontiguousarray(blocks.T, dtype=np.float32).reshape(PIXELS, height, width)

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """The inverse of `analyze`."""
        height, width = latents.shape[1:]
        levels = np.ascontiguousarray(latents.reshape(PIXELS, -1).T >= 0.5).astype(np.uint8)
        return sheet_of(levels.reshape(-1, 1, BLOCK, BLOCK) * np.uint8(255), height, width)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code images (784, h, w): one payload."""
        images = (latents.reshape(PIXELS, -1).T >= 0.5).astype(np.int32)
        words = FIRST_SEED_WORDS
        while words <= MAX_SEED_WORDS:
            stack = self.push_images(images, words)
            if stack is not None:
                return (write_varint(words) + stack.to_bytes(),)
            words *= 2
        raise WeightsMismatchError(
            f"the model {self.name!r} takes more bits for codes than {MAX_SEED_WORDS} words of "
            "seed hold: its weights file is damaged or badly exported"
        )

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        """Decode images (784, height, width). Raises `PayloadError`."""
        payload = only_payload(payloads)
        words, offset = read_seed_words(payload)
        stack = AnsCoder(payload[offset:])
        images = self.pop_images(stack, height * width)
        if stack.to_bytes() != AnsCoder.seeded(words, SEED).to_bytes():
            raise PayloadError(
                "the stack does not end as it began: the payload is damaged, cut short, "
                "or was written with another model"
            )
        return np.ascontiguousarray(images.T, dtype=np.float32).reshape(PIXELS, height, width)

    def push_images(
        self,
        images: Int32Array,
        seed_words: int,
        watch: Callable[[slice, Int32Array], None] | None = None,
    ) -> AnsCoder | None:
        """The stack that holds images int32 (n, 784) of 0 and 1; None if the seed ran out.

        watch   is called with the images of each group and its codes, int32 (m · k,)
        """
        stack = AnsCoder.seeded(seed_words, SEED)
        for begin, end in groups(len(images), self.largest_group):
            group = images[begin:end]
            codes = stack.pop(self._all(end - begin), self.posterior_tables(group))
            if stack.bits < LEAST_BITS or ((codes < 0) | (codes >= self.posterior.bins)).any():
                return None
            stack.push(group.ravel(), self.pixel_indexes(codes), self.pixel_tables)
            stack.push(codes, self._prior_indexes(end - begin), self._prior_tables)
            if watch is not None:
                watch(slice(begin, end), codes)
        return stack

    def pop_images(self, stack: AnsCoder, count: int) -> Uint8Array:
        """Take `count` images off the stack, uint8 (count, 784). Raises `PayloadError`."""
        images = np.empty((count, PIXELS), dtype=np.uint8)
        for begin, end in reversed(list(groups(count, self.largest_group))):
            codes = stack.pop(self._prior_indexes(end - begin), self._prior_tables)
            if ((codes < 0) | (codes >= self.posterior.bins)).any():
                raise PayloadError("a code outside the prior was decoded: the payload is damaged")
            pixels = stack.pop(self.pixel_indexes(codes), self.pixel_tables)
            if ((pixels < 0) | (pixels > 1)).any():
                raise PayloadError("a pixel that is neither 0 nor 1: the payload is damaged")
            if stack.bits < LEAST_BITS:
                raise PayloadError(
                    f"the stack ran out with {end} images to come: the payload is damaged, "
                    "cut short, or was written with another model"
                )
            group = pixels.reshape(-1, PIXELS)
            images[begin:end] = group
            mean, level = self.posterior_integers(group)
            symbols, tables = self.posterior.tables_of_bins(mean.ravel(), level.ravel(), codes)
            stack.push(symbols, self._all(end - begin), tables)
        return images

    def posterior_tables(self, images: Int32Array) -> TableSet:
        """Tables of q(z|x) for images int32 (n, 784): one for each of the n · k values."""
        mean, level = self.posterior_integers(images)
        return self.posterior.tables(mean.ravel(), level.ravel())

    def posterior_integers(self, images: Int32Array) -> tuple[Int32Array, Int32Array]:
        """Means in units of 2⁻¹⁰ and levels of σ, int32 (n, k) each."""
        mean, log_variance = np.split(self.encoder(images << ACTIVATION_BITS), 2, axis=1)
        return mean, variance_level(log_variance)

    def pixel_indexes(self, codes: Int32Array) -> Int32Array:
        """Table of every pixel given codes int32 (n · k,): int32 (n · 784,)."""
        centres = self.posterior.centres[codes].reshape(-1, self.dimensions)
        return self.log_odds_indexes(centres).ravel()

    def log_odds_indexes(self, codes: Int32Array) -> Int32Array:
        """Table of every pixel, int32 (n, 784), given codes int32 (n, k) in units of 2⁻¹⁰."""
        return log_odds_index(self.decoder(codes))

    def _all(self, count: int) -> Int32Array:
        return np.arange(count * self.dimensions, dtype=np.int32)

    def _prior_indexes(self, count: int) -> Int32Array:
        return np.full(count * self.dimensions, len(self._prior_tables) - 1, dtype=np.int32)


def load_bits_back(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: torch.device | str,
) -> BitsBackCoder:
    """Build the coder from the contents of a weights file; it runs on the CPU for every `device`.

    Raises `WeightsMismatchError` when the file does not hold such a model.
    """
    read_vae_config(metadata, "bernoulli")
    names = ("edges", "centres", "reciprocals", "distribution")
    posterior = PosteriorTables(*(stored(arrays, f"posterior.{name}") for name in names))
    return BitsBackCoder(
        mlp_from_arrays("encoder", arrays),
        mlp_from_arrays("decoder", arrays),
        posterior,
        TableSet.from_arrays(arrays, "pixel_tables."),
        weights_hash,
    )
