"""The context that the photo model states is enough: tiles join as if there were none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from codec import loading
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.network import PhotoConfig, PhotoModel
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.tiny import TINY, photographs
from training.loop.origin import Origin
from training.photo.export import export_arrays, write_weights

Float32Array = npt.NDArray[np.float32]
Uint8Array = npt.NDArray[np.uint8]

BLOCKS = ("blocks_16", "blocks_8", "blocks_4")


@pytest.fixture(scope="module")
def coder(tmp_path_factory: pytest.TempPathFactory) -> PhotoCoder:
    """The photo model with as many blocks as the shipped one, narrow, and none of them silent."""
    full = PhotoConfig()
    config = replace(TINY, **{name: getattr(full, name) for name in BLOCKS})
    torch.manual_seed(3)
    model = PhotoModel(config).eval()
    for module in model.modules():
        # What starts at zero would hide how far a branch looks.
        if isinstance(module, nn.Conv2d) and not module.weight.any():
            nn.init.normal_(module.weight, std=0.02)
    arrays = export_arrays(model, photographs(seed=2), crop=128)
    folder = tmp_path_factory.mktemp("deep")
    origin = Origin("synthetic scenes", "Apache-2.0", "none: untrained")
    write_weights(folder, "photo", arrays, config, origin)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(loading.ENVIRONMENT_VARIABLE, str(folder))
        loaded = loading.load_model("photo", device="cpu")
    assert isinstance(loaded, PhotoCoder)
    return loaded


class Transforms:
    """The transforms of a model, with payloads that hold latents as they are."""

    def __init__(self, coder: PhotoCoder) -> None:
        self.coder = coder
        self.model_id, self.name, self.weights_hash = coder.model_id, coder.name, bytes(8)
        self.layers, self.stride, self.context = 1, coder.stride, coder.context

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        return self.coder.analyze(pixels, quality)

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        return self.coder.synthesize(latents, quality)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        return (latents.tobytes(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        flat = np.frombuffer(payloads[0], np.float32)
        latents: Float32Array = flat.reshape(-1, height, width).copy()
        return latents


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

    # Latents: the same but for the last bits of floating-point sums.
    height, width = (-(-side // 16) for side in size)
    whole = model.decode_tile([untiled.payloads[0][0]], height, width, 75)
    joined = np.empty_like(whole)
    side = tile // 16
    for number, payload in enumerate(tiled.payloads[0]):
        row, column = divmod(number, tiled.header.tiles_x)
        part = joined[:, row * side : (row + 1) * side, column * side : (column + 1) * side]
        part[...] = model.decode_tile([payload], part.shape[1], part.shape[2], 75)
    assert np.abs(whole).max() > 5
    np.testing.assert_allclose(joined, whole, rtol=1e-4, atol=1e-3)

    # Pixels of these latents: within one level, and almost all of them equal.
    one, two = (decompress_container(c, model).pixels.astype(int) for c in (untiled, tiled))
    assert np.abs(one - two).max() <= 1
    assert (one == two).mean() > 0.999


@pytest.mark.parametrize(("less", "suffices"), [(0, True), (2, False)])
def test_pixels_depend_on_no_latent_beyond_the_context(
    coder: PhotoCoder, less: int, suffices: bool
) -> None:
    # Windows of one shape, so that equal inputs give equal bits: what a change outside moves.
    margin, target = coder.context - less, 4
    size = target + 2 * coder.context
    rng = np.random.default_rng(1)
    latents = rng.normal(0, 3, (TINY.latent_channels, size + 8, size + 8)).astype(np.float32)
    changed = latents + 5
    first = 4 + coder.context
    near = slice(first - margin, first + target + margin)
    changed[:, near, near] = latents[:, near, near]
    own = slice(16 * first, 16 * (first + target))
    one, two = (coder.render(one, 75)[..., own, own] for one in (latents, changed))
    assert bool((one == two).all()) is suffices


@pytest.mark.parametrize(("less", "suffices"), [(0, True), (3, False)])
def test_latents_depend_on_no_pixel_beyond_the_context(
    coder: PhotoCoder, less: int, suffices: bool
) -> None:
    margin, target = coder.context - less, 4
    size = 16 * (target + 2 * coder.context + 8)
    pixels = np.random.default_rng(2).integers(60, 200, (size, size, 3), dtype=np.uint8)
    changed = pixels ^ np.uint8(0x3F)
    first = 4 + coder.context
    near = slice(16 * (first - margin), 16 * (first + target + margin))
    changed[near, near] = pixels[near, near]
    own = slice(first, first + target)
    one, two = (coder.analyze(one, 75)[:, own, own] for one in (pixels, changed))
    assert bool((one == two).all()) is suffices


def test_errors_are_no_rougher_across_the_borders_of_tiles(coder: PhotoCoder) -> None:
    pixels = scene(512, 512)
    decoded = decompress_container(
        compress_picture(Picture(pixels), coder, quality=40, tile_size=128), coder
    ).pixels
    errors = decoded.astype(float) - pixels
    for axis in (0, 1):
        jumps = np.abs(np.diff(errors, axis=axis)).mean(axis=(1 - axis, 2))
        # Latents are 16 pixels wide: their borders are what those of tiles compare with.
        of_latents, of_tiles = jumps[15::16], jumps[127::128]
        assert len(of_tiles) == 3
        assert of_tiles.mean() < 1.2 * of_latents.mean()
