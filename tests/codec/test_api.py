"""The library: the functions that programs call, on an untrained model."""

import dataclasses
import io
import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image, ImageOps

import codec
from bitstream import container_from_bytes, container_to_bytes
from codec.api import compress_with
from codec.options import CompressOptions
from codec.pictures.picture import Picture, to_pil
from codec.pictures.read import picture_from
from codec.rate_distortion import ssimulacra2
from codec.system.missing_extra import MissingExtraError

pytestmark = pytest.mark.usefixtures("tiny_weights")

Pixels = npt.NDArray[np.uint8]
NEAR_DB = 15  # the model is untrained, but a wrong picture is far below this


def psnr_db(one: Pixels, two: Pixels) -> float:
    mse = np.mean((one.astype(float) - two.astype(float)) ** 2)
    return float(10 * np.log10(255**2 / max(mse, 1e-9)))


@pytest.fixture
def coded(photograph: Pixels) -> bytes:
    return codec.compress(photograph, quality=90)


def test_bytes_and_file_object_agree(photograph: Pixels, coded: bytes, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    done = codec.compress_to_file(photograph, buffer, quality=90)
    assert buffer.getvalue() == coded
    assert done == codec.Compression(
        size_bytes=len(coded),
        width=64,
        height=48,
        rate_bpp=8 * len(coded) / (64 * 48),
        quality=90.0,
        model_name="photo",
        psnr_db=None,
        ssimulacra2=None,
        trials=1,
        elapsed_seconds=done.elapsed_seconds,
        notices=(),
    )
    assert 0 < done.elapsed_seconds < 600
    path = tmp_path / "x.calo"
    path.write_bytes(coded)
    for source in (coded, bytearray(coded), memoryview(coded), path, str(path), io.BytesIO(coded)):
        assert codec.decompress(source).tobytes() == codec.decompress(coded).tobytes()


def test_forms_of_the_result(photograph: Pixels, coded: bytes) -> None:
    array = codec.decompress(coded, as_="numpy")
    assert array.shape == (48, 64, 3)
    assert array.dtype == np.uint8
    assert psnr_db(array, photograph) > NEAR_DB
    image = codec.decompress(coded)
    assert isinstance(image, Image.Image)
    assert np.array_equal(np.asarray(image), array)
    tensor = codec.decompress(coded, as_="torch")
    assert tensor.dtype == torch.uint8
    assert np.array_equal(tensor.numpy(), array.transpose(2, 0, 1))
    with pytest.raises(codec.UsageError, match="'jax'"):
        codec.decompress(coded, as_="jax")  # type: ignore[call-overload]


def test_default_quality_is_75(photograph: Pixels) -> None:
    assert codec.inspect(codec.compress(photograph)).quality == 75
    assert codec.inspect(codec.compress(photograph, quality=33.333)).quality == 33.33


def test_everything_comes_back() -> None:
    rng = np.random.default_rng(0)
    picture = Picture(
        rng.integers(0, 256, (9, 5, 1), dtype=np.uint8),
        rng.integers(0, 256, (9, 5), dtype=np.uint8),
        icc=b"icc",
        exif=b"II*\0exif",
        xmp=b"<xmp/>",
    )
    data = codec.compress(picture)
    again = picture_from(codec.decompress(data))
    assert again.channels == 1
    assert again.alpha is not None
    assert np.array_equal(again.alpha, picture.alpha)  # type: ignore[arg-type]
    assert (again.icc, again.exif, again.xmp) == (picture.icc, picture.exif, picture.xmp)
    info = codec.inspect(data)
    assert (info.icc_bytes, info.exif_bytes, info.xmp_bytes) == (3, 8, 6)
    assert info.has_alpha
    assert info.alpha_bytes > 0
    stripped = codec.inspect(codec.compress(picture, strip=True))
    assert (stripped.icc_bytes, stripped.exif_bytes, stripped.xmp_bytes) == (0, 0, 0)
    assert stripped.has_alpha


def test_a_file_that_is_larger_than_its_source_has_a_notice(
    photograph: Pixels, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    coarse, fine = tmp_path / "coarse.jpg", tmp_path / "fine.png"
    Image.fromarray(noise).save(coarse, quality=1)
    Image.fromarray(photograph).save(fine)

    def notices(image: Any) -> tuple[str, ...]:
        fo = io.BytesIO()
        done = codec.compress_to_file(image, fo, lossless=True)
        larger = [text for text in done.notices if "more than its source" in text]
        if larger:
            assert f"the file has {done.size_bytes:,} bytes" in larger[0]
        return tuple(larger)

    for image in (coarse, str(coarse), coarse.read_bytes()):
        assert len(notices(image)) == 1
        assert f"which has {coarse.stat().st_size:,}: " in notices(image)[0]
    assert notices(fine) == notices(Image.open(coarse)) == notices(noise) == ()


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ({"lossless": True}, "or choose a lossy model: -m photo (model='photo')"),
        ({"max_error": 2}, "or allow a larger error than 2, or choose a model without a bound"),
        ({"quality": 100}, "or choose a lower quality; drawings"),
        ({"size": 10**6}, "or give a lower target; drawings"),
    ],
)
@pytest.mark.usefixtures("tiny_weights")
def test_advice_for_a_smaller_file_fits_the_mode(options: Any, advice: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    source = io.BytesIO()
    Image.fromarray(noise).resize((256, 256)).save(source, "JPEG", quality=1)
    done = codec.compress_to_file(source.getvalue(), io.BytesIO(), **options)
    (notice,) = (text for text in done.notices if "more than its source" in text)
    assert f": keep the source, {advice}" in notice
    assert ("quality" in notice) == ("quality" in options)


def test_metadata_are_named_where_they_fill_a_small_target(photograph: Pixels) -> None:
    for icc, named in ((None, False), (b"icc" * 99, True)):
        picture = Picture(photograph, None, icc)
        with pytest.raises(codec.UsageError, match="at quality 1 the file has") as caught:
            compress_with(CompressOptions(size=99), to_pil(picture), io.BytesIO())
        assert ("--strip (strip=True)" in str(caught.value)) is named
        assert ("metadata" in str(caught.value)) is named


@pytest.mark.parametrize("options", [{"lossless": True}, {"max_error": 2}])
def test_deep_pictures_have_no_lossless_model(options: Any) -> None:
    with pytest.raises(codec.InputError) as caught:
        codec.compress(np.zeros((9, 9), np.uint16), **options)
    message = str(caught.value)
    assert "as all lossless and nearly lossless models do" in message
    assert "--reduce-depth (reduce_depth=True) to round it to 8 bits" in message
    assert "a lossy model that keeps the depth: -m photo (model='photo')" in message


def test_notices_are_logged(photograph: Pixels, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codec"):
        codec.compress(Image.fromarray(photograph).convert("CMYK"))
    assert [record.name for record in caplog.records] == ["codec"]
    assert "CMYK was converted" in caplog.text


def test_notices_of_decoding_are_logged(coded: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "codec"):
        codec.decompress(coded)
        assert caplog.records == []
        codec.decompress(coded[:-1], partial=True)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("codec", "WARNING")
    assert record.getMessage() == "1 of 1 layers were decoded: the file is cut"


def test_region_equals_a_crop(coded: bytes) -> None:
    whole = codec.decompress(coded, as_="numpy")
    part = codec.decompress(coded, as_="numpy", region=(3, 5, 20, 11))
    assert np.abs(part.astype(int) - whole[5:16, 3:23]).max() <= 1


@pytest.mark.parametrize(
    "region", [(0, 0, 65, 1), (-1, 0, 2, 2), (0, 0, 0, 1), (1, 2, 3), (0.0, 0, 1, 1), (60, 0, 5, 1)]
)
def test_bad_regions(coded: bytes, region: tuple[int, int, int, int]) -> None:
    with pytest.raises(codec.UsageError, match="region"):
        codec.decompress(coded, region=region)


def test_layers_seed_and_device_are_checked(coded: bytes) -> None:
    assert codec.decompress(coded, layers=1, seed=3, device="cpu").size == (64, 48)
    for layers in (0, 4, True):
        with pytest.raises(codec.UsageError, match="layers"):
            codec.decompress(coded, layers=layers)
    for seed in (-1, 1.5, 2**63):
        with pytest.raises(codec.UsageError, match="seed"):
            codec.decompress(coded, seed=seed)  # type: ignore[arg-type]
    with pytest.raises(codec.UsageError, match="tpu"):
        codec.decompress(coded, device="tpu")


def test_a_cut_file(coded: bytes) -> None:
    cut = coded[:-1]
    with pytest.raises(codec.StreamError):
        codec.decompress(cut)
    assert codec.decompress(cut, partial=True).size == (64, 48)
    with pytest.raises(codec.StreamError):
        codec.decompress(coded[:60], partial=True)


@pytest.mark.parametrize("target", ["size", "bpp"])
def test_size_targets_count_the_whole_file(photograph: Pixels, target: str) -> None:
    free = len(codec.compress(photograph, quality=60))
    limit = free if target == "size" else 8 * free / (48 * 64)
    buffer = io.BytesIO()
    done = codec.compress_to_file(photograph, buffer, **{target: limit})  # type: ignore[arg-type]
    assert len(buffer.getvalue()) == done.size_bytes <= free
    assert done.quality >= 55
    assert 1 < done.trials <= 10
    with pytest.raises(codec.UsageError, match="at quality 1 the file has"):
        codec.compress(photograph, size=30)


def test_psnr_target_holds_on_decoded_pixels(photograph: Pixels) -> None:
    best = psnr_db(
        codec.decompress(codec.compress(photograph, quality=100), as_="numpy"), photograph
    )
    worst = psnr_db(
        codec.decompress(codec.compress(photograph, quality=1), as_="numpy"), photograph
    )
    goal = (best + worst) / 2
    buffer = io.BytesIO()
    done = codec.compress_to_file(photograph, buffer, psnr=goal)
    measured = psnr_db(codec.decompress(buffer.getvalue(), as_="numpy"), photograph)
    assert done.psnr_db == pytest.approx(measured, abs=1e-6)
    assert goal <= measured
    assert done.quality < 100


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_ssimulacra2_target_holds_on_decoded_pixels(photograph: Pixels, mode: str) -> None:
    pytest.importorskip("ssimulacra2")
    image = Image.fromarray(photograph).convert(mode)
    colours = image.convert("RGB")
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))

    def score(data: bytes) -> float:
        # Alpha is lossless and ignored, as for PSNR; gray counts as three equal channels.
        decoded = codec.decompress(data).convert("RGB")
        found = ssimulacra2(np.asarray(colours), np.asarray(decoded))
        assert found is not None
        return found

    worst, best = (score(codec.compress(image, quality=quality)) for quality in (1, 100))
    goal = (best + worst) / 2
    buffer = io.BytesIO()
    done = codec.compress_to_file(image, buffer, ssimulacra2=goal)
    assert done.ssimulacra2 == pytest.approx(score(buffer.getvalue()), abs=1e-9)
    assert goal <= score(buffer.getvalue())
    assert 1 < done.quality < 100
    assert done.psnr_db is None
    assert score(codec.compress(image, quality=max(1, done.quality - 3))) < goal
    assert codec.compress(image, ssimulacra2=goal) == buffer.getvalue()
    with pytest.raises(
        codec.UsageError, match=r"at quality 100 the SSIMULACRA2 is .* target is 99"
    ):
        codec.compress(image, ssimulacra2=99)


