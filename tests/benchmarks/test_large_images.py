"""The measurement of large images: its pictures, memory peaks, seams, and counts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed.large_images import (
    jump_ratio,
    measured,
    overlap,
    photo_bands,
    region_read,
    seam,
)
from bitstream import Header, container_to_bytes
from codec import loading
from codec.pictures.picture import Picture
from codec.pipeline.encode import compress_picture
from tests.codec.tiny import photographs


def test_pictures_are_the_same_for_the_same_seed() -> None:
    one, two = (np.concatenate(list(photo_bands(90, 70, rows=30))) for _ in range(2))
    assert one.shape == (70, 90, 3)
    assert np.array_equal(one, two)
    other = np.concatenate(list(photo_bands(90, 70, seed=2, rows=30)))
    assert not np.array_equal(one, other)
    # A photograph in other light with some grain, but no noise: neighbours are alike.
    assert np.abs(np.diff(one.astype(int), axis=1)).mean() < 12
    assert one.std() > 20


@pytest.mark.skipif(sys.platform == "win32", reason="wait4 is POSIX")
def test_peaks_are_those_of_the_process() -> None:
    # This process is large by now, but the processes that it starts are not charged for that.
    small = measured(sys.executable, "-c", "pass")
    large = measured(sys.executable, "-c", "bytes(1) * (100 << 20)")
    assert 2 < small.peak_mib < 60
    assert 95 < large.peak_mib - small.peak_mib < 110
    with pytest.raises(RuntimeError, match="exit 3"):
        measured(sys.executable, "-c", "raise SystemExit(3)")


def test_jumps_at_borders_are_seen() -> None:
    rng = np.random.default_rng(0)
    original = np.full((256, 256, 3), 100, np.uint8)
    decoded = original + rng.integers(0, 5, original.shape, dtype=np.uint8)
    assert abs(jump_ratio(original, decoded, 64, 16, 0) - 1) < 0.1
    seamed = decoded.copy()
    seamed[:, 64:128] += 8
    assert jump_ratio(original, seamed, 64, 16, 0) > 1.5
    # The same seam is where no window of a shift of 16 begins.
    assert jump_ratio(original, seamed, 64, 16, 16) < 1
    assert jump_ratio(original, np.roll(seamed, -16, axis=1), 64, 16, 16) > 1.5


def test_seam_overlap_and_region(tiny_weights: Path, tmp_path: Path) -> None:
    model = loading.load_model("photo", device="cpu")
    found = seam(model, 75.0, side=96)
    assert found["tiles"] == 1
    assert found["largest_level_difference"] == 0

    header = Header(1024, 1024, 3, 8, 75, 1, bytes(8), 256)
    work = overlap(header, model)
    # Sixteen tiles of 16 latents; less of those at the edge of the picture is computed twice.
    inner, outer = 16 + 2 * model.context, 16 + model.context
    assert work["work_ratio"] == round((2 * inner + 2 * outer) ** 2 / 64**2, 4)
    assert work["work_ratio_of_an_inner_tile"] == round((inner / 16) ** 2, 4)

    picture = Picture(photographs(1, side=320)[0])
    data = container_to_bytes(compress_picture(picture, model, quality=75, tile_size=64))
    path = tmp_path / "x.calo"
    path.write_bytes(data)
    read = region_read(path, model, side=32)
    assert read["region"] == [144, 144, 32, 32]
    assert read["file_bytes"] == len(data)
    assert read["tiles"] == 25
    # The middle tile, and those of its neighbours that lie in the context.
    reach = -(-(model.context * 16 - 16) // 64)
    assert read["tiles_read"] == (1 + 2 * reach) ** 2
    assert 0 < read["bytes_read"] < len(data)
