"""The training objective of photo: its perceptual errors, and LPIPS among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from bitstream.errors import InputError, UsageError
from codec.models.photo.config import TUNES
from codec.models.photo.network import Forward, lagrange_multiplier
from tests.codec.tiny import photographs
from tests.training.features.alexnet_weights import write_alexnet
from training.data.crops import CropSampler, window_of
from training.features.alexnet import AlexNet
from training.photo.config import PRESETS, PhotoPreset
from training.photo.learner import (
    PerceptualError,
    PhotoLearner,
    common_pattern,
    rate_distortion_loss,
    tunes,
)

TINY = replace(PRESETS["photo-tiny"], batch=4, crop=128)


def learner(features: Path | None, preset: PhotoPreset = TINY) -> PhotoLearner:
    sampler = CropSampler(photographs(2), crop=preset.crop, batch=4, seed=0)
    return PhotoLearner(preset, sampler, autocast=False, features=features)


def test_perceptual_errors_replace_their_shares_of_the_squared_error() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels, decoded = torch.rand(2, 4, 3, 8, 8, generator=generator)
    zeros, position, tune = torch.zeros(4), torch.full((4,), 0.5), tunes(4)
    output = Forward(decoded, torch.full((4,), 64.0), zeros)

    def brightness(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).mean((1, 2, 3)).abs()

    def largest(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).amax((1, 2, 3))

    errors = [PerceptualError(0.5, 10.0, brightness), PerceptualError(0.2, 3.0, largest)]
    loss, bpp, mse = rate_distortion_loss(output, pixels, position, tune, errors)
    plain, _, _ = rate_distortion_loss(output, pixels, position, tune, [])
    assert torch.equal(bpp, torch.ones(4))
    assert torch.equal(loss[tune == TUNES.index("psnr")], plain[tune == TUNES.index("psnr")])
    # A loss is nearly the square root of its cost, if the cost is large.
    seen = tune == TUNES.index("visual")
    squared = 255**2 * mse
    mixed = (
        0.3 * squared + 0.5 * 10 * brightness(pixels, decoded) + 0.2 * 3 * largest(pixels, decoded)
    )
    lagrange = lagrange_multiplier(position)
    costs = [lagrange * distortion + bpp for distortion in (mixed, squared)]
    ratio = (costs[0] / costs[1]).sqrt()
    torch.testing.assert_close((loss / plain)[seen], ratio[seen], rtol=1e-3, atol=0)


def test_an_error_that_blocks_have_in_common_counts_more() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 3, 70, 80, generator=generator)
    tile = torch.rand(2, 3, 16, 16, generator=generator) / 20
    brighter = tile.mean((2, 3), keepdim=True)
    power = (tile - brighter).square().mean((1, 2, 3))
    everywhere = tile.repeat(1, 1, 5, 5)[:, :, :70, :80]
    torch.testing.assert_close(common_pattern(pixels, pixels + everywhere), power)
    zero = torch.zeros(2)
    torch.testing.assert_close(common_pattern(pixels, pixels + 0.1), zero, atol=1e-9, rtol=0)
    # Of noise, only its mean over the 4 × 5 blocks is left.
    noise = torch.randn(pixels.shape, generator=generator)
    found = common_pattern(pixels, pixels + noise)
    torch.testing.assert_close(found, torch.full((2,), 1 / 20), rtol=0.2, atol=0)

    position, tune = torch.full((2,), 0.5), tunes(2)
    output = Forward(pixels + everywhere, torch.full((2,), 64.0), zero)
    loss, bpp, mse = rate_distortion_loss(output, pixels, position, tune, [], pattern=3.0)
    plain, _, _ = rate_distortion_loss(output, pixels, position, tune, [])
    lagrange = lagrange_multiplier(position)
    costs = [lagrange * 255**2 * (mse + more) + bpp for more in (3 * power, 0 * power)]
    ratio = (costs[0] / costs[1]).sqrt()
    torch.testing.assert_close(loss / plain, ratio, rtol=0.01, atol=0)


def test_lpips_is_a_part_of_the_loss_of_the_tune_visual_alone(tmp_path: Path) -> None:
    plain, with_lpips = learner(None), learner(write_alexnet(tmp_path))
    one, other = plain.learn(0, 0.1), with_lpips.learn(0, 0.1)
    assert one["loss_psnr"] == pytest.approx(other["loss_psnr"], rel=1e-5)
    assert one["loss_visual"] != pytest.approx(other["loss_visual"], rel=1e-3)
    assert plain.fixed() != with_lpips.fixed()


def test_perceptual_errors_see_every_place_of_a_block_in_turn() -> None:
    windows = [window_of(step, 128) for step in range(64)]
    assert len({(rows.start, columns.start) for rows, columns in windows}) == 64
    assert {part.stop - part.start for each in windows for part in each} == {121}
    assert max(part.stop for each in windows for part in each) == 128
    assert window_of(64, 128) == windows[0]
    pixels = torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []

    def error_of(one: Tensor, other: Tensor) -> Tensor:
        seen.extend([one, other])
        return torch.zeros(len(one))

    output = Forward(1 - pixels, torch.ones(4), torch.ones(4))
    errors, conditions = [PerceptualError(1.0, 1.0, error_of)], (torch.zeros(4), tunes(4))
    rate_distortion_loss(output, pixels, *conditions, errors, windows[11])
    expected = pixels[tunes(4) == TUNES.index("visual")][..., 1:122, 3:124]
    assert torch.equal(seen[0], expected)
    assert torch.equal(seen[1], 1 - expected)


def test_crops_must_be_large_enough_for_lpips(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="LPIPS needs 70 or more"):
        learner(write_alexnet(tmp_path), replace(TINY, crop=64))


def test_lpips_has_a_gradient_for_the_decoded_picture_alone(tmp_path: Path) -> None:
    network = AlexNet(write_alexnet(tmp_path))
    one, other = torch.rand(2, 2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    one.requires_grad_(True)
    other.requires_grad_(True)
    distance = network.distance(one, other)
    assert distance.shape == (2,)
    assert (distance > 0).all()
    distance.sum().backward()  # type: ignore[no-untyped-call]
    assert one.grad is None
    assert other.grad is not None
    assert other.grad.abs().max() > 0
    assert torch.equal(network.distance(one, one), torch.zeros(2))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x93NUMPY", b"text"])
def test_other_files_are_not_lpips(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "other.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"other\.npz"):
        learner(path)
