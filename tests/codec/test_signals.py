"""Signals as arrays: what is accepted, what is restored, and what is refused."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import codec
import codec.signals
from bitstream.chunks import SIGNATURE
from bitstream.errors import UnknownCriticalChunkError, UsageError
from codec.loading import ENVIRONMENT_VARIABLE
from codec.signals import compress_signal, decompress_signal, default_lanes
from tests.codec.models.signal.tiny import tone, write_tiny_signal

RNG = np.random.default_rng(3)
SIGNALS: dict[str, codec.signals.SignalArray] = {
    "none": np.zeros(0, np.int16),
    "one": np.array([-32768], np.int16),
    "a tone": tone(700),
    "noise": RNG.integers(-32768, 32768, 300).astype(np.int16),
    "the extremes": RNG.choice([-32768, 32767], 200).astype(np.int16),
    "silence": np.zeros(2000, np.int16),
    "a constant": np.full(300, 12345, np.int16),
    "low bits unused": tone(300) >> 4 << 4,
    "unsigned bytes": (tone(400) >> 8).astype(np.uint8) ^ np.uint8(128),
    "signed bytes": (tone(400) >> 8).astype(np.int8),
    "every other sample": tone(600)[::2],
    "big-endian": tone(200).astype(">i2"),
}


@pytest.fixture(autouse=True)
def _tiny_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiny_signal(tmp_path)
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_comes_back(name: str) -> None:
    samples = SIGNALS[name]
    data = compress_signal(samples)
    again = decompress_signal(data)
    assert again.dtype == samples.dtype.newbyteorder("=")
    np.testing.assert_array_equal(again, samples)
    assert len(data) < 60 + 2.2 * samples.nbytes


def test_silence_is_small() -> None:
    assert len(compress_signal(SIGNALS["silence"])) < 80


def test_unused_bits_cost_nothing() -> None:
    fine = compress_signal(tone(300) >> 4)
    assert abs(len(compress_signal(SIGNALS["low bits unused"])) - len(fine)) < 4


def test_lanes_are_chosen_by_the_length_and_can_be_asked_for() -> None:
    assert [default_lanes(count) for count in (0, 10, 2**13, 2**14, 2**24)] == [1, 1, 2, 4, 64]
    samples = tone(64)
    for lanes in (1, 5, 64):
        np.testing.assert_array_equal(
            decompress_signal(compress_signal(samples, lanes=lanes)), samples
        )


@pytest.mark.parametrize(
    "samples",
    [
        [1, 2, 3],
        "signal.wav",
        None,
        np.zeros(3, np.float32),
        np.zeros(3, np.int32),
        np.zeros((3, 2), np.int16),
        np.zeros((), np.int16),
    ],
    ids=["list", "path", "None", "float32", "int32", "two channels", "scalar"],
)
def test_other_arrays_are_refused(samples: Any) -> None:
    with pytest.raises(UsageError, match="signal"):
        compress_signal(samples)


def test_a_mask_is_not_lost() -> None:
    masked = np.ma.MaskedArray(np.arange(3, dtype=np.int16), [False, True, False])
    with pytest.raises(UsageError, match="1 of 3 values are masked"):
        compress_signal(masked)
    nothing_hidden = np.ma.MaskedArray(np.arange(3, dtype=np.int16))
    np.testing.assert_array_equal(
        decompress_signal(compress_signal(nothing_hidden)), nothing_hidden
    )


@pytest.mark.parametrize("lanes", [0, -1, 11, 257, 2.5, "two", True])
def test_other_numbers_of_lanes_are_refused(lanes: Any) -> None:
    with pytest.raises(UsageError, match="lanes"):
        compress_signal(tone(10), lanes=lanes)


@pytest.mark.parametrize("data", ["a path", None, 3])
def test_what_is_not_bytes_is_refused(data: Any) -> None:
    with pytest.raises(UsageError, match="expected the bytes of a signal"):
        decompress_signal(data)


def test_the_bytes_are_no_picture_and_a_picture_is_no_signal() -> None:
    data = compress_signal(tone(50))
    assert data.startswith(SIGNATURE)
    with pytest.raises(UnknownCriticalChunkError, match=r"SIGN.*decompress_signal"):
        codec.decompress(data)
    golden = Path(__file__).parents[1] / "golden" / "photo-visual-v1.calo"
    with pytest.raises(codec.StreamError, match="not of a signal"):
        decompress_signal(golden.read_bytes())


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bytearray(compress_signal(tone(50)))
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(codec.WeightsMissingError):
        decompress_signal(bytes(data))


def test_the_example_works() -> None:
    assert doctest.testmod(codec.signals).failed == 0