def test_a_picture_without_a_score_is_refused_before_it_is_coded(
    photograph: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ssimulacra2")

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a file was written")

    monkeypatch.setattr("codec.pipeline.encode.compress_picture", refuse)
    for pixels in (photograph[:7], photograph[:, :7], photograph[:1, :1]):
        with pytest.raises(codec.UsageError, match="SSIMULACRA2 needs 8 on each side"):
            codec.compress(pixels, ssimulacra2=10)
    # A worker may lack the library although the process that made the options has it.
    options = CompressOptions(ssimulacra2=10)
    monkeypatch.setattr("codec.system.missing_extra.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="SSIMULACRA2 needs the library ssimulacra2"):
        compress_with(options, photograph, io.BytesIO())


def test_ssimulacra2_target_names_its_extra_before_the_image_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("codec.system.missing_extra.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"the target ssimulacra2 .* 'metrics'"):
        codec.compress("/does/not/exist.png", ssimulacra2=80)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0}, "quality 0"),
        ({"quality": 100.01}, "quality 100.01"),
        ({"quality": float("nan")}, "finite"),
        ({"quality": "75"}, "finite number"),
        ({"quality": 75, "size": 100}, "quality and size"),
        ({"bpp": 1, "psnr": 30}, "bpp and psnr"),
        ({"bpp": 0}, "bpp 0"),
        ({"size": -1}, "size -1"),
        ({"psnr": float("inf")}, "finite"),
        ({"ssimulacra2": float("nan")}, "finite"),
        ({"ssimulacra2": "80"}, "finite"),
        ({"ssimulacra2": 100.5}, r"ssimulacra2 100\.5 was given, expected -50 \.\. 100"),
        ({"ssimulacra2": -51}, "ssimulacra2 -51"),
        ({"psnr": 30, "ssimulacra2": 80}, "psnr and ssimulacra2"),
        ({"effort": 0}, "effort 0"),
        ({"effort": 10}, "effort 10"),
        ({"effort": 1.0}, "effort 1.0"),
        ({"device": "tpu"}, "tpu"),
    ],
)
def test_options_are_checked_before_the_image_is_read(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(codec.UsageError, match=message):
        codec.compress("/does/not/exist.png", **options)  # type: ignore[arg-type]


def test_unknown_models_and_weights(coded: bytes) -> None:
    with pytest.raises(codec.UnknownModelError, match="'vapor'"):
        codec.compress("/does/not/exist.png", model="vapor")
    container = container_from_bytes(coded)
    other = dataclasses.replace(container.header, weights_hash=b"otherone")
    data = container_to_bytes(dataclasses.replace(container, header=other))
    with pytest.raises(codec.ModelError, match=b"otherone".hex()):
        codec.decompress(data)
    unknown = dataclasses.replace(container.header, model_id=999)
    data = container_to_bytes(dataclasses.replace(container, header=unknown))
    with pytest.raises(codec.UnknownModelError, match="999"):
        codec.verify(data)
    assert codec.inspect(data).model_name is None


def test_inspect(coded: bytes) -> None:
    info = codec.inspect(coded)
    assert info.size_bytes == len(coded)
    assert (info.width, info.height, info.channels, info.bit_depth) == (64, 48, 3, 8)
    assert (info.model_id, info.model_name, info.layers) == (11, "photo", 1)
    assert (info.tile_size, info.tiles_x, info.tiles_y) == (1024, 1, 1)
    assert info.portable
    assert info.rate_bpp == pytest.approx(8 * len(coded) / (64 * 48))
    assert [chunk.type for chunk in info.chunks] == [b"HEAD", b"DATA", b"DONE"]
    assert len(bytes.fromhex(info.weights_hash)) == 8
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.width = 1  # type: ignore[misc]


def test_verify(coded: bytes) -> None:
    found = codec.verify(coded)
    assert (found.size_bytes, found.tiles, found.layers, found.chunks) == (len(coded), 1, 1, 3)
    for position in range(len(coded) - 40, len(coded)):
        damaged = bytearray(coded)
        damaged[position] ^= 1
        with pytest.raises(codec.StreamError):
            codec.verify(bytes(damaged))
    with pytest.raises(codec.InputError):
        codec.verify("/does/not/exist.calo")
    with pytest.raises(codec.UsageError):
        codec.verify(3)  # type: ignore[arg-type]


def test_streams_that_cannot_seek(coded: bytes) -> None:
    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.rest = io.BytesIO(coded)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self.rest.read(min(size, 100) if size >= 0 else -1)

    assert codec.inspect(Pipe()).size_bytes == len(coded)  # type: ignore[arg-type]
    assert codec.verify(Pipe()).size_bytes == len(coded)  # type: ignore[arg-type]
    image = codec.decompress(Pipe(), region=(0, 0, 4, 4))  # type: ignore[call-overload]
    assert image.size == (4, 4)


def test_outputs_without_exif_are_upright(photograph: Pixels, tmp_path: Path) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    source = io.BytesIO()
    Image.fromarray(photograph).save(source, "PNG", exif=tags)
    data = codec.compress(source.getvalue(), lossless=True)
    for name, size in (("a.bmp", (48, 64)), ("a.ppm", (48, 64)), ("a.png", (64, 48))):
        notices = codec.decompress_file(data, tmp_path / name)
        assert any("turned upright" in notice for notice in notices) == (size == (48, 64))
        with Image.open(tmp_path / name) as image:
            assert image.size == size
            upright = ImageOps.exif_transpose(image)
        np.testing.assert_array_equal(np.asarray(upright), np.rot90(photograph, -1))
    (tmp_path / "a.calo").write_bytes(data)
    (done,) = codec.decompress_files([tmp_path / "a.calo"], tmp_path / "out", suffix=".bmp")
    assert done.result is not None
    assert (done.result.width, done.result.height) == (48, 64)


def test_decompress_file(coded: bytes, tmp_path: Path) -> None:
    target = tmp_path / "x.png"
    assert codec.decompress_file(coded, target) == ()
    expected = codec.decompress(coded, as_="numpy")
    with Image.open(target) as image:
        assert np.array_equal(np.asarray(image), expected)
    buffer = io.BytesIO()
    codec.decompress_file(coded, buffer, format="WEBP")
    with Image.open(buffer) as image:
        assert image.format == "WEBP"
    with pytest.raises(codec.UsageError, match="format='PNG'"):
        codec.decompress_file(coded, buffer)
    with pytest.raises(codec.UsageError, match=r"\.gif"):
        codec.decompress_file(coded, tmp_path / "x.gif")
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_models() -> None:
    photo, *others = codec.list_models()
    assert (photo.model_id, photo.name, photo.layers) == (11, "photo", 4)
    # A number is never reused for another model.
    assert {
        "draw": 2, "dplc": 3,
        "vae-round": 4, "vae-dither": 5, "vae-rec": 6, "vae-vbq": 7, "vae-bits-back": 8,
        "draw-bits-back": 9, "compressai": 10, "vq": 14,
        "digits-fvsbn": 15, "digits-made": 16, "digits-pixelcnn": 17,
    }.items() <= {model.name: model.model_id for model in others}.items()  # fmt: skip
    assert 1 not in {model.model_id for model in others}, "that of a model that is gone"
