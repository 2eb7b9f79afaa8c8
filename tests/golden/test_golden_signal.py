"""Golden files of signals decode to the same samples for ever."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from codec import loading
from codec.signals import decompress_signal
from tests.codec.models.signal.tiny import CONFIG
from tests.golden import signal, signal_oracle
from tests.golden.regenerate import FOLDER, main

CASES = pytest.mark.parametrize("name", signal.CASES)


@pytest.fixture(autouse=True)
def _golden_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(FOLDER))


@CASES
def test_they_decode_as_ever(name: str) -> None:
    data = (FOLDER / f"{name}.signal").read_bytes()
    samples = decompress_signal(data)
    record = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    assert signal.digest(samples) == record["samples_sha256"]
    expected = np.load(FOLDER / f"{name}.npy")
    assert samples.dtype == expected.dtype
    np.testing.assert_array_equal(samples, expected)
    assert expected.std() > 5


@CASES
def test_the_cases_are_never_written_again(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = (FOLDER / f"{name}.signal").read_bytes()
    assert main(name) == 1
    assert "never" in capsys.readouterr().err
    assert (FOLDER / f"{name}.signal").read_bytes() == before


@CASES
def test_a_decoder_of_plain_integers_gives_the_same_samples(name: str) -> None:
    arrays = load_file(FOLDER / "signal.safetensors")
    data = (FOLDER / f"{name}.signal").read_bytes()
    decoded = signal_oracle.decode(data, arrays, CONFIG.dilations)
    assert decoded == np.load(FOLDER / f"{name}.npy").tolist()
