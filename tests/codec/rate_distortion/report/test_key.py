"""What a picture says about its points: the key, the explanation, and the columns of the table."""

from __future__ import annotations

import dataclasses
import html
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from codec.rate_distortion.ladder.ladder import Ladder
from codec.rate_distortion.ladder.model_file import ModelResult
from codec.rate_distortion.model_curve import NOT_ASKED, NOT_SIMULATED
from codec.rate_distortion.report.figure import draw_picture, plot_available
from codec.rate_distortion.report.lines import Picture, picture_of_curves, picture_of_results
from codec.rate_distortion.report.page import page_of
from tests.codec.rate_distortion.made_up_models import ladder, model_result, rung
from tests.codec.rate_distortion.made_up_pictures import curve

BANDS = "bands: 95 % intervals at a slope"


def with_failures(result: ModelResult, failures: Sequence[tuple[str, ...]]) -> ModelResult:
    certified = tuple(not reasons for reasons in failures)
    changed = dataclasses.replace(result.curve, certified=certified, failures=tuple(failures))
    return dataclasses.replace(result, curve=changed)


def all_failed(*reasons: str, model: str = "VAE") -> ModelResult:
    return with_failures(model_result(model), [reasons] * 12)


def exact(name: str) -> ModelResult:
    """A result without intervals."""
    result = model_result(name)
    rates = result.curve.rate_nats
    changed = dataclasses.replace(result.curve, rate_low_nats=rates, rate_high_nats=rates)
    return dataclasses.replace(result, curve=changed)


def one_point(half_width: float) -> Ladder:
    return Ladder("m", "d", 9, (rung("files", "bytes", [(9.0, 20.0)], half_width=half_width),))


CASES = {
    "certified": (picture_of_results([model_result()]), BANDS),
    "one hollow point": (
        picture_of_results([model_result(uncertified=(11,))]),
        f"hollow points, dotted lines: not certified · {BANDS}",
    ),
    "unchecked": (
        picture_of_results([all_failed(NOT_ASKED)]),
        f"hollow points, dotted lines: accuracy not checked · {BANDS}",
    ),
    "one unchecked of two": (
        picture_of_results([all_failed(NOT_ASKED), model_result("GAN")]),
        f"hollow points, dotted lines: not certified · {BANDS}",
    ),
    "one point": (picture_of_results([one_point(1.0)]), "bars: 95 % intervals at a slope"),
    "one exact point": (picture_of_results([one_point(0.0)]), ""),
    "dashes for colours that repeat": (
        picture_of_results([exact(f"model {index}") for index in range(9)]),
        "",
    ),
    "codecs": (picture_of_curves([curve()]), ""),
}


@pytest.mark.parametrize("name", CASES)
def test_the_key_explains_what_is_in_the_picture_and_nothing_else(
    name: str, tmp_path: Path
) -> None:
    picture, key = CASES[name]
    assert picture.key == key
    paragraph = f'</svg>\n<p class="key">{key}</p>'
    page = page_of(picture)
    assert paragraph in page or not key
    assert ('class="key"' in page) == bool(key)
    if plot_available():
        draw_picture(picture, tmp_path / "a.svg")
        text = (tmp_path / "a.svg").read_text("utf-8")
        for sign in ("hollow", "95 % intervals at a slope"):
            assert (sign in text) == (sign in key)
        assert not key or f">{key}</text>" in text


def test_lines_between_hollow_points_are_dotted_in_the_page() -> None:
    page = page_of(picture_of_results([model_result(uncertified=(7, 8))]))
    drawn = re.findall(r"<polyline ([^>]*)/>", page)
    assert len(drawn) == 3
    assert ["stroke-dasharray" in one for one in drawn] == [False, True, False]
    assert [one.count(",") for one in drawn] == [3, 4, 7]


def words(picture: Picture) -> str:
    (text,) = re.findall(r"<p>(.*?)</p>", page_of(picture))
    return html.unescape(text)


def test_the_page_says_what_was_checked() -> None:
    assert words(picture_of_results([model_result()])).startswith("A point of R_p is certified if")
    assert "failed a check" not in words(picture_of_results([model_result()]))
    failed = words(picture_of_results([model_result(uncertified=(3,))]))
    assert "Points that failed a check are not certified; the table says which." in failed
    unasked = words(picture_of_results([all_failed(NOT_ASKED), all_failed(NOT_ASKED, model="GAN")]))
    assert unasked.startswith(f"No accuracy check was made: {NOT_ASKED}.")
    assert "passed every check" not in unasked
    assert "failed" not in unasked
    simulated = words(picture_of_results([all_failed(NOT_SIMULATED)]))
    assert simulated.startswith("No accuracy check was made: exp(-beta d) of this")
    more = words(picture_of_results([all_failed(NOT_ASKED, "acceptance 0.01 < 0.05")]))
    assert "Some points failed other checks as well; the table says which." in more
    # If one of two curves was checked, its points are certified.
    mixed = words(picture_of_results([all_failed(NOT_ASKED), model_result("GAN")]))
    assert mixed.startswith("A point of R_p is certified if")
    assert words(picture_of_results([one_point(1.0)])) == "Click a name to hide its line."


def table(picture: Picture) -> tuple[list[str], list[list[str]]]:
    page = page_of(picture)
    rows = [
        [html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
        for row in re.findall(r"<tr style.*?</tr>", page)
    ]
    return [html.unescape(one) for one in re.findall(r"<th>(.*?)</th>", page)], rows


def test_the_table_has_slope_gap_reference_and_why_not_certified() -> None:
    failures = [()] * 11 + [("gap 0.80 nats > 0.5", "acceptance 0.01 < 0.05")]
    result = with_failures(model_result(), failures)
    reference = ("prior",) * 6 + ("local",) * 6
    gaps = (*(0.1,) * 11, 0.8)
    changed = dataclasses.replace(result.curve, reference=reference, bdmc_gap_nats=gaps)
    result = dataclasses.replace(result, curve=changed)
    headings, rows = table(picture_of_results([result]))
    assert headings[-5:] == ["β", "gap, nats", "reference", "certified", "why not certified"]
    assert all(len(row) == len(headings) for row in rows)
    # By rising distortion, so the largest β comes first.
    assert rows[0][-5:] == [
        f"{result.curve.beta[-1]:.4g}", "0.800", "local", "no",
        "gap 0.80 nats > 0.5; acceptance 0.01 < 0.05",
    ]  # fmt: skip
    assert rows[-1][-5:] == [f"{result.curve.beta[0]:.4g}", "0.100", "prior", "yes", ""]


def test_other_rungs_leave_columns_empty_and_empty_columns_are_left_out() -> None:
    headings, rows = table(picture_of_results([ladder()]))
    assert headings[-5:] == ["β", "gap, nats", "reference", "certified", "why not certified"]
    (hollow,) = (row for row in rows if row[-2] == "no")
    assert (hollow[-4], hollow[-1]) == ("", "gap above 0.5 nats")  # its gap is not measured
    assert [row[-5:] for row in rows if row[0] == "files"] == [["", "", "", "yes", ""]]
    older = dataclasses.replace(
        ladder().rungs[0], gap_nats=None, reference=None, failures=None, beta=None
    )
    headings, rows = table(picture_of_results([Ladder("m", "d", 9, (older,))]))
    assert headings[-2:] == ["nats per image", "certified"]
    assert all(len(row) == len(headings) for row in rows)
