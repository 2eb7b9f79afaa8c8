"""A second decoder for photo files, whose pictures look more like photographs.

               ┌─ synthesis of the photo weights ───► correction c₀ ─┐
 latents ŷ ────┤                                                     ├─► (1 − R)·c₀ + R·c₁
               └─ + noise ─► realistic synthesis ───► correction c₁ ─┘

Freirich, Michaeli and Meir 2021, "A theory of the distortion-perception tradeoff in Wasserstein
space": for squared error and the 2-Wasserstein distance, the optimal estimators are linear
interpolations between the one of least error and the best one with zero distance to the source.
A trained decoder only approximates the latter.

Both networks correct the same inverse-transform image. They have the same sizes, so a tile depends
on the same latents around it, and both use 8-bit integers, so pixels are the same on every machine
for every R. The symbols, and therefore the file, do not depend on R.

The realistic network sees that image with noise of a few levels, which it turns into texture where
the file contains little detail. The noise is a sequence of raw generator numbers that starts at a
position derived from the seed and the bytes of the tile: a file and a seed give one picture.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from bitstream.arrays import Array, Int8Array, Int32Array, Uint8Array, Uint16Array
from bitstream.errors import WeightsMismatchError, WeightsMissingError
from codec.coding.channel_simulation import raw_numbers
from codec.models.photo.coder import PhotoCoder, TileSymbols, read_sizes
from codec.models.photo.config import LATENT_STRIDE
from codec.models.photo.synthesis import Renderer, SynthesisWeights, synthesize
from codec.models.weights_files import (
    ENVIRONMENT_VARIABLE,
    HASH_BYTES,
    WeightsFile,
    cached_hash,
    read_metadata,
    read_weights,
    weights_of,
)

NAME = "photo-realism"
PHOTO_HASH_KEY = "photo_sha256"
"""Metadata key of the weights file: SHA-256 of the photo weights, 64 hexadecimal digits."""
NOISE_LEVELS = 2
"""The noise of each sample is an integer number of levels, −2 .. 1, all equally likely. In a trial
of 144 steps, −4 .. 3 did more harm than good: networks first learn to remove the noise."""

_WHOLE = 1024
_NOISE_BYTES = 3 * LATENT_STRIDE**2
_NOISE_CHANNELS = _NOISE_BYTES // 4
_NOISE_SEED, _NOISE_DISTANCE = 0xCA15, 0x9E3779B97F4A7C15F39CC0605CEDC835
"""The seed of the raw numbers, and the factor that keeps the streams of tiles and seeds apart."""


def draw_noise(payloads: Sequence[bytes], seed: int, height: int, width: int) -> Int32Array:
    """The noise of a tile of latents, as further channels: int32 (192, height, width).

    Each number holds four random bytes.

    seed   0 .. 2⁶³ − 1
    """
    checksum = 0
    for payload in payloads:
        checksum = zlib.crc32(payload, checksum)
    offset = (seed << 32 | checksum) * _NOISE_DISTANCE
    raw = raw_numbers(_NOISE_SEED, offset, height * width * _NOISE_BYTES // 8)
    numbers = raw.astype("<u8").view("<i4").reshape(height, width, _NOISE_CHANNELS)
    return np.ascontiguousarray(numbers.transpose(2, 0, 1), np.int32)


def under_noise(pixels: Uint8Array, noise: Int32Array) -> Uint8Array:
    """Pixels uint8 (16·h, 16·w, 3) plus the noise of `draw_noise` (192, h, w), clipped."""
    _, height, width = noise.shape
    numbers = np.ascontiguousarray(noise.transpose(1, 2, 0), "<i4")
    drawn = numbers.view(np.uint8).reshape(height, width, LATENT_STRIDE, LATENT_STRIDE, 3)
    levels = (drawn.swapaxes(1, 2).reshape(pixels.shape) % (2 * NOISE_LEVELS)).astype(np.int16)
    levels += pixels
    levels -= NOISE_LEVELS
    seen: Uint8Array = np.clip(levels, 0, 255).astype(np.uint8)
    return seen


@dataclass(frozen=True)
class BlendedRenderer:
    """See `codec.models.photo.synthesis.Renderer`: (1 − R)·first + R·second, to half a level.

    share   R in units of 2⁻¹⁰
    noise   input noise of the second renderer, as `draw_noise` returns it
    """

    first: Renderer
    second: Renderer
    share: int
    noise: Int32Array

    def __call__(
        self, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        drawn = self.second(under_noise(pixels, self.noise), texture, hundredths, tune)
        if self.share == _WHOLE:
            return drawn
        sums = self.first(pixels, texture, hundredths, tune).astype(np.int32)
        sums *= _WHOLE - self.share
        sums += drawn.astype(np.int32) * self.share
        sums += _WHOLE // 2
        return (sums // _WHOLE).astype(np.int8)


class RealisticPhoto(PhotoCoder):
    """A `PhotoCoder` that synthesises other pixels but is otherwise the same as `coder`.

    coder       the photo model, whose symbols and latents this model uses
    second      renderer of the realistic corrections, on the coder's device
    realism     R in (0, 1], rounded to a multiple of 2⁻¹⁰
    noise_seed  0 .. 2⁶³ − 1

    Decoded tiles have the noise as additional channels after the features.
    """

    def __init__(
        self, coder: PhotoCoder, second: Renderer, realism: float, noise_seed: int = 0
    ) -> None:
        vars(self).update(vars(coder))
        self._by_tune = {self.tune: self}
        self._second, self._share = second, round(realism * _WHOLE)
        self.noise_seed = noise_seed

    def first_symbols(
        self,
        payloads: Sequence[bytes],
        size: tuple[int, int],
        quality: float,
        groups: int,
        generator: np.random.Generator | None = None,
    ) -> TileSymbols:
        """See `PhotoCoder.first_symbols`."""
        tile = super().first_symbols(payloads, size, quality, groups, generator)
        noise = draw_noise(payloads, self.noise_seed, *size)
        return replace(tile, decoded=np.concatenate([tile.decoded, noise]))

    def _draw(
        self, latents: Int32Array, condition: tuple[int, int], *, deep: bool
    ) -> Uint8Array | Uint16Array:
        decoded, noise = latents[:-_NOISE_CHANNELS], latents[-_NOISE_CHANNELS:]
        render = BlendedRenderer(self.transforms.renderer, self._second, self._share, noise)
        return synthesize(self.transforms.weights, render, decoded, *condition, deep=deep)


def with_realism(coder: PhotoCoder, realism: float, noise_seed: int = 0) -> RealisticPhoto:
    """The coder with the realistic decoder that is installed for its weights.

    Raises `WeightsMissingError` if there is none, `WeightsMismatchError` for a damaged file.
    """
    file = find_realism(coder.weights_hash)
    second = _renderer(coder, file, cached_hash(file.path))
    return RealisticPhoto(coder, second, realism, noise_seed)


@lru_cache(maxsize=4)
def _renderer(coder: PhotoCoder, file: WeightsFile, digest: bytes) -> Renderer:
    arrays, metadata = read_weights(file)
    return coder.transforms.renderer_of(load_realism(arrays, metadata, coder))


def find_realism(photo_hash: bytes) -> WeightsFile:
    """The realistic decoder's weights for photo weights with these first 8 bytes of the hash.

    Raises `WeightsMissingError` if there are none, `WeightsMismatchError` if a damaged file may be
    the one.
    """
    wanted, found = photo_hash.hex(), []
    damaged: WeightsMismatchError | None = None
    for file in weights_of(NAME):
        try:
            made_for = read_metadata(file.path).get(PHOTO_HASH_KEY, "")
        except WeightsMismatchError as error:
            damaged = damaged or error
            continue
        found.append(f"one for {made_for[: 2 * HASH_BYTES]}")
        if made_for.startswith(wanted):
            return file
    if damaged is not None:
        raise damaged
    raise WeightsMissingError(
        f"no realistic decoder for the photo weights {wanted} is installed (found: "
        f"{', '.join(found) or 'none'}); train one: "
        f"`python -m training train {NAME} --data DIR --minutes 120`, then export it: "
        f"`python -m training export runs/{NAME} -o FOLDER` (both with --weights FILE for photo "
        f"weights of your own), and name FOLDER in {ENVIRONMENT_VARIABLE}; or leave the realism "
        "at 0"
    )


def load_realism(
    arrays: Mapping[str, Array], metadata: Mapping[str, str], coder: PhotoCoder
) -> SynthesisWeights:
    """The realistic synthesis from the contents of a weights file.

    Raises `WeightsMismatchError` if they hold none, or one for other photo weights.
    """
    found, expected = metadata.get(PHOTO_HASH_KEY, ""), coder.weights_hash.hex()
    if len(found) != 64 or not found.startswith(expected):
        raise WeightsMismatchError(
            f"realism weights: made for the photo weights {found[: len(expected)]!r}, but the "
            f"file was written with {expected}; train them for these: python -m training train "
            f"{NAME} --data DIR --weights PHOTO.safetensors"
        )
    config = read_sizes(metadata)
    if config != coder.config:
        raise WeightsMismatchError(
            "realism weights: they have other sizes of layers than the photo model that they are "
            "for; export them again"
        )
    return SynthesisWeights({**arrays, "log_step": coder.arrays["log_step"]}, config)
