"""The photo model's transforms in NumPy beside those in torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

import codec
from bitstream.errors import WeightsMismatchError
from codec import loading
from codec.models.photo import numpy_network as photo_numpy
from codec.models.photo.config import PhotoConfig
from codec.models.photo.network import PhotoModel
from codec.models.photo.numpy_network import PREFIX, NumpyTransforms, network_shapes
from codec.models.photo.torch_network import TorchTransforms
from tests.codec.tiny import TINY, lively_arrays, photographs

ROOT = Path(__file__).parents[4]
Array = npt.NDArray[np.generic]
POSITIONS = (0.0, 0.37, 0.75, 1.0)


@pytest.fixture(scope="module")
def arrays() -> dict[str, Array]:
    return lively_arrays()


@pytest.fixture(scope="module")
def transforms(arrays: dict[str, Array]) -> NumpyTransforms:
    return NumpyTransforms(arrays, TINY)


@pytest.fixture(scope="module")
def reference(arrays: dict[str, Array]) -> TorchTransforms:
    return TorchTransforms(arrays, TINY, torch.device("cpu"))


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("size", [(16, 16), (128, 48), (80, 112)])
def test_latents_are_those_of_torch(
    transforms: NumpyTransforms,
    reference: TorchTransforms,
    position: float,
    size: tuple[int, int],
) -> None:
    height, width = size
    pixels = photographs(1)[0][:height, :width]
    pixels.flags.writeable = False  # as Pillow hands them out
    latents = reference.analyze(pixels, position)
    found = transforms.analyze(pixels, position)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, latents, rtol=1e-4, atol=1e-4 * np.abs(latents).max())
    hyper = reference.hyper_analyze(latents, position)
    np.testing.assert_allclose(
        transforms.hyper_analyze(latents, position),
        hyper,
        rtol=1e-3,
        atol=1e-4 * np.abs(hyper).max(),
    )


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("size", [(1, 1), (3, 8), (8, 5)])
@pytest.mark.parametrize("threads", [1, 2])
def test_pixels_are_those_of_torch(
    transforms: NumpyTransforms,
    reference: TorchTransforms,
    position: float,
    size: tuple[int, int],
    threads: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(photo_numpy, "thread_count", lambda: threads)
    rows, columns = size
    latents = np.rint(reference.analyze(photographs(1)[0], position)[:, :rows, :columns])
    expected = reference.synthesize(latents, position)
    found = transforms.synthesize(latents, position)
    assert found.shape == (16 * rows, 16 * columns, 3)
    assert len(np.unique(expected)) > 3
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 2e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, 2.0**30])
def test_any_latents_make_pixels(transforms: NumpyTransforms, value: float) -> None:
    latents = np.zeros((TINY.latent_channels, 3, 5), dtype=np.float32)
    latents[:, 1, 2:] = value
    assert transforms.synthesize(latents, 0.5).shape == (48, 80, 3)
    assert transforms.hyper_analyze(latents, 0.5).shape == (TINY.hyper_channels, 1, 2)


@pytest.mark.parametrize(
    "config", [TINY, PhotoConfig(), PhotoConfig(blocks_16=1, blocks_8=0, width_4=8, knots=2)]
)
def test_shapes_are_those_of_the_network(config: PhotoConfig) -> None:
    expected = {
        name: tuple(parameter.shape)
        for name, parameter in PhotoModel(config).state_dict().items()
        if not name.startswith(("hyper_synthesis", "context"))
    }
    assert network_shapes(config) == expected


@pytest.mark.parametrize("name", ["analysis.stem.weight", "synthesis.stage_4.blocks.0.scale.knots"])
def test_weights_of_other_sizes_are_refused(arrays: dict[str, Array], name: str) -> None:
    with pytest.raises(WeightsMismatchError, match=f"{name} is missing"):
        NumpyTransforms({k: a for k, a in arrays.items() if k != PREFIX + name}, TINY)
    with pytest.raises(WeightsMismatchError, match=f"{name} is .*, expected "):
        NumpyTransforms({**arrays, PREFIX + name: arrays[PREFIX + name][1:]}, TINY)
    with pytest.raises(WeightsMismatchError, match=r"network\.more is .*no such array"):
        NumpyTransforms({**arrays, PREFIX + "more": np.zeros(3)}, TINY)


def test_the_device_chooses_the_runtime(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(loading.load_model("photo", device="cpu").transforms, NumpyTransforms)  # type: ignore[attr-defined]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    # Torch is loaded here, and so it is asked.
    monkeypatch.setattr(loading, "_load", lambda *arguments: arguments[-1])
    assert loading.load_model("photo", device="auto") == "cuda"  # type: ignore[comparison-overlap]
    monkeypatch.delitem(sys.modules, "torch")
    assert loading.load_model("photo", device="auto") == "cpu"  # type: ignore[comparison-overlap]


@pytest.mark.usefixtures("tiny_weights")
def test_the_command_codes_without_torch(tmp_path: Path) -> None:
    """Torch takes seconds to import, which is most of what coding one photograph would cost."""
    pixels = photographs(1, side=64)[0]
    for name in ("one.ppm", "two.ppm"):
        (tmp_path / name).write_bytes(b"P6 64 64 255\n" + pixels.tobytes())
    code = (
        "import sys\n"
        "from codec.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as done:\n"
        "    assert not done.code, done.code\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words in (
        ["compress", "one.ppm", "--psnr", "22"],
        ["decompress", "one.calo"],
        ["decompress", "one.calo", "-f", "--region", "1,2,9,9", "--device", "cpu"],
        ["verify", "one.calo"],
        ["compress", "one.ppm", "two.ppm", "-j", "2", "-o", "packed"],
    ):
        subprocess.run(
            [sys.executable, "-c", code, *words], check=True, cwd=tmp_path, env=environment
        )
    decoded = codec.decompress(tmp_path / "one.calo", as_="numpy")
    assert decoded.shape == (64, 64, 3)
