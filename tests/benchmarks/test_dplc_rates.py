"""The rates of an untrained codec, compared with files that the test writes and reads itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.dplc.rates import conditional_variance, summary
from benchmarks.harness.peers import DecodedSheets, PeerSheets, peer_files, squared_errors
from benchmarks.harness.small_images import (
    as_picture,
    features_of,
    images_of_size,
    load_dplc_model,
    paste,
    read_file,
    write_file,
)
from bitstream.errors import UsageError
from codec.rate_distortion.metrics import frechet_distance
from tests.benchmarks.tiny_dplc_set import COUNT, digit_like, run
from training.features.train import load_features


def test_images_get_a_border_or_are_averaged(dplc_folder: Path, tmp_path: Path) -> None:
    images = images_of_size(dplc_folder / "digits", 1, 32)
    assert images.shape == (COUNT, 1, 32, 32)
    assert np.array_equal(images[:, 0, 2:30, 2:30], digit_like(COUNT, 2))
    assert images.sum() == images[:, :, 2:30, 2:30].sum()
    other = images_of_size(dplc_folder / "digits", 1, 32, part="train", limit=5)
    assert np.array_equal(other[:, 0, 2:30, 2:30], digit_like(COUNT, 1)[:5])
    assert images_of_size(dplc_folder / "digits", 1, 14).shape[2:] == (14, 14)
    for channels, side in ((3, 32), (1, 20), (1, 33)):
        with pytest.raises(UsageError, match="expected"):
            images_of_size(dplc_folder / "digits", channels, side)
    np.savez(tmp_path / "wide.npz", x_test=np.zeros((2, 32, 64), np.uint8))
    with pytest.raises(UsageError, match="expected"):
        images_of_size(tmp_path / "wide.npz", 1, 32)


def test_features_take_grey_and_larger_images(dplc_folder: Path) -> None:
    network = load_features(dplc_folder / "features.safetensors")
    images = images_of_size(dplc_folder / "digits", 1, 32)
    features = features_of(network, images)
    assert features.shape == (COUNT, 5)
    assert np.array_equal(features_of(network, images.repeat(3, 1)), features)
    assert np.array_equal(features_of(network, images.repeat(2, 2).repeat(2, 3)), features)
    with pytest.raises(UsageError, match="multiple of 32"):
        features_of(network, images[..., :16, :16])


def test_qualities_select_the_rates(dplc_folder: Path) -> None:
    for name, rates in (("grey", 3), ("colour", 2), ("plain1", 1)):
        model = load_dplc_model(dplc_folder / f"{name}.safetensors")
        for rate in range(rates):
            assert model.config.rate_at(round(100 * model.quality(rate))) == rate
        assert model.quality(rates - 1) == 100


@pytest.fixture(scope="module")
def rates(dplc_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    plain = (str(dplc_folder / f"{name}.safetensors") for name in ("plain1", "plain3"))
    return measure(dplc_folder, tmp_path_factory.mktemp("rates") / "dplc.json", "--plain", *plain)


def measure(dplc_folder: Path, output: Path, *others: str, columns: int = 3) -> dict[str, Any]:
    kept = run(
        dplc_folder, output, "rates",
        "--weights", str(dplc_folder / "grey.safetensors"),
        "--features", str(dplc_folder / "features.safetensors"),
        "--columns", str(columns), "--singles", "2", "--decodes", "3", "--variance-columns", "2",
        "--peers", "jpeg", "jpeg2000", "--peer-sheets", "1", *others,
    )  # fmt: skip
    found: dict[str, Any] = kept["grey"]
    return found


def test_rows_are_those_of_the_files(dplc_folder: Path, rates: dict[str, Any]) -> None:
    model = load_dplc_model(dplc_folder / "grey.safetensors")
    network = load_features(dplc_folder / "features.safetensors")
    images = images_of_size(dplc_folder / "digits", 1, 32)[:18]
    original = features_of(network, images)
    assert rates["images"] == 18
    rows = rates["found"]["rates"]
    assert [row["symbols_per_position"] for row in rows] == [0, 1, 3]
    assert [row["fixed_bits_per_image"] for row in rows] == [0, 4, 12]
    for rate, row in enumerate(rows):
        files = [
            write_file(model.coder, paste(part, 3), model.quality(rate), noise_seed=seed)
            for seed, part in enumerate((images[:9], images[9:]))
        ]
        decoded = np.stack([read_file(model.coder, file.data) for file in files])  # (2, 96, 96, 1)
        expected = np.mean([
            (decoded[n].astype(float) - paste(part, 3)) ** 2
            for n, part in enumerate((images[:9], images[9:]))
        ])  # fmt: skip
        assert row["mse"] == pytest.approx(expected, rel=1e-4)
        assert row["psnr_db"] == pytest.approx(10 * np.log10(255**2 / expected), rel=1e-4)
        assert row["sheet_bytes"] == np.mean([len(file.data) for file in files])
        payload = sum(file.payload_bytes for file in files)
        assert row["payload_bits_per_image"] == pytest.approx(8 * payload / 18, rel=1e-4)
        single = [write_file(model.coder, as_picture(images[n]), model.quality(rate), noise_seed=s)
                  for s, n in enumerate((0, 17))]  # fmt: skip
        assert row["single_images"]["file_bytes"] == np.mean([len(one.data) for one in single])
        assert row["conditional"]["variance"] > 0
        blocks = [features_of(network, one.reshape(3, 32, 3, 32).transpose(0, 2, 1, 3)
                              .reshape(9, 1, 32, 32)) for one in decoded]  # fmt: skip
        distance = frechet_distance(original, np.concatenate(blocks))
        assert row["frechet_distance"] == pytest.approx(distance, rel=1e-3)
        for name in ("jpeg", "jpeg2000"):
            peer = row["peers"][name]
            assert peer is None or peer["sheet_bytes"] <= len(files[0].data)
        assert row["on_the_peers_sheets"]["images"] == 9
    assert rows[0]["payload_bits_per_image"] == 0
    assert len({row["single_images"]["payload_bytes"] for row in rows}) == 3


def test_plain_ones_stand_at_their_rates(dplc_folder: Path, rates: dict[str, Any]) -> None:
    rows = rates["found"]["rates"]
    images = images_of_size(dplc_folder / "digits", 1, 32)[:18]
    mean = np.rint(images_of_size(dplc_folder / "digits", 1, 32, part="train").mean(0))
    assert rows[0]["plain"]["mse"] == pytest.approx(((images - mean) ** 2).mean(), rel=1e-4)
    assert "mean of 24 training images" in rows[0]["plain"]["what"]
    for row, name in zip(rows[1:], ("plain1", "plain3"), strict=True):
        one = load_dplc_model(dplc_folder / f"{name}.safetensors")
        again = [
            read_file(one.coder, write_file(one.coder, paste(part, 3), 100).data)
            for part in (images[:9], images[9:])
        ]
        expected = np.mean([
            (a.astype(float) - paste(part, 3)) ** 2
            for a, part in zip(again, (images[:9], images[9:]), strict=True)
        ])  # fmt: skip
        assert row["plain"]["mse"] == pytest.approx(expected, rel=1e-4)
        assert row["plain"]["weights_sha256"] == one.weights_sha256
    found = rates["found"]["summary"]
    assert found["frechet_over_plain"][1] == pytest.approx(
        rows[1]["frechet_distance"] / rows[1]["plain"]["frechet_distance"], rel=1e-3
    )


def test_plain_ones_that_are_not_measured_keep_their_figures(
    dplc_folder: Path, rates: dict[str, Any], tmp_path: Path
) -> None:
    output = tmp_path / "dplc.json"
    report = {"schema": "calotype.dplc/1", "rates": {"grey": rates}}
    output.write_text(json.dumps(report), "utf-8")
    again = measure(dplc_folder, output)
    assert again["found"] == rates["found"]
    for columns, known in ((4, False), (3, False)):  # the last file is one of other images
        rows = measure(dplc_folder, output, columns=columns)["found"]["rates"]
        assert [bool(row["plain"]) for row in rows] == [True, known, known]


def test_another_plain_autoencoder_is_refused(dplc_folder: Path, tmp_path: Path) -> None:
    for plain in ("grey", "colour"):
        with pytest.raises(UsageError, match="expected a plain autoencoder"):
            run(
                dplc_folder, tmp_path / "dplc.json", "rates",
                "--weights", str(dplc_folder / "grey.safetensors"),
                "--plain", str(dplc_folder / f"{plain}.safetensors"),
                "--features", str(dplc_folder / "features.safetensors"),
            )  # fmt: skip


def test_variance_is_over_decodings(dplc_folder: Path) -> None:
    model = load_dplc_model(dplc_folder / "grey.safetensors")
    sheet = paste(images_of_size(dplc_folder / "digits", 1, 32)[:4], 2)
    file = write_file(model.coder, sheet, model.quality(1))
    decoded = np.stack([read_file(model.coder, file.data, seed) for seed in (5, 6, 7, 8)])
    each = decoded.astype(float).var(axis=0, ddof=1)[..., 0]
    found = conditional_variance(model, 1, sheet, 4, 5)
    assert found["variance"] == pytest.approx(each.mean())
    means = each.reshape(2, 32, 2, 32).mean(axis=(1, 3)).ravel()
    assert found["standard_error"] == pytest.approx(means.std(ddof=1) / 2)
    plain = load_dplc_model(dplc_folder / "plain1.safetensors")
    assert conditional_variance(plain, 0, sheet, 3, 0)["variance"] == 0


def test_grey_sheets_are_grey_files() -> None:
    sheet = paste(np.pad(digit_like(4, 0)[:, None], ((0, 0), (0, 0), (2, 2), (2, 2))), 2)
    files = peer_files("jpeg", sheet)
    colour = peer_files("jpeg", sheet.repeat(3, 2))
    assert len(files.file(50)) < len(colour.file(50))
    fitting = files.decoded_within(len(files.file(50)))
    assert fitting is not None
    assert fitting[0] <= len(files.file(50))
    assert fitting[1].shape == (64, 64, 3)
    assert np.array_equal(fitting[1][..., 0], fitting[1][..., 2])
    assert squared_errors(sheet.transpose(2, 0, 1)[None], fitting[1][None, ..., 0][None]) < 500


def test_a_codec_without_so_small_a_file_is_left_out(dplc_folder: Path) -> None:
    network = load_features(dplc_folder / "features.safetensors")
    images = images_of_size(dplc_folder / "digits", 1, 32)[:4]
    known = PeerSheets(("jpeg",), [paste(images, 2)])
    assert known.within([30], lambda: DecodedSheets(32, network)) == {"jpeg": None}
    found = known.within([5000], lambda: DecodedSheets(32, network))["jpeg"]
    assert found is not None
    assert found.file_bytes[0] <= 5000
    row = found.row(features_of(network, images))
    assert row["images"] == 4
    assert row["frechet_distance"] >= 0


def made_up(symbols: int, mse: float, frechet: float, variance: float) -> dict[str, Any]:
    return {
        "symbols_per_position": symbols, "fixed_bits_per_image": 4 * symbols, "mse": mse,
        "frechet_distance": frechet, "conditional": {"variance": variance},
        "payload_bits_per_image": 3.6 * symbols,
        "single_images": {"file_bytes": 40.0},
        "plain": {"mse": mse / 1.1, "frechet_distance": 3 * frechet},
    }  # fmt: skip


def test_the_summary_judges_the_claims() -> None:
    rows = [made_up(0, 900, 10, 50), made_up(2, 500, 11, 20), made_up(8, 100, 9, 1)]
    found = summary(rows)
    assert found["variance_positive_and_falling"]
    assert found["frechet_flat"]
    assert found["frechet_largest_share_off_the_mean"] == pytest.approx(0.1)
    assert found["frechet_over_plain"] == pytest.approx([1 / 3] * 3)
    assert found["frechet_at_most_half_of_plain_at_the_two_lowest"]
    assert found["mse_falls"]
    assert found["mse_over_plain_at_the_highest"] == pytest.approx(1.1)
    assert found["mse_near_plain_at_the_highest"]
    assert found["payload_over_fixed_rate"] == pytest.approx([0.9, 0.9])
    assert found["payload_below_fixed_rate"]
    assert found["zero_rate_file_bytes"] == 40
    rows[1] |= {"mse": 950, "frechet_distance": 40, "payload_bits_per_image": 9}
    rows[1]["conditional"]["variance"] = 51
    rows[2]["plain"] = None
    found = summary(rows)
    claims = [
        "variance_positive_and_falling",
        "frechet_flat",
        "mse_falls",
        "payload_below_fixed_rate",
        "frechet_at_most_half_of_plain_at_the_two_lowest",
    ]
    for claim in claims:
        assert found[claim] is False
    assert found["mse_near_plain_at_the_highest"] is None
    assert found["frechet_at_most_half_of_plain_at_the_two_lowest_with_symbols"] is None
    rows[0]["plain"] = None
    assert summary(rows)["frechet_at_most_half_of_plain_at_the_two_lowest"] is None
