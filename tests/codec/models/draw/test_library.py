"""DRAW through the library: whole files, their layers, and an installation without weights."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from safetensors.numpy import load_file
from typer.testing import CliRunner

import codec
from bitstream import container_from_bytes
from codec import loading
from codec.cli import app
from codec.models import weights_files
from codec.models.draw import DRAW
from codec.models.draw.coder import DrawCoder
from tests.codec.models.draw.tiny import CONFIG, arrays, write_tiny_draw
from tests.codec.tiny import photographs

Uint8Array = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def draw_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("draw")
    write_tiny_draw(folder)
    return folder


@pytest.fixture
def model(draw_folder: Path, monkeypatch: pytest.MonkeyPatch) -> DrawCoder:
    monkeypatch.setenv(loading.ENVIRONMENT_VARIABLE, str(draw_folder))
    loaded = loading.load_model("draw", device="cpu")
    assert isinstance(loaded, DrawCoder)
    return loaded


def pixels_of(data: bytes, *, layers: int | None = None, seed: int | None = None) -> Uint8Array:
    found: Uint8Array = codec.decompress(data, as_="numpy", layers=layers, seed=seed)
    return found


@pytest.mark.usefixtures("model")
@pytest.mark.parametrize("shape", [(1, 1, 3), (37, 53, 3), (64, 64, 1), (9, 130, 4)])
@pytest.mark.parametrize("quality", [1, 62.5, 100])
def test_pictures_of_any_size_come_back(shape: tuple[int, int, int], quality: float) -> None:
    pixels = photographs(1, side=130, seed=31)[0][: shape[0], : shape[1]]
    if shape[2] == 1:
        pixels = pixels[:, :, :1]
    elif shape[2] == 4:
        pixels = np.concatenate([pixels, 255 - pixels[:, :, :1]], axis=2)
    data = codec.compress(pixels, model="draw", quality=quality)
    info = codec.inspect(data)
    assert (info.model_name, info.layers, info.tiles_x) == ("draw", CONFIG.steps, 1)
    assert len(info.layer_bytes) == CONFIG.steps
    decoded = pixels_of(data)
    assert decoded.shape == (shape if shape[2] > 1 else shape[:2])
    assert decoded.dtype == np.uint8
    if shape[2] == 4:
        np.testing.assert_array_equal(decoded[:, :, 3], pixels[:, :, 3])
    assert np.array_equal(pixels_of(data), decoded)
    codec.verify(data)


def test_the_file_has_the_symbols_that_the_model_chose(model: DrawCoder) -> None:
    pixels = photographs(1, side=40, seed=32)[0]
    data = codec.compress(pixels, model="draw", quality=71.25)
    payloads = [layer[0] for layer in container_from_bytes(data).payloads]
    expected = model.encode_tile(model.analyze(pixels, 71.25), 71.25)
    assert payloads == list(expected)
    decoded = model.decode_tile(payloads, 5, 5, 71.25)
    np.testing.assert_array_equal(pixels_of(data), model.synthesize(decoded, 71.25))


def test_a_weights_file_holds_what_was_exported(draw_folder: Path) -> None:
    stored, expected = load_file(draw_folder / "draw.safetensors"), arrays()
    assert stored.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(stored[name], array, err_msg=name)


@pytest.mark.usefixtures("model")
def test_layers_of_a_file() -> None:
    pixels = photographs(1, side=64, seed=33)[0]
    data = codec.compress(pixels, model="draw", quality=80)
    pictures = [np.asarray(p) for p in codec.decompress_progressive(io.BytesIO(data))]
    assert len(pictures) == CONFIG.steps
    for layers, picture in enumerate(pictures, start=1):
        np.testing.assert_array_equal(pixels_of(data, layers=layers), picture)
    np.testing.assert_array_equal(pixels_of(data), pictures[-1])
    errors = [np.mean((p.astype(float) - pixels) ** 2) for p in pictures]
    assert errors == sorted(errors, reverse=True)
    cut = data[: len(data) * 3 // 4]
    found: Uint8Array = codec.decompress(cut, partial=True, as_="numpy")
    assert any(np.array_equal(found, picture) for picture in pictures[:-1])
    one, same, other = (pixels_of(data, layers=1, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


@pytest.mark.usefixtures("model")
def test_a_region_is_a_part_of_the_picture() -> None:
    data = codec.compress(photographs(1, side=50, seed=34)[0], model="draw")
    found: Uint8Array = codec.decompress(data, region=(11, 3, 30, 7), as_="numpy")
    np.testing.assert_array_equal(found, pixels_of(data)[3:10, 11:41])


@pytest.mark.usefixtures("model")
def test_the_command(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.fromarray(photographs(1, side=48, seed=35)[0]).save(picture)
    runner = CliRunner()
    packed, back = tmp_path / "a.calo", tmp_path / "b.png"
    assert runner.invoke(app, ["compress", str(picture), "-m", "draw"]).exit_code == 0
    arguments = ["decompress", str(packed), "-o", str(back), "--layers", "2"]
    assert runner.invoke(app, arguments).exit_code == 0
    np.testing.assert_array_equal(
        np.asarray(Image.open(back)), pixels_of(packed.read_bytes(), layers=2)
    )


def test_without_weights_the_error_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights_files, "WEIGHTS_FOLDER", tmp_path)
    monkeypatch.delenv(loading.ENVIRONMENT_VARIABLE, raising=False)
    with pytest.raises(codec.WeightsMissingError, match="'draw' has no weights"):
        codec.compress(np.zeros((8, 8, 3), np.uint8), model="draw")


def test_the_catalogue_has_it() -> None:
    (entry,) = (model for model in codec.list_models() if model.name == "draw")
    assert (entry.model_id, entry.description, entry.layers) == (2, DRAW.description, 8)
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0
    assert "2  draw" in result.stdout
