"""The comparison of runtimes: what it starts, and what it makes of the times."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.speed import runtimes
from codec import loading
from tests.codec.tiny import photographs


def test_medians_of_every_key() -> None:
    rows = [{"a": 1.0, "b": 5.0}, {"a": 3.0, "b": 4.0}, {"a": 2.0, "b": 9.0}]
    assert runtimes.medians(rows) == {"a": 2.0, "b": 5.0}


def test_calls_take_turns_and_the_first_round_is_free() -> None:
    order: list[str] = []
    times = runtimes.take_turns({"x": lambda: order.append("x"), "y": lambda: order.append("y")}, 2)
    assert order == ["x", "y"] * 3
    assert set(times) == {"x", "y"}
    assert set(times["x"]) == {"seconds", "cpu_seconds"}


def test_the_peer_has_no_fewer_bytes() -> None:
    picture = Image.fromarray(photographs(1)[0])
    data = runtimes.avif_of_size(picture, 2500)
    assert 2500 <= len(data) < 5000
    assert Image.open(io.BytesIO(data)).format == "AVIF"


def test_runtimes_that_are_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = ["torch", "torch-bfloat16"]
    for missing, others in ((("openvino",), []), ((), ["openvino"])):
        monkeypatch.setattr(runtimes, "find_spec", lambda name, m=missing: name not in m or None)
        assert runtimes.installed(list(runtimes.RUNTIMES)) == ["numpy", *torch, *others]


def test_sizes_of_distributions() -> None:
    assert runtimes.size_mib(None) == 0
    assert runtimes.size_mib("a-distribution-that-nobody-has") is None
    pillow = runtimes.size_mib("pillow")
    assert pillow is not None
    assert pillow > 1


@pytest.mark.usefixtures("tiny_weights")
def test_a_runtime_is_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    coder = loading.load_model("photo", device="cpu")
    latents = np.rint(coder.analyze(photographs(1)[0], 75))
    np.save(tmp_path / "latents.npy", latents)
    np.save(tmp_path / "pixels.npy", photographs(1)[0])
    names = ["numpy", "torch-bfloat16", "openvino"]
    both = runtimes.measure_runtimes(names, tmp_path, quality=75, threads=1, rounds=1, runs=2)
    found = both["numpy"]
    for name in names[1:]:
        assert found["psnr_db"] == pytest.approx(both[name]["psnr_db"], abs=0.2)
    assert found["warm"]["cpu_seconds"] > 0
    assert found["peak_mib"] > 20
    drawn = np.load(tmp_path / "numpy.npy")
    np.testing.assert_array_equal(drawn, coder.synthesize(latents, 75))
