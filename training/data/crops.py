"""Photographs from folders and tar shards, decoded once, cropped at random."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from bitstream.errors import InputError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".ppm", ".jp2"}
)
LONGEST_SIDE = 2048

PLACES = 8
"""Perceptual errors see a window of a crop that moves over this many places in either direction.

AlexNet samples every fourth position, and SSIMULACRA2 halves the picture repeatedly, both on a
fixed grid. If the window did not move, networks would learn to hide errors from that grid: the
score would improve, but it would fall again without the picture's first row and column, and flat
areas would show the grid.
"""

Pixels = NDArray[np.uint8]


def window_of(step: int, crop: int) -> tuple[slice, slice]:
    """The rows and columns of crops that perceptual errors see in a step: a square of one size."""
    row, column = divmod(step % PLACES**2, PLACES)
    side = crop - PLACES + 1
    return slice(row, row + side), slice(column, column + side)


def _decode(source: io.BytesIO | Path) -> Pixels:
    with Image.open(source) as image:
        # Reducing large photographs by an integer factor also removes compression artefacts.
        factor = -(-max(image.size) // LONGEST_SIDE)
        rgb = image.convert("RGB")
        return np.asarray(rgb.reduce(factor) if factor > 1 else rgb)


def _members(path: Path) -> Iterator[tuple[str, io.BytesIO | Path]]:
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if file.suffix.lower() in SUFFIXES:
                yield str(file), file
            elif file.suffix.lower() == ".tar":
                yield from _members(file)
    elif path.suffix.lower() == ".tar":
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
                    content = archive.extractfile(member)
                    if content is not None:
                        yield f"{path}:{member.name}", io.BytesIO(content.read())
    else:
        yield str(path), path


def load_photographs(
    paths: Sequence[Path], *, smallest_side: int = 64, memory_gib: float = 8.0
) -> list[Pixels]:
    """Decode every image under `paths` (folders, `.tar` shards, files) to uint8 (h, w, 3).

    Unreadable files and images with a side under `smallest_side` are skipped; reading stops
    at `memory_gib` of pixels. Raises `InputError` if nothing usable was found.
    """
    photographs: list[Pixels] = []
    room = int(memory_gib * 2**30)
    for path in paths:
        if not path.exists():
            raise InputError(f"training data: {path} does not exist; give a folder or .tar files")
        for _, source in _members(path):
            try:
                pixels = _decode(source)
            except (UnidentifiedImageError, OSError, ValueError):
                continue
            if min(pixels.shape[:2]) < smallest_side:
                continue
            room -= pixels.nbytes
            if room < 0:
                return photographs
            photographs.append(pixels)
    if not photographs:
        raise InputError(
            f"training data: no image of at least {smallest_side}×{smallest_side} pixels under "
            + ", ".join(map(str, paths))
        )
    return photographs


def to_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    """uint8 (batch, h, w, 3) to float32 (batch, 3, h, w) in [0, 1], channels last."""
    tensor = torch.from_numpy(np.array(pixels)).to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).float().div_(255)


@dataclass(frozen=True)
class _Crop:
    """Where a crop is cut, and how it is reduced (by an integer factor), mirrored, transposed."""

    photograph: int
    factor: int
    top: int
    left: int
    is_mirrored: bool
    is_transposed: bool


class CropSampler:
    """Random square crops, mirrored and transposed; batch k depends only on the seed and k."""

    def __init__(
        self,
        photographs: Sequence[Pixels],
        *,
        crop: int,
        batch: int,
        seed: int,
        downscale_probability: float = 0.0,
    ) -> None:
        self.photographs = [p for p in photographs if min(p.shape[:2]) >= crop]
        if not self.photographs:
            raise InputError(
                f"training data: every image is smaller than the crop of {crop} pixels"
            )
        self.crop, self.batch, self.seed = crop, batch, seed
        self.downscale_probability = downscale_probability

    def __call__(self, step: int, share: slice = slice(None)) -> Pixels:
        """Batch number `step`: uint8 (batch, crop, crop, 3), or the requested share of it.

        A share holds the crops that the whole batch has at these places.
        """
        rng = np.random.default_rng((self.seed, step))
        crops = [self._draw(rng) for _ in range(self.batch)]
        return np.stack([self._cut(crop) for crop in crops[share]])

    def _draw(self, rng: np.random.Generator) -> _Crop:
        index = int(rng.integers(len(self.photographs)))
        height, width = self.photographs[index].shape[:2]
        is_reduced = rng.random() < self.downscale_probability
        factor = 2 if is_reduced and min(height, width) >= 2 * self.crop else 1
        side = factor * self.crop
        top = int(rng.integers(height - side + 1))
        left = int(rng.integers(width - side + 1))
        return _Crop(index, factor, top, left, rng.random() < 0.5, rng.random() < 0.5)

    def _cut(self, crop: _Crop) -> Pixels:
        side = crop.factor * self.crop
        photograph = self.photographs[crop.photograph]
        pixels = photograph[crop.top : crop.top + side, crop.left : crop.left + side]
        if crop.factor > 1:
            blocks = pixels.reshape(self.crop, crop.factor, self.crop, crop.factor, 3)
            pixels = np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
        if crop.is_mirrored:
            pixels = pixels[:, ::-1]
        if crop.is_transposed:
            pixels = pixels.transpose(1, 0, 2)
        return pixels
