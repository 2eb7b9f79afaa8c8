"""One file of photo, two decoders: what realism changes, and above all what it does not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from typer.testing import CliRunner, Result

import codec
from bitstream import container_to_bytes
from bitstream.errors import UsageError, WeightsMismatchError, WeightsMissingError
from codec import loading
from codec.cli import app
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.realism import (
    NAME,
    PHOTO_HASH_KEY,
    RealisticPhoto,
    RealisticSynthesis,
    load_realism,
)
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.photo.tiny_realism import write_tiny_realism
from tests.codec.tiny import photographs
from tests.codec.tiny_layers import Blocks
from training.loop.export import register

Pixels = npt.NDArray[np.uint8]
SIDE = 160
TILE = 64


@pytest.fixture(scope="module")
def realism_folder(weights_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("realism")
    write_tiny_realism(folder, weights_folder, shake=0.02)
    return folder


@pytest.fixture
def folder(realism_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photo weights and realism weights, in use for this test."""
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
    # The folder in use has no realism weights now, and none are asked for.
    np.testing.assert_array_equal(decode(coded, 0), codec.decompress(coded, as_="numpy"))
    assert loading.with_realism(coder, 0) is coder


def test_full_realism_runs_the_other_decoder_alone(
    coded: bytes, coder: PhotoCoder, realistic: RealisticPhoto
) -> None:
    ran = []
    handles = [
        network.register_forward_hook(lambda *_, name=name: ran.append(name))
        for name, network in (
            ("photo", coder.network.synthesis),
            ("realistic", realistic.synthesis),
        )
    ]
    try:
        # At 0 it is the photo model itself, which needs no torch on a processor.
        for realism, expected in ((1, ["realistic"]), (0.5, ["realistic", "photo"]), (0, [])):
            ran.clear()
            decode(coded, realism)
            assert ran == expected
        ran.clear()
        decode(coded, 0.5)
        assert sorted(ran) == ["photo", "realistic"]
    finally:
        for handle in handles:
            handle.remove()


def test_pictures_between_are_on_the_line_and_rounded_once(
    coder: PhotoCoder, realistic: RealisticPhoto, coded: bytes
) -> None:
    pixels = photographs(1)[0]
    latents = coder.decode_tile(coder.encode_tile(coder.analyze(pixels, 40), 40), 8, 8, 40)
    photo = coder.render(latents, 40)[0].permute(1, 2, 0).double().numpy()
    other = coder.render(latents, 40, realistic.synthesis)[0].permute(1, 2, 0).double().numpy()
    assert np.abs(photo - other).mean() > 2 / 255
    for realism in (0.25, 0.5, 0.9):
        line = 255 * ((1 - realism) * photo + realism * other)
        drawn = loading.with_realism(coder, realism).synthesize(latents, 40)
        # Half a level of rounding, and what float32 adds to it.
        assert np.abs(drawn - line).max() < 0.5 + 1e-3
    # The same from a file, as far as pictures of whole levels can tell.
    ends = decode(coded, 0).astype(float), decode(coded, 1).astype(float)
    between = decode(coded, 0.3)
    assert np.abs(between - (0.7 * ends[0] + 0.3 * ends[1])).max() <= 1


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
    latents = coder.analyze(photographs(1, side=32)[0], quality / 100)
    ends = [loading.with_realism(coder, r).synthesize(latents, quality / 100) for r in (0, 1)]
    drawn = loading.with_realism(coder, realism).synthesize(latents, quality / 100)
    assert (drawn >= np.minimum(*ends)).all()
    assert (drawn <= np.maximum(*ends)).all()


def test_equal_decoders_draw_one_picture(
    weights_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_realism(tmp_path / "same", weights_folder, shake=0)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(tmp_path / "same"))
    data = codec.compress(photographs(1, side=SIDE)[0], quality=40)
    for realism in (0.1, 0.5, 0.77, 1):
        np.testing.assert_array_equal(decode(data, realism), decode(data, 0))


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
    assert digest(decoded) == digest(coder.decode_tile(payloads, 8, 8, 75))
    assert (realistic.stride, realistic.context) == (coder.stride, coder.context)


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
    # Shapes change the order of float sums; a pixel may round the other way.
    crop = whole[y : y + height, x : x + width]
    assert part.shape == crop.shape
    assert np.abs(part.astype(int) - crop).max() <= 1
    plain = decompress_container(container, coder).pixels
    assert np.abs(whole.astype(int) - plain).max() > 3


def test_tiles_see_all_that_their_pixels_depend_on(realistic: RealisticPhoto) -> None:
    pixels = photographs(1, side=SIDE)[0]
    latents = realistic.analyze(pixels, 40)
    margin = realistic.context
    whole = realistic.synthesize(latents, 40)
    part = realistic.synthesize(latents[:, :, : 4 + margin], 40)
    assert np.abs(whole[:, :64].astype(int) - part[:, :64]).max() <= 1


def test_the_library_takes_a_region_and_gray_pictures(folder: Path, coded: bytes) -> None:
    whole = decode(coded, 1)
    part = codec.decompress(coded, as_="numpy", region=(3, 5, 40, 30), realism=1)
    assert np.abs(part.astype(int) - whole[5:35, 3:43]).max() <= 1
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
    (tmp_path / f"{NAME}.safetensors").unlink()
    with pytest.raises(WeightsMismatchError, match=NAME):
        decode(coded, 1)


def test_contents_are_checked(folder: Path, coder: PhotoCoder) -> None:
    arrays, metadata = contents(folder / f"{NAME}.safetensors")
    cpu = torch.device("cpu")
    first = next(iter(arrays))
    for changed in ({PHOTO_HASH_KEY: "12"}, {PHOTO_HASH_KEY: 64 * "g"}, {"config": "{}"}):
        with pytest.raises(WeightsMismatchError):
            load_realism(arrays, {**metadata, **changed}, device=cpu)
    with pytest.raises(WeightsMismatchError, match="not finite"):
        load_realism({**arrays, first: np.full_like(arrays[first], np.nan)}, metadata, device=cpu)
    with pytest.raises(WeightsMismatchError, match="sizes"):
        load_realism({**arrays, first: arrays[first][:1]}, metadata, device=cpu)
    missing = {key: value for key, value in arrays.items() if key != first}
    with pytest.raises(WeightsMismatchError, match="sizes"):
        load_realism(missing, metadata, device=cpu)
    good = load_realism(arrays, metadata, device=cpu)
    stranger = RealisticSynthesis(good.synthesis, good.config, 64 * "b")
    with pytest.raises(WeightsMismatchError, match="bbbbbbbbbbbbbbbb"):
        RealisticPhoto(coder, stranger, 1)


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
    part = np.asarray(Image.open("p.png")).astype(int)
    assert np.abs(part - decode(coded, 1)[9:49, 8:58]).max() <= 1
    assert "realism 1.5" in run("decompress", "photo.calo", "--realism", 1.5, code=2).stderr
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
