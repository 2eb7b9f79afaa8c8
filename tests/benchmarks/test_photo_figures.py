"""README rows on long runs of the photo codec: what is measured is told, the rest left out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.readme import photo as photo_figures
from benchmarks.readme import tables as figures

TITLES = {"a": "First", "b": "Second"}


def written(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content), "utf-8")
    return path


def effort_part(against_avif: float) -> dict[str, Any]:
    one = {"effort": 1, "bd_rate_against_avif_percent": 9.25, "encode_seconds_over_effort_1": 1}
    three = {"effort": 3, "bd_rate_percent": -2.0, "encode_seconds_over_effort_1": 6.2}
    nine = {
        "effort": 9,
        "bd_rate_against_avif_percent": against_avif,
        "bd_rate_percent": -8.0,
        "encode_seconds_over_effort_1": 801.4,
        "met": against_avif <= 0,
    }
    return {"pictures": ["x.png", "y.png"], "part": "whole pictures", "found": [one, three, nine]}


def test_effort_is_told_where_both_sets_were_measured(tmp_path: Path) -> None:
    path = tmp_path / "effort.json"
    assert photo_figures.effort_rows(TITLES, path) == []
    written(path, {"effort": {"a": effort_part(-1.0)}})
    assert photo_figures.effort_rows(TITLES, path) == []
    written(path, {"effort": {"a": effort_part(-1.0), "b": effort_part(2.0)}})
    nine, one, short, own = photo_figures.effort_rows(TITLES, path)
    assert nine.startswith("| AVIF, effort 9 (2 / 2 pictures, whole pictures) | -1.0 % | +2.0 % |")
    assert nine.endswith("| ≤ 0 %: **missed on Second** |")
    assert "| +9.2 % | +9.2 % |" in one
    assert "what effort 3 saves on them, in 6 / 6 times the time | -2.0 % | -2.0 % |" in short
    assert "in 801 / 801 times the time | -8.0 % | -8.0 % |" in own


def test_speed_is_a_row_for_each_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(measured: float) -> dict[str, float | bool]:
        return {"measured": measured, "at_most": 12.0, "met": measured <= 12}

    def picture(width: int, numpy: float, openvino: float | None) -> dict[str, Any]:
        ratios = {"photo": {"decode_times_avif": row(numpy)}, "photo openvino": {}}
        if openvino is not None:
            ratios["photo openvino"] = {"decode_times_avif": row(openvino)}
        return {"width": width, "height": 512, "ratios": ratios}

    found = {"threads": 2, "pictures": [picture(768, 20.0, 11.0), picture(4000, 14.0, 12.4)]}
    monkeypatch.setattr(figures, "_load", lambda name: found)
    first, second = figures.speed_rows()
    assert "AVIF's decoder (768×512 / 4000×512, 2 cores" in first
    assert first.endswith("| 20× / 14× | ≤ 12×: **missed** / **missed** |")
    assert "AVIF's decoder, with `--device openvino` |" in second
    assert second.endswith("| 11× / 12× | ≤ 12×: met / **missed** |")
    found["pictures"] = [picture(768, 20.0, None)]
    assert len(figures.speed_rows()) == 1


def test_ablations_are_a_row_each(tmp_path: Path) -> None:
    path = tmp_path / "ablations.json"
    assert photo_figures.ablation_table(path) == ""
    rows = {name: {"bd_rate_percent": rate} for name, rate in (("photo", 0), ("photo-adamw", 1.2))}
    written(path, {"comparisons": {"1,200 steps": {"baseline": "photo", "rows": rows}}})
    *_, last = photo_figures.ablation_table(path).splitlines()
    assert last == "| AdamW in place of SOAP | +1.2 % | 1,200 steps |"


def test_realism_is_a_column_each(tmp_path: Path) -> None:
    path = tmp_path / "realism.json"
    assert photo_figures.realism_section(path) == ""
    decoded = [
        {"realism": realism, "mean_psnr_db": 30 - realism, "frechet_distance": 2 - realism}
        for realism in (0.0, 1.0)
    ]
    found = [{"quality": 5.0, "mean_bpp": 0.078, "decoded": decoded}]
    about = {"patches": 9216, "pictures": 24, "set": "kodak", "found": found}
    about["photo_weights"] = "0123456789abcdef"
    written(path, {**about, "frechet_between_halves_of_the_originals": 0.3})
    text = photo_figures.realism_section(path)
    assert "9,216 patches" in text
    assert "photo weights `01234567`, by" in text
    assert "| quality | bits per pixel | 0 | 1 |" in text
    assert text.endswith("| 5 | 0.078 | 30.00 / 2.00 | 29.00 / 1.00 |\n")
