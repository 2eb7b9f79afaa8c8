"""The weights in the wheel: intact, small, and as good as a user may expect, on real pixels."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import codec
from codec import loading
from codec.cli.demo import load_picture
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.onnx_encoder import OnnxEncoder
from codec.models.photo.realism import NAME as REALISM
from codec.models.signal import SIGNAL
from codec.models.weights_files import WEIGHTS_FOLDER, registered
from codec.rate_distortion import ssimulacra2
from codec.rate_distortion.user_code.adapters import SHIPPED, load_decoder
from codec.signals import compress_signal, decompress_signal
from tests.codec.models.photo.float_products import use_float_products

Pixels = npt.NDArray[np.uint8]
UNTRAINED = {"compressai"}
"""The model for which users bring weights."""
QUALITIES = (1, 10, 25, 40, 55, 70, 85, 100)


@pytest.fixture
def coder(monkeypatch: pytest.MonkeyPatch) -> PhotoCoder:
    monkeypatch.delenv(loading.ENVIRONMENT_VARIABLE, raising=False)
    loaded = loading.load_model("photo", device="cpu")
    assert isinstance(loaded, PhotoCoder)
    return loaded


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """A real photograph, uint8 (304, 400, 3); neither side is a multiple of 64."""
    return load_picture("coffee")[48:352, 100:500]


def psnr_db(one: Pixels, two: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - two) ** 2)))


def test_files_are_registered_small_and_described() -> None:
    for model in codec.list_models():
        assert model.weights or model.name in UNTRAINED, f"{model.name} has no weights"
        for entry in model.weights:
            path = WEIGHTS_FOLDER / entry.file
            assert loading.hash_weights(path).hex() == entry.sha256
            assert path.stat().st_size <= 16 * 2**20
            assert entry.sha256 in path.with_suffix(".md").read_text("utf-8")
    by_model = [registered(WEIGHTS_FOLDER, name) for name in (SIGNAL.name, REALISM)]
    assert all(by_model)
    others = [file for files in by_model for file in files]
    for file in others:
        assert loading.hash_weights(file.path).hex() == file.sha256
        assert file.path.stat().st_size <= 2 * 2**20
        assert file.sha256 in file.path.with_suffix(".md").read_text("utf-8")
    shipped = {path.name for path in WEIGHTS_FOLDER.glob("*.safetensors")}
    registered_names = {entry.file for model in codec.list_models() for entry in model.weights}
    registered_names |= {file.path.name for file in others}
    assert shipped == registered_names | {f"{name}.safetensors" for name in SHIPPED}


@pytest.mark.parametrize("name", SHIPPED)
def test_models_to_measure_are_small_and_described_and_open_by_name(name: str) -> None:
    path = WEIGHTS_FOLDER / f"{name}.safetensors"
    assert path.stat().st_size <= 4 * 2**20
    card = path.with_suffix(".md").read_text("utf-8")
    assert hashlib.sha256(path.read_bytes()).hexdigest() in card
    adapter = load_decoder(name)
    assert adapter.image_shape == (1, 28, 28)
    generator = torch.Generator().manual_seed(0)
    images = adapter.decode(adapter.prior.sample(64, generator=generator))
    # White strokes on black, not all the same.
    assert 0.05 < float(images.mean()) < 0.3
    assert float(images.std(0).mean()) > 0.05


@pytest.mark.usefixtures("coder")
def test_quality_is_monotone_in_bytes_and_psnr(photo: Pixels) -> None:
    files = [codec.compress(photo, quality=quality) for quality in QUALITIES]
    errors = [psnr_db(codec.decompress(file, as_="numpy"), photo) for file in files]
    sizes = [len(file) for file in files]
    assert sizes == sorted(set(sizes))
    assert errors == sorted(set(errors))
    assert errors[-1] > 38
    # The lowest quality is for thumbnails, the highest shows no visible difference.
    assert 8 * sizes[0] / photo[:, :, 0].size < 0.2


@pytest.mark.usefixtures("coder")
def test_realism_gives_back_the_texture_of_coarse_files(photo: Pixels) -> None:
    data = codec.compress(photo, quality=15)
    plain, half, real = (
        codec.decompress(data, as_="numpy", realism=realism).astype(float)
        for realism in (0, 0.5, 1)
    )
    errors = [float(np.mean((photo - drawn) ** 2)) for drawn in (plain, half, real)]
    # Perfect realism needs no more than twice the error (Blau and Michaeli 2018).
    assert errors[0] < errors[2] < 2 * errors[0]
    assert errors[1] < errors[2]

    def texture(pixels: npt.NDArray[np.float64]) -> float:
        """Mean square of differences between neighbours."""
        return float(np.mean(np.diff(pixels, axis=0) ** 2) + np.mean(np.diff(pixels, axis=1) ** 2))

    original = texture(photo.astype(float))
    assert texture(plain) < texture(half) < texture(real)
    assert abs(texture(real) - original) < abs(texture(plain) - original)
    again = codec.decompress(data, as_="numpy", realism=1)
    np.testing.assert_array_equal(again, real)
    assert (codec.decompress(data, as_="numpy", realism=1, seed=1) != real).any()


@pytest.mark.usefixtures("coder")
@pytest.mark.parametrize("goal", [60, 80])
def test_a_score_is_reached_and_a_lower_quality_misses_it(photo: Pixels, goal: float) -> None:
    pytest.importorskip("ssimulacra2")
    part = np.ascontiguousarray(photo[:256, :320])
    data = io.BytesIO()
    done = codec.compress_to_file(part, data, ssimulacra2=goal)
    decoded = codec.decompress(data.getvalue(), as_="numpy")
    found = ssimulacra2(part, decoded)
    assert found is not None
    assert found == done.ssimulacra2
    assert goal <= found < goal + 0.5
    # The score is not quite monotone in the quality: go down far enough.
    lower = codec.compress(part, quality=done.quality - 3)
    missed = ssimulacra2(part, codec.decompress(lower, as_="numpy"))
    assert missed is not None
    assert missed < goal


@pytest.mark.usefixtures("coder")
def test_beats_jpeg_at_equal_size(photo: Pixels) -> None:
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, "JPEG", quality=50, optimize=True, subsampling="4:2:0")
    jpeg = np.asarray(Image.open(buffer))
    ours = codec.compress(photo, size=len(buffer.getvalue()))
    assert len(ours) <= len(buffer.getvalue())
    assert psnr_db(codec.decompress(ours, as_="numpy"), photo) > psnr_db(jpeg, photo) + 1


@pytest.mark.parametrize("quality", [10, 50, 90])
def test_torch_draws_the_same_pixels(
    coder: PhotoCoder, photo: Pixels, quality: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels, position, tune = photo[:256, :320], coder.position(quality), coder.tune_number
    latents = coder.analyze(pixels, quality)
    other = coder.torch_transforms.analyze(pixels, position, tune)
    # Eight bits add less than 1 % to the error of a quantiser, which is 1/12 of a squared step.
    assert np.square(latents - other).mean() < 0.01 / 12
    use_float_products(monkeypatch)
    in_float = OnnxEncoder(coder.arrays, coder.config).analyze(pixels, position, tune)
    assert np.abs(in_float - other).max() < 1e-3 * np.abs(in_float).max()
    payloads = coder.encode_tile(latents, quality)
    decoded = coder.decode_tile(payloads, 16, 20, quality)
    np.testing.assert_array_equal(
        coder.synthesize(decoded, quality),
        coder.torch_transforms.synthesize(decoded, position, tune),
    )


@pytest.mark.usefixtures("coder")
def test_draw_gets_better_with_quality_and_with_layers(photo: Pixels) -> None:
    pixels = photo[:96, :128]
    files = [codec.compress(pixels, model="draw", quality=quality) for quality in (1, 50, 100)]
    whole = [psnr_db(codec.decompress(file, as_="numpy"), pixels) for file in files]
    assert [len(file) for file in files] == sorted(len(file) for file in files)
    assert whole == sorted(whole)
    assert whole[-1] > 30
    prefixes = [
        psnr_db(codec.decompress(files[-1], layers=k, as_="numpy"), pixels) for k in range(1, 6)
    ]
    assert prefixes == sorted(set(prefixes))
    # One layer shows the scene already.
    assert prefixes[0] > 15


@pytest.mark.usefixtures("coder")
def test_the_archive_keeps_what_it_was_not_trained_on() -> None:
    data = pytest.importorskip("skimage.data")
    pixels = np.where(data.horse()[50:150, 60:170], np.uint8(0), np.uint8(255))
    file = codec.compress(pixels, model="draw-bits-back")
    np.testing.assert_array_equal(codec.decompress(file, as_="numpy"), pixels)


@pytest.mark.usefixtures("coder")
def test_a_signal_takes_less_than_its_second_differences_would() -> None:
    time = np.arange(6000)
    rng = np.random.default_rng(0)
    wave = 8000 * np.sin(time / 11) * np.sin(time / 900) + 2000 * np.sin(time / 4.7)
    samples = np.rint(wave + 6 * rng.normal(size=6000)).astype(np.int16)
    data = compress_signal(samples)
    np.testing.assert_array_equal(decompress_signal(data), samples)
    # White noise of that strength has 4.6 bits, and its second differences 5.9.
    assert 4.6 < 8 * len(data) / 6000 < 5.6
