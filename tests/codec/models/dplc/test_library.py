"""The distribution-preserving codec in the library and the command."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import codec
from bitstream import UsageError, WeightsMissingError, container_from_bytes, container_to_bytes
from codec import loading
from codec.cli import app
from codec.loading import load_model
from codec.models import weights_files
from codec.models.dplc.coder import DplcCoder
from tests.codec.models.dplc.tiny import PLAIN, scene, write_tiny_dplc

Uint8Array = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def dplc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dplc")
    write_tiny_dplc(folder)
    return folder


@pytest.fixture
def model(dplc_folder: Path, monkeypatch: pytest.MonkeyPatch) -> DplcCoder:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(dplc_folder))
    loaded = load_model("dplc", device="cpu")
    assert isinstance(loaded, DplcCoder)
    return loaded


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    write_tiny_dplc(folder, PLAIN)
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(folder))


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


def pixels_of(data: bytes, **options: Any) -> Uint8Array:
    found: Uint8Array = codec.decompress(data, as_="numpy", **options)
    return found


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("shape", [(1, 1, 3), (17, 40, 3), (33, 50, 1), (40, 65, 4)])
@pytest.mark.parametrize("quality", [1, 50, 100])
def test_the_library_codes_and_decodes(shape: tuple[int, int, int], quality: float) -> None:
    pixels = scene(*shape[:2], min(shape[2], 3))
    if shape[2] == 4:
        pixels = np.concatenate([pixels, 255 - pixels[:, :, :1]], axis=2)
    data = codec.compress(pixels, model="dplc", quality=quality)
    info = codec.inspect(data)
    assert (info.model_id, info.model_name, info.layers, info.tiles_x) == (3, "dplc", 1, 1)
    assert (info.noise, info.noise_seed) == ("replay", 0)
    found = pixels_of(data)
    assert found.shape == (shape if shape[2] > 1 else shape[:2])
    np.testing.assert_array_equal(found, pixels_of(data))
    if shape[2] == 4:
        np.testing.assert_array_equal(found[..., 3], pixels[..., 3])
    assert codec.verify(data).model_name == "dplc"


@pytest.mark.usefixtures("model")
def test_a_file_without_a_seed_is_drawn_afresh() -> None:
    pixels = scene(64, 64)
    free = codec.compress(pixels, model="dplc", noise_seed=None)
    info = codec.inspect(free)
    assert (info.noise, info.noise_seed) == ("free", None)
    assert (pixels_of(free) != pixels_of(free)).any()
    replay = codec.compress(pixels, model="dplc", noise_seed=2**63 - 1)
    assert codec.inspect(replay).noise_seed == 2**63 - 1
    assert len(replay) == len(free) + 9
    np.testing.assert_array_equal(pixels_of(free, seed=2**63 - 1), pixels_of(replay))
    np.testing.assert_array_equal(pixels_of(replay, seed=3), pixels_of(free, seed=3))
    codec.verify(free)
    for data in (free, replay):
        whole = pixels_of(data, seed=5).astype(int)
        part = pixels_of(data, seed=5, region=(30, 3, 20, 40))
        assert np.abs(part - whole[3:43, 30:50]).max() <= 1


@pytest.mark.usefixtures("model")
def test_one_picture_as_the_bytes_arrive() -> None:
    data = codec.compress(scene(40, 40), model="dplc", noise_seed=None)
    (image,) = codec.decompress_progressive(io.BytesIO(data), as_="numpy", seed=11)
    np.testing.assert_array_equal(image, pixels_of(data, seed=11))


@pytest.mark.usefixtures("model")
def test_targets_are_met_on_the_noise_of_the_seed() -> None:
    pixels, out = scene(96, 128), io.BytesIO()
    goal = 5.0
    done = codec.compress_to_file(pixels, out, model="dplc", psnr=goal, noise_seed=4)
    error = np.mean((pixels_of(out.getvalue()).astype(float) - pixels) ** 2)
    assert done.psnr_db == pytest.approx(10 * np.log10(255**2 / error))
    assert codec.inspect(out.getvalue()).noise_seed == 4
    small = codec.compress(pixels, model="dplc", size=done.size_bytes + 20)
    assert len(small) <= done.size_bytes + 20


def test_an_autoencoder_without_noise_has_no_seed(plain: None) -> None:
    data = codec.compress(scene(32, 32), model="dplc", noise_seed=9)
    assert (codec.inspect(data).noise, codec.inspect(data).noise_seed) == ("none", None)
    np.testing.assert_array_equal(pixels_of(data), pixels_of(data, seed=1))


@pytest.mark.usefixtures("tiny_weights")
def test_other_models_ignore_the_seed_and_refuse_one_in_a_file(photograph: Uint8Array) -> None:
    data = codec.compress(photograph, noise_seed=5)
    assert data == codec.compress(photograph)
    info = codec.inspect(data)
    assert (info.noise, info.noise_seed) == ("none", None)
    container = container_from_bytes(data)
    object.__setattr__(container.header, "noise_seed", 5)
    odd = container_to_bytes(container)
    assert codec.inspect(odd).noise_seed == 5
    for use in (codec.decompress, codec.verify):
        with pytest.raises(codec.StreamError, match=r"noise seed 5 .*expected none.*photo"):
            use(odd)
    with pytest.raises(codec.StreamError, match="noise seed 5"):
        pixels_of(odd, region=(0, 0, 5, 5))


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, "free"])
def test_wrong_seeds_are_refused_before_the_image_is_read(seed: Any) -> None:
    with pytest.raises(UsageError, match=r"noise_seed .* 0 \.\. 9223372036854775807"):
        codec.compress("/does/not/exist.png", model="dplc", noise_seed=seed)


@pytest.mark.usefixtures("model")
def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(scene(40, 64)).save("a.png")
    run("compress", "a.png", "-m", "dplc", "-o", "zero.calo")
    run("compress", "a.png", "-m", "dplc", "-o", "seven.calo", "--noise-seed", 7)
    run("compress", "a.png", "-m", "dplc", "-o", "free.calo", "--noise-seed", "free")
    assert "noise     seed 0: the same each time" in run("inspect", "zero.calo").stdout
    assert "noise     seed 7: the same each time" in run("inspect", "seven.calo").stdout
    assert "noise     free: drawn afresh each time" in run("inspect", "free.calo").stdout
    for name, policy, seed in (("seven", "replay", 7), ("free", "free", None)):
        info = json.loads(run("inspect", f"{name}.calo", "--json").stdout)
        assert (info["noise"], info["noise_seed"]) == (policy, seed)
        run("verify", f"{name}.calo")
        run("decompress", f"{name}.calo", "-o", f"{name}.png", "--seed", 7)
    run("decompress", "seven.calo", "-o", "again.png")
    expected = np.asarray(Image.open("seven.png"))
    for name in ("again", "free"):
        np.testing.assert_array_equal(np.asarray(Image.open(f"{name}.png")), expected)
    for text in ("-1", "one", "", "1.5", str(2**63)):
        message = run("compress", "a.png", "-m", "dplc", f"--noise-seed={text}", code=2).stderr
        assert "seed" in message


def test_without_weights_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_files, "WEIGHTS_FOLDER", tmp_path)
    monkeypatch.delenv(loading.ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(WeightsMissingError, match="'dplc' has no weights"):
        codec.compress(np.zeros((8, 8, 3), np.uint8), model="dplc")
