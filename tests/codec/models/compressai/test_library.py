"""Checkpoints in the library and the command, tested with stand-ins."""

from __future__ import annotations

import dataclasses
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import codec
from bitstream import HeaderError, UnknownModelError, container_from_bytes, container_to_bytes
from codec import loading
from codec.cli import app
from codec.models import weights_files
from codec.models.compressai import ARCHITECTURES, COMPRESSAI
from codec.models.compressai import checkpoint as zoo
from tests.codec.models.compressai.tiny import stand_in_network, write_checkpoint

Uint8Array = npt.NDArray[np.uint8]
MEAN = "compressai:mbt2018-mean"


@pytest.fixture(autouse=True)
def _stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "network_of", stand_in_network)
    monkeypatch.delenv(loading.ENVIRONMENT_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def checkpoint(folder: Path) -> Path:
    return write_checkpoint(folder, "mbt2018-mean")


@pytest.fixture
def coded(photograph: Uint8Array, checkpoint: Path) -> bytes:
    return codec.compress(photograph, model=MEAN, checkpoint=checkpoint)


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def changed(data: bytes, **fields: Any) -> bytes:
    container = container_from_bytes(data)
    header = dataclasses.replace(container.header, **fields)
    return container_to_bytes(dataclasses.replace(container, header=header))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_library_codes_and_decodes(
    architecture: str, tmp_path: Path, photograph: Uint8Array
) -> None:
    path = str(write_checkpoint(tmp_path, architecture))
    name = f"compressai:{architecture}"
    buffer = io.BytesIO()
    done = codec.compress_to_file(photograph, buffer, model=name, checkpoint=path)
    data = buffer.getvalue()
    assert (done.model_name, done.size_bytes, done.trials) == (name, len(data), 1)
    info = codec.inspect(data)
    assert (info.model_id, info.model_name, info.portable) == (10, name, False)
    assert info.weights_hash == loading.hash_weights(Path(path)).hex()[:16]
    assert codec.verify(data, checkpoint=path).model_name == name
    whole = codec.decompress(data, checkpoint=path, as_="numpy")
    assert whole.shape == photograph.shape
    part = codec.decompress(data, checkpoint=path, as_="numpy", region=(3, 20, 40, 9))
    assert np.abs(part.astype(int) - whole[20:29, 3:43]).max() <= 1
    assert data == codec.compress(photograph, model=name, checkpoint=Path(path))


def test_grey_pictures_alpha_and_metadata_come_back(checkpoint: Path, tmp_path: Path) -> None:
    pixels = np.linspace(0, 255, 40 * 30 * 2).astype(np.uint8).reshape(40, 30, 2)
    image = Image.fromarray(pixels, "LA")
    data = codec.compress(image, model=MEAN, checkpoint=checkpoint)
    found = codec.decompress(data, checkpoint=checkpoint, as_="numpy")
    assert found.shape == pixels.shape
    np.testing.assert_array_equal(found[..., 1], pixels[..., 1])


def test_a_checkpoint_is_found_by_its_hash(
    coded: bytes, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = codec.decompress(coded, checkpoint=checkpoint, as_="numpy")
    with pytest.raises(codec.WeightsMissingError, match=codec.inspect(coded).weights_hash):
        codec.decompress(coded)
    own = tmp_path / "own"
    own.mkdir()
    write_checkpoint(own, "mbt2018-mean", seed=1)
    (own / "notes.txt").write_bytes(checkpoint.read_bytes())
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, os.pathsep.join([str(tmp_path), str(own)]))
    with pytest.raises(codec.WeightsMissingError, match="--checkpoint FILE"):
        codec.decompress(coded)
    monkeypatch.setattr(weights_files, "MAX_FILE_BYTES", checkpoint.stat().st_size)
    (own / "far too large.pt").write_bytes(checkpoint.read_bytes() + bytes(1))
    (own / "any name.PT").write_bytes(checkpoint.read_bytes())
    np.testing.assert_array_equal(codec.decompress(coded, as_="numpy"), expected)
    (image,) = codec.decompress_progressive(coded, as_="numpy")
    np.testing.assert_array_equal(image, expected)
    assert codec.verify(coded).model_name == MEAN


def test_another_checkpoint_is_refused_by_its_hash(coded: bytes, tmp_path: Path) -> None:
    other = write_checkpoint(tmp_path, "mbt2018-mean", seed=1)
    for use in (codec.decompress, codec.verify):
        with pytest.raises(codec.WeightsMismatchError, match="the same checkpoint, unchanged"):
            use(coded, checkpoint=other)
    with pytest.raises(codec.WeightsMissingError, match="cannot read "):
        codec.decompress(coded, checkpoint=tmp_path / "gone.pth")
    with pytest.raises(codec.WeightsMissingError, match="cannot read "):
        codec.decompress(coded, checkpoint=tmp_path)


def test_a_checkpoint_that_is_too_large_is_not_read(
    coded: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights_files, "MAX_FILE_BYTES", 1000)
    large = tmp_path / "large.pth"
    large.write_bytes(bytes(1001))
    with pytest.raises(codec.WeightsMismatchError, match="1001 bytes, but the limit is 1000"):
        codec.decompress(coded, checkpoint=large)


def test_what_is_no_checkpoint_is_refused(photograph: Uint8Array, tmp_path: Path) -> None:
    path = tmp_path / "odd.pth"
    path.write_bytes(b"no checkpoint")
    with pytest.raises(codec.WeightsMismatchError, match=r"odd\.pth: it is no checkpoint"):
        codec.compress(photograph, model=MEAN, checkpoint=path)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"model": "compressai"}, UnknownModelError, "no architecture was named.*mbt2018-mean"),
        ({"model": "compressai:hific"}, UnknownModelError, "'hific' is unknown.*cheng2020-attn"),
        ({"model": MEAN}, codec.UsageError, "give a checkpoint of mbt2018-mean"),
        ({"model": MEAN, "checkpoint": 3}, codec.UsageError, "expected a path"),
        ({"checkpoint": "x.pth"}, codec.UsageError, "'photo', which has weights of its own"),
        ({"model": MEAN, "checkpoint": "x", "quality": 75}, codec.UsageError, "one rate"),
        ({"model": "10:mbt2018", "checkpoint": "x", "bpp": 1}, codec.UsageError, "bpp.*one rate"),
        ({"model": MEAN, "checkpoint": "x", "size": 900}, codec.UsageError, "size.*one rate"),
        ({"model": MEAN, "checkpoint": "x", "psnr": 30}, codec.UsageError, "psnr.*one rate"),
    ],
)
def test_options_are_checked_before_the_image_is_read(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        codec.compress("/does/not/exist.png", **options)


@pytest.mark.usefixtures("tiny_weights")
def test_files_of_other_models_take_no_checkpoint(photograph: Uint8Array, checkpoint: Path) -> None:
    data = codec.compress(photograph)
    with pytest.raises(codec.UsageError, match="the model is 'photo', which has weights"):
        codec.decompress(data, checkpoint=checkpoint)
    for fields, message in (
        ({"machine_bound": True}, "expected False and 1 of the model photo"),
        ({"variant": 3}, r"variant 3 in the header, expected 0 \.\. 1, the tunes of photo"),
        ({"machine_bound": True, "variant": 0}, "expected False and 0 of the model photo"),
    ):
        for use in (codec.decompress, codec.verify):
            with pytest.raises(HeaderError, match=message):
                use(changed(data, **fields))
    assert not codec.inspect(changed(data, machine_bound=True)).portable


def test_files_without_the_flag_or_with_another_variant_are_refused(
    coded: bytes, checkpoint: Path
) -> None:
    with pytest.raises(HeaderError, match="machine-bound False and variant 3"):
        codec.decompress(changed(coded, machine_bound=False), checkpoint=checkpoint)
    for variant in (None, 7, 65535):
        data = changed(coded, variant=variant)
        with pytest.raises(UnknownModelError, match=f"architecture {variant} .*newer version"):
            codec.decompress(data, checkpoint=checkpoint)
        assert codec.inspect(data).model_name == "compressai"
    assert codec.inspect(changed(coded, variant=6)).model_name == "compressai:cheng2020-attn"


def test_architectures_keep_their_numbers() -> None:
    assert ARCHITECTURES == (
        "bmshj2018-factorized", "bmshj2018-factorized-relu", "bmshj2018-hyperprior",
        "mbt2018-mean", "mbt2018", "cheng2020-anchor", "cheng2020-attn",
    )  # fmt: skip
    for variant, name in enumerate(ARCHITECTURES):
        assert (COMPRESSAI.variant(name), COMPRESSAI.variant_name(variant)) == (variant, name)
    for wrong in (-1, None, 7):
        with pytest.raises(UnknownModelError):
            COMPRESSAI.variant_name(wrong)


def test_the_command(
    checkpoint: Path, tmp_path: Path, photograph: Uint8Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photograph).save("a.png")
    done = run("compress", "a.png", "-m", MEAN, "--checkpoint", checkpoint)
    assert f"bpp  {MEAN}, bound to this machine" in done.stdout
    text = run("inspect", "a.calo").stdout
    assert f"model     {MEAN} (number 10)" in text
    assert "quality   one rate, that of the checkpoint" in text
    assert "portable  no: " in text
    assert json.loads(run("inspect", "a.calo", "--json").stdout)["portable"] is False
    assert f"model {MEAN}, weights" in run("verify", "a.calo", "--checkpoint", checkpoint).stdout
    run("decompress", "a.calo", "-o", "b.png", "--checkpoint", checkpoint)
    with Image.open("b.png") as image:
        expected = codec.decompress("a.calo", checkpoint=checkpoint, as_="numpy")
        np.testing.assert_array_equal(np.asarray(image), expected)
    assert "--checkpoint FILE" in run("decompress", "a.calo", "-o", "c.png", code=5).stderr
    for arguments, code, message in (
        (["-m", MEAN], 2, "--checkpoint FILE"),
        (["-m", MEAN, "--checkpoint", checkpoint, "-q", "50"], 2, "one rate"),
        (["-m", MEAN, "--checkpoint", "gone.pth"], 5, "cannot read gone.pth: No such file"),
        (["-m", "compressai:x", "--checkpoint", checkpoint], 5, "'x' is unknown"),
        (["--checkpoint", checkpoint], 2, "weights of its own"),
    ):
        assert message in run("compress", "a.png", "-f", *arguments, code=code).stderr
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(checkpoint.parent))
    run("verify", "a.calo")
    assert "compressai" in run("models").stdout
