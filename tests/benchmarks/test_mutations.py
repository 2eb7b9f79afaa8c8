"""The benchmark of mutated files: the files that it makes, and that it counts failures."""

from __future__ import annotations

import io

import numpy as np
import pytest

import codec
from benchmarks.speed import mutations
from bitstream import ChecksumError, StreamError, scan
from bitstream.errors import WeightsMissingError
from tests.bitstream.files import RICH

CHUNKS = mutations.chunks_of(RICH)


def test_mutated_files_have_right_checksums_and_differ() -> None:
    files = [mutations.mutate(CHUNKS, np.random.default_rng(n)) for n in range(300)]
    assert len(set(files)) > 250
    assert mutations.mutate(CHUNKS, np.random.default_rng(7)) == files[7]
    errors = set()
    for data in files:
        try:
            scan(io.BytesIO(data))
        except StreamError as error:
            errors.add(type(error))
    assert len(errors) > 3
    assert ChecksumError not in errors


def test_every_model_with_weights_is_mutated() -> None:
    known = {model.name for model in codec.list_models() if model.name != "compressai"}
    assert known == set(mutations.MODELS)


@pytest.mark.parametrize(
    ("raised", "outcome"),
    [(WeightsMissingError("x"), "WeightsMissingError"), (KeyError("x"), "untyped")],
)
def test_what_a_file_does_is_counted(
    monkeypatch: pytest.MonkeyPatch, raised: Exception, outcome: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(mutations, "seeds", lambda model: [CHUNKS])
    monkeypatch.setattr(codec, "decompress", fail)
    monkeypatch.setattr(codec, "verify", fail)
    for number in range(5):
        found, problem = mutations.judge("draw", 0, number)
        assert found == outcome
        assert (problem is not None) == (outcome == "untyped")


def test_much_memory_and_much_time_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def grow(*_: object, **__: object) -> None:
        held.append(np.ones(mutations.MAX_BYTES // 4))  # twice the limit

    monkeypatch.setattr(mutations, "seeds", lambda model: [CHUNKS])
    monkeypatch.setattr(mutations, "pixels_announced", lambda data: 0)
    monkeypatch.setattr(codec, "decompress", grow)
    monkeypatch.setattr(codec, "verify", grow)
    assert mutations.judge("draw", 0, 1)[0] == "large"
    monkeypatch.setattr(mutations, "MAX_CPU_SECONDS", -1.0)
    assert mutations.judge("draw", 0, 1)[0] == "slow"
