"""Nearly lossless files compared with others of the same bound: real files, decoded again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.pixel.__main__ import main
from benchmarks.pixel.closed_loop import med_bits
from benchmarks.pixel.near_lossless import BOUNDS, PHOTO_QUALITIES, summary
from benchmarks.readme.pixel import near_lossless_rows
from codec.loading import ENVIRONMENT_VARIABLE
from tests.codec.models.photo.tiny import write_tiny_weights
from tests.codec.models.pixel.tiny import scene, write_tiny_near_lossless


def test_the_result_is_of_files_that_keep_their_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("imagecodecs")
    write_tiny_near_lossless(tmp_path / "weights")
    write_tiny_weights(tmp_path / "weights")
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    Image.fromarray(scene(24, 32)).save(pictures / "a.png")
    result = tmp_path / "x.json"
    assert main(["near_lossless", "--data", str(pictures), "--name", "x", "-o", str(result)]) == 0
    found = json.loads(result.read_text("utf-8"))
    sizes = []
    for bound in BOUNDS:
        part = found["bounds"][str(bound)]
        assert part["beyond_the_bound"] == 0
        assert part["photo_first_costs_percent"].keys() == set(map(str, PHOTO_QUALITIES))
        sizes.append(part["mean_bpsp"]["jpeg-ls"])
    assert sizes == sorted(sizes, reverse=True)
    assert set(found["bounds"]) == set(map(str, BOUNDS))


def row_of(size: float, error: int) -> dict[str, Any]:
    bpsp = {"near-lossless": size, "jpeg-ls": 2.0, "median predictor, ideal": 1.0}
    part = {"bpsp": bpsp, "largest_error": error, "encode_seconds": 4.0, "decode_seconds": 2.0,
            "bytes": 101, "likelihood_bytes": 100.0}  # fmt: skip
    by_bound = {str(bound): 1.0 for bound in BOUNDS}
    return {
        "height": 512,
        "width": 768,
        "bounds": {str(bound): part for bound in BOUNDS},
        "with_photo": {
            "alone": by_bound,
            "photo": {str(q): dict.fromkeys(by_bound, 1.1) for q in PHOTO_QUALITIES},
        },
    }


def test_means_are_of_pictures_and_a_broken_bound_is_counted(tmp_path: Path) -> None:
    found = summary([row_of(0.5, 1), row_of(0.9, 2)])
    one = found["bounds"]["1"]
    assert one["beyond_the_bound"] == 1
    assert one["more_than_percent"] == {"jpeg-ls": -65.0, "median predictor, ideal": -30.0}
    assert one["photo_first_costs_percent"]["50"] == 10.0
    assert one["seconds_for_768x512"] == {"encode": 4.0, "decode": 2.0}
    content = {**found, "targets_percent": {"1": 2.0, "2": -9.0, "4": -25.0, "8": -39.0}}
    (tmp_path / "near_lossless_gb82.json").write_text(json.dumps(content), "utf-8")
    rows = [" ".join(row) for row in near_lossless_rows(tmp_path)]
    assert len(rows) == 6 * len(BOUNDS)
    assert rows[1].endswith("1.00 % ≤ 1 %: met")
    assert "bound kept by all: **missed**" in rows[0]
    assert "≤ -39 %: **missed**" in rows[21]
    assert "≤ -25 %: met" in rows[15]


def test_a_median_predictor_costs_what_is_known_of_it() -> None:
    flat = np.full((16, 16, 3), 128, np.uint8)
    assert med_bits(flat, 0) < 400
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    # Noise has eight bits, or log₂ 256/3 in steps of three, so a bound of 1 saves log₂ 3.
    lossless, near = (med_bits(noise, bound) / noise.size for bound in (0, 1))
    assert 8 < lossless < 11
    assert 6.41 < near < lossless - 1
