"""Scores of two pictures, on which the measurement of codecs is built."""

import math

import numpy as np
import pytest

from codec.pictures import similarity
from codec.rate_distortion import psnr_db, ssimulacra2
from codec.system import missing_extra
from codec.system.missing_extra import MissingExtraError, missing


@pytest.mark.parametrize("at_once", [1, 1000, 2**22])
@pytest.mark.parametrize("channels", [1, 3])
def test_psnr_is_that_of_all_samples(
    channels: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 256, (2, 37, 41, channels)).astype(np.uint8)
    monkeypatch.setattr(similarity, "_SAMPLES_AT_ONCE", at_once)
    error = np.square(one.astype(float) - other)
    assert similarity.squared_error(one, other) == error.sum()
    found = similarity.psnr_db(one, other)
    assert found == pytest.approx(10 * math.log10(255**2 / error.mean()), abs=1e-9)
    assert similarity.psnr_db(one, one) == math.inf
    if channels == 3:
        assert found == pytest.approx(psnr_db(one, other), abs=1e-9)


def test_gray_scores_as_equal_red_green_and_blue() -> None:
    pytest.importorskip("ssimulacra2")
    rng = np.random.default_rng(0)
    gray = np.linspace(40, 200, 32 * 48).reshape(32, 48, 1).astype(np.uint8)
    noisy = (gray + rng.integers(0, 9, gray.shape)).astype(np.uint8)
    three = (np.repeat(pixels, 3, axis=2) for pixels in (gray, noisy))
    found = similarity.ssimulacra2(gray, noisy)
    assert found == ssimulacra2(*three)
    assert found < similarity.ssimulacra2(gray, gray) == 100


def test_what_is_missing_is_known_without_an_import(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing("A test", "torch") is None
    monkeypatch.setattr(missing_extra, "find_spec", lambda name: None)
    error = missing("A test", "ssimulacra2")
    assert isinstance(error, MissingExtraError)
    assert str(error).startswith("A test needs the library ssimulacra2, which is not installed")
