"""The visual error compared with the library that publishes the metric."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from codec.cli.demo import load_picture
from codec.models.photo.visual_error import score, visual_error
from codec.rate_distortion.metrics import ssimulacra2
from tests.codec.rate_distortion.made_up_pictures import photo_like


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("quality", [20, 50, 85])
def test_it_agrees_with_the_published_metric(quality: int) -> None:
    pixels = load_picture("coffee")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    decoded = np.asarray(Image.open(buffer))
    expected = ssimulacra2(pixels, decoded)
    # The library treats borders differently.
    found = float(score(visual_error(as_tensor(pixels), as_tensor(decoded))))
    assert found == pytest.approx(expected, abs=3)


def test_equal_pictures_have_no_error_and_a_finite_slope() -> None:
    pixels = as_tensor(photo_like(seed=1, height=64, width=64))
    decoded = pixels.clone().requires_grad_()
    error = visual_error(pixels, decoded)
    error.sum().backward()  # type: ignore[no-untyped-call]
    assert 0 <= error.item() < 0.1
    assert decoded.grad is not None
    assert torch.isfinite(decoded.grad).all()


def test_values_out_of_range_count_as_the_nearest_in_it() -> None:
    pixels = as_tensor(photo_like(seed=2, height=64, width=64))
    outside = torch.where(pixels > 0.5, pixels + 1, pixels - 1)
    assert torch.equal(visual_error(pixels, outside), visual_error(pixels, outside.clamp(0, 1)))
