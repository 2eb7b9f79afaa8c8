"""The measures at equal bytes: what counts as better, and LPIPS compared with its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.harness.lpips import Lpips
from benchmarks.photo.equal_bytes import rows_of, shifted_ssimulacra2, won
from bitstream.arrays import Uint8Array
from bitstream.errors import InputError
from codec.rate_distortion import ssimulacra2
from tests.codec.tiny import photographs
from tests.training.features.alexnet_weights import alexnet_weights


def test_the_direction_of_a_measure_decides_who_is_better() -> None:
    avif = [
        {"bpp": 0.5, "ms_ssim": 0.98, "lpips": 0.1},
        {"bpp": 0.5, "ms_ssim": 0.96, "lpips": 0.1},
    ]
    photo = [
        {"bpp": 0.4, "ms_ssim": 0.97, "lpips": 0.2},
        {"bpp": 0.6, "ms_ssim": 0.98, "lpips": 0.3},
    ]
    rows = rows_of({"avif": avif, "photo": photo})
    assert rows[0] == {
        "codec": "avif", "bpp": 0.5, "ms_ssim": 0.97, "lpips": 0.1,
        "photo_better_ms_ssim": 1, "photo_better_lpips": 0,
    }  # fmt: skip
    assert rows[1] == {"codec": "photo", "bpp": 0.5, "ms_ssim": 0.975, "lpips": 0.25}
    assert won({"0.5": rows}, ["ms_ssim", "lpips"], "avif") == ["ms_ssim at 0.5 bpp"]


def test_shifted_pictures_show_errors_that_cancel_where_a_picture_is_halved() -> None:
    """Errors with a sum of 0 in each square of 2×2 pixels vanish where a picture is halved."""
    pytest.importorskip("ssimulacra2")
    original = photographs(1, side=128)[0].clip(20, 235)
    signs = np.indices((64, 64)).sum(0) % 2 * 2 - 1
    errors = 12 * np.kron(signs, [[1, 1], [-1, -1]])[..., None]
    decoded = (original + errors).astype(np.uint8)
    whole = ssimulacra2(original, decoded)
    assert whole is not None
    assert whole > shifted_ssimulacra2(original, decoded) + 2
    assert shifted_ssimulacra2(original, original) == pytest.approx(100)


def picture(generator: np.random.Generator) -> Uint8Array:
    return generator.integers(0, 256, (71, 67, 3), dtype=np.uint8)


def test_lpips_is_the_weighted_distance_of_unit_features(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    arrays = alexnet_weights(generator)
    for k in range(1, 5):
        arrays[f"lin{k}.weight"][:] = 0
    np.savez(tmp_path / "w.npz", **arrays)  # type: ignore[arg-type]
    one, other = picture(generator), picture(generator)

    def features(pixels: Uint8Array) -> np.ndarray:
        scaled = (pixels / 127.5 - 1 - (-0.030, -0.088, -0.188)) / (0.458, 0.448, 0.450)
        padded = torch.from_numpy(np.pad(scaled, ((2, 2), (2, 2), (0, 0)))).permute(2, 0, 1)
        patches = padded.unfold(1, 11, 4).unfold(2, 11, 4).numpy()
        kernel, bias = arrays["conv0.weight"].astype(float), arrays["conv0.bias"].astype(float)
        hidden = np.einsum("cyxij,ocij->yxo", patches, kernel) + bias
        hidden = np.maximum(hidden, 0)
        unit: np.ndarray = hidden / np.linalg.norm(hidden, axis=2, keepdims=True)
        return unit

    squares = (features(one) - features(other)) ** 2
    expected = (squares @ arrays["lin0.weight"][0, :, 0, 0]).mean()
    lpips = Lpips(tmp_path / "w.npz")
    assert lpips(one, other) == pytest.approx(expected, rel=1e-4)
    assert lpips(one, one) == 0


def test_other_files_are_not_weights_of_lpips(tmp_path: Path) -> None:
    arrays = alexnet_weights(np.random.default_rng(0))
    del arrays["lin4.weight"]
    np.savez(tmp_path / "w.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"w\.npz: not the weights of LPIPS"):
        Lpips(tmp_path / "w.npz")
    with pytest.raises(InputError, match=r"none\.npz: not the weights of LPIPS"):
        Lpips(tmp_path / "none.npz")
