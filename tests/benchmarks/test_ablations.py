"""The ablation table: weights compared with each other, and with parts removed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.harness.small_images import read_weights
from benchmarks.photo import __main__ as photo
from benchmarks.photo import ablations
from tests.codec.tiny import photographs
from training.photo.export import tables_arrays

pytest.importorskip("bjontegaard")

QUALITIES = ("15", "25", "35", "45", "60", "80")


def test_measures_variants_and_keeps_other_comparisons(
    tmp_path: Path, weights_folder: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number, pixels in enumerate(photographs(3, side=96)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    weights = weights_folder / "photo.safetensors"
    output = tmp_path / "ablations.json"
    common = ["ablations", "--data", str(folder), "--limit", "2", "--output", str(output)]
    common += ["--qualities", *QUALITIES, "--baseline", f"shipped={weights}"]
    assert photo.main([*common, "--variants", f"same={weights}", "--set", "one"]) == 0
    without = ["one-hyper-set", "certain-tables", "context", "synthesis", "integers"]
    assert photo.main([*common, "--without", *without]) == 0
    found = json.loads(output.read_text())["comparisons"]
    same = found["one"]["rows"]["same"]
    assert same["bd_rate_percent"] == pytest.approx(0, abs=1e-9)
    assert found["one"]["images"] == 2
    rows = found["shipped"]["rows"]
    assert set(rows) == {"shipped", *without}
    rates = {name: [point["rate_bpp"] for point in row["points"]] for name, row in rows.items()}
    decibels = {name: [p["psnr_db"] for p in row["points"]] for name, row in rows.items()}
    # Other tables code the same symbols in a different number of bytes.
    assert rates["one-hyper-set"] != rates["shipped"]
    np.testing.assert_array_equal(decibels["one-hyper-set"], decibels["shipped"])
    # Without the context the symbols differ; without a network of the decoder they do not.
    assert rates["context"] != rates["shipped"]
    assert rates["synthesis"] == rates["shipped"]
    assert decibels["synthesis"] != decibels["shipped"]
    assert rates["integers"] == sorted(rates["integers"])
    # Certain zeros cost next to nothing even if they are coded.
    np.testing.assert_allclose(rates["certain-tables"], rates["shipped"], rtol=0.01)
    np.testing.assert_allclose(decibels["certain-tables"], decibels["shipped"], atol=0.1)


def test_certain_tables_are_taken_out(weights_folder: Path) -> None:
    arrays, metadata = read_weights(weights_folder / "photo.safetensors")
    coder = ablations.coder_of((arrays, metadata))
    certain = coder.latent_tables.with_certain(np.arange(len(coder.latent_tables)) < 3)
    coder = ablations.coder_of(({**arrays, **tables_arrays(coder.hyper_tables, certain)}, metadata))
    assert coder.latent_tables.certain.sum() == 3
    other = ablations.coder_of((ablations.without_certain_tables(arrays, coder), metadata))
    assert not other.latent_tables.certain.any()
    assert len(other.latent_tables) == len(coder.latent_tables)
