"""BD-rates whose values are known without computing them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bitstream.errors import UsageError
from codec.rate_distortion import MeasuredImage, MissingExtraError, OverlapError, bd_rate
from codec.rate_distortion.files import bd_rate as bjontegaard_delta
from codec.rate_distortion.files.bd_rate import bd_rate_of_points, efficient_points
from tests.codec.rate_distortion.made_up_pictures import curve

pytest.importorskip("bjontegaard")

RISING = [(0.1 * 2**step, 25.0 + 3 * step) for step in range(6)]


@pytest.mark.parametrize("method", ["akima", "pchip"])
@pytest.mark.parametrize("rate_range_bpp", [None, (0.15, 1.2)])
def test_a_curve_against_itself_is_zero(
    method: str, rate_range_bpp: tuple[float, float] | None
) -> None:
    delta = bd_rate(curve(), curve(), method=method, rate_range_bpp=rate_range_bpp)
    assert delta.bd_rate_percent == pytest.approx(0, abs=1e-9)
    assert delta.per_image_mean_percent == pytest.approx(0, abs=1e-9)
    assert delta.overlap == pytest.approx(1)
    assert (delta.per_image_count, delta.image_count) == (2, 2)


@pytest.mark.parametrize("rate_range_bpp", [None, (0.15, 1.2)])
def test_four_fifths_of_the_bytes_is_minus_twenty_percent(
    rate_range_bpp: tuple[float, float] | None,
) -> None:
    # 0.8 times the bytes at every dB: whatever the interval, the mean ratio is 0.8.
    delta = bd_rate(curve(), curve(0.8, codec="photo"), rate_range_bpp=rate_range_bpp)
    assert delta.bd_rate_percent == pytest.approx(-20, abs=1e-6)
    assert delta.per_image_mean_percent == pytest.approx(-20, abs=1e-6)


def test_agrees_with_the_library_on_full_curves() -> None:
    import bjontegaard

    test = [(rate * (0.9 - 0.02 * index), db) for index, (rate, db) in enumerate(RISING)]
    expected = bjontegaard.bd_rate(
        [rate for rate, _ in RISING], [db for _, db in RISING],
        [rate for rate, _ in test], [db for _, db in test], method="akima",
    )  # fmt: skip
    assert bd_rate_of_points(RISING, test).bd_rate_percent == pytest.approx(expected, abs=1e-9)


def test_a_rate_range_cuts_both_curves_at_their_own_rates() -> None:
    # log₂ rate is linear in dB: 0.2–0.8 bpp of the reference are 28–34 dB. The test needs half
    # the bits, so its 0.2–0.8 bpp are 31–37 dB; both reach 31–34 dB.
    test = [(rate / 2, db) for rate, db in RISING]
    interval = bd_rate_of_points(RISING, test, rate_range_bpp=(0.2, 0.8))
    assert (interval.low, interval.high) == pytest.approx((31, 34), abs=1e-6)
    assert interval.overlap == pytest.approx(0.5)
    assert interval.bd_rate_percent == pytest.approx(-50, abs=1e-9)


def test_the_range_changes_the_answer_where_the_gap_depends_on_rate() -> None:
    # Half the bits at low rates, equal bits at high rates.
    factors = [0.5] * 3 + [1.0] * 3
    test = [(rate * factor, db) for (rate, db), factor in zip(RISING, factors, strict=True)]
    low = bd_rate_of_points(RISING, test, rate_range_bpp=(0.05, 0.3), method="pchip")
    high = bd_rate_of_points(RISING, test, rate_range_bpp=(0.9, 3.2), method="pchip")
    assert low.bd_rate_percent < -40
    assert abs(high.bd_rate_percent) < 2


def test_points_that_another_point_beats_are_left_out() -> None:
    assert efficient_points([(0.2, 30), (0.1, 25), (0.15, 24), (0.3, 30), (0.4, float("inf"))]) == [
        (0.1, 25),
        (0.2, 30),
    ]


def test_too_little_overlap_is_refused_with_what_to_add() -> None:
    far = [(rate, db + 14) for rate, db in RISING]
    with pytest.raises(OverlapError, match=r"settings of low at higher rates or of high at lower"):
        bd_rate_of_points(RISING, far, names=("low", "high"))
    with pytest.raises(OverlapError, match=r"settings of low at higher rates or of high at lower"):
        bd_rate_of_points(far, RISING, names=("high", "low"))


def test_curves_outside_the_range_or_with_few_points_are_refused() -> None:
    with pytest.raises(OverlapError, match=r"outside 8–9 bpp: add settings"):
        bd_rate_of_points(RISING, RISING, rate_range_bpp=(8, 9))
    with pytest.raises(OverlapError, match="3 usable points, need 4"):
        bd_rate_of_points(RISING[:3], RISING)


def test_curves_on_other_pictures_are_refused() -> None:
    other = curve(images=(MeasuredImage("c.png", 1000, 1000),))
    with pytest.raises(UsageError, match="same pictures"):
        bd_rate(curve(), other)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"method": "cubic"}, "unknown interpolation"), ({"rate_range_bpp": (1, 0.5)}, "0 < low")],
)
def test_bad_arguments_are_usage_errors(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        bd_rate_of_points(RISING, RISING, **arguments)  # type: ignore[arg-type]


def test_pictures_that_do_not_overlap_are_counted_out() -> None:
    reference, test = curve(), curve(0.8, codec="photo")
    # Picture b of the test is far better at every setting: its own curve lies above the reference.
    points = tuple(
        replace(point, squared_error=(point.squared_error[0], point.squared_error[1] // 3000))
        for point in test.points
    )
    delta = bd_rate(reference, replace(test, points=points), smallest_overlap=0.05)
    assert (delta.per_image_count, delta.image_count) == (1, 2)
    assert delta.per_image_mean_percent == pytest.approx(-20, abs=1e-6)


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bjontegaard_delta, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="install the extra 'bench'"):
        bd_rate_of_points(RISING, RISING)


def test_curves_are_compared_at_equal_scores_of_another_metric() -> None:
    reference, test = curve(), curve(0.8, codec="photo")
    with pytest.raises(UsageError, match="jpeg was not measured with ssimulacra2"):
        bd_rate(reference, test, metric="ssimulacra2")
    with pytest.raises(UsageError, match="metric 'vmaf' is unknown"):
        bd_rate(reference, test, metric="vmaf")
    # The test's scores are one step further: at equal scores it has 0.8 / 1.5 of the bytes.
    scored = [
        replace(
            one,
            points=tuple(
                replace(point, ssimulacra2=(20.0 + 5 * (step + ahead), None))
                for step, point in enumerate(one.points)
            ),
        )
        for one, ahead in ((reference, 0), (test, 1))
    ]
    delta = bd_rate(*scored, metric="ssimulacra2")
    assert delta.bd_rate_percent == pytest.approx(100 * (0.8 / 1.5 - 1), abs=0.01)
    assert (delta.low, delta.high) == pytest.approx((25, 75))
    # The second picture has no scores.
    assert (delta.per_image_count, delta.image_count) == (1, 2)
    content = delta.to_json()
    assert (content["metric"], content["low"], content["high"]) == ("ssimulacra2", 25, 75)
    assert not {"metric", "low", "high"} & set(bd_rate(reference, test).to_json())
