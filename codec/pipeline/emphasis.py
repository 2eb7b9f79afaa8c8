"""A region that gets more of the bits, by what the encoder is given: no decoder knows of it.

A file has one quality. It is that of the region; the rest of the picture is replaced, before it is
coded, by what a file of the lower quality would show. That has few details left. Each of them is
written in the finer steps of the region's quality, though, which takes more bits than in a file of
the lower quality: the more, the further apart the two are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bitstream.errors import UsageError
from codec.models.base import LoadedModel
from codec.options import HIGHEST_QUALITY
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture


def check_roi(roi: Sequence[int], picture: Picture) -> None:
    """Raise `UsageError` for a region that is not inside the picture."""
    x, y, width, height, _ = roi
    if x + width > picture.width or y + height > picture.height:
        raise UsageError(
            f"roi {x},{y},{width},{height} is not inside the image of "
            f"{picture.width}×{picture.height} pixels; expected X,Y,WIDTH,HEIGHT within it"
        )


def notices_of(roi: Sequence[int] | None, quality: float) -> tuple[str, ...]:
    """What a person should know about the region of a file, whose rest has a quality."""
    if roi is None or quality + roi[4] <= HIGHEST_QUALITY:
        return ()
    return (
        f"the quality of the region is {HIGHEST_QUALITY:g}, the highest, which is "
        f"{HIGHEST_QUALITY - quality:g} above the rest and not {roi[4]}",
    )


def emphasise(
    picture: Picture,
    model: LoadedModel,
    roi: Sequence[int],
    quality: float,
    *,
    noise_seed: int | None,
) -> tuple[Picture, float]:
    """The picture to code in its place, and at which quality.

    roi       x, y, width, height, and by how much the quality is higher there
    quality   of the picture outside the region

    Raises what `compress_picture` raises.
    """
    x, y, width, height, more = roi
    raised = min(quality + more, HIGHEST_QUALITY)
    if raised == quality:
        return picture, quality
    coarse = compress_picture(picture, model, quality=quality, noise_seed=noise_seed)
    pixels = decompress_container(coarse, model).pixels
    inside = slice(y, y + height), slice(x, x + width)
    pixels[inside] = picture.pixels[inside]
    return replace(picture, pixels=pixels), raised
