"""Known answers of PSNR and MS-SSIM."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec.rate_distortion import MissingExtraError, metrics
from codec.system import missing_extra
from tests.codec.rate_distortion.made_up_pictures import photo_like


def flat(value: int, side: int = 4) -> Uint8Array:
    return np.full((side, side, 3), value, dtype=np.uint8)


@pytest.mark.parametrize(
    ("first", "second", "expected_db"),
    [(0, 255, 0.0), (100, 101, 48.1308036086791), (0, 51, 13.979400086720377)],
)
def test_psnr_of_flat_pictures(first: int, second: int, expected_db: float) -> None:
    # 51 = 255 / 5: a fifth of the range is 20·log10(5) dB, in either order: no wrap-around.
    assert metrics.psnr_db(flat(first), flat(second)) == pytest.approx(expected_db, abs=1e-12)
    assert metrics.psnr_db(flat(second), flat(first)) == pytest.approx(expected_db, abs=1e-12)


def test_equal_pictures_have_infinite_psnr() -> None:
    assert metrics.psnr_db(flat(7), flat(7)) == math.inf


def test_squared_error_is_exact() -> None:
    assert metrics.squared_error(flat(0, 3000), flat(255, 3000)) == 3000 * 3000 * 3 * 255**2


@pytest.mark.parametrize(
    "other",
    [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)],
)
def test_other_shapes_and_types_are_refused(other: Uint8Array) -> None:
    with pytest.raises(UsageError):
        metrics.psnr_db(flat(0), other)


def test_ms_ssim_without_the_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(missing_extra, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pytorch-msssim"):
        metrics.ms_ssim(flat(0), flat(0))


def test_ms_ssim_of_large_and_small_pictures() -> None:
    pytest.importorskip("pytorch_msssim")
    picture = photo_like(height=170, width=165)
    assert metrics.ms_ssim(picture, picture) == pytest.approx(1, abs=1e-5)
    coarse = np.bitwise_and(picture, np.uint8(0b11100000))
    found = metrics.ms_ssim(picture, coarse)
    assert found is not None
    assert 0.3 < found < 0.999
    # Five scales are impossible here, so the answer is None, not the number of another measure.
    assert metrics.ms_ssim(picture[:160], picture[:160]) is None
