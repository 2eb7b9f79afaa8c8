"""Samples of generators, contact sheets, the rate compared with files, and the README's section."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.dplc import __main__ as dplc
from benchmarks.dplc.samples import interval, read_group, sample_images
from benchmarks.harness.small_images import (
    as_picture,
    images_of_size,
    load_dplc_model,
    read_file,
    write_file,
)
from benchmarks.readme.dplc import dplc_section
from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec.models.generative.weights_file import load_generative
from codec.rate_distortion.ladder.ladder import Ladder
from tests.benchmarks.tiny_dplc_set import run
from training.data.small_images import evenly


def test_groups_of_runs() -> None:
    group = read_group("GAN=a.safetensors,b/c.safetensors")
    assert group.name == "GAN"
    assert [str(path) for path in group.files] == ["a.safetensors", "b/c.safetensors"]
    for wrong in ("GAN", "=a", "GAN=", "GAN=,"):
        with pytest.raises(ArgumentTypeError, match="expected NAME=FILE"):
            read_group(wrong)
    with pytest.raises(SystemExit, match="2"):
        dplc.main(["samples", "--weights", "GAN", "--data", "x", "--features", "y"])
    with pytest.raises(SystemExit, match="2"):
        dplc.main(["probes", "--weights", "dplc"])


def test_intervals_are_students() -> None:
    found = interval([1.0, 2.0, 3.0])
    # Student's t for two degrees of freedom is 4.3027, and the standard error is 1/√3.
    assert found["mean"] == 2
    assert found["half_of_95_percent_interval"] == pytest.approx(4.3027 / 3**0.5, rel=1e-4)
    assert interval([1.0, 2.0])["half_of_95_percent_interval"] is None


def test_samples_of_generators(dplc_folder: Path, tmp_path: Path) -> None:
    files = [dplc_folder / f"generator{n}.safetensors" for n in range(4)]
    kept = run(
        dplc_folder, tmp_path / "dplc.json", "samples", "--samples", "20",
        "--weights", "three=" + ",".join(map(str, files[:3])), f"one={files[3]}",
        "--features", str(dplc_folder / "features.safetensors"),
    )  # fmt: skip
    three, one = kept["generators"]["found"]
    assert [run["file"] for run in three["runs"]] == [file.name for file in files[:3]]
    distances = [run["frechet_distance"] for run in three["runs"]]
    assert len(set(distances)) == 3
    assert three["mean"] == pytest.approx(np.mean(distances), rel=1e-4)
    assert three["half_of_95_percent_interval"] > 0
    assert (one["name"], one["half_of_95_percent_interval"]) == ("one", None)
    assert one["runs"][0]["pattern_entropy_bits"] == 0.25
    assert all(
        run.keys().isdisjoint(["pattern_entropy_bits", "critic_estimate"]) for run in three["runs"]
    )
    model = load_generative(files[0])
    images = sample_images(model, 3, 7)
    z = torch.randn(3, model.config.code, generator=torch.Generator().manual_seed(7))
    assert np.abs(images - 255 * model.decoder(z).detach().numpy()).max() <= 0.51


def test_samples_need_images_of_their_size(dplc_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected 3 channels"):
        images_of_size(dplc_folder / "digits", 3, 32)
    np.savez(tmp_path / "wide.npz", x_test=np.zeros((4, 64, 64), np.uint8))
    assert images_of_size(tmp_path / "wide.npz", 1, 32).shape == (4, 1, 32, 32)


def test_contact_sheets(dplc_folder: Path, tmp_path: Path) -> None:
    weights = dplc_folder / "grey.safetensors"
    kept = run(
        dplc_folder, tmp_path / "dplc.json", "sheet", "--weights", str(weights),
        "--plain", str(dplc_folder / "plain1.safetensors"), "--rows", "2", "--samples", "4",
        "--picture", str(tmp_path / "out" / "digits.png"),
    )  # fmt: skip
    assert kept["grey"]["files"] == ["digits-rates.png", "digits-samples.png"]
    by_rate, samples = (
        np.asarray(Image.open(tmp_path / "out" / name)) for name in kept["grey"]["files"]
    )
    # Original, three rates and one plain one; original and four samples, for three rates.
    assert by_rate.shape == (4 + 2 * 144, 4 + 5 * 132, 3)
    assert samples.shape == (4 + 3 * 144, 4 + 5 * 132, 3)

    def cell(picture: Uint8Array, row: int, column: int) -> Uint8Array:
        top, left = 4 + 144 * row, 4 + 132 * column
        return picture[top : top + 128 : 4, left : left + 128 : 4]

    model = load_dplc_model(weights)
    images = evenly(images_of_size(dplc_folder / "digits", 1, 32), 2)
    assert np.array_equal(cell(by_rate, 1, 0), as_picture(images[1]).repeat(3, 2))
    file = write_file(model.coder, as_picture(images[1]), model.quality(2), noise_seed=1)
    assert np.array_equal(cell(by_rate, 1, 3), read_file(model.coder, file.data).repeat(3, 2))
    for row in range(3):
        assert np.array_equal(cell(samples, row, 0), as_picture(images[0]).repeat(3, 2))
        drawn = {cell(samples, row, column).tobytes() for column in range(1, 5)}
        assert len(drawn) > 1


def test_the_rate_stands_beside_the_files(dplc_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    weights = dplc_folder / "grey.safetensors"
    kept = run(
        dplc_folder, tmp_path / "dplc.json", "rate", "--weights", str(weights), "--count", "3",
        "--betas", "0.01", "0.1", "--temperatures", "4", "--chains", "2", "--simulations", "1",
        "--leapfrog", "1",
    )["grey"]  # fmt: skip
    assert kept["code_dimensions"] == 5
    assert len(kept["found"]["rows"]) == 2
    assert {p.name for p in tmp_path.glob("dplc_rate_*")} == {
        "dplc_rate_grey.svg", "dplc_rate_grey.png",
    }  # fmt: skip
    ladder = Ladder.from_json(kept["ladder"])
    assert [rung.kind for rung in ladder.rungs] == ["model", "code_length", "bytes", "bytes"]
    _, lengths, shared, single = ladder.rungs
    model = load_dplc_model(weights)
    images = evenly(images_of_size(dplc_folder / "digits", 1, 32), 3)
    expected = []
    for rate in range(3):
        files = [
            write_file(model.coder, as_picture(i), model.quality(rate), noise_seed=n)
            for n, i in enumerate(images)
        ]
        expected.append(np.mean([8 * len(file.data) for file in files]))
    assert sorted(single.rate_bits) == pytest.approx(sorted(expected), rel=1e-4)
    assert min(lengths.rate_bits) == 0
    for low, high in zip(lengths.rate_bits, shared.rate_bits, strict=True):
        assert low < high
    with pytest.raises(UsageError, match="at most 128"):
        run(dplc_folder, tmp_path / "x.json", "rate", "--weights", str(weights),
            "--data", str(_many(tmp_path)), "--count", "129")  # fmt: skip


def _many(folder: Path) -> Path:
    np.savez(folder / "many.npz", x_test=np.zeros((130, 32, 32), np.uint8))
    return folder / "many.npz"


def test_another_result_file_is_refused(dplc_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dplc.json").write_text('{"schema": "other"}', "utf-8")
    with pytest.raises(UsageError, match="schema"):
        run(tmp_path, tmp_path / "dplc.json", "gaussian", "--rates", "1", "--steps", "1",
            "--numbers", "100")  # fmt: skip


def test_the_section_of_the_results(dplc_folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "dplc.json"
    assert dplc_section(tmp_path) == ""
    run(tmp_path, output, "gaussian", "--rates", "0.5", "2", "--steps", "2", "--numbers", "2000")
    text = dplc_section(tmp_path)
    assert "0.5 to 2 bits of information" in text
    assert "decoder by optimal transport" in text
    assert "**missed** (a scalar quantiser alone costs up to 0.25 bit)" in text
    features = str(dplc_folder / "features.safetensors")
    common = ("--weights", str(dplc_folder / "grey.safetensors"), "--features", features)
    few = ("--columns", "2", "--singles", "1", "--decodes", "2", "--variance-columns", "2",
           "--peers", "jpeg", "--peer-sheets", "1")  # fmt: skip
    run(dplc_folder, output, "rates", *common, *few, "--limit", "8")
    runs = ",".join(str(dplc_folder / f"generator{n}.safetensors") for n in range(3))
    run(dplc_folder, output, "samples", "--weights", f"GAN={runs}", "--features", features,
        "--samples", "9")  # fmt: skip
    run(dplc_folder, output, "probes", "--models", "dplc", "--weights",
        f"dplc={dplc_folder / 'grey.safetensors'}", "--count", "4", "--columns", "2")  # fmt: skip
    text = dplc_section(tmp_path)
    rows = [line for line in text.splitlines() if line.startswith("| `grey`")]
    # Without plain autoencoders two claims are left out.
    assert len(rows) == 4
    assert "| `dplc`: images whose number of dots changes, of 4 |" in text
    assert "| plain autoencoder | jpeg |" in text
    assert "no file so small" in text
    assert "not measured" in text
    assert "| GAN | 3 | " in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| `")}
    assert widths == {4}
    stored = json.loads(output.read_text("utf-8"))
    assert set(stored) == {"schema", "gaussian", "rates", "samples", "probes"}
