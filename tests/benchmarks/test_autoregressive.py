"""The benchmark of the autoregressive models, on a few drawn digits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurement.__main__ import main
from benchmarks.readme.measurement import autoregressive_rows
from codec import loading
from tests.codec.models.autoregressive.tiny import pictures, write_tiny


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, float]]:
    """The part of the result file about one model."""
    name = "digits-pixelcnn"
    write_tiny(tmp_path, name)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path))
    sheet = pictures(1, 12, seed=4).reshape(28, 12, 28).swapaxes(0, 1)
    np.save(tmp_path / "digits.npy", np.ascontiguousarray(sheet)[:, None])
    result = tmp_path / "result.json"
    words = ["autoregressive", "--data", str(tmp_path / "digits.npy"), "-o", str(result)]
    # Untrained weights miss the target in nats, and the exit status says so.
    assert main([*words, "--model", name, "--files", "10", "--limit", "11"]) == 1
    part: dict[str, dict[str, float]] = json.loads(result.read_text("utf-8"))["models"][name]
    return part


def test_nats_and_bytes_fit_together(found: dict[str, dict[str, float]]) -> None:
    measured = found["found"]
    file: dict[str, float] = measured["file"]  # type: ignore[assignment]
    assert (measured["images"], file["images"], file["lossless"]) == (11, 10, True)
    per_image = file["likelihood_bytes"] / 10 * 8 * np.log(2)
    assert 0.8 < per_image / measured["nats"] < 1.25
    # The header has some tens of bytes; the rest is within a thousandth.
    assert 0 < file["file_bytes"] - file["payload_bytes"] < 80
    assert (
        abs(file["payload_bytes"] - file["likelihood_bytes"]) < 4 + file["likelihood_bytes"] / 500
    )


def test_the_table_names_what_is_missed(found: dict[str, dict[str, float]]) -> None:
    rows = list(autoregressive_rows({"models": {"digits-pixelcnn": found}}))
    assert len(rows) == 2
    assert "11 binary test digits" in rows[0][0]
    assert rows[0][2] == "≤ 83: **missed**"
