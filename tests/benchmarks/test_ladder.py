"""The ladder of the shipped VAE: the script on artificial digits, and its written figures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.harness.generative_rate import SSE
from benchmarks.harness.results import RESULTS
from benchmarks.measurement import ladder as script
from benchmarks.measurement import ladder_parts as ladder_measurements
from benchmarks.measurement.ladder_parts import WAYS, Settings, Workshop, finite_source_line
from bitstream.arrays import Uint8Array
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.ladder.gap_table import GapTable
from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.ladder.model_file import ModelResult, read_model_result
from codec.rate_distortion.ladder.result_schema import check_content
from codec.rate_distortion.ladder.rung import KINDS
from tests.codec.rate_distortion.made_up_models import model_curve, rung

RESULT = RESULTS / script.RESULT
TINY = Settings(
    high_beta=2.0, betas=4, temperatures=20, chains=2, bridge_steps=2, simulations=1,
    encoder_betas=(0.1, 1.0), encoder_steps=3, plug_in_betas=(0.05, 0.1), plug_in_samples=64,
    dual_samples=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def strokes() -> Uint8Array:
    """Nine thick lines at several angles."""
    across, down = np.meshgrid(np.arange(28) - 13.5, np.arange(28) - 13.5)
    angles = np.arange(9)[:, None, None] * math.pi / 9
    distance = np.abs(across * np.sin(angles) - down * np.cos(angles))
    inside = np.hypot(across, down) < 9
    images: Uint8Array = np.where(inside & (distance < 2), 250, 0).astype(np.uint8)
    return images[:, None]


@pytest.fixture(scope="module")
def workshop(strokes: Uint8Array, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(strokes, TINY, tmp_path_factory.mktemp("work"))


def test_what_was_measured_is_kept_until_the_settings_change(workshop: Workshop) -> None:
    first, calls = workshop.plug_in(), []

    def make() -> dict[str, object]:
        calls.append(1)
        return {"a": [1.0, 2.0]}

    for _ in range(2):
        assert workshop.kept("thing", make, betas=(1, 2)) == {"a": [1.0, 2.0]}
    assert len(calls) == 1
    workshop.kept("thing", make, betas=(1, 3))
    assert len(calls) == 2
    assert workshop.plug_in() == first
    assert first.ceiling_nats == pytest.approx(math.log(64))
    samples, again = workshop.annealed(), workshop.annealed()
    assert samples.log_partition.shape == (9, 4)
    np.testing.assert_array_equal(samples.log_partition, again.log_partition)


def test_files_and_posteriors_of_a_quality_give_a_gap_table(workshop: Workshop) -> None:
    curve = model_curve(spread=900, floor=1, points=400)
    posteriors = workshop.posteriors(60)
    assert posteriors.sampled_kl_nats.mean() == pytest.approx(posteriors.kl_nats.mean(), rel=0.1)
    for way in WAYS:
        files = workshop.files(way, 60)
        assert files.file_bytes == workshop.files(way, 60).file_bytes
        table = script.gap_table(curve, posteriors, files, way, "strokes")
        assert table.agrees, (way, table.residual_parts_bits)
        assert table.terms_bits["header"] == 8 * files.header_bytes / 9


def test_rungs_of_one_point_are_joined_by_distortion(workshop: Workshop) -> None:
    files = [workshop.files("vae-round", quality) for quality in (90, 45)]
    length, whole = script.code_rungs(files)
    assert list(length.distortion) == sorted(length.distortion)
    assert all(a < b for a, b in zip(length.rate_nats, whole.rate_nats, strict=True))
    assert max(whole.rate_bits) == pytest.approx(8 * files[0].file_bytes / 9)
    encoder = script.posterior_rung([workshop.posteriors(quality) for quality in (90, 45)])
    assert encoder.rate_nats[0] > encoder.rate_nats[1]


def test_a_lower_bound_is_cut_where_it_says_nothing() -> None:
    line = {"beta": 0.2, "intercept_nats": 1.8}
    found = script.lower_bound_rung([line], [5.0, 8.0, 9.5, 20.0], 1000)
    assert found is not None
    assert found.distortion == (5.0, 8.0)
    assert found.rate_nats == pytest.approx((0.8, 0.2))
    assert found.ceiling_nats == math.log(1000)
    assert script.lower_bound_rung([line], [50.0], 1000) is None


def test_the_bound_of_far_points_is_their_entropy() -> None:
    points = 100 * torch.eye(8)
    line = finite_source_line(points, 1.0, np.linspace(3, 5, 8), seed=0)
    assert line["intercept_nats"] == pytest.approx(math.log(8))
    # All at one place, so no information is needed.
    line = finite_source_line(torch.zeros(8, 3), 1.0, np.linspace(3, 5, 8), seed=0)
    assert line["intercept_nats"] == pytest.approx(0, abs=1e-6)


def test_rungs_that_a_picture_cannot_tell_apart_are_drawn_once() -> None:
    points = [(8.0, 40.0), (12.0, 20.0)]
    far = [(8.0, 50.0), (12.0, 26.0)]
    rungs = (
        replace(rung("R_p", "model", points), beta=(1.0, 0.5)),
        rung("vae-round: code length", "code_length", points),
        rung("vae-round: bytes", "bytes", [(d, r + 0.1) for d, r in points]),
        rung("vae-dither: bytes", "bytes", points),
        rung("vae-rec: bytes", "bytes", far),
    )
    found = script.drawn(Ladder("VAE", "digits", 9, rungs))
    assert [one.name for one in found.rungs] == [
        "R_p", "round, dither: bytes and code length", "rec: bytes",
    ]  # fmt: skip


def test_a_code_length_bounds_the_files_of_its_own_way_only() -> None:
    points, less = [(8.0, 40.0), (12.0, 20.0)], [(8.0, 30.0), (12.0, 15.0)]
    names = ("vae-rec: code length", "vae-rec: bytes", "vae-round: bytes")
    kinds = ("code_length", "bytes", "bytes")
    rungs = [rung(n, k, p) for n, k, p in zip(names, kinds, (points, points, less), strict=True)]
    ladder = Ladder("VAE", "digits", 9, tuple(rungs))
    assert ladder.check() == []
    broken = replace(ladder, rungs=(rungs[0], rung("vae-rec: bytes", "bytes", less)))
    assert {one.is_theorem for one in broken.check()} == {True}


def test_the_whole_ladder_of_a_few_images(
    workshop: Workshop, strokes: Uint8Array, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_large(*_: object, **__: object) -> None:
        raise MeasurementError("nothing")

    monkeypatch.setattr(ladder_measurements, "source_lower_bound", too_large)
    monkeypatch.setattr(script, "summarize", lambda _: model_curve(spread=900, floor=1, points=60))
    ladder, extra = script.measure(workshop, strokes, (60.0,), (60.0,))
    assert {one.kind for one in ladder.rungs} >= {
        "model", "plug_in", "amortised", "code_length", "bytes",
    }  # fmt: skip
    assert ladder.convention == SSE.convention
    assert len(extra["gap_tables"]) == len(WAYS)
    check_content({**ladder.to_json(), **extra})
    check_content(extra["curve"])
    assert extra["lower_bound"]["by_source_lower_bound"]["failure"] == "nothing"
    pytest.importorskip("matplotlib")
    script.draw(ladder, tmp_path / "ladder.json")
    assert {one.name for one in tmp_path.iterdir()} == {"ladder.svg", "ladder.png", "ladder.html"}


def test_the_written_ladder_is_of_the_checked_schema() -> None:
    ladder = read_model_result(RESULT)
    assert isinstance(ladder, Ladder)
    assert ladder.images == 1000
    assert {one.kind for one in ladder.rungs} >= set(KINDS) - {"lower_bound", "generator"}
    assert not [one for one in ladder.check() if one.is_theorem]
    content = json.loads(RESULT.read_text(encoding="utf-8"))
    curve = ModelResult.from_json(content["curve"]).curve
    assert curve.images == 1000
    assert all(curve.certified)
    for suffix in (".svg", ".png", ".html"):
        assert RESULT.with_suffix(suffix).is_file()


def test_the_terms_of_the_written_gap_tables_add_up() -> None:
    content = json.loads(RESULT.read_text(encoding="utf-8"))
    tables = [GapTable.from_json(table) for table in content["gap_tables"]]
    assert {table.model.split()[0] for table in tables} == set(WAYS)
    assert len(tables) == 3 * len(WAYS)
    for table in tables:
        assert abs(table.residual_percent) <= 1, table.model
