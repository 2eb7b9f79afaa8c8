"""Previews of the photo model: cheaper, in integers, and near the means of the whole picture."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import codec
from bitstream import PayloadError, container_from_bytes
from codec import loading
from codec.models.photo.config import COEFFICIENTS
from codec.models.photo.synthesis import inverse_transform
from codec.models.photo.transform import COLOURS, channel_order, cosine_basis
from codec.pictures.box_mean import box_mean
from codec.pictures.picture import Picture
from codec.pictures.similarity import psnr_db
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo.tiny import tiny_coder
from tests.codec.tiny import photographs

REDUCTIONS = (2, 4, 8)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("tune", [0, 1])
def test_previews_are_means_of_the_inverse_transform(reduce: int, tune: int) -> None:
    rng = np.random.default_rng(reduce)
    latents = np.zeros((COEFFICIENTS, 3, 5), np.int32)
    latents[:200] = rng.integers(-(2**13), 2**13, (200, 3, 5))
    latents[0] *= 8
    steps = np.geomspace(0.3, 0.01, COEFFICIENTS)
    preview = inverse_transform(latents, steps, tune, reduce)
    whole = inverse_transform(latents, steps, tune).astype(np.int64)
    height, width, _ = preview.shape
    means = whole.reshape(height, reduce, width, reduce, 3).mean(axis=(1, 3))
    assert preview.std() > 100
    assert np.abs(whole).max() < 2**14 - 1, "nothing is clipped"
    # In both, levels are rounded to units, and cosines to 2⁻¹³.
    assert np.abs(preview - means).max() < 2


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_previews_are_exact_whatever_the_order_of_sums(reduce: int) -> None:
    rng = np.random.default_rng(3)
    latents = rng.integers(-(2**24), 2**24, (COEFFICIENTS, 1, 1)).astype(np.int32)
    steps = np.full(COEFFICIENTS, 2.0**-10)
    found = inverse_transform(latents, steps, 1, reduce)
    coefficients = np.rint(latents[:, 0, 0] * steps)
    side, unit = 16 // reduce, 2**13
    space = cosine_basis(16).reshape(16, side, reduce).mean(axis=2)
    rows = np.rint(space * unit).astype(int)
    both = np.einsum("vj,wc->vwjc", space, COLOURS[1])
    others = np.rint(both * unit).astype(int)
    for row, column, colour in ((0, 0, 0), (side - 1, side // 2, 2)):
        total = Fraction(0)
        for channel, flat in enumerate(channel_order()):
            u, v, axis = np.unravel_index(flat, (16, 16, 3))
            weight = int(rows[u, row]) * int(others[v, axis, column, colour])
            total += int(coefficients[channel]) * Fraction(weight, unit**2)
        expected = round(max(min(total, Fraction(2**14 - 1)), Fraction(1 - 2**14)))
        assert found[row, column, colour] == expected


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_shipped_weights_draw_previews_near_the_whole_picture(reduce: int) -> None:
    pixels = photographs(1, side=200)[0]
    data = codec.compress(pixels, model="photo", quality=75)
    whole = codec.decompress(data, as_="numpy")
    preview = codec.decompress(data, as_="numpy", reduce=reduce)
    assert psnr_db(box_mean(whole, reduce), preview) > 40


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_tiles_and_regions_agree_with_the_whole_preview(reduce: int) -> None:
    pixels = np.concatenate([photographs(1, side=160)[0]] * 2, axis=1)[:150, :301]
    model = tiny_coder()
    container = compress_picture(Picture(pixels.copy()), model, quality=70, tile_size=64)
    whole = decompress_container(container, model, reduce=reduce).pixels
    assert whole.shape == (-(-150 // reduce), -(-301 // reduce), 3)
    x, y, width, height = region = (51, 30, 100, 91)
    part = decompress_container(container, model, region=region, reduce=reduce).pixels
    rows = slice(y // reduce, -(-(y + height) // reduce))
    columns = slice(x // reduce, -(-(x + width) // reduce))
    np.testing.assert_array_equal(part, whole[rows, columns])


def test_previews_do_without_the_last_groups_of_channels() -> None:
    model = tiny_coder()
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    container = compress_picture(Picture(pixels), model, quality=90)
    payloads, quality = [layer[0] for layer in container.payloads], container.header.quality
    whole = model.decode_tile(payloads, 6, 6, quality)
    assert whole[model.config.corrected : COEFFICIENTS].any(), "all groups are used"
    ends = {1 << k: sum(model.config.groups[: 5 - k]) for k in (1, 2, 3)}
    for reduce, end in ends.items():
        part = model.with_reduction(reduce).decode_tile(payloads, 6, 6, quality)
        np.testing.assert_array_equal(part[:end], whole[:end])
        assert not part[end:COEFFICIENTS].any()
        np.testing.assert_array_equal(part[COEFFICIENTS:], whole[COEFFICIENTS:])
        with pytest.raises(PayloadError):
            model.with_reduction(reduce).decode_tile(
                [payloads[0][:40], *payloads[1:]], 6, 6, quality
            )


@pytest.mark.usefixtures("tiny_weights")
@pytest.mark.parametrize("depth", [10, 16])
def test_deep_pictures_and_alpha(depth: int) -> None:
    peak = (1 << depth) - 1
    pixels = photographs(1, side=100)[0].astype(np.uint16)
    pixels = (pixels.astype(np.uint32) * peak // 255).astype(np.uint16)
    alpha = (np.arange(100 * 100) % (peak + 1)).astype(np.uint16).reshape(100, 100, 1)
    rgba = np.concatenate([pixels, alpha], axis=2)
    data = codec.compress(rgba, model="photo", bit_depth=depth, quality=90)
    model = loading.load_model_of(container_from_bytes(data).header, device="cpu")
    assert model.context > 0
    preview = codec.decompress(data, as_="numpy", reduce=4)
    assert (preview.dtype, preview.shape) == (np.dtype(np.uint16), (25, 25, 4))
    np.testing.assert_array_equal(preview[..., 3], box_mean(alpha[..., 0], 4))
    expected = box_mean(pixels, 4).astype(float)
    error = np.abs(preview[..., :3] - expected).mean() / peak
    assert error < 0.05
