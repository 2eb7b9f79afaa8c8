"""Layers: a file may end after any of them, and layers hardly cost anything."""

from __future__ import annotations

import hashlib
import io
from itertools import accumulate, pairwise

import numpy as np
import pytest

import codec
from bitstream.container import container_from_bytes, container_to_bytes, read_layers
from bitstream.errors import PayloadError, TruncatedError
from codec.loading import ENVIRONMENT_VARIABLE, load_model
from codec.models.photo.coder import LAYERS, PhotoCoder
from codec.models.photo.config import COEFFICIENTS, TUNES
from codec.pictures.picture import Picture
from codec.pipeline.decode import LayerDecoder, decompress_container
from codec.pipeline.encode import LAYERS_SHARE, compress_picture
from tests.codec.models.photo.tiny import TINY, tiny_coder
from tests.codec.tiny import photographs
from tests.golden.regenerate import FOLDER

QUALITY = 90


@pytest.fixture(params=TUNES)
def coder(request: pytest.FixtureRequest) -> PhotoCoder:
    return tiny_coder().with_tune(request.param)


def payloads_of(coder: PhotoCoder) -> tuple[bytes, ...]:
    return coder.encode_tile(coder.analyze(photographs(1)[0], QUALITY), QUALITY)


def test_layers_are_the_groups_of_the_context(coder: PhotoCoder) -> None:
    payloads = payloads_of(coder)
    assert len(payloads) == coder.layers == LAYERS
    assert all(payloads)
    whole = coder.decode_symbols(payloads, 8, 8, QUALITY)
    np.testing.assert_array_equal(
        coder.decode_tile([b"".join(payloads)], 8, 8, QUALITY), whole.decoded
    )
    ends = [*accumulate(TINY.groups[:3]), COEFFICIENTS]
    decoder = coder.tile_decoder(8, 8, QUALITY)
    for payload, end in zip(payloads, ends, strict=True):
        decoder.read(payload)
        latents = decoder.latents()
        np.testing.assert_array_equal(latents[:end], whole.decoded[:end])
        assert not latents[end:COEFFICIENTS].any()
        np.testing.assert_array_equal(latents[COEFFICIENTS:], whole.decoded[COEFFICIENTS:])
    with pytest.raises(PayloadError, match="more than the 4 layers"):
        decoder.read(b"")


def test_what_is_missing_can_be_drawn_from_the_prior(coder: PhotoCoder) -> None:
    payloads = payloads_of(coder)
    whole = coder.decode_symbols(payloads, 8, 8, QUALITY)
    decoder = coder.tile_decoder(8, 8, QUALITY)
    decoder.read(payloads[0])
    end = TINY.groups[0]
    drawn = [decoder.latents(np.random.default_rng(seed)) for seed in (1, 2, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert (drawn[0] != drawn[1]).any()
    for latents in drawn:
        np.testing.assert_array_equal(latents[:end], whole.decoded[:end])
        # Only as many channels as the file says that it codes.
        assert not latents[whole.channels : COEFFICIENTS].any()
        assert latents[end : whole.channels].any()


@pytest.mark.parametrize("layer", range(LAYERS - 1))
@pytest.mark.parametrize("moved", [4, -4])
def test_bytes_in_another_layer_are_refused(coder: PhotoCoder, layer: int, moved: int) -> None:
    payloads = list(payloads_of(coder))
    both, end = payloads[layer] + payloads[layer + 1], len(payloads[layer]) + moved
    payloads[layer : layer + 2] = both[:end], both[end:]
    with pytest.raises(PayloadError):
        coder.decode_tile(payloads, 8, 8, QUALITY)
    with pytest.raises(PayloadError):
        coder.decode_tile(payloads[: layer + 1], 8, 8, QUALITY)


def test_small_files_have_one_layer_and_others_cost_their_share() -> None:
    model = tiny_coder()
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (256, 256, 3)).astype(np.uint8)
    sizes = {}
    for layers, pixels in ((1, noise[:16, :16]), (LAYERS, noise)):
        container = compress_picture(Picture(pixels), model, quality=QUALITY)
        assert container.header.layers == len(container.payloads) == layers
        decoded = decompress_container(container, model).pixels
        again = container_from_bytes(container_to_bytes(container))
        np.testing.assert_array_equal(decompress_container(again, model).pixels, decoded)
        sizes[layers] = len(container_to_bytes(container)) - sum(
            len(payload) for layer in container.payloads for payload in layer
        )
        total = len(container_to_bytes(container))
    assert 0 < sizes[LAYERS] - sizes[1] <= LAYERS_SHARE * total


def test_a_file_that_ends_early_gives_what_is_complete() -> None:
    model = tiny_coder()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (256, 200, 3)).astype(np.uint8)
    container = compress_picture(Picture(pixels), model, quality=QUALITY, tile_size=128)
    assert container.header.tile_count == 4
    data = container_to_bytes(container)
    decoder = LayerDecoder(container.header, model)
    errors = []
    for end in range(1, LAYERS + 1):
        cut = data.index(container.payloads[end - 1][3]) + len(container.payloads[end - 1][3]) + 5
        part = container_from_bytes(data[:cut], partial=True)
        assert len(part.payloads) == end
        picture = decoder.decode(part).pixels
        drawn_by = model.with_preview() if end == 1 else model
        np.testing.assert_array_equal(picture, decompress_container(part, drawn_by).pixels)
        errors.append(np.square(picture.astype(float) - pixels).mean())
    assert all(one > other for one, other in pairwise(errors))
    np.testing.assert_array_equal(picture, decompress_container(container, model).pixels)
    with pytest.raises(TruncatedError):
        container_from_bytes(data[: len(data) // 4])


LAYERS_SHA256 = (
    "ceef45113792efd9",
    "a05efef358494cc6",
    "acd2185190941d08",
    "130aef551083ba59",
    "167ec1e4933b6fdd",
)
"""SHA-256 of the pixels of a golden file after each of its layers, and of its preview."""


def test_layers_of_a_golden_file_look_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(FOLDER))
    data = (FOLDER / "photo-layers-v1.calo").read_bytes()
    pictures = [codec.decompress(data, layers=k, as_="numpy") for k in range(1, LAYERS + 1)]
    preview = next(codec.decompress_progressive(data, as_="numpy"))
    digests = [hashlib.sha256(p[:, :, :3].tobytes()).hexdigest()[:16] for p in (*pictures, preview)]
    assert tuple(digests) == LAYERS_SHA256


@pytest.mark.usefixtures("tiny_weights")
def test_the_public_functions_know_the_layers() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (192, 192, 3)).astype(np.uint8)
    data = codec.compress(pixels, model="photo", quality=80)
    info = codec.inspect(data)
    assert info.layers == LAYERS
    assert sum(info.layer_bytes) == info.payload_bytes
    pictures = [np.asarray(image) for image in codec.decompress_progressive(io.BytesIO(data))]
    assert len(pictures) == LAYERS
    model = load_model("photo")
    assert isinstance(model, PhotoCoder)
    first = next(read_layers(io.BytesIO(data)))
    preview = decompress_container(first, model.with_tune("visual").with_preview()).pixels
    np.testing.assert_array_equal(pictures[0], preview)
    for count, picture in enumerate(pictures[1:], 2):
        np.testing.assert_array_equal(picture, codec.decompress(data, layers=count, as_="numpy"))
    sample = codec.decompress(data, layers=1, seed=7, as_="numpy")
    assert (sample != pictures[0]).any()
    np.testing.assert_array_equal(sample, codec.decompress(data, layers=1, seed=7, as_="numpy"))
