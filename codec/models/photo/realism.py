"""A second decoder of photo files: the same file, drawn to look more like a photograph.

               ┌─ synthesis of the photo weights ─► correction c₀ ─┐
 latents ŷ ────┤                                                   ├─► (1 − R)·c₀ + R·c₁
               └─ realistic synthesis ────────────► correction c₁ ─┘

Freirich, Michaeli and Meir 2021, "A theory of the distortion-perception tradeoff in Wasserstein
space": for the squared error and the 2-Wasserstein distance, the best estimators between the one
of least error and the best one without any distance to the source are their linear
interpolations. A trained decoder comes near that second estimator at best.

Both networks correct the same image of the inverse transform, have the same sizes, so that a tile
depends on the same latents around it, and compute with the same integers of 8 bits: pixels are the
same on every machine for every R. The symbols, and therefore the file, do not depend on R.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bitstream.arrays import Array, Int8Array, Int32Array, Uint8Array, Uint16Array
from bitstream.errors import WeightsMismatchError, WeightsMissingError
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.config import PhotoConfig
from codec.models.photo.synthesis import Renderer, SynthesisWeights, synthesize
from codec.models.weights_files import (
    ENVIRONMENT_VARIABLE,
    HASH_BYTES,
    WeightsFile,
    cached_hash,
    read_config,
    read_metadata,
    read_weights,
    weights_of,
)

NAME = "photo-realism"
PHOTO_HASH_KEY = "photo_sha256"
"""In the metadata of the weights file: SHA-256 of the photo weights, 64 hexadecimal digits."""
_WHOLE = 1024


@dataclass(frozen=True)
class BlendedRenderer:
    """See `codec.models.photo.synthesis.Renderer`: (1 − R)·first + R·second, to half a level.

    share   R in units of 2⁻¹⁰
    """

    first: Renderer
    second: Renderer
    share: int

    def __call__(
        self, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        drawn = self.second(pixels, texture, hundredths, tune)
        if self.share == _WHOLE:
            return drawn
        sums = self.first(pixels, texture, hundredths, tune).astype(np.int32)
        sums *= _WHOLE - self.share
        sums += drawn.astype(np.int32) * self.share
        sums += _WHOLE // 2
        return (sums // _WHOLE).astype(np.int8)


class RealisticPhoto(PhotoCoder):
    """A `PhotoCoder` that draws other pixels; all the rest is that of `coder`.

    coder      the photo model; its symbols and its latents are this model's
    second     what draws the realistic corrections, on the coder's device
    realism    R in (0, 1]; it counts in steps of 2⁻¹⁰
    """

    def __init__(self, coder: PhotoCoder, second: Renderer, realism: float) -> None:
        vars(self).update(vars(coder))
        self._by_tune = {self.tune: self}
        self._blended = BlendedRenderer(coder.transforms.renderer, second, round(realism * _WHOLE))

    def _draw(
        self, latents: Int32Array, condition: tuple[int, int], *, deep: bool
    ) -> Uint8Array | Uint16Array:
        weights = self.transforms.weights
        return synthesize(weights, self._blended, latents, *condition, deep=deep)


def with_realism(coder: PhotoCoder, realism: float) -> RealisticPhoto:
    """The coder with the realistic decoder that is installed for its weights.

    Raises `WeightsMissingError` where there is none, `WeightsMismatchError` for a damaged file.
    """
    file = find_realism(coder.weights_hash)
    return RealisticPhoto(coder, _renderer(coder, file, cached_hash(file.path)), realism)


@lru_cache(maxsize=4)
def _renderer(coder: PhotoCoder, file: WeightsFile, digest: bytes) -> Renderer:
    arrays, metadata = read_weights(file)
    return coder.transforms.renderer_of(load_realism(arrays, metadata, coder))


def find_realism(photo_hash: bytes) -> WeightsFile:
    """The weights of the realistic decoder of photo weights, which their first 8 bytes name.

    Raises `WeightsMissingError` where there are none, `WeightsMismatchError` for a damaged file.
    """
    wanted, found = photo_hash.hex(), []
    for file in weights_of(NAME):
        made_for = read_metadata(file.path).get(PHOTO_HASH_KEY, "")
        found.append(f"one for {made_for[: 2 * HASH_BYTES]}")
        if made_for.startswith(wanted):
            return file
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
    """The realistic synthesis in the contents of a weights file.

    Raises `WeightsMismatchError` where they hold none, or one for other photo weights.
    """
    found, expected = metadata.get(PHOTO_HASH_KEY, ""), coder.weights_hash.hex()
    if len(found) != 64 or not found.startswith(expected):
        raise WeightsMismatchError(
            f"realism weights: made for the photo weights {found[: len(expected)]!r}, but the "
            f"file was written with {expected}; train them for these: python -m training train "
            f"{NAME} --data DIR --weights PHOTO.safetensors"
        )
    config = read_config(metadata, PhotoConfig)
    if config != coder.config:
        raise WeightsMismatchError(
            "realism weights: they have other sizes of layers than the photo model that they are "
            "for; export them again"
        )
    return SynthesisWeights({**arrays, "log_step": coder.arrays["log_step"]}, config)
