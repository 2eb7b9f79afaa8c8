"""The comparison of local references with annealing from the prior, on artificial samples."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurement import bound_time, mnist_comparison, references
from benchmarks.measurement.mnist import some_of, write_samples
from benchmarks.readme.measurement import (
    bridge_rows,
    cost_shares,
    rae_table,
    references_table,
    time_rows,
)
from bitstream.errors import UsageError
from tests.codec.rate_distortion.annealing.test_summary import gaussian


def write_pair(folder: Path, *, shared: bool = True) -> None:
    """Six images with a wide gap at the last β, and the prior two nats higher on three of them."""
    local = gaussian(6, noise=0.1)
    gap = np.full((4, 9), 0.1)
    gap[:, 8] = (0.2, 0.4, 0.6, 1.2)
    local = replace(
        local, gap=gap, reference=("local",) * 9, gradients=6000, jacobian_products=12000
    )
    places = [5, 0, 3]
    prior = replace(
        local.of_images(places), log_partition=local.log_partition[places] + 2.0, gap=None,
        gradients=90_000, no_certificate="not asked for", jacobian_products=0,
    )  # fmt: skip
    about = {"precision": "float32", "seconds": 1, "provenance": {}}
    names = [f"image {i}" for i in range(6)]
    write_samples(folder / "vae.npz", local, images=names, **about)
    others = [names[place] if shared else "another" for place in places]
    write_samples(folder / "vae-prior.npz", prior, images=others, **about)


def test_images_are_paired_by_what_they_are(tmp_path: Path) -> None:
    write_pair(tmp_path)
    (measured,) = references.run(Namespace(work=tmp_path))
    model = measured.content["models"]["vae"]
    assert model["points_within_gap"] == 8
    assert model["gap_nats"][8] == pytest.approx(0.6)
    assert model["gap_worst_simulation_nats"][8] == pytest.approx(1.2)
    assert model["gradients_and_products_per_image"] == 2000
    beside = model["beside_prior"]
    assert beside["prior_higher_nats"] == [2.0] * 9
    assert beside["standard_error_nats"] == [0.0] * 9
    assert beside["prior_gradients_per_image"] == 30_000
    text = references_table(measured.content)
    assert "89 % of the points (≥ 90 %: **missed**)" in text
    assert text.count("| 2.00 ± 0.00 |") == 9


def test_parts_are_one_curve(tmp_path: Path) -> None:
    whole = replace(gaussian(6, noise=0.1), gap=np.full((4, 9), 0.1), reference=("local",) * 9)
    about = {"precision": "float32", "seconds": 2, "provenance": {}}
    for start in (0, 2):
        rows = slice(start, start + (2 if start == 0 else 4))
        part = replace(
            whole.of_images(rows), gradients=10, gap=np.full((4, 9), 0.1 if start == 0 else 0.3)
        )
        names = [f"image {i}" for i in range(6)][rows]
        write_samples(tmp_path / f"vae@{start}.npz", part, images=names, **about)
    (measured,) = references.run(Namespace(work=tmp_path))
    model = measured.content["models"]["vae"]
    assert (model["images"], model["simulations"], model["parts"]) == (6, 8, 2)
    assert model["gap_nats"] == [0.2] * 9
    assert model["gradients"] == 20
    assert model["log_partition_nats"] == pytest.approx(whole.log_partition.mean(0), abs=1e-3)
    write_samples(tmp_path / "vae@4.npz", part, images=names, **about)
    with pytest.raises(UsageError, match="images in common"):
        next(references.run(Namespace(work=tmp_path)))


def test_models_are_compared_on_the_images_that_all_have(tmp_path: Path) -> None:
    def write(name: str, places: list[int], higher: float) -> None:
        samples = whole.of_images(places)
        samples = replace(samples, log_partition=samples.log_partition + higher)
        names = [f"image {place}" for place in places]
        write_samples(tmp_path / f"{name}.npz", samples, images=names, **about)

    about = {"precision": "float32", "seconds": 2, "provenance": {}}
    whole = replace(gaussian(8, noise=0.1), gap=np.full((10, 9), 0.1), reference=("local",) * 9)
    write("vae@0", [5, 0], 0.0)
    write("vae@2", [3, 7], 0.0)
    write("rae", [7, 1, 5, 0], 2.0)
    options = Namespace(work=tmp_path, models=None, output=tmp_path / "found.json")
    (measured,) = mnist_comparison.run(options)
    curves = {curve["model"]: curve for curve in measured.content["curves"]}
    assert {curve["images"] for curve in curves.values()} == {3}
    mean = whole.log_partition[[5, 0, 7]].mean(0)
    assert curves["vae"]["log_partition_nats"] == pytest.approx(mean)
    assert curves["rae"]["log_partition_nats"] == pytest.approx(mean + 2.0)
    for row in measured.content["comparison"]["rows"]:
        assert row["order_by_distortion"] == ["vae", "rae"]
        (pair,) = row["differences"]
        assert pair["significant"]
        assert 0 < pair["interval"][0] <= pair["difference"] <= pair["interval"][1]
    write("gan", [1, 2], 0.0)
    with pytest.raises(UsageError, match="different images"):
        next(mnist_comparison.run(options))


def test_parts_make_up_all_images() -> None:
    parts = [some_of(7, 0, 3), some_of(7, 3, 4)]
    assert sorted(np.concatenate(parts)) == list(range(7))
    with pytest.raises(UsageError, match="images 5 to 8 of 7"):
        some_of(7, 5, 3)


def test_a_curve_that_nobody_can_trust_is_a_result(tmp_path: Path) -> None:
    samples = replace(gaussian(6), gap=np.full((4, 9), 20.0), reference=("local",) * 9)
    about = {"precision": "float32", "seconds": 1, "provenance": {}}
    write_samples(tmp_path / "wae.npz", samples, images=["a"], **about)
    (measured,) = references.run(Namespace(work=tmp_path))
    model = measured.content["models"]["wae"]
    assert (model["points_within_gap"], any(model["certified"])) == (0, False)
    assert "no point of the curve can be trusted" in model["failures"][0][0]
    assert "0 % of the points" in references_table(measured.content)


def test_curves_of_other_images_are_not_compared(tmp_path: Path) -> None:
    write_pair(tmp_path, shared=False)
    with pytest.raises(UsageError, match="no image in common"):
        next(references.run(Namespace(work=tmp_path)))
    with pytest.raises(UsageError, match="has no samples"):
        next(references.run(Namespace(work=tmp_path / "empty")))


def test_costs_are_those_of_the_same_decoders() -> None:
    linear = {
        "gap": {
            "found": [
                {"code_dimensions": 100, "temperatures": 300, "gradients_per_chain": 1},
                {"code_dimensions": 100, "temperatures": 1000, "gradients_per_chain": 9000},
                {
                    "code_dimensions": 100, "temperatures": 1000, "gradients_per_chain": 2,
                    "method": "ais",
                },
            ]
        },
        "bridge-100": {"found": [{"gradients_and_products_per_chain": 2700}]},
    }  # fmt: skip
    assert dict(cost_shares(linear)) == {100: pytest.approx(30)}


def test_decoders_that_were_measured_one_by_one_are_one_row() -> None:
    rows = [
        {
            "instances": count, "worst_gap_nats": gap, "local_points_of_all": [40 * count] * 2,
            "gradients_and_products_per_chain": cost,
        }
        for count, gap, cost in ((3, 0.001, 100), (1, 0.004, 200))
    ]  # fmt: skip
    (row,) = bridge_rows({"bridge-50": {"found": rows}}, "bridge-50")
    assert (row["instances"], row["worst_gap_nats"]) == (4, 0.004)
    assert (row["local_points_of_all"], row["gradients_and_products_per_chain"]) == ([160] * 2, 125)
    assert bridge_rows({}, "bridge-50") == []


def test_files_of_the_regularised_autoencoder_stand_beside_its_curve() -> None:
    row = {
        "quality": 75.0, "distortion": 15.06, "file_bits": 42.6, "header_bits": 1.1,
        "rate_bits": 21.7, "gap_bits": 20.9,
    }  # fmt: skip
    curve = {"images": 100, "beta": [1, 2], "certified": [True, False], "bdmc_gap_nats": [0.1, 0.6]}
    unreached = {**row, "quality": 90.0, "rate_bits": None, "gap_bits": None}
    text = rae_table({"model": "vae-round:rae", "files": [row, unreached], "curve": curve})
    assert "| 75 | 15.1 | 42.6 | 1.1 | 21.7 | 20.9 |" in text
    assert "| 90 | 15.1 | 42.6 | 1.1 |  |  |" in text
    assert "1 of the 2 points of R_p are certified" in text
    assert rae_table({}) == ""


def test_the_timed_command_is_that_of_the_readme() -> None:
    assert "def model()" in bound_time.example()
    found = {"processor_seconds": 12.3, "certified": 11, "points": 12}
    (row,) = time_rows({"quick": {"found": found}})
    assert row[1] == "12 s / 11 of 12"
