"""One file of photo and two decoders: what realism changes, and what it must not change."""

from __future__ import annotations

import hashlib
import io
import json
import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner, Result

import codec
from bitstream import container_to_bytes, read_container, scan
from bitstream.errors import UsageError, WeightsMismatchError, WeightsMissingError
from codec import loading
from codec.cli import app
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.numpy_backend import NumpyRenderer
from codec.models.photo.realism import (
    NAME,
    NOISE_LEVELS,
    PHOTO_HASH_KEY,
    BlendedRenderer,
    RealisticPhoto,
    draw_noise,
    load_realism,
    under_noise,
)
from codec.models.photo.synthesis import synthesize
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo.tiny_realism import write_tiny_realism
from tests.codec.tiny import photographs
from tests.codec.tiny_layers import Blocks
from training.loop.export import register

Pixels = npt.NDArray[np.uint8]
SIDE = 160
GOLDEN = Path(__file__).parents[3] / "golden"
TILE = 64


@pytest.fixture(scope="module")
def realism_folder(weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("realism")
    write_tiny_realism(folder, weights_folder, shake=0.3)
    return folder


@pytest.fixture
def folder(realism_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photo weights and realism weights, which this test uses."""
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(realism_folder))
    return realism_folder


@pytest.fixture
def coder(folder: Path) -> PhotoCoder:
    loaded = loading.load_model("photo", device="cpu")
    assert isinstance(loaded, PhotoCoder)
    return loaded


@pytest.fixture
def realistic(coder: PhotoCoder) -> RealisticPhoto:
    loaded = loading.with_realism(coder, 1)
    assert isinstance(loaded, RealisticPhoto)
    return loaded


@pytest.fixture
def coded(folder: Path) -> bytes:
    return codec.compress(photographs(1, side=SIDE)[0], quality=40)


def decode(data: bytes, realism: float) -> Pixels:
    return codec.decompress(data, as_="numpy", realism=realism)


def contents(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    with safe_open(path, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118


def test_no_realism_is_the_photo_decoder_alone(
    coded: bytes, coder: PhotoCoder, tiny_weights: Path
) -> None:
    # The folder in use has no realism weights now, but none are needed.
    np.testing.assert_array_equal(decode(coded, 0), codec.decompress(coded, as_="numpy"))
    assert loading.with_realism(coder, 0) is coder


def test_corrections_between_are_on_the_line_and_rounded_once() -> None:
    rng = np.random.default_rng(0)
    ends = [rng.integers(-128, 128, (16, 16, 3)).astype(np.int8) for _ in range(2)]
    ran = []

    def renderer(number: int) -> Any:
        def render(*_: object) -> npt.NDArray[np.int8]:
            ran.append(number)
            return ends[number]

        return render

    nothing = np.zeros((16, 16, 3), np.uint8)
    for realism, expected in ((1, [1]), (0.5, [0, 1]), (0.3, [0, 1])):
        ran.clear()
        share = round(1024 * realism)
        noise = np.zeros((192, 1, 1), np.int32)
        drawn = BlendedRenderer(renderer(0), renderer(1), share, noise)(nothing, nothing, 100, 0)
        assert sorted(ran) == expected
        line = (1024 - share) * ends[0].astype(int) + share * ends[1].astype(int)
        assert np.abs(1024 * drawn.astype(int) - line).max() <= 512


def test_a_file_between_lies_on_the_line(coded: bytes) -> None:
    ends = decode(coded, 0).astype(float), decode(coded, 1).astype(float)
    assert np.abs(ends[0] - ends[1]).mean() > 1
    # A correction is rounded to half a level, a pixel to a whole one.
    assert np.abs(decode(coded, 0.3) - (0.7 * ends[0] + 0.3 * ends[1])).max() <= 1.5


def test_torch_draws_the_same_pixels(coder: PhotoCoder, folder: Path) -> None:
    from codec.models.photo.realism import with_realism

    other = PhotoCoder(coder.arrays, coder.config, coder.weights_hash)
    other.transforms = other.torch_transforms
    pixels = photographs(1, side=64)[0]
    payloads = coder.encode_tile(coder.analyze(pixels, 40), 40)
    models = [with_realism(c, 0.6, 5) for c in (coder, other)]
    one, two = (m.synthesize(m.decode_tile(payloads, 4, 4, 40), 40) for m in models)
    np.testing.assert_array_equal(one, two)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(realism=st.floats(0, 1), quality=st.integers(100, 10000))
def test_a_pixel_lies_between_those_of_both_decoders(
    coder: PhotoCoder, realism: float, quality: int
) -> None:
    pixels = photographs(1, side=32)[0]
    payloads = coder.encode_tile(coder.analyze(pixels, quality / 100), quality / 100)

    def draw(share: float) -> Pixels:
        model = loading.with_realism(coder, share)
        return model.synthesize(model.decode_tile(payloads, 2, 2, quality / 100), quality / 100)

    ends, drawn = [draw(0), draw(1)], draw(realism)
    assert (drawn >= np.minimum(*ends)).all()
    assert (drawn <= np.maximum(*ends)).all()


def test_the_second_decoder_sees_the_noise_and_the_picture_does_not(
    weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_realism(tmp_path / "same", weights_folder, shake=0)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path / "same"))
    coder = loading.load_model("photo", device="cpu")
    assert isinstance(coder, PhotoCoder)
    model = loading.with_realism(coder, 1, 3)
    pixels = photographs(1, side=SIDE)[0]
    payloads = coder.encode_tile(coder.analyze(pixels, 40), 40)
    decoded, noisy = (m.decode_tile(payloads, 10, 10, 40) for m in (coder, model))
    noise = draw_noise(payloads, 3, 10, 10)
    np.testing.assert_array_equal(noisy, np.concatenate([decoded, noise]))
    transforms, condition = coder.transforms, (coder.position(40), coder.tune_number)

    def render(pixels: Pixels, texture: Pixels, hundredths: int, tune: int) -> npt.NDArray[np.int8]:
        return transforms.renderer(under_noise(pixels, noise), texture, hundredths, tune)

    expected = synthesize(transforms.weights, render, decoded, *condition)
    np.testing.assert_array_equal(model.synthesize(noisy, 40), expected)
    assert (expected != coder.synthesize(decoded, 40)).any()


def test_noise_is_that_of_the_definition() -> None:
    payloads = (b"one", b"two")
    noise = draw_noise(payloads, 7, 2, 3)
    generator = np.random.PCG64(0xCA15)
    distance = 0x9E3779B97F4A7C15F39CC0605CEDC835
    generator.advance((7 * 2**32 + zlib.crc32(b"onetwo")) * distance % 2**128)
    drawn = b"".join(int(n).to_bytes(8, "little") for n in generator.random_raw(6 * 96))
    gray = np.full((32, 48, 3), 128, np.uint8)
    found = under_noise(gray, noise).astype(int) - 128
    for place, value in enumerate(drawn):
        latent, within = divmod(place, 768)
        y, x, colour = within // 48, within // 3 % 16, within % 3
        row, column = divmod(latent, 3)
        assert found[16 * row + y, 16 * column + x, colour] == value % 4 - 2
    black, white = (under_noise(np.full_like(gray, v), noise) for v in (0, 255))
    np.testing.assert_array_equal(black, np.maximum(found, 0))
    np.testing.assert_array_equal(white, 255 + np.minimum(found, 0))


def test_noise_is_white_and_that_of_the_seed_and_the_tile() -> None:
    gray = np.full((512, 512, 3), 128, np.uint8)

    def levels(payload: bytes, seed: int) -> npt.NDArray[np.float64]:
        return under_noise(gray, draw_noise((payload,), seed, 32, 32)).astype(np.float64) - 128

    one = levels(b"a", 0)
    assert set(np.unique(one)) == set(range(-NOISE_LEVELS, NOISE_LEVELS))
    assert one.mean() == pytest.approx(-0.5, abs=0.01)
    assert one.std() == pytest.approx(math.sqrt(15 / 12), rel=0.01)
    others = [levels(b"b", 0), levels(b"a", 1), levels(b"a", 2**63 - 1)]
    shifted = [np.roll(one, shift, axis) for shift in (1, 16) for axis in (0, 1, 2)]
    for other in [*others, *shifted]:
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.01
    np.testing.assert_array_equal(one, levels(b"a", 0))


def test_a_file_and_a_seed_give_one_picture(coded: bytes) -> None:
    def draw(seed: int | None) -> Pixels:
        return codec.decompress(coded, as_="numpy", realism=1, seed=seed)

    np.testing.assert_array_equal(draw(None), draw(0))
    np.testing.assert_array_equal(draw(9), draw(9))
    assert (draw(0) != draw(9)).mean() > 0.1
    # The plain decoder ignores seeds.
    np.testing.assert_array_equal(
        codec.decompress(coded, as_="numpy", seed=9), codec.decompress(coded, as_="numpy")
    )


def test_cut_and_damaged_files_are_drawn_as_far_as_they_are_there(
    coder: PhotoCoder, folder: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 130, 3)).astype(np.uint8)
    data = codec.compress(noise, quality=80)
    end = scan(io.BytesIO(data)).chunks[-2].offset
    layers = codec.inspect(data).layers
    assert layers > 1
    options: dict[str, Any] = {"as_": "numpy", "realism": 0.7, "seed": 3}
    cut = codec.decompress(data[:end], partial=True, **options)
    np.testing.assert_array_equal(cut, codec.decompress(data, layers=layers - 1, **options))
    assert (cut != codec.decompress(data, **options)).any()

    container = compress_picture(Picture(noise), coder, quality=80, tile_size=TILE)
    whole = bytearray(container_to_bytes(container))
    last = [one for one in scan(io.BytesIO(bytes(whole))).chunks if one.type == b"DATA"][-1]
    whole[last.offset + 20] ^= 1
    drawn = codec.decompress(bytes(whole), partial=True, **options)
    undamaged = codec.decompress(container_to_bytes(container), **options)
    np.testing.assert_array_equal(drawn[:32], undamaged[:32])
    assert (drawn != undamaged).any()


REALISTIC_SHA256 = "6760367f55735c3c8de51956edcc2a018c7845712341a7a8d63de007ee2ad3d0"
"""SHA-256 of a golden file's pixels when its own synthesis gets the noise of seed 12."""


def test_pixels_are_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(GOLDEN))
    data = (GOLDEN / "photo-visual-v1.calo").read_bytes()
    container = read_container(io.BytesIO(data))
    coder = loading.load_model_of(container.header, device="cpu")
    assert isinstance(coder, PhotoCoder)
    for renderer in (coder.transforms.renderer, NumpyRenderer(coder.transforms.weights)):
        model = RealisticPhoto(coder, renderer, 0.8, 12)
        pixels = decompress_container(container, model).pixels
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == REALISTIC_SHA256


def test_the_file_and_its_symbols_do_not_depend_on_realism(
    coder: PhotoCoder, realistic: RealisticPhoto
) -> None:
    def digest(*arrays: npt.NDArray[Any]) -> str:
        return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()

    pixels = photographs(1)[0]
    latents = coder.analyze(pixels, 75)
    np.testing.assert_array_equal(latents, realistic.analyze(pixels, 75))
    payloads = coder.encode_tile(latents, 75)
    assert realistic.encode_tile(latents, 75) == payloads
    before = coder.decode_symbols(payloads, 8, 8, 75)
    decoded = realistic.decode_tile(payloads, 8, 8, 75)
    realistic.synthesize(decoded, 75)
    after = coder.decode_symbols(payloads, 8, 8, 75)
    assert digest(before.hyper_latents, before.symbols, before.indexes, before.means) == digest(
        after.hyper_latents, after.symbols, after.indexes, after.means
    )
    before_noise = coder.decode_tile(payloads, 8, 8, 75)
    assert digest(decoded[: len(before_noise)]) == digest(before_noise)
    assert (realistic.stride, realistic.context) == (coder.stride, coder.context)


def test_a_preview_says_that_realism_does_not_change_it(
    coded: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    plain = codec.decompress(coded, as_="numpy", reduce=2)
    assert not caplog.messages
    preview = codec.decompress(coded, as_="numpy", reduce=2, realism=1.0)
    assert np.array_equal(preview, plain)
    (notice,) = caplog.messages
    assert notice.startswith("realism 1 was given, but a preview is drawn without it")


@pytest.mark.parametrize("realism", [0.4, 1])
@pytest.mark.parametrize("region", [(0, 0, 1, 1), (50, 60, 70, 41), (159, 0, 1, 160)])
def test_a_region_equals_the_crop_of_the_whole(
    coder: PhotoCoder, realism: float, region: tuple[int, int, int, int]
) -> None:
    pixels = photographs(1, side=SIDE)[0]
    container = compress_picture(Picture(pixels), coder, quality=40, tile_size=TILE)
    model = loading.with_realism(coder, realism)
    whole = decompress_container(container, model).pixels
    part = decompress_container(container, model, region=region).pixels
    x, y, width, height = region
    np.testing.assert_array_equal(part, whole[y : y + height, x : x + width])
    plain = decompress_container(container, coder).pixels
    assert np.abs(whole.astype(int) - plain).max() > 3


def test_tiles_see_all_that_their_pixels_depend_on(realistic: RealisticPhoto) -> None:
    pixels = photographs(1, side=SIDE)[0]
    payloads = realistic.encode_tile(realistic.analyze(pixels, 40), 40)
    latents = realistic.decode_tile(payloads, SIDE // 16, SIDE // 16, 40)
    margin = realistic.context
    whole = realistic.synthesize(latents, 40)
    part = realistic.synthesize(latents[:, :, : 4 + margin], 40)
    np.testing.assert_array_equal(whole[:, :64], part[:, :64])


def test_the_library_takes_a_region_and_gray_pictures(folder: Path, coded: bytes) -> None:
    whole = decode(coded, 1)
    part = codec.decompress(coded, as_="numpy", region=(3, 5, 40, 30), realism=1)
    np.testing.assert_array_equal(part, whole[5:35, 3:43])
    gray = codec.compress(photographs(1)[0][:, :, 0], quality=40)
    assert decode(gray, 0.5).shape == (128, 128)
    assert (decode(gray, 1) != decode(gray, 0)).any()


@pytest.mark.parametrize("realism", [-0.01, 1.01, float("nan"), float("inf"), "0.5", True, None])
def test_realism_is_a_number_from_0_to_1(coded: bytes, realism: Any) -> None:
    with pytest.raises(UsageError, match="realism"):
        codec.decompress(coded, realism=realism)


def test_missing_weights_are_named(coded: bytes, tiny_weights: Path) -> None:
    with pytest.raises(WeightsMissingError, match="python -m training export") as caught:
        decode(coded, 0.5)
    assert codec.inspect(coded).weights_hash in str(caught.value)


def test_weights_for_other_photo_weights_do_not_count(
    coded: bytes, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.numpy import save_file

    arrays, metadata = contents(folder / f"{NAME}.safetensors")
    path = tmp_path / "other.safetensors"
    save_file(arrays, path, {**metadata, PHOTO_HASH_KEY: 64 * "a"})
    register(path, [NAME])
    both = f"{tmp_path}:{folder}"
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, both)
    expected = decode(coded, 1)
    for name in ("photo.safetensors", "registry.json"):
        (tmp_path / "alone").mkdir(exist_ok=True)
        (tmp_path / "alone" / name).write_bytes((folder / name).read_bytes())
    alone = json.loads((tmp_path / "alone" / "registry.json").read_text("utf-8"))
    del alone[NAME]
    (tmp_path / "alone" / "registry.json").write_text(json.dumps(alone), "utf-8")
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, f"{tmp_path}:{tmp_path / 'alone'}")
    with pytest.raises(WeightsMissingError, match=16 * "a"):
        decode(coded, 1)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, both)
    np.testing.assert_array_equal(decode(coded, 1), expected)


def test_damaged_weights_are_refused(
    coded: bytes, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("photo.safetensors", "registry.json", f"{NAME}.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    damaged = bytearray((tmp_path / f"{NAME}.safetensors").read_bytes())
    damaged[-1] ^= 1
    (tmp_path / f"{NAME}.safetensors").write_bytes(damaged)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path))
    with pytest.raises(WeightsMismatchError, match="SHA-256"):
        decode(coded, 1)
    (tmp_path / f"{NAME}.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsMismatchError, match="not a safetensors file"):
        decode(coded, 1)
    with monkeypatch.context() as both:  # the weights of other pictures may be damaged
        both.setenv(loading.ENVIRONMENT_VARIABLE, f"{tmp_path}:{folder}")
        decode(coded, 1)
    (tmp_path / f"{NAME}.safetensors").unlink()
    with pytest.raises(WeightsMismatchError, match=NAME):
        decode(coded, 1)


def test_contents_are_checked(folder: Path, coder: PhotoCoder) -> None:
    arrays, metadata = contents(folder / f"{NAME}.safetensors")
    first = "synthesis.out.weight"
    for changed in ({PHOTO_HASH_KEY: "12"}, {PHOTO_HASH_KEY: 64 * "g"}, {"config": "{}"}):
        with pytest.raises(WeightsMismatchError):
            load_realism(arrays, {**metadata, **changed}, coder)
    with pytest.raises(WeightsMismatchError, match="beyond"):
        load_realism({**arrays, first: np.full_like(arrays[first], 64)}, metadata, coder)
    with pytest.raises(WeightsMismatchError, match=first):
        load_realism({**arrays, first: arrays[first][:1]}, metadata, coder)
    missing = {key: value for key, value in arrays.items() if key != first}
    with pytest.raises(WeightsMismatchError, match="missing"):
        load_realism(missing, metadata, coder)
    sizes = metadata["config"].replace('"knots": 3', '"knots": 4')
    with pytest.raises(WeightsMismatchError, match="sizes"):
        load_realism(arrays, {**metadata, "config": sizes}, coder)
    with pytest.raises(WeightsMismatchError, match="bbbbbbbbbbbbbbbb"):
        load_realism(arrays, {**metadata, PHOTO_HASH_KEY: 64 * "b"}, coder)
    assert load_realism(arrays, metadata, coder).config == coder.config


def test_other_models_have_one_decoder(blocks: Blocks) -> None:
    container = compress_picture(Picture(photographs(1)[0]), blocks, quality=40)
    data = container_to_bytes(container)
    with pytest.raises(UsageError, match=blocks.name):
        codec.decompress(data, realism=0.5)
    assert decode(data, 0).shape == (128, 128, 3)


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result


def test_command(
    folder: Path, coded: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.calo").write_bytes(coded)
    run("decompress", "photo.calo", "--realism", "0.75", "-o", "one.png")
    assert np.array_equal(np.asarray(Image.open("one.png")), decode(coded, 0.75))
    done = run(
        "decompress", "photo.calo", "--realism", 1, "--region", "8,9,50,40", "-o", "p.png", "--json"
    )
    (record,) = json.loads(done.stdout)["files"]
    assert (record["ok"], record["width"], record["height"]) == (True, 50, 40)
    np.testing.assert_array_equal(np.asarray(Image.open("p.png")), decode(coded, 1)[9:49, 8:58])
    assert "realism 1.5" in run("decompress", "photo.calo", "--realism", 1.5, code=2).stderr
    assert (
        "random"
        not in run("decompress", "photo.calo", "--realism", 1, "--seed", 4, "-o", "seed.png").stderr
    )
    drawn = codec.decompress(coded, as_="numpy", realism=1, seed=4)
    np.testing.assert_array_equal(np.asarray(Image.open("seed.png")), drawn)
    codec.decompress_file("photo.calo", "file.png", realism=1)
    assert np.array_equal(np.asarray(Image.open("file.png")), decode(coded, 1))


def test_command_says_what_is_missing(
    tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("photo.calo").write_bytes(codec.compress(photographs(1)[0]))
    failed = run("decompress", "photo.calo", "--realism", 0.5, code=5)
    assert "python -m training export" in failed.stderr
    assert not Path("photo.png").exists()
