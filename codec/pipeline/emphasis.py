"""A region of higher quality, by preprocessing the encoder's input: decoders need no support.

A file has one quality, which is that of the region. Before coding, the rest of the picture is
replaced by what a file of the lower quality would decode to, so it has few details left. But these
are coded with the finer steps of the region's quality, which takes more bits than in a file of the
lower quality: the more, the further apart the two qualities are.
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
    """A notice if the region's quality is cut at the highest; `quality` is that of the rest."""
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
    """The picture to code in place of `picture`, and its quality.

    roi       x, y, width, height, and by how much the quality is higher there
    quality   quality outside the region

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
