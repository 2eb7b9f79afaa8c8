"""The photo model's networks through OpenVINO beside those in NumPy."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import numpy.typing as npt
import pytest

import codec
from bitstream.errors import UsageError
from codec import loading
from codec.models.photo import openvino_network as photo_openvino
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.numpy_network import NumpyTransforms
from codec.models.photo.openvino_network import OpenVinoTransforms
from codec.system.missing_extra import MissingExtraError
from tests.codec.tiny import TINY, lively_arrays, photographs

ROOT = Path(__file__).parents[4]
Array = npt.NDArray[np.generic]


@pytest.fixture(scope="module")
def arrays() -> dict[str, Array]:
    return lively_arrays()


@pytest.fixture(scope="module")
def transforms(arrays: dict[str, Array]) -> OpenVinoTransforms:
    return OpenVinoTransforms(arrays, TINY)


@pytest.fixture(scope="module")
def reference(arrays: dict[str, Array]) -> NumpyTransforms:
    return NumpyTransforms(arrays, TINY)


@pytest.mark.parametrize("position", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("size", [(16, 16), (128, 48), (80, 112)])
def test_numbers_are_those_of_numpy(
    transforms: OpenVinoTransforms,
    reference: NumpyTransforms,
    position: float,
    size: tuple[int, int],
) -> None:
    height, width = size
    pixels = photographs(1)[0][:height, :width]
    latents = reference.analyze(pixels, position)
    found = transforms.analyze(pixels, position)
    assert found.dtype == np.float32
    assert found.shape == latents.shape
    # Bfloat16 has eight bits, and a network some layers.
    assert np.abs(found - latents).max() < 0.02 * np.abs(latents).max()
    hyper = reference.hyper_analyze(latents, position)
    found = transforms.hyper_analyze(latents, position)
    assert found.dtype == np.float32
    assert found.shape == hyper.shape
    assert np.abs(found - hyper).max() < 0.03 * np.abs(hyper).max()
    expected = reference.synthesize(np.rint(latents), position)
    drawn = transforms.synthesize(np.rint(latents), position)
    assert drawn.shape == expected.shape == (height, width, 3)
    assert len(np.unique(expected)) > 3
    difference = np.abs(drawn.astype(int) - expected)
    assert difference.max() <= 3
    assert difference.mean() < 0.5


def test_the_linear_part_stays_exact(arrays: dict[str, Array]) -> None:
    """Where the networks are silent, nothing of the latents is rounded to bfloat16."""
    silent = {
        name: np.zeros_like(array)
        if name.startswith(("network.analysis.out", "network.synthesis.out"))
        else array
        for name, array in arrays.items()
    }
    pixels = photographs(1)[0]
    one, other = (kind(silent, TINY) for kind in (NumpyTransforms, OpenVinoTransforms))
    latents = one.analyze(pixels, 1.0)
    assert np.abs(latents).max() > 200  # where bfloat16 has no fractions
    np.testing.assert_array_equal(other.analyze(pixels, 1.0), latents)
    np.testing.assert_array_equal(other.synthesize(latents, 1.0), one.synthesize(latents, 1.0))


def test_threads_draw_at_the_same_time(
    transforms: OpenVinoTransforms, reference: NumpyTransforms
) -> None:
    sets = [reference.analyze(pixels, 0.6) for pixels in photographs(4)]
    # By one thread of a pool, alone: in the main thread the runtime rounds differently on some
    # processors, whether or not others draw at the same time.
    with ThreadPoolExecutor(1) as pool:
        expected = list(pool.map(lambda latents: transforms.synthesize(latents, 0.6), sets))
    start = Barrier(4)

    def draw(number: int) -> bool:
        start.wait()
        same = (transforms.synthesize(sets[number], 0.6) == expected[number]).all()
        return bool(same)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(draw, range(4)))


def test_networks_are_kept_for_the_next_image(
    arrays: dict[str, Array], monkeypatch: pytest.MonkeyPatch
) -> None:
    transforms = OpenVinoTransforms(arrays, TINY)
    made: list[tuple[str, float, int]] = []
    compiled = transforms._compiled

    def counted(name: str, position: float, threads: int) -> photo_openvino.Run:
        made.append((name, position, threads))
        return compiled(name, position, threads)

    monkeypatch.setattr(transforms, "_compiled", counted)
    monkeypatch.setattr(photo_openvino, "thread_count", lambda: 2)
    pixels = photographs(1)[0]
    for _ in range(2):
        transforms.synthesize(transforms.analyze(pixels, 0.5), 0.5)
    assert made == [("analysis", 0.5, 2), ("synthesis", 0.5, 2)]
    monkeypatch.setattr(photo_openvino, "thread_count", lambda: 1)
    for position in np.linspace(0, 1, 2 * photo_openvino.MAX_IDLE):
        transforms.analyze(pixels, float(position))
    assert len(transforms._idle) == photo_openvino.MAX_IDLE


@pytest.mark.usefixtures("tiny_weights")
def test_files_are_the_same_symbols() -> None:
    pixels = photographs(1)[0]
    coders = [loading.load_model("photo", device=device) for device in ("cpu", "openvino")]
    assert all(isinstance(coder, PhotoCoder) for coder in coders)
    numpy_coder, coder = coders
    assert isinstance(coder.transforms, OpenVinoTransforms)  # type: ignore[attr-defined]
    assert str(coder.device) == "cpu"  # type: ignore[attr-defined]
    data = codec.compress(pixels, device="openvino")
    assert abs(len(data) - len(codec.compress(pixels, device="cpu"))) < 0.05 * len(data)
    drawn = [codec.decompress(data, as_="numpy", device=d).astype(int) for d in ("cpu", "openvino")]
    assert np.abs(drawn[0] - drawn[1]).max() <= 3
    payloads = numpy_coder.encode_tile(coder.analyze(pixels, 40), 40)
    one, other = (c.decode_tile(payloads, 8, 8, 40) for c in coders)
    np.testing.assert_array_equal(one, other)


def test_other_models_have_no_such_device(tiny_digits: Path) -> None:
    with pytest.raises(UsageError, match=r"'openvino'.*'vae-rec' computes.*auto, cpu, cuda$"):
        loading.load_model("vae-rec", device="openvino")


@pytest.mark.usefixtures("tiny_weights")
def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    loading._load.cache_clear()
    with pytest.raises(MissingExtraError, match="install the extra 'openvino'"):
        codec.compress(photographs(1)[0], device="openvino")
    assert sys.modules.get(photo_openvino.REPORTS, "absent") is not None


@pytest.mark.usefixtures("tiny_weights")
def test_the_command_reports_to_nobody(tmp_path: Path) -> None:
    """The library's own telemetry writes a number of the user into the home folder."""
    pixels = photographs(1, side=64)[0]
    (tmp_path / "one.ppm").write_bytes(b"P6 64 64 255\n" + pixels.tobytes())
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys\n"
        "from codec.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as done:\n"
        "    assert not done.code, done.code\n"
        "assert 'openvino' in sys.modules\n"
        f"assert {photo_openvino.REPORTS!r} not in sys.modules\n"
        "assert 'torch' not in sys.modules\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(home)}
    for words in (["compress", "one.ppm"], ["decompress", "one.calo"]):
        subprocess.run(
            [sys.executable, "-c", code, *words, "--device", "openvino"],
            check=True,
            cwd=tmp_path,
            env=environment,
        )
    assert not list(home.iterdir())


def test_threads_may_use_the_library_first_together() -> None:
    """It waits for ever where two threads are the first to need NumPy's interface."""
    code = (
        "import sys\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "from threading import Barrier\n"
        "from codec.models.photo.openvino_network import load_library\n"
        "sys.setswitchinterval(1e-6)\n"
        "start = Barrier(8)\n"
        "def use(number):\n"
        "    start.wait()\n"
        "    return load_library().Type.f32.to_dtype()\n"
        "with ThreadPoolExecutor(8) as pool:\n"
        "    assert len(set(pool.map(use, range(8)))) == 1\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, timeout=60)
