"""The first layer while a file arrives: drawn small and enlarged, without the network."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

import codec
from bitstream.arrays import Int8Array, Uint8Array
from bitstream.container import Container, container_to_bytes
from codec import loading
from codec.models.photo.coder import LAYERS, PhotoCoder
from codec.models.photo.config import COEFFICIENTS
from codec.models.photo.onnx_backend import OnnxRenderer
from codec.models.photo.synthesis import enlarged
from codec.pictures.picture import Picture
from codec.pictures.similarity import psnr_db
from codec.pipeline.decode import LayerDecoder, decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo.tiny import tiny_coder
from tests.codec.tiny import photographs

QUALITY = 90


def first_layers(container: Container, count: int) -> Container:
    return Container(container.header, container.payloads[:count], complete=False)


@pytest.fixture
def container() -> Container:
    """Four tiles."""
    pixels = np.random.default_rng(0).integers(0, 256, (250, 200, 3)).astype(np.uint8)
    return compress_picture(Picture(pixels), tiny_coder(), quality=QUALITY, tile_size=128)


def test_it_runs_no_network(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    coder = tiny_coder()
    assert isinstance(coder.transforms.renderer, OnnxRenderer)  # which ran once, to be checked
    calls: list[tuple[int, ...]] = []
    network = OnnxRenderer.__call__

    def counted(
        self: OnnxRenderer, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        calls.append(pixels.shape)
        return network(self, pixels, texture, hundredths, tune)

    monkeypatch.setattr(OnnxRenderer, "__call__", counted)

    def runs(seed: int | None = None) -> list[int]:
        decoder, found = LayerDecoder(container.header, coder, seed=seed), []
        for count in range(1, LAYERS + 1):
            calls.clear()
            decoder.decode(first_layers(container, count))
            found.append(len(calls))
        return found

    assert container.header.tile_count == 4
    assert runs() == [0, 4, 4, 4]
    assert runs(seed=3) == [4, 4, 4, 4], "a sample is drawn as it is"


def test_only_the_first_layer_without_a_seed_is_a_preview(container: Container) -> None:
    model = tiny_coder()
    for seed in (None, 3):
        decoder = LayerDecoder(container.header, model, seed=seed)
        for count in range(1, LAYERS + 1):
            part = first_layers(container, count)
            found = decoder.decode(part).pixels
            expected = decompress_container(part, model, seed=seed).pixels
            assert np.array_equal(found, expected) == ((count, seed) != (1, None))


def test_tiles_have_no_seams() -> None:
    model = tiny_coder().with_preview()
    rng = np.random.default_rng(1)
    latents = np.zeros((COEFFICIENTS + model.config.hidden, 9, 11), np.int32)
    latents[:9] = rng.integers(-(2**17), 2**17, (9, 9, 11))
    whole = model.synthesize(latents, QUALITY)
    assert whole.shape == (144, 176, 3)
    assert whole.std() > 10
    part = model.synthesize(latents[:, 1:, 2:8], QUALITY)
    inner = slice(16 * model.context, -16 * model.context)
    np.testing.assert_array_equal(part[inner, inner], whole[16:, 32:128][inner, inner])
    deep = model.synthesize_deep(latents, QUALITY)
    assert deep.dtype == np.uint16
    assert np.abs(deep.astype(int) - 257 * whole.astype(int)).max() <= 130


def test_it_is_enlarged_as_others_do() -> None:
    image = np.random.default_rng(2).integers(-(2**13), 2**13, (12, 15, 3)).astype(np.int16)
    found = enlarged(image, 8)
    assert (found.shape, found.dtype) == ((96, 120, 3), np.dtype(np.int16))
    for colour in range(3):
        plane = Image.fromarray(image[:, :, colour].astype(np.float32))
        expected = np.asarray(plane.resize((120, 96), Image.Resampling.LANCZOS))
        # Pillow does not repeat pixels beyond the edges.
        difference = (found[:, :, colour] - expected)[24:-24, 24:-24]
        assert np.abs(difference).max() < 2
    even = np.full((2, 3, 3), 8159, np.int16)
    np.testing.assert_array_equal(enlarged(even, 8), np.full((16, 24, 3), 8159))
    extreme = np.where(np.indices((6, 6)).sum(axis=0)[..., None] % 2, 2**14 - 1, 1 - 2**14)
    assert np.abs(enlarged(extreme.repeat(3, axis=2).astype(np.int16), 8)).max() == 2**14 - 1


def test_shipped_weights_draw_it_about_as_well() -> None:
    pixels = photographs(1, side=300)[0]
    data = codec.compress(pixels, model="photo", quality=75)
    first, *_ = codec.decompress_progressive(data, as_="numpy")
    whole = codec.decompress(data, layers=1, as_="numpy")
    assert psnr_db(pixels, first) > psnr_db(pixels, whole) - 0.5


@pytest.mark.usefixtures("tiny_weights")
def test_depth_alpha_and_grey_are_kept() -> None:
    model = loading.load_model("photo", device="cpu")
    assert isinstance(model, PhotoCoder)
    rng = np.random.default_rng(4)
    pixels = rng.integers(0, 1 << 16, (190, 203, 1)).astype(np.uint16)
    alpha = rng.integers(0, 1 << 16, (190, 203)).astype(np.uint16)
    container = compress_picture(Picture(pixels, alpha, bit_depth=16), model, quality=QUALITY)
    assert container.header.layers == LAYERS
    images = list(codec.decompress_progressive(container_to_bytes(container), as_="numpy"))
    for image in images:
        assert (image.shape, image.dtype) == ((190, 203, 2), np.dtype(np.uint16))
        np.testing.assert_array_equal(image[:, :, 1], alpha)
    expected = decompress_container(first_layers(container, 1), model.with_preview()).pixels
    np.testing.assert_array_equal(images[0][:, :, :1], expected)
