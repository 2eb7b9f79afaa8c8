"""The benchmark of signals, on artificial tones and without the command flac."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.measurement import signals
from benchmarks.measurement.__main__ import main
from benchmarks.readme.measurement import signal_rows
from bitstream.errors import UsageError
from codec.loading import ENVIRONMENT_VARIABLE
from tests.codec.models.signal.tiny import tiny_network, tone, write_tiny_signal
from tests.training.signal.test_training import write_wav
from training.data.signals import part_of

METADATA = b"fLaC\x00\x00\x00\x02ab\x84\x00\x00\x01c"
"""Two blocks of metadata: one of two bytes, and a last one of one byte."""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The part of the result file about one set."""
    write_tiny_signal(tmp_path)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(signals, "flac_version", lambda: "flac, made up")
    monkeypatch.setattr(signals, "flac_bytes", lambda samples, rate: METADATA + samples.tobytes())
    names = [f"{number}" for number in range(200) if part_of(f"{number}") == "test"]
    for number, name in enumerate(names[:4]):
        write_wav(tmp_path / "waves" / f"{name}.wav", tone(600, seed=number))
    result = tmp_path / "result.json"
    words = ["signals", "--data", str(tmp_path / "waves"), "--name", "tones", "-o", str(result)]
    # Rounded untrained weights may miss the target, and then the exit status says so.
    assert main([*words, "--limit", "3", "--few", "2"]) in (0, 1)
    part: dict[str, Any] = json.loads(result.read_text("utf-8"))["sets"]["tones"]
    return part


def test_bytes_are_those_of_both_codecs(found: dict[str, Any]) -> None:
    measured = found["found"]
    assert (measured["signals"], found["test_signals"]) == (3, 4)
    assert measured["came_back_different"] == 0
    assert measured["samples"] == 1800
    assert measured["flac_bits_per_sample"] == pytest.approx(16 + 8 * len(METADATA) / 600, abs=1e-3)
    sizes = [row["bytes"] for row in found["rows"].values()]
    assert measured["bits_per_sample"] == pytest.approx(8 * sum(sizes) / 1800, abs=1e-3)
    flac = 3 * (1200 + len(METADATA))
    assert measured["more_than_flac_percent"] == pytest.approx(
        100 * (sum(sizes) / flac - 1), abs=0.01
    )
    assert measured["more_than_frames_of_flac_percent"] == pytest.approx(
        100 * (sum(sizes) / 3600 - 1), abs=0.01
    )
    few = measured["few"]
    assert few["bytes"] == sum(found["rows"][name]["bytes"] for name in few["signals"])
    assert 0 < few["above_likelihood_percent"] < 8  # about 35 bytes in addition to some hundreds
    assert few["one_lane_bytes"] == few["bytes"]


def test_the_table_has_both_figures(found: dict[str, Any]) -> None:
    rows = list(signal_rows({"sets": {"tones": found}}))
    assert len(rows) == 3
    assert "3 of 4 test signals" in rows[0][0]
    assert rows[0][2].startswith("≤ 0 % aimed at")


def test_the_likelihood_is_that_of_training() -> None:
    network = tiny_network().double()
    rng = np.random.default_rng(2)
    scales, differences = (
        rng.uniform(-3, 80, 500),
        rng.normal(size=500) * 2.0 ** rng.uniform(-3, 14),
    )
    with torch.no_grad():
        expected = network.probability(torch.from_numpy(differences), torch.from_numpy(scales))
    knots = network.mixture.detach().float().numpy()
    found = signals.log2_mixture(differences, scales, knots)
    np.testing.assert_allclose(found, expected.log2().numpy(), rtol=1e-4, atol=1e-4)


def test_metadata_of_flac_are_counted_block_by_block() -> None:
    assert signals.flac_metadata_bytes(METADATA + b"\xff\xf8frames") == len(METADATA)


def test_without_the_command_an_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match="install the package flac"):
        signals.flac_bytes(tone(10), 8000)


def test_the_upper_bits_are_signals_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_signal(tmp_path)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    monkeypatch.setattr(signals, "flac_version", lambda: "flac, made up")
    monkeypatch.setattr(signals, "flac_bytes", lambda samples, rate: METADATA + samples.tobytes())
    name = next(f"{number}" for number in range(200) if part_of(f"{number}") == "test")
    write_wav(tmp_path / "waves" / f"{name}.wav", tone(300))
    result = tmp_path / "result.json"
    words = ["signals", "--data", str(tmp_path / "waves"), "--name", "tones", "-o", str(result)]
    assert main([*words, "--bits", "8"]) in (0, 1)
    (row,) = json.loads(result.read_text("utf-8"))["sets"]["tones"]["rows"].values()
    assert (row["flac_bytes"], row["same"]) == (300 + len(METADATA), True)
