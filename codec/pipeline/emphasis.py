"""A region that gets more of the bits, by what the encoder is given: no decoder knows of it.

A file has one quality. It is that of the region; the rest of the picture is replaced, before it is
coded, by what a file of the lower quality would show. That has few details left, and costs hardly
more at the higher quality than at the lower one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bitstream.errors import UsageError
from codec.models.base import LoadedModel
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
    raised = min(quality + more, 100.0)
    if raised == quality:
        return picture, quality
    coarse = compress_picture(picture, model, quality=quality, noise_seed=noise_seed)
    pixels = decompress_container(coarse, model).pixels
    inside = slice(y, y + height), slice(x, x + width)
    pixels[inside] = picture.pixels[inside]
    return replace(picture, pixels=pixels), raised
