"""A second decoder of photo files: one bitstream, from least squared error to realism.

               ┌─ synthesis of the photo model ─► x̂₀, least squared error ─┐
 latents ŷ ────┤                                                           ├─► (1 − R)·x̂₀ + R·x̂₁
               └─ realistic synthesis ──────────► x̂₁, like a photograph ───┘

Freirich, Michaeli and Meir 2021, "A theory of the distortion-perception tradeoff in Wasserstein
space": for the squared error and the 2-Wasserstein distance, the best estimators between the one
of least error and the best one without any distance to the source are their linear
interpolations. A trained x̂₁ comes near that second estimator at best.

Both networks have the same architecture, so that a tile depends on the same latents around it.
The symbols, and therefore the file, are those of the photo model for every R.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch

from bitstream.arrays import Array, Float32Array, Uint8Array
from bitstream.errors import WeightsMismatchError, WeightsMissingError
from codec.models.layers import fill, to_levels
from codec.models.photo.coder import PhotoCoder, read_photo_config
from codec.models.photo.network import PhotoConfig, PhotoModel, Synthesis
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
ARRAY_PREFIX = "synthesis."
PHOTO_HASH_KEY = "photo_sha256"
"""In the metadata of the weights file: SHA-256 of the photo weights, 64 hexadecimal digits."""


@dataclass(frozen=True)
class RealisticSynthesis:
    """The contents of a realism weights file: a synthesis, and the photo weights it belongs to."""

    synthesis: Synthesis
    config: PhotoConfig
    photo_sha256: str


class RealisticPhoto(PhotoCoder):
    """A `PhotoCoder` that draws other pixels; all the rest is that of `coder`.

    coder      the photo model; its symbols and its latents are this model's
    realistic  what was trained on the latents of the coder's weights, on the coder's device
    realism    R in [0, 1]: pixels are (1 − R)·least squares + R·realistic, each in [0, 1],
               rounded once

    Raises `WeightsMismatchError` for a synthesis of other photo weights.
    """

    def __init__(self, coder: PhotoCoder, realistic: RealisticSynthesis, realism: float) -> None:
        found, expected = realistic.photo_sha256, coder.weights_hash.hex()
        if not found.startswith(expected):
            raise WeightsMismatchError(
                f"realism weights: made for the photo weights {found[: len(expected)]}, but the "
                f"file was written with {expected}; train them for these: python -m "
                f"training {NAME} --data DIR --weights PHOTO.safetensors"
            )
        if realistic.config != coder.config:
            raise WeightsMismatchError(
                f"realism weights: they have the sizes {realistic.config}, "
                f"expected those of the photo model, {coder.config}; export them again"
            )
        _ = coder.torch_transforms  # loaded once for both
        vars(self).update(vars(coder))
        self.synthesis, self.realism = realistic.synthesis, realism

    @torch.inference_mode()
    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """Dequantised latents (C, h, w) to pixels uint8 (16·h, 16·w, 3)."""
        realistic = self.render(latents, quality, self.synthesis)
        if self.realism == 1:
            return to_levels(realistic)
        return to_levels(self.render(latents, quality).lerp(realistic, self.realism))


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


def realism_for(file: WeightsFile, device: str) -> RealisticSynthesis:
    """Read a realistic synthesis; kept in memory for the next call. Raises as `load_realism`."""
    return _realism_at(file, cached_hash(file.path), device)


@lru_cache(maxsize=8)
def _realism_at(file: WeightsFile, digest: bytes, device: str) -> RealisticSynthesis:
    arrays, metadata = read_weights(file)
    return load_realism(arrays, metadata, device=torch.device(device))


def load_realism(
    arrays: Mapping[str, Array], metadata: Mapping[str, str], *, device: torch.device
) -> RealisticSynthesis:
    """Build a realistic synthesis from the contents of a weights file.

    Raises `WeightsMismatchError` when the file does not hold a realistic synthesis.
    """
    digest = metadata.get(PHOTO_HASH_KEY, "")
    if len(digest) != 64 or not set(digest) <= set("0123456789abcdef"):
        raise WeightsMismatchError(
            f"realism weights: they name the photo weights {digest!r}, "
            f"expected a SHA-256 under {PHOTO_HASH_KEY!r} in the metadata; export them again"
        )
    config = read_photo_config(metadata)
    synthesis = PhotoModel(config).synthesis
    fill(synthesis, arrays, ARRAY_PREFIX)
    synthesis = synthesis.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return RealisticSynthesis(synthesis, config, digest)
