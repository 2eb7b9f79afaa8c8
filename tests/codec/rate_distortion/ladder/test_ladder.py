"""Ladders, gap tables, and the schemas of their files: closed forms and violated orders."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitstream.errors import UsageError
from codec.rate_distortion import ResultFileError
from codec.rate_distortion.ladder.gap_table import (
    GapMeasurements,
    GapTable,
    rate_change_nats,
    rates_for_gap_bits,
)
from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.ladder.model_file import (
    AnyModelResult,
    read_model_result,
    write_model_result,
)
from codec.rate_distortion.ladder.result_schema import check_content, pixel_range_of, reduction_of
from codec.rate_distortion.ladder.rung import Rung
from tests.codec.rate_distortion.made_up_models import (
    CONVENTION,
    NAME,
    ladder,
    model_curve,
    model_result,
    rung,
)


def exact_rate_nats(distortion: float) -> float:
    return 5 * math.log(45 / (distortion - 5))


def gap_table(**changes: float) -> GapTable:
    """Files of 40 bits at distortion 9 and a posterior of 26 bits at 8; R_p is the closed form."""
    curve = model_curve(points=60)
    measured: dict[str, float] = {
        "file_bits": 200.0, "header_bits": 160.0, "payload_bits": 40.0, "ideal_code_bits": 38.5,
        "posterior_kl_bits": 26.0, "sampled_kl_bits": 26.0, "aggregated_kl_bits": 2.0,
        "posterior_distortion": 8.0, "file_distortion": 9.0,
        **rates_for_gap_bits(curve, 8.0, 9.0), **changes,
    }  # fmt: skip
    return GapTable("VAE", "digits", 1000, NAME, CONVENTION, GapMeasurements(**measured))


def test_a_ladder_in_order_has_no_violations() -> None:
    assert ladder().check() == []


def test_a_rung_below_its_bound_is_found_with_its_size() -> None:
    (found,) = ladder(amortised_nats=9.0).check()
    assert (found.below, found.above) == ("R_p by annealing", "amortised KL")
    assert found.is_theorem
    # The supporting lines at 12 points lie a little below the convex curve.
    assert found.size_nats == pytest.approx(exact_rate_nats(8.4) - 0.5 - 9.2, abs=0.25)
    assert found.size_nats <= exact_rate_nats(8.4) - 0.5 - 9.2
    assert "must lie below amortised KL" in str(found)


def test_overlapping_intervals_and_uncertified_points_are_no_violations() -> None:
    exact = exact_rate_nats(8.4)
    assert ladder(amortised_nats=exact - 0.65).check() == []
    failed = Rung.of_curve(model_curve(uncertified=range(12)))
    above = rung("amortised KL", "amortised", [(8.4, 1.0)])
    assert Ladder("m", "d", 9, (failed, above)).check() == []


def test_expected_orders_are_told_from_theorems() -> None:
    rungs = (
        rung("encoder", "amortised", [(9.0, 20.0)]),
        rung("code", "code_length", [(9.0, 15.0)]),
        rung("files", "bytes", [(9.0, 14.0)]),
    )
    found = {(v.below, v.above): v for v in Ladder("m", "d", 9, rungs).check()}
    assert {pair: v.is_theorem for pair, v in found.items()} == {
        ("encoder", "code"): False, ("encoder", "files"): False, ("code", "files"): True,
    }  # fmt: skip
    assert found["encoder", "code"].size_nats == pytest.approx(20 - 15 - 0.4)


def test_between_points_without_slopes_the_floor_is_below_every_convex_curve() -> None:
    points = [(d, exact_rate_nats(d)) for d in (6.0, 8.0, 10.0, 14.0, 20.0)]
    bound = rung("dual", "lower_bound", points, half_width=0.0)
    for distortion in (7.0, 9.0, 11.0, 13.0, 19.0):
        floor = bound.floor_nats(distortion)
        assert floor is not None
        assert floor <= exact_rate_nats(distortion)
    assert bound.floor_nats(10.0) == pytest.approx(exact_rate_nats(10.0))
    assert bound.floor_nats(5.0) is None
    assert bound.floor_nats(25.0) is None


def test_an_uncertain_distortion_is_given_the_benefit_of_the_doubt() -> None:
    model = Rung.of_curve(model_curve())
    images = np.random.default_rng(0).normal(size=(2, 400))
    rates, distortions = 15.2 + 0.1 * images[0], 7.6 + 5 * images[1]
    settings: dict[str, Any] = {
        "kind": "amortised",
        "distortion_name": NAME,
        "convention": CONVENTION,
    }
    wide = Rung.of_images(rates, distortions, name="wide", **settings)
    sharp = Rung.of_images(rates, 7.6 + 0 * distortions, name="sharp", **settings)
    assert wide.rate_nats[0] == pytest.approx(15.2, abs=0.01)
    assert wide.rate_high_nats[0] - wide.rate_low_nats[0] == pytest.approx(0.0196, rel=0.1)
    found = Ladder("m", "d", 400, (replace_rates(model, 2.0), wide, sharp)).check()
    assert [violation.above for violation in found] == ["sharp"]
    with pytest.raises(UsageError, match=r"expected \(n,\) twice"):
        Rung.of_images(rates, distortions[1:], name="odd", **settings)


def replace_rates(one: Rung, more_nats: float) -> Rung:
    """The rung with all rates raised."""
    names = ("rate_nats", "rate_low_nats", "rate_high_nats")
    changes: dict[str, Any] = {
        name: tuple(value + more_nats for value in getattr(one, name)) for name in names
    }
    return dataclasses.replace(one, **changes)


def test_bounds_with_intervals_become_rungs() -> None:
    from codec.rate_distortion.estimates import bound_point

    rng = np.random.default_rng(0)
    points = [bound_point(1.0, rng.normal(20, 1, 50), rng.normal(9, 1, 50), seed=0)]
    one = Rung.of_points(
        points, name="sweep", kind="plug_in", distortion_name=NAME, convention=CONVENTION,
        ceiling_nats=math.log(50), ceiling_name="log M",
    )  # fmt: skip
    assert one.rate_low_nats[0] < one.rate_nats[0] < one.rate_high_nats[0]
    assert one.distortion_high is not None
    assert one.distortion_high[0] > one.distortion[0]
    assert Ladder("m", "d", 50, (one,)).check() == []


def test_lines_below_a_convex_curve_become_a_rung() -> None:
    # Tangents of the closed form: rate + beta · distortion is where each meets D = 0.
    lines = []
    for d in (6.0, 8.0, 12.0, 20.0):
        beta = 5 / (d - 5)
        intercept = exact_rate_nats(d) + beta * d
        lines.append((beta, intercept, intercept - 0.1, intercept + 0.1))
    settings = {"name": "dual", "distortion_name": NAME, "convention": CONVENTION}
    one = Rung.of_lines(lines, (6.0, 9.0, 20.0, 60.0), **settings)
    exact = [exact_rate_nats(d) for d in (6.0, 9.0, 20.0)]
    assert one.rate_nats[::2] == pytest.approx((exact[0], exact[2]))
    assert 0 < exact[1] - one.rate_nats[1] < 0.3
    assert (one.rate_nats[3], one.rate_low_nats[3]) == (0.0, 0.0)
    assert one.kind == "lower_bound"
    assert one.beta == pytest.approx((5.0, 5 / 3, 1 / 3, 0.0))
    for distortion in (6.5, 7.0, 10.0, 30.0, 48.0, 70.0):
        floor = one.floor_nats(distortion)
        assert floor is not None
        assert floor <= max(0.0, exact_rate_nats(distortion))
    with pytest.raises(UsageError, match="needs points"):
        Rung.of_lines(lines, (), **settings)


def test_conventions_are_not_mixed() -> None:
    mean = rung("files", "bytes", [(0.01, 20.0)], convention="mean over all samples, pixels 0..1")
    with pytest.raises(UsageError, match=r"one distortion convention, not 2: .*mean over"):
        Ladder("m", "d", 9, (rung("code", "code_length", [(9.0, 20.0)]), mean))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "guess"}, "kind 'guess' is unknown"),
        ({"rate_nats": (math.nan,)}, "not finite"),
        ({"rate_nats": (30.0,)}, "outside its"),
        ({"rate_nats": ()}, "columns of equal length"),
        ({"beta": (1.0, 2.0)}, "columns of equal length"),
        ({"reference": ("prior", "local")}, "columns of equal length"),
        ({"gap_nats": (math.inf,)}, "not finite"),
    ],
)
def test_rungs_that_make_no_sense(changes: dict[str, Any], message: str) -> None:
    good = rung("files", "bytes", [(9.0, 20.0)])
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(good, **changes)


def test_ladders_need_rungs_of_different_names() -> None:
    one = rung("files", "bytes", [(9.0, 20.0)])
    with pytest.raises(UsageError, match="at least one rung"):
        Ladder("m", "d", 9, ())
    with pytest.raises(UsageError, match="two rungs have one name"):
        Ladder("m", "d", 9, (one, one))


def test_the_slope_integrates_to_the_difference_of_rates() -> None:
    curve = model_curve(points=60)
    exact = exact_rate_nats(8.0) - exact_rate_nats(9.0)
    assert rate_change_nats(curve, 8.0, 9.0) == pytest.approx(exact, rel=2e-3)
    assert rate_change_nats(curve, 9.0, 8.0) == pytest.approx(-exact, rel=2e-3)
    with pytest.raises(UsageError, match="lies outside the measured"):
        rate_change_nats(curve, 4.0, 9.0)


def test_the_terms_are_those_of_the_definition() -> None:
    table = gap_table()
    posterior, file = (exact_rate_nats(d) / math.log(2) for d in (8.0, 9.0))
    assert table.terms_bits == pytest.approx(
        {
            "prior mismatch": 2.0,
            "amortisation": 26 - posterior - 2,
            "quantiser or simulation": 38.5 - 26 + posterior - file,
            "coder": 1.5,
            "header": 160.0,
        },
        abs=0.03,
    )
    assert table.total_bits == pytest.approx(200 - file, abs=0.03)
    assert table.agrees
    assert 0 < abs(table.residual_percent) < 0.05


@pytest.mark.parametrize(
    ("changes", "residual_bits"),
    [
        ({"header_bits": 152.0}, 8.0),
        ({"sampled_kl_bits": 23.0}, -3.0),
        ({"rate_change_bits": 0.0}, math.log2(4 / 3) * 5),
    ],
)
def test_measurements_that_disagree_are_found(
    changes: dict[str, float], residual_bits: float
) -> None:
    table = gap_table(**changes)
    assert table.residual_bits == pytest.approx(residual_bits, abs=0.05)
    assert math.fsum(table.residual_parts_bits.values()) == pytest.approx(table.residual_bits)
    assert not table.agrees


def test_gaps_want_certified_rates_around_both_distortions() -> None:
    curve = model_curve(uncertified=(4,))
    distortion = curve.distortion[4]
    with pytest.raises(UsageError, match="not certified between the distortions"):
        rates_for_gap_bits(curve, distortion * 1.01, distortion * 1.02)
    rates_for_gap_bits(curve, distortion * 1.01, distortion * 1.02, allow_uncertified=True)
    outside = curve.distortion[5] * 0.99, curve.distortion[6] * 1.01
    assert set(rates_for_gap_bits(curve, *outside)) < set(GapMeasurements.__dataclass_fields__)


def test_the_table_as_text() -> None:
    lines = gap_table().to_markdown().splitlines()
    assert len(lines) == 9
    assert lines[6] == "| header | 160.00 | 87.7 % |"
    assert lines[7].startswith("| total: file − R_p(D_file) | 182.5")


def test_gap_measurements_are_numbers() -> None:
    with pytest.raises(UsageError, match="header_bits is nan"):
        gap_table(header_bits=math.nan)


@pytest.mark.parametrize("result", [model_result(uncertified=(3,)), ladder(), gap_table()])
def test_files_are_read_back_as_they_were(result: AnyModelResult, tmp_path: Path) -> None:
    path = tmp_path / "new" / "result.json"
    write_model_result(path, result)
    back = read_model_result(path)
    assert back.to_json() == result.to_json()
    content = json.loads(path.read_text())
    assert content["rate_unit"] in ("nats per image", "bits per image")
    assert "pixels 0..1" in content["convention"]


@pytest.mark.parametrize(
    ("result", "field"),
    [
        (result, field)
        for result, extra in (
            (model_result(), ("distortion_reduction", "pixel_range", "beta", "failures", "seed")),
            (ladder(), ("rungs", "images")),
            (gap_table(), ("measured", "total_bits")),
        )
        for field in ("distortion_name", "convention", "rate_unit", "model", *extra)
    ],
)
def test_a_field_that_is_missing_or_of_another_kind_is_named(
    result: AnyModelResult, field: str
) -> None:
    content = result.to_json()
    check_content(content)
    values: tuple[Any, ...] = (None, "", [None], {})
    for value in values:
        wrong = {**copy.deepcopy(content), field: value}
        if (field, value) == ("measured", {}):
            continue  # its entries are named instead
        with pytest.raises(ResultFileError, match=f"missing or unusable: .*{field}"):
            check_content(wrong)
    del content[field]
    with pytest.raises(ResultFileError, match=f"missing or unusable: .*{field}"):
        check_content(content)


def test_errors_inside_rungs_measurements_and_columns_are_named() -> None:
    content = ladder().to_json()
    content["rungs"][2]["rate_nats"][0] = None
    with pytest.raises(ResultFileError, match=r"rungs\[2\]\.rate_nats"):
        check_content(content)
    content = gap_table().to_json()
    del content["measured"]["payload_bits"]
    with pytest.raises(ResultFileError, match=r"measured\.payload_bits"):
        check_content(content)
    content = model_result().to_json()
    content["acceptance"].pop()
    with pytest.raises(ResultFileError, match=r"acceptance .11 entries for 12 of beta"):
        check_content(content)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("beta", list(range(-1, 11))),
        ("beta", [*range(1, 12), 1]),
        ("distortion", [*range(11), -1.0]),
        ("rate_low_nats", [1e6] * 12),
        ("pixel_range", [0.0, 255.0]),
        ("distortion_reduction", "mean"),
    ],
    ids=["negative", "falling", "distance", "interval", "range", "reduction"],
)
def test_fields_that_contradict_each_other_are_named(field: str, value: Any) -> None:
    content = model_result().to_json()
    with pytest.raises(ResultFileError, match=f"unusable: {field} "):
        check_content({**content, field: value})


def test_a_file_may_begin_with_a_mark_but_not_say_a_thing_twice(tmp_path: Path) -> None:
    path = tmp_path / "curve.json"
    text = json.dumps(model_result().to_json())
    path.write_text(text, encoding="utf-8-sig")
    assert read_model_result(path) == model_result()
    path.write_text(text.replace("{", '{"beta": [1], ', 1))
    with pytest.raises(ResultFileError, match="a name occurs twice"):
        read_model_result(path)


def test_a_rung_of_annealing_keeps_gaps_references_and_failures() -> None:
    result = ladder()
    annealed = result.rungs[0]
    assert annealed.gap_nats == (*(0.1,) * 11, None)
    assert annealed.reference == ("prior",) * 12
    assert annealed.failures == (*((),) * 11, ("gap above 0.5 nats",))
    content = json.loads(json.dumps(result.to_json()))
    check_content(content)
    assert Ladder.from_json(content) == result
    for name, wrong in (("gap_nats", ["0.1"]), ("reference", [1]), ("failures", ["gap"])):
        odd = copy.deepcopy(content)
        odd["rungs"][0][name] = wrong
        with pytest.raises(ResultFileError, match=rf"rungs\[0\]\.{name}"):
            check_content(odd)
    # Older files do not have them.
    for one in content["rungs"]:
        for name in ("gap_nats", "reference", "failures"):
            del one[name]
    check_content(content)
    older = Ladder.from_json(content).rungs[0]
    assert (older.gap_nats, older.reference, older.failures) == (None, None, None)
    assert older.certified == annealed.certified


@pytest.mark.parametrize("text", ["", "[]", "{", '{"schema": "calotype.rate_distortion/1"}', "3"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ResultFileError, match=r"x\.json"):
        read_model_result(path)


@pytest.mark.parametrize(
    ("convention", "reduction", "pixel_range"),
    [
        (CONVENTION, "sum", (0.0, 1.0)),
        ("mean over all samples of an image, pixels 0..255", "mean", (0.0, 255.0)),
        ("nats per image, variance 0.03, pixels -1..1", "nats", (-1.0, 1.0)),
        ("dimensionless, 0..2, pixels 0..1", "dimensionless", (0.0, 1.0)),
        ("squared error", None, None),
        ("summary of errors", None, None),
    ],
)
def test_conventions_are_understood(
    convention: str, reduction: str | None, pixel_range: tuple[float, float] | None
) -> None:
    assert (reduction_of(convention), pixel_range_of(convention)) == (reduction, pixel_range)


def test_a_convention_without_units_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='has to say "sum" or "mean"'):
        write_model_result(tmp_path / "x.json", model_result(convention="squared error"))
    assert not (tmp_path / "x.json").exists()
