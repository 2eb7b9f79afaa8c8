"""The context that the photo model states is large enough: tiles join as if there were none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from codec.coding.exact_layers import ACTIVATION_BITS
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.config import COEFFICIENTS, PhotoConfig
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo.float_products import use_8_bit_products, use_float_products
from tests.codec.models.photo.tiny import TINY, lively_model
from tests.codec.tiny import photographs
from training.photo.export import export_arrays

Float32Array = npt.NDArray[np.float32]
Int32Array = npt.NDArray[np.int32]
Uint8Array = npt.NDArray[np.uint8]

BLOCKS = ("blocks_16", "blocks_8", "blocks_4", "encoder_blocks_16", "encoder_blocks_8")


def deep_coder(more: float) -> PhotoCoder:
    """A narrow photo model with as many blocks as the shipped one, all of which have an effect.

    more   noise on the weights of the synthesis
    """
    full = PhotoConfig()
    config = replace(TINY, **{name: getattr(full, name) for name in BLOCKS})
    model = lively_model(config=config)
    with torch.no_grad():
        for parameter in model.synthesis.parameters():
            parameter.add_(more * torch.randn_like(parameter))
    arrays = export_arrays(model, photographs(count=2, seed=2), crop=64)
    return PhotoCoder(arrays, config, bytes(8))


@pytest.fixture(scope="module")
def coder() -> Iterator[PhotoCoder]:
    """A model without 8-bit products, whose scale depends faintly on the whole tile."""
    with pytest.MonkeyPatch.context() as patch:
        use_float_products(patch)
        yield deep_coder(0)


@pytest.fixture(scope="module")
def far_seeing() -> PhotoCoder:
    """A model in which faint influences from far away survive the rounding to 8 bits."""
    return deep_coder(0.2)


class Transforms:
    """The transforms of a model, with payloads that hold latents as they are.

    It has no `analysis_context`: tiles are analysed with everything on which their latents depend.
    """

    def __init__(self, coder: PhotoCoder) -> None:
        self.coder = coder
        self.model_id, self.name, self.weights_hash = coder.model_id, coder.name, bytes(8)
        self.layers, self.stride, self.context = 1, coder.stride, coder.context

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        return self.coder.analyze(pixels, quality)

    def synthesize(self, latents: Int32Array, quality: float) -> Uint8Array:
        return self.coder.synthesize(latents, quality)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        return (latents.tobytes(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Int32Array:
        latents = np.frombuffer(payloads[0], np.float32).reshape(-1, height, width)
        return decoded_of(latents)


def decoded_of(latents: Float32Array) -> Int32Array:
    """Input of the synthesis, with some latents in place of features of the hyper-synthesis."""
    units = np.rint(latents * 2.0**ACTIVATION_BITS).astype(np.int32)
    return np.concatenate([units, np.abs(units[: TINY.hidden])])


def scene(height: int, width: int) -> Uint8Array:
    return photographs(1, side=max(height, width))[0][:height, :width]


@pytest.mark.parametrize("size", [(400, 400), (330, 150), (90, 470), (200, 129)])
@pytest.mark.parametrize("tile", [64, 128])
def test_tiled_transforms_are_the_untiled_ones(
    coder: PhotoCoder, size: tuple[int, int], tile: int
) -> None:
    picture, model = Picture(scene(*size)), Transforms(coder)
    untiled = compress_picture(picture, model, quality=75, tile_size=512)
    tiled = compress_picture(picture, model, quality=75, tile_size=tile)
    assert untiled.header.tile_count == 1 < tiled.header.tile_count

    # Latents are the same except for the last bits of floating-point sums.
    height, width = (-(-side // 16) for side in size)
    whole = model.decode_tile([untiled.payloads[0][0]], height, width, 75) * 2.0**-ACTIVATION_BITS
    joined = np.empty_like(whole)
    side = tile // 16
    for number, payload in enumerate(tiled.payloads[0]):
        row, column = divmod(number, tiled.header.tiles_x)
        part = joined[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
        decoded = model.decode_tile([payload], part.shape[1], part.shape[2], 75)
        part[...] = decoded * 2.0**-ACTIVATION_BITS
    assert np.abs(whole).max() > 5
    np.testing.assert_allclose(joined, whole, rtol=1e-4, atol=2e-3)

    # Pixels of these latents: within one level, and almost all of them equal.
    one, two = (decompress_container(c, model).pixels.astype(int) for c in (untiled, tiled))
    assert np.abs(one - two).max() <= 1
    assert (one == two).mean() > 0.999


@pytest.mark.parametrize(("less", "suffices"), [(0, True), (2, False)])
def test_pixels_depend_on_no_latent_beyond_the_context(
    far_seeing: PhotoCoder, less: int, suffices: bool
) -> None:
    # Windows of one shape, so that equal inputs give equal bits; only changes outside matter.
    margin, target = far_seeing.context - less, 4
    size = target + 2 * far_seeing.context
    rng = np.random.default_rng(1)
    latents = decoded_of(rng.normal(0, 3, (COEFFICIENTS, size + 8, size + 8)).astype(np.float32))
    changed = latents + 5 * 2**ACTIVATION_BITS
    first = 4 + far_seeing.context
    near = slice(first - margin, first + target + margin)
    changed[:, near, near] = latents[:, near, near]
    own = slice(16 * first, 16 * (first + target))
    one, two = (far_seeing.synthesize(one, 75)[own, own] for one in (latents, changed))
    assert bool((one == two).all()) is suffices


@pytest.mark.parametrize(("margin", "suffices"), [(6, True), (3, False)])
def test_latents_depend_on_few_pixels_around(
    coder: PhotoCoder, margin: int, suffices: bool
) -> None:
    target = 4
    size = 16 * (target + 2 * coder.context + 8)
    pixels = np.random.default_rng(2).integers(60, 200, (size, size, 3), dtype=np.uint8)
    changed = pixels ^ np.uint8(0x3F)
    first = 4 + coder.context
    near = slice(16 * (first - margin), 16 * (first + target + margin))
    changed[near, near] = pixels[near, near]
    own = slice(first, first + target)
    one, two = (coder.analyze(one, 75)[:, own, own] for one in (pixels, changed))
    assert bool((one == two).all()) is suffices


def test_products_of_eight_bits_depend_little_on_the_rest_of_a_tile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_8_bit_products(monkeypatch)
    made, pixels, margin = deep_coder(0), scene(400, 400), 6
    first, last = 4 + margin, 14
    near = slice(16 * (first - margin), 16 * (last + margin))
    whole = made.analyze(pixels, 75)[:, first:last, first:last]
    part = made.analyze(pixels[near, near], 75)[:, margin:-margin, margin:-margin]
    assert np.abs(whole).max() > 5
    assert 0 < np.abs(whole - part).max() < 0.02  # of a step of the quantiser


def test_errors_are_no_rougher_across_the_borders_of_tiles(coder: PhotoCoder) -> None:
    pixels = scene(512, 512)
    decoded = decompress_container(
        compress_picture(Picture(pixels), coder, quality=40, tile_size=128), coder
    ).pixels
    errors = decoded.astype(float) - pixels
    for axis in (0, 1):
        jumps = np.abs(np.diff(errors, axis=axis)).mean(axis=(1 - axis, 2))
        # Latents are 16 pixels wide; tile borders are compared with borders of latents.
        of_latents, of_tiles = jumps[15::16], jumps[127::128]
        assert len(of_tiles) == 3
        assert of_tiles.mean() < 1.2 * of_latents.mean()
