"""Weights are measured with their own files, and compared with those that trained longest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.photo import __main__ as photo
from benchmarks.photo import training_time
from codec.loading import hash_weights
from tests.codec.models.photo import tiny
from tests.codec.tiny import photographs


def test_the_last_weights_are_the_measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for library in ("bjontegaard", "ssimulacra2"):
        pytest.importorskip(library)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(photographs(1, side=64)[0]).save(tmp_path / "pictures" / "0.png")
    monkeypatch.setattr(training_time, "SETTINGS", {"photo": (5.0, 25.0, 50.0, 80.0)})
    one, other = tmp_path / "one", tmp_path / "other"
    first, last = tiny.write_tiny_weights(one), tiny.write_tiny_weights(other)
    output = tmp_path / "time.json"
    words = ["--data", str(tmp_path / "pictures"), "--name", "set", "-o", str(output)]
    assert photo.main(["training-time", *words, "--weights", f"9={last}", f"2.5={first}"]) == 0
    rows = json.loads(output.read_text("utf-8"))["sets"]["set"]["found"]
    assert [row["core_hours"] for row in rows] == [2.5, 9.0]
    assert all(row["psnr_percent"] == pytest.approx(0, abs=1e-6) for row in rows)
    assert [row["weights"] for row in rows] == [hash_weights(first).hex()[:16]] * 2
    assert "ssimulacra2_percent" in rows[0]
    assert photo.main(["training-time", *words, "--weights", f"long={last}"]) == 2
