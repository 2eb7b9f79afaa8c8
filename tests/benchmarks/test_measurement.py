"""The scripts that make the result files: their computations, without the long measurements."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.harness.results import RESULTS, command_line, provenance
from benchmarks.photo import rate_distortion
from benchmarks.speed import wall_time as speed
from bitstream.arrays import Uint8Array
from codec.rate_distortion import OperationalCurve
from codec.rate_distortion.files.result_file import read_json
from tests.codec.rate_distortion.made_up_pictures import curve, photo_like


def test_bd_rates_are_judged_against_their_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bjontegaard")
    curves = [curve(0.6, codec="photo"), curve(), curve(0.55, codec="webp")]
    rows = rate_distortion.compare(curves, rate_distortion.RATE_RANGE_BPP)
    assert [(row["reference"], row["test"]) for row in rows] == [
        ("jpeg", "photo"),
        ("webp", "photo"),
        ("jpeg", "webp"),
    ]
    judged = rate_distortion.judge(rows)
    measured = {row["reference"]: row for row in judged}
    assert measured["jpeg"]["measured_percent"] == pytest.approx(-40, abs=0.01)
    assert measured["jpeg"]["met"] is False
    assert measured["webp"]["met"] is False
    assert measured["avif"]["met"] is None
    monkeypatch.setitem(rate_distortion.TARGETS_PERCENT, "jpeg", -39.0)
    assert rate_distortion.judge(rows)[-1]["met"] is True
    assert {row["met"] for row in rate_distortion.judge([])} == {None}


def test_committed_curves_can_be_read() -> None:
    for name, part in read_json(RESULTS / "visual.json")["sets"].items():
        curves = [OperationalCurve.from_json(content) for content in part["curves"]]
        assert {curve.data_set for curve in curves} == {name}
        assert {"photo", "avif", "jpeg"} <= {curve.codec for curve in curves}


def test_the_recorded_command_names_no_place_on_the_machine() -> None:
    script = "/a/benchmarks/photo/__main__.py"
    command = command_line([script, "effort", "--data", "/data/set.tar", "-o", "results/x.json"])
    assert command == "python -m benchmarks.photo effort --data set.tar -o results/x.json"
    assert command_line([script, "visual", "--data", "a=/b/c.tar,/d/e.tar"]) == (
        "python -m benchmarks.photo visual --data a=c.tar,e.tar"
    )
    assert {"command", "processor", "cores", "date", "python", "libraries"} == set(provenance())


def test_coders_take_turns_and_medians_are_reported() -> None:
    turns: list[str] = []

    def coder(name: str, seconds: float) -> speed.Coder:
        def code(pixels: Uint8Array) -> tuple[float, float, int]:
            turns.append(name)
            return seconds, 2 * seconds, pixels.size

        return code

    pixels = np.zeros((2, 2, 3), np.uint8)
    measured = speed.measure({"a": coder("a", 1.0), "b": coder("b", 5.0)}, pixels, rounds=7)
    assert turns == ["a", "b"] * 9
    assert measured["a"]["median_total_seconds"] == 3.0
    assert measured["b"]["median_decode_seconds"] == 10.0
    assert len(measured["a"]["encode_seconds"]) == 7


def test_ratios_are_judged_where_both_were_measured() -> None:
    def times(encode: float, decode: float) -> dict[str, float]:
        return {
            "median_encode_seconds": encode,
            "median_decode_seconds": decode,
            "median_total_seconds": encode + decode,
        }

    measured = {speed.PHOTO: times(1, 2), speed.AVIF: times(10, 0.1), speed.MEAN: times(20, 25)}
    found = speed.ratios(measured)
    assert found == {
        "decode_times_avif": {"measured": 20.0, "at_most": 8.0, "met": False},
        "encode_times_avif": {"measured": 0.1, "at_most": 0.5, "met": True},
        "times_faster_than_mbt2018_mean": {"measured": 15.0, "at_least": 10.0, "met": True},
    }


def test_avif_is_that_of_the_nearest_size() -> None:
    pytest.importorskip("PIL._avif")
    pixels = photo_like()
    sizes = [speed.avif_coder(pixels, size, threads=1)(pixels)[2] for size in (0, 900, 10**6)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3
    again = speed.avif_coder(pixels, sizes[1], threads=1)(pixels)[2]
    assert again == sizes[1]
