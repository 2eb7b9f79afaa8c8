"""The benchmark of layers: where they end, what they cost, and cut files of other codecs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import codec
from benchmarks.photo import layers
from benchmarks.photo.layers import (
    bytes_after_layers,
    joined_size,
    measure,
    progressive_jpeg,
)
from benchmarks.photo.side_by_side import GAP, LINE
from bitstream import container_from_bytes
from tests.codec.tiny import photographs
from training.features.train import FeatureConfig, FeatureNetwork

pytestmark = pytest.mark.usefixtures("tiny_weights")


def test_the_bytes_after_a_layer_are_those_that_it_needs() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (128, 130, 3)).astype(np.uint8)
    data = codec.compress(pixels, quality=80)
    container = container_from_bytes(data)
    ends = bytes_after_layers(data)
    assert len(ends) == container.header.layers > 1
    for count, end in enumerate(ends, 1):
        assert len(container_from_bytes(data[:end], partial=True).payloads) == count
        if count > 1:
            assert len(container_from_bytes(data[: end - 1], partial=True).payloads) == count - 1
    assert 0.99 * len(data) < joined_size(container) < len(data)


def test_a_progressive_file_is_drawn_as_far_as_it_is_there() -> None:
    (pixels,) = photographs(1, side=160)
    data, draw = progressive_jpeg(pixels, 6000)
    assert 4000 < len(data) < 8000
    drawn = [draw(data[: len(data) // share]) for share in (1, 2)]
    errors = [np.square(p.astype(float) - pixels).mean() for p in drawn if p is not None]
    assert len(errors) == 2
    assert errors[0] < errors[1] < 3000
    assert draw(data[:10]) is None
    # Pillow draws black if a file is cut inside the tables of a scan.
    pictures = [draw(data[:end]) for end in range(len(data) // 2, len(data), 7)]
    assert all(picture is not None and picture.any() for picture in pictures)


def test_rows_are_of_the_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "progressive_jxl", progressive_jpeg)
    assert measure(photographs(1, side=64)[0][:16, :16], 30) is None
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    found = measure(noise, 90)
    assert found is not None
    *rows, half = found.rows
    assert abs(half["share"] - 0.5) < 0.001
    assert rows[0]["photo_psnr_db"] <= half["photo_psnr_db"] < rows[-1]["photo_psnr_db"]
    assert rows[0]["share"] < 0.5
    assert 0 < found.cost <= 0.01
    assert [row["share"] for row in rows] == sorted(row["share"] for row in rows)
    assert rows[0]["photo_psnr_db"] < rows[-1]["photo_psnr_db"]
    assert rows[-1]["photo_psnr_db"] == rows[-1]["sample_psnr_db"]
    assert rows[0]["jxl_psnr_db"] == rows[0]["jpeg_psnr_db"]
    drawn = np.asarray(layers.sheet(found))
    assert drawn.shape == (3 * (128 + LINE), 4 * (128 + GAP) - GAP, 3)
    np.testing.assert_array_equal(drawn[:128, -128:], found.drawn[3]["photo"])
    np.testing.assert_array_equal(drawn[128 + LINE :][:128, :128], found.drawn[0]["jxl"])

    torch.manual_seed(0)
    network = FeatureNetwork(FeatureConfig(3, (4, 6), 5)).eval()
    distances = layers.frechet_distances([found, found], network)
    assert len(distances) == len(found.rows)
    assert list(distances[0]) == [f"{n}_frechet" for n in ("photo", "sample", "jxl", "jpeg")]
    assert distances[-2]["photo_frechet"] == distances[-2]["sample_frechet"]
    assert distances[-2]["photo_frechet"] < distances[0]["photo_frechet"]


def test_bytes_before_the_first_layer_show_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.uint8)
    data = codec.compress(noise, quality=90)
    end = bytes_after_layers(data)[0]
    assert layers.complete_layers(data[: end - 1]) is None
    first = layers.complete_layers(data[:end])
    np.testing.assert_array_equal(first, codec.decompress(data, layers=1, as_="numpy"))
