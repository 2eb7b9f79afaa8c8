"""Tunes from the command line to the header of a file, and back."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import codec
from bitstream import container_from_bytes, container_to_bytes
from bitstream.errors import HeaderError, UsageError
from codec import loading
from codec.cli import app
from codec.models.base import ForeignModel, TunedModel, variant_of
from codec.models.photo.config import TUNES
from codec.options import CompressOptions
from codec.pipeline.decode import decompress_container
from codec.rate_distortion import find_codec, model_codec
from tests.codec.models.photo.tiny import tiny_coder
from tests.codec.tiny import photographs

MODEL = "photo"
pytestmark = pytest.mark.usefixtures("tiny_weights")


@pytest.mark.parametrize("tune", TUNES)
@pytest.mark.parametrize("quality", [20, 80])
def test_a_file_is_decoded_with_the_tune_of_its_header(tune: str, quality: int) -> None:
    pixels = photographs(1, side=100)[0]
    data = codec.compress(pixels, model=MODEL, quality=quality, tune=tune)
    info = codec.inspect(data)
    assert (info.model_name, info.tune, info.portable) == (MODEL, tune, True)
    header = container_from_bytes(data).header
    assert (header.variant, header.machine_bound) == (TUNES.index(tune), False)
    model = loading.load_model_of(header, device="cpu")
    assert isinstance(model, TunedModel)
    assert model.tune == tune
    decoded = codec.decompress(data, as_="numpy")
    assert decoded.shape == pixels.shape
    error = np.square(decoded.astype(float) - pixels).mean()
    assert error < 300
    assert codec.verify(data).model_name == MODEL


def test_the_default_tune_is_for_eyes() -> None:
    pixels = photographs(1, side=64)[0]
    plain, visual, psnr = (
        codec.compress(pixels, model=MODEL, quality=60, tune=tune)
        for tune in (None, "visual", "psnr")
    )
    assert plain == visual != psnr


def test_tiles_and_regions_agree_with_the_whole_picture() -> None:
    pixels = np.concatenate([photographs(1, side=160)[0]] * 2, axis=1)
    model = tiny_coder()
    from codec.pictures.picture import Picture
    from codec.pipeline.encode import compress_picture

    container = compress_picture(Picture(pixels), model, quality=70, tile_size=64)
    assert container.header.tile_count == 15
    whole = decompress_container(container, model).pixels
    part = decompress_container(container, model, region=(50, 30, 100, 90)).pixels
    np.testing.assert_array_equal(part, whole[30:120, 50:150])


@pytest.mark.parametrize("variant", [None, 2, 65535])
def test_other_variants_are_refused(variant: int | None) -> None:
    container = container_from_bytes(codec.compress(photographs(1, side=64)[0], model=MODEL))
    other = replace(container, header=replace(container.header, variant=variant))
    with pytest.raises(HeaderError, match="variant"):
        codec.decompress(container_to_bytes(other))
    model = loading.load_model(MODEL, device="cpu")
    with pytest.raises(HeaderError, match="variant"):
        decompress_container(other, model)
    assert codec.inspect(container_to_bytes(other)).tune is None


def test_a_tune_is_no_variant_of_another_library() -> None:
    model = loading.load_model(MODEL, device="cpu")
    assert not isinstance(model, ForeignModel)
    assert variant_of(model) == TUNES.index("visual")
    assert variant_of(loading.with_tune(model, "psnr")) == TUNES.index("psnr")
    assert loading.with_tune(model, None) is model


def test_unknown_tunes_and_models_without_are_usage_errors() -> None:
    with pytest.raises(UsageError, match=r"'loud'.*psnr or visual"):
        CompressOptions(model=MODEL, tune="loud")
    with pytest.raises(UsageError, match="5 was given"):
        CompressOptions(model=MODEL, tune=5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no tunes: leave it out"):
        CompressOptions(model="draw", tune="psnr")
    with pytest.raises(UsageError, match="psnr or visual"):
        loading.with_tune(loading.load_model(MODEL, device="cpu"), "loud")


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photographs(1, side=64)[0]).save("photo.png")
    runner = CliRunner()
    done = runner.invoke(app, ["compress", "photo.png", "-m", MODEL, "--tune", "psnr"])
    assert done.exit_code == 0, done.output
    shown = runner.invoke(app, ["inspect", "photo.calo"]).output
    assert any(line.split() == ["tune", "psnr"] for line in shown.splitlines())
    assert json.loads(runner.invoke(app, ["inspect", "photo.calo", "--json"]).output)["tune"] == (
        "psnr"
    )
    refused = runner.invoke(app, ["compress", "photo.png", "--tune", "loud", "-o", "x.calo"])
    assert refused.exit_code == UsageError.exit_code
    assert not Path("x.calo").exists()


def test_plugins() -> None:
    import codec.plugins.pillow
    from codec.plugins.numcodecs import Calotype

    buffer = io.BytesIO()
    pixels = photographs(1, side=64)[0]
    Image.fromarray(pixels).save(buffer, format="CALO", model=MODEL, tune="psnr")
    assert codec.inspect(buffer.getvalue()).tune == "psnr"
    stored = Calotype(model=MODEL, tune="psnr")
    assert stored.get_config()["tune"] == "psnr"
    assert "tune" not in Calotype(model=MODEL).get_config()
    assert codec.inspect(stored.encode(pixels)).tune == "psnr"
    with pytest.raises(UsageError, match="psnr or visual"):
        Calotype(tune="loud")


def test_each_tune_is_a_codec_for_curves() -> None:
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)
    files = {}
    for tune in (None, "psnr"):
        known = model_codec("photo", tune)
        files[known.name] = known.encode(pixels, 60)
        assert known.decode(files[known.name]).shape == pixels.shape
        assert known.weights is not None
        assert known.weights() == codec.inspect(files[known.name]).weights_hash
    assert codec.inspect(files["photo"]).tune == "visual"
    assert codec.inspect(files["photo-psnr"]).tune == "psnr"


def test_curves_find_models_and_their_tunes_by_name() -> None:
    for name, tune in (("photo-psnr", "psnr"), ("photo", None)):
        found = find_codec(name)
        assert found.name == name
        assert found.encode == model_codec("photo", tune).encode
    with pytest.raises(UsageError, match="known are photo, jpeg"):
        find_codec("photon")


def test_a_seed_for_a_file_without_noise_gives_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.calo").write_bytes(codec.compress(photographs(1, side=64)[0], model=MODEL))
    runner = CliRunner()
    plain = runner.invoke(app, ["decompress", "a.calo", "-o", "plain.png"])
    assert "seed" not in plain.output
    seeded = runner.invoke(app, ["decompress", "a.calo", "-o", "seeded.png", "--seed", "7"])
    assert seeded.exit_code == 0
    assert "the seed 7 was given" in " ".join(seeded.output.split())
    assert Path("plain.png").read_bytes() == Path("seeded.png").read_bytes()
