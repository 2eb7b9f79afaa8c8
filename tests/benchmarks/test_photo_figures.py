"""Tables of the photo codec have what was measured, and leave out the rest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.results import RESULTS
from benchmarks.readme import __main__ as readme
from benchmarks.readme import gallery, photo, tables

TITLES = {"a": "First", "b": "Second"}


def effort_part(against_avif: float) -> dict[str, Any]:
    one = {"effort": 1, "bd_rate_against_avif_percent": 9.25, "encode_seconds_over_effort_1": 1}
    three = {"effort": 3, "bd_rate_percent": -2.0, "encode_seconds_over_effort_1": 6.2}
    nine = {
        "effort": 9,
        "bd_rate_against_avif_percent": against_avif,
        "bd_rate_percent": -8.0,
        "encode_seconds_over_effort_1": 801.4,
        "target_percent": 0.0,
        "met": against_avif <= 0,
    }
    return {"pictures": ["x.png", "y.png"], "part": "whole pictures", "found": [one, three, nine]}


def test_effort_has_rows_where_both_sets_were_measured() -> None:
    assert not list(photo.effort_rows({}, TITLES))
    assert not list(photo.effort_rows({"effort": {"a-psnr": effort_part(-1.0)}}, TITLES))
    both = {"effort": {"a-psnr": effort_part(-1.0), "b-psnr": effort_part(2.0)}}
    nine, one, short, own = photo.effort_rows(both, TITLES)
    assert nine == (
        "photo at effort 9 against AVIF (2 / 2 pictures, whole pictures)", "-1.0 %", "+2.0 %",
        "≤ 0 %: **missed on Second**",
    )  # fmt: skip
    assert one[1:] == ("+9.2 %", "+9.2 %", "")
    assert short[0].endswith("effort 1 (the same pictures, 6 / 6 times the encoding time)")
    assert short[1:3] == ("-2.0 %", "-2.0 %")
    assert "(the same pictures, 801 / 801 times the encoding time)" in own[0]
    assert own[1:3] == ("-8.0 %", "-8.0 %")


def test_equal_bytes_counts_the_measures_in_which_photo_is_better() -> None:
    assert not list(photo.equal_bytes_rows({}))
    parts = {
        name: {
            "pictures": ["one.png", "two.png"],
            "photo_is_better_than": {
                "avif": ["lpips at 1 bpp", *["ms_ssim at 1 bpp"] * (count - 1)],
                "jxl": ["butteraugli at 1 bpp"] * 9,
            },
            "photo_was_trained_towards": ["ssimulacra2", "lpips"],
            "rates": {
                rate: [
                    {"codec": "avif", "ssimulacra2": 50.04, "ssimulacra2_shifted": 48},
                    {"codec": "photo", "ssimulacra2": 60, "ssimulacra2_shifted": 55.06},
                ]
                for rate in ("0.25", "0.5")
            },
        }
        for name, count in (("gb82", 6), ("kodak", 7))
    }
    gb82, of_gb82, whole, shifted, kodak, of_kodak, *_ = photo.equal_bytes_rows({"sets": parts})
    assert gb82[0].startswith("gb82, 2 pictures: wins over AVIF / JPEG XL")
    assert gb82[1:] == ("6 / 9", "≥ 7 against AVIF: **missed**")
    assert kodak[1:] == ("7 / 9", "≥ 7 against AVIF: met")
    assert of_gb82[0].startswith("gb82: the same without LPIPS")
    assert (of_gb82[1], of_kodak[1]) == ("5 / 9", "6 / 9")
    assert whole[0].endswith("at these rates, whole pictures")
    assert whole[1] == "60.0 / 50.0, 60.0 / 50.0"
    assert shifted[0].endswith("without their first rows and columns")
    assert shifted[1] == "55.1 / 48.0, 55.1 / 48.0"


def test_training_time_is_a_row_for_each_set_of_weights() -> None:
    assert not photo.training_time_table({})
    rows = [
        {"core_hours": 2.5, "psnr_percent": 7.04, "ssimulacra2_percent": None},
        {"core_hours": 9.0, "psnr_percent": 0.0, "ssimulacra2_percent": 0.0},
    ]
    text = photo.training_time_table({"sets": {"gb82": {"pictures": ["a", "b"], "found": rows}}})
    assert "2 pictures of gb82" in text
    assert "| 2.5 | +7.0 % |" in text
    assert text.count("\n| ") == 4


def test_the_common_pattern_is_a_row_for_each_set() -> None:
    assert not list(photo.pattern_rows({}))
    rates = {"0.25": {"photo": 1.0, "avif": 0.104, "jxl": 0.2}, "1": dict.fromkeys(
        ("photo", "avif", "jxl"), 0.0
    )}  # fmt: skip
    ((text, value, target),) = photo.pattern_rows({"kodak": {"pictures": 3, "rates": rates}})
    assert text.startswith("Kodak, 3 pictures: error that all blocks")
    assert "at 0.25, 1 bits per pixel" in text
    assert (value, target) == ("1.00 / 0.10 / 0.20, 0.00 / 0.00 / 0.00", "")


def test_speed_is_a_row_for_each_comparison() -> None:
    def picture(width: int, measured: float) -> dict[str, Any]:
        row = {"measured": measured, "at_most": 12.0, "met": measured <= 12}
        return {"width": width, "height": 512, "ratios": {"decode_times_avif": row}}

    found = {"threads": 2, "pictures": [picture(768, 20.0), picture(4000, 11.0)]}
    (row,) = photo.speed_rows(found)
    assert "relative to AVIF's decoder (768×512 / 4000×512, 2 cores" in row[0]
    assert row[1:] == ("20× / 11×", "≤ 12×: **missed** / met")
    assert not list(photo.speed_rows({}))


def test_exactness_is_a_row_where_it_was_measured() -> None:
    assert not list(photo.exactness_rows({}))
    rows = [
        {
            "arithmetic": arithmetic, "threads": 1, "files": 10,
            "libraries": {"numpy": "2.4", "torch": "2.9", "onnxruntime": "1.32"},
            "files_of_here_that_parse_alike_there": 10,
            "files_of_there_that_parse_alike_here": 10,
            "largest_difference_of_pixels": difference,
        }
        for arithmetic, difference in (("numpy float32", 0), ("torch float32", 1))
    ]  # fmt: skip
    ((what, measured, wanted),) = photo.exactness_rows({"found": rows, "all_alike": False})
    assert "NumPy 2.4, torch 2.9" in what
    assert (measured, wanted) == ("1 of 2", "all: **missed**")


def test_the_installation_has_a_row_where_it_was_measured() -> None:
    assert not list(photo.install_rows({}))
    found = {
        "total_seconds": 71.4, "target_seconds": 60, "environment_bytes": 312_000_000,
        "target_bytes": 350_000_000, "met": {"seconds": False, "bytes": True},
    }  # fmt: skip
    ((_, measured, wanted),) = photo.install_rows(found)
    assert measured == "71 s / 312 MB"
    assert wanted == "≤ 60 s / ≤ 350 MB: **missed** / met"


def test_ablations_are_a_row_each() -> None:
    assert photo.ablation_table({}) == ""
    rates = {"photo": 0, "one-hyper-set": 1.2}
    rows = {name: {"bd_rate_percent": rate} for name, rate in rates.items()}
    found = {"comparisons": {"1,200 steps": {"baseline": "photo", "rows": rows}}}
    *_, last = photo.ablation_table(found).splitlines()
    assert last == "| one set of hyper-latent tables for all qualities | +1.2 % | 1,200 steps |"


def test_realism_is_a_column_each(tmp_path: Path) -> None:
    assert photo.realism_section(tmp_path) == ""
    names = ("realism", "mean_psnr_db", "mean_lpips", "frechet_distance")
    decoded = [dict(zip(names, row, strict=True)) for row in ((0, 30, 0.2, 2), (1, 29, 0.1, 1))]
    targets = {"frechet_of_1_over_0": 0.5, "frechet_is_met": True, "lpips_is_met": False}
    peers = {"avif": decoded[0], "jxl": {**decoded[1], "mean_bpp": 0.25}}
    found: dict[str, Any] = {"decoded": decoded, "peers": peers, "targets": targets}
    about: dict[str, Any] = {"patches": 9216, "pictures": 24, "set": "kodak"}
    about |= {"photo_weights": "0123456789abcdef", "frechet_between_halves_of_the_originals": 0.3}
    about["aimed_at"] = {"rate_bpp": 0.1, "frechet_of_1_over_0": 0.5, "mse_of_1_over_0": 2.0}
    found["seeds"] = {"root_mean_variance_of_a_value": 0.712, "decoded": [{}] * 3}
    rates = {str(rate): {**about, **found, "mean_bpp": rate} for rate in (0.25, 0.098)}
    (tmp_path / "realism_kodak.json").write_text(json.dumps({"rates": rates}), "utf-8")
    text = photo.realism_section(tmp_path)
    assert "9,216 patches" in text
    assert "by 0.71 / 0.71 of 255 levels, from the lowest rate to the highest (root" in text
    assert "for 24 pictures of Kodak and the photo weights `01234567`." in text
    assert "| bits per pixel | R = 0 | R = 1 | AVIF (4:4:4, speed 6" in text
    plain, real = "30.00 / 0.200 / 2.00", "29.00 / 0.100 / 1.00"
    first, second = (
        f"{plain} | {real} | {plain} | {real}{own} | met" for own in (" (at 0.250)", "")
    )
    missed = "/ **missed** |"
    assert text.endswith(f"| 0.098 | {first} {missed}\n| 0.250 | {second} {missed}")


def test_layers_are_a_row_each(tmp_path: Path) -> None:
    assert photo.layers_section(tmp_path) == ""
    names = ("photo", "sample", "jxl", "jpeg")
    scores = {f"{n}_ssimulacra2": 50.4 - k for k, n in enumerate(names)}
    errors = {f"{n}_psnr_db": 30.0 + k for k, n in enumerate(names)}
    first = {"share": 0.368, "bpp": 0.0891, **scores, **errors}
    second = {**first, "share": 1.0, "jxl_frechet": 2.34}
    part = {"quality 50": {"pictures": ["x", "y"], "layers": [first, second]}}
    (tmp_path / "layers.json").write_text(json.dumps({"schema": "s", "gb82": part}), "utf-8")
    lines = photo.layers_section(tmp_path).splitlines()
    assert "of their layers: 2 pictures of gb82, as SSIMULACRA2 / PSNR" in lines[2]
    scores_of = ["50 / 30.0", "49 / 31.0", "48 / 32.0", "47 / 33.0"]
    assert (
        lines[-2] == "| " + " | ".join(["gb82, quality 50", "37 %, 0.089 bpp", *scores_of]) + " |"
    )
    assert " | 48 / 32.0 / 2.3 | " in lines[-1]


def test_layers_are_judged_by_cost_and_by_half_a_file() -> None:
    half = {"photo_ssimulacra2": 20.0, "jxl_ssimulacra2": -10.0, "jpeg_ssimulacra2": 30.0}
    low = {"cost_of_layers": 0.0054, "target_cost": 0.01, "cost_is_met": True}
    part = {
        "quality 50": {**low, "half_of_the_bytes": half},
        "quality 75": {"half_of_the_bytes": {**half, "jxl_ssimulacra2": 20.0}},
    }
    cost, halves = photo.layer_rows("gb82", part)
    what = "gb82, quality 50: cost of the layers, as a share of the file"
    assert cost == (what, "0.54 %", "≤ 1 %: met")
    assert halves[0].endswith("of JPEG XL and of JPEG, at quality 50 / 75")
    assert halves[1:] == ("20, -10, 30 / 20, 20, 30", "above JPEG XL: met / **missed**")
    assert list(photo.layer_rows("gb82", {"quality 75": {}})) == []


def test_the_preview_of_the_first_layer_is_judged_by_time_and_by_looks() -> None:
    arriving = {"cpu_time_share": 0.234, "ssimulacra2": -31.2, "psnr_db": 26.0}
    decompressed = {"cpu_time_share": 0.52, "ssimulacra2": -30.0, "psnr_db": 25.9}
    first = {
        "arriving": arriving,
        "decompressed": decompressed,
        "target_cpu_time_share": 0.5,
        "time_is_met": True,
        "target_ssimulacra2_loss": 1.0,
        "ssimulacra2_is_met": False,
    }
    seconds, looks = photo.preview_rows("gb82", {"quality 75": {"first_layer": first}})
    assert seconds[1:] == ("0.23", "≤ 0.5: met")
    assert "(of the picture that `--layers 1` draws: -30.0, 25.90 dB)" in looks[0]
    assert looks[1:] == ("-31.2, 26.00 dB", "at most 1 lower: **missed**")
    assert list(photo.preview_rows("gb82", None)) == []
    assert list(photo.preview_rows("gb82", {"quality 75": {"first_layer": {}}})) == []


def test_the_gallery_says_what_was_measured(tmp_path: Path) -> None:
    assert gallery.gallery_section(tmp_path).count("![") == 1
    plain = {"realism": 0.0, "mean_lpips": 0.3, "mean_psnr_db": 26.2}
    real = {"realism": 1.0, "mean_lpips": 0.2, "mean_psnr_db": 25.3}
    one = {"mean_bpp": 0.102, "decoded": [plain, real], "peers": {"avif": {"mean_lpips": 0.4}}}
    (tmp_path / "realism_kodak.json").write_text(json.dumps({"rates": {"0.1": one}}), "utf-8")
    row = {f"{name}_ssimulacra2": k for k, name in enumerate(("photo", "jxl", "jpeg"), 50)}
    half = {name: -score for name, score in row.items()}
    layers = [{}, {"share": 0.61, **row}]
    found = {"pictures": ["x"] * 4, "layers": layers, "half_of_the_bytes": half}
    part = {"schema": "s", "gb82": {"quality 75": found}}
    (tmp_path / "layers.json").write_text(json.dumps(part), "utf-8")
    text = gallery.gallery_section(tmp_path)
    assert "Kodak at 0.1 bits per pixel, LPIPS" in text
    assert "falls from 0.300 to 0.200 (AVIF: 0.400), at the cost of 0.90 dB of PSNR" in text
    assert "SSIMULACRA2 is -50 after half of the bytes (JPEG XL: -51, JPEG: -52)" in text
    assert ", and 50 after 61 % (JPEG XL: 51, JPEG: 52)." in text
    for picture in ("side_by_side", "realism", "layers"):
        assert f"](benchmarks/results/{picture}.png)" in text
        assert 10_000 < (RESULTS / f"{picture}.png").stat().st_size < 1_000_000


def visual_part(name: str, against_avif: float, shift: int = 0) -> dict[str, Any]:
    rows = [
        {"against": "avif", "ssimulacra2_percent": against_avif, "psnr_percent": 4.0},
        {"against": "jxl", "ssimulacra2_percent": None, "psnr_percent": -25.0},
    ]
    return {"set": name, "shift": shift, "pictures": ["x.png"] * 25, "found": rows}


def test_the_comparison_at_equal_scores_is_a_column_for_each_set(tmp_path: Path) -> None:
    assert photo.visual_table({}) == ""
    visual = {"sets": {"gb82": visual_part("gb82", -12.3), "kodak": visual_part("kodak", 1.5)}}
    _, _, *lines = photo.visual_table(visual).splitlines()
    assert lines[0].startswith("| BD-rate against | equal SSIMULACRA2, gb82, 25 pictures | equal S")
    assert lines[2].endswith(" | not comparable | not comparable | -25.0 % | -25.0 % |")
    assert lines[3].endswith(" | -12.3 % | +1.5 % | +4.0 % | +4.0 % |")
    shifted = {"gb82-shifted": visual_part("gb82", -7.7, 3), **visual["sets"]}
    _, _, *lines = photo.visual_table({"sets": shifted}).splitlines()
    assert "| equal SSIMULACRA2, gb82, 25 pictures, shifted | equal PSNR, gb82" in lines[0]
    assert lines[3].endswith(" | -12.3 % | +1.5 % | -7.7 % | +4.0 % | +4.0 % |")
    assert photo.headline_section(tmp_path) == ""
    for name in ("gb82", "kodak"):
        rates = {"jpeg": -50.0, "avif": 3.0}
        found = {
            "rate_range_bpp": [0.1, 2.0],
            "targets": [{"reference": "jpeg", "target_percent": -60.0, "met": name == "kodak"}],
            "bd_rates": [
                {
                    "reference": peer,
                    "test": "photo",
                    "bd_rate_percent": rate,
                    "image_count": 7,
                }
                for peer, rate in rates.items()
            ],
        }
        (tmp_path / f"rate_distortion_{name}.json").write_text(json.dumps(found), "utf-8")
    without = photo.headline_section(tmp_path)
    assert "SSIMULACRA2" not in without
    assert "| JPEG | -50.0 % | -50.0 % | ≤ -60 %: **missed on gb82** |" in without
    (tmp_path / "visual.json").write_text(json.dumps(visual), "utf-8")
    text = photo.headline_section(tmp_path)
    assert "| equal PSNR (`--tune psnr`), gb82, 7 pictures | equal PSNR (`--tune psnr`), K" in text
    assert "| equal SSIMULACRA2, gb82, 25 pictures |" in text
    assert "| AVIF | +3.0 % | +3.0 % | -12.3 % | +1.5 % |  |" in text
    assert "| JPEG | -50.0 % | -50.0 % | not measured | not measured | ≤ -60 %" in text
    assert "| WebP |" not in text, "nothing was measured against it"
    (tmp_path / "visual.json").write_text(json.dumps({"sets": shifted}), "utf-8")
    text = photo.headline_section(tmp_path)
    assert "| equal SSIMULACRA2, gb82, 25 pictures, shifted |" in text
    assert "| AVIF | +3.0 % | +3.0 % | -7.7 % |" in text


def test_targets_are_limits_from_above_or_below() -> None:
    assert tables.judged("gap", 0.5) == "≤ 0.5 aimed at: met"
    assert tables.judged("gap", 0.51) == "≤ 0.5 aimed at: **missed**"
    assert tables.judged("coverage", 90) == "≥ 90: met"
    assert tables.judged("coverage", 89) == "≥ 90: **missed**"
    assert tables.judged("of nothing", 1) == ""
    assert tables.table(["a"], []) == ""


def test_a_page_is_filled_between_its_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "PAGE.md"
    page.write_text("before\n<!-- one -->\nold\n<!-- /one -->\nafter\n", "utf-8")
    monkeypatch.setattr(readme, "PAGES", {page: {"one": lambda folder: "new"}})
    assert readme.main(["--check"]) == 1
    assert "PAGE.md does not match" in capsys.readouterr().err
    assert readme.main([]) == 0
    assert page.read_text("utf-8") == "before\n<!-- one -->\nnew\n<!-- /one -->\nafter\n"
    assert readme.main(["--check"]) == 0
