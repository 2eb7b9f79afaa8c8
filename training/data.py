"""Photographs from folders and tar shards, decoded once, cropped at random."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from bitstream.errors import InputError

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".webp", ".avif", ".tif", ".tiff", ".bmp", ".ppm", ".jp2"}
)
LONGEST_SIDE = 2048

Pixels = NDArray[np.uint8]


def _decode(source: io.BytesIO | Path) -> Pixels:
    with Image.open(source) as image:
        # Whole-number reduction of large photographs also removes traces of compression.
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
    at `memory_gib` of pixels. Raises `InputError` when nothing usable was found.
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


class CropSampler:
    """Random square crops, mirrored and transposed; batch k depends on the seed and k alone."""

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

    def __call__(self, step: int) -> Pixels:
        """Batch number `step`: uint8 (batch, crop, crop, 3)."""
        rng = np.random.default_rng((self.seed, step))
        return np.stack([self._one(rng) for _ in range(self.batch)])

    def _one(self, rng: np.random.Generator) -> Pixels:
        photograph = self.photographs[rng.integers(len(self.photographs))]
        factor = 1
        if rng.random() < self.downscale_probability and min(photograph.shape[:2]) >= 2 * self.crop:
            factor = 2
        side = factor * self.crop
        top = rng.integers(photograph.shape[0] - side + 1)
        left = rng.integers(photograph.shape[1] - side + 1)
        pixels = photograph[top : top + side, left : left + side]
        if factor > 1:
            blocks = pixels.reshape(self.crop, factor, self.crop, factor, 3)
            pixels = np.rint(blocks.mean(axis=(1, 3), dtype=np.float32)).astype(np.uint8)
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        if rng.random() < 0.5:
            pixels = pixels.transpose(1, 0, 2)
        return pixels
