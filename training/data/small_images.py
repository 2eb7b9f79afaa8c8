"""Training images of one size: as in a data set, with a black border, or cut from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from bitstream.arrays import Int64Array
from bitstream.errors import InputError
from codec.datasets.arrays import Images, read_images
from codec.datasets.pictures import find_images

Sample = TypeVar("Sample", bound=np.generic)

MEMORY_BYTES = 2**33
"""Pictures are read up to this many bytes of pixels."""


def read_small_images(
    path: Path,
    shape: tuple[int, int, int],
    *,
    pad: int = 0,
    crop: int | None = None,
    part: str = "train",
) -> Images:
    """The images of a data set: uint8 (n, C, H, W).

    path   anything that `read_images` takes; with a crop, a folder or `.tar` of pictures of any
           size, perhaps in `train/` and `test/`, of which at most 8 GiB are kept
    shape  (C, H, W) of the result
    pad    number of black pixels added on each side
    crop   side of the centre square of each picture that is reduced to the shape, 0 for the
           largest; None takes images as they are
    part   "train" or "test", if the path holds both

    Raises `InputError` for images that cannot be read or do not fit.
    """
    channels, height, width = shape
    inner = (channels, height - 2 * pad, width - 2 * pad)
    if crop is not None and (path.is_dir() or path.suffix.lower() == ".tar"):
        images = _cut_pictures(path, inner, crop, part)
    else:
        images = read_images(path, shape=inner, part=part)
    return np.pad(images, ((0, 0), (0, 0), (pad, pad), (pad, pad))) if pad else images


def _cut_pictures(path: Path, shape: tuple[int, int, int], crop: int, part: str) -> Images:
    channels, height, width = shape
    folder = path / part if (path / part).is_dir() else path
    room = MEMORY_BYTES // (channels * height * width)
    cut: list[Images] = []
    for source in find_images([folder])[:room]:
        pixels = centre_square(source.pixels(), crop, (height, width), source.name)
        if channels == 1 and (pixels != pixels[..., :1]).any():
            raise InputError(f"{source.name}: is a colour picture, expected grey")
        cut.append(pixels[..., :channels].transpose(2, 0, 1))
    return np.stack(cut)


def centre_square(pixels: Images, crop: int, size: tuple[int, int], name: str) -> Images:
    """The middle of a picture, reduced to `size` (h, w) with an antialiasing filter (Lanczos).

    pixels  uint8 (H, W, 3)
    crop    side of the square; 0 for the largest possible

    Raises `InputError` for a picture smaller than the square, or a square smaller than `size`.
    """
    side = crop or min(pixels.shape[:2])
    if min(pixels.shape[:2]) < side or side < max(size):
        raise InputError(
            f"{name}: is {pixels.shape[1]}×{pixels.shape[0]} pixels, of which the middle "
            f"{side}×{side} would become {size[1]}×{size[0]}: give larger pictures"
            + (", or another --crop" if crop else "")
        )
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    square = pixels[top : top + side, left : left + side]
    if (side, side) == size:
        return square
    reduced = Image.fromarray(square).resize(size[::-1], Image.Resampling.LANCZOS)
    return np.asarray(reduced, dtype=np.uint8)


def box_average(images: Images, factor: int) -> Images:
    """Averages of factor × factor pixels, halves to even, (n, C, h, w) to a smaller (n, C, …)."""
    if factor == 1:
        return images
    count, channels, height, width = images.shape
    boxes = images.reshape(count, channels, height // factor, factor, width // factor, factor)
    sums = boxes.sum(axis=(3, 5), dtype=np.uint32)
    found: Images = np.rint(sums / factor**2).astype(np.uint8)
    return found


def evenly(images: NDArray[Sample], count: int) -> NDArray[Sample]:
    """At most `count` of the images, or of their labels, evenly spaced."""
    places = np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)
    return np.ascontiguousarray(images[places])


def to_tensor(images: Images) -> Tensor:
    """uint8 (n, C, H, W) to float32 in [0, 1]."""
    return torch.from_numpy(images.astype(np.float32) / 255)


class BatchSampler:
    """Takes every image once per epoch, in an order fixed by the seed and the epoch's number."""

    def __init__(self, images: Images, *, batch: int, seed: int) -> None:
        self.images, self.batch, self.seed = images, min(batch, len(images)), seed
        self._epoch, self._order = -1, np.arange(0)

    def __call__(self, number: int) -> Tensor:
        """Batch `number`: float32 (batch, C, H, W) in [0, 1]."""
        return to_tensor(self.images[self.places(number)])

    def places(self, number: int) -> Int64Array:
        """The indexes of the images in batch `number`, int64 (batch,)."""
        epoch, place = divmod(number, len(self.images) // self.batch)
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, epoch))
            self._epoch, self._order = epoch, rng.permutation(len(self.images))
        chosen: Int64Array = self._order[place * self.batch : (place + 1) * self.batch]
        return chosen
