"""The measurements of DRAW's files on small untrained networks, checked by other calculations."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.draw import exactness as draw_exactness
from benchmarks.draw.exactness import measure_exactness
from benchmarks.draw.files import ideal_bits
from benchmarks.draw.prefix import similarity
from benchmarks.harness.peers import peer_files
from benchmarks.harness.small_images import (
    cut,
    decode_prefixes,
    held_out_images,
    paste,
    rounded,
    sheets,
    write_file,
)
from benchmarks.readme.draw import draw_section
from bitstream import read_container
from bitstream.errors import UsageError
from codec.models.draw.exact import log_scale_levels
from codec.pipeline.decode import decompress_container
from tests.benchmarks.tiny_draw import DIGITS, FILES, as_picture, images_of, model, run, write_all
from tests.codec.rate_distortion.made_up_pictures import photo_like
from training.data.small_images import evenly


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and data."""
    made = tmp_path_factory.mktemp("draw")
    write_all(made)
    return made


def test_sheets_come_apart_again(folder: Path) -> None:
    images = images_of(folder, "files")
    assert images.shape == (6, 3, 32, 32)
    sheet = paste(images, 3)
    assert sheet.shape == (64, 96, 3)
    assert np.array_equal(sheet[32:, :32], as_picture(images[3]))
    assert np.array_equal(cut(sheet, 32), images)
    assert [one.shape for one in sheets(images, 2)] == [(64, 64, 3)]
    assert np.array_equal(evenly(images, 2), images[[0, 5]])
    with pytest.raises(UsageError, match="fill"):
        paste(images, 4)
    with pytest.raises(UsageError, match="fill"):
        sheets(images, 3)
    with pytest.raises(UsageError, match="expected 1 channels"):
        held_out_images(DIGITS, folder / "colour.npz")
    assert rounded({"a": [np.float64(1 / 3), np.int64(2), math.inf]}) == {"a": [0.33333, 2, None]}


def test_a_network_without_likelihood_or_files_says_so(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no likelihood"):
        run(folder, tmp_path / "draw.json", "likelihood", "files")
    with pytest.raises(UsageError, match="writes no files"):
        run(folder, tmp_path / "draw.json", "files", "digits")
    (tmp_path / "draw.json").write_text('{"schema": "other"}', "utf-8")
    with pytest.raises(UsageError, match="schema"):
        run(folder, tmp_path / "draw.json", "files", "files", "--limit", "4", "--columns", "2")


def test_files_cost_what_their_symbols_should(folder: Path, tmp_path: Path) -> None:
    found = run(
        folder, tmp_path / "draw.json", "files", "files",
        "--limit", "4", "--columns", "2", "--qualities", "25", "100",
    )["found"]  # fmt: skip
    coder = model(folder, "files").file_coder()
    images = images_of(folder, "files", 4)
    for row in found:
        files = [write_file(coder, as_picture(image), row["quality"]) for image in images]
        one = row["images"]
        sizes = [(len(file.data), file.payload_bytes) for file in files]
        stated = one["mean_file_bytes"], one["mean_payload_bytes"]
        assert stated == pytest.approx(tuple(np.mean(sizes, axis=0)), abs=0.06)
        headers = one["mean_file_bytes"] - one["mean_payload_bytes"]
        assert one["mean_header_and_chunk_bytes"] == headers
        assert row["sheet"]["pixels_of_each"] == 64 * 64
        assert one["mean_bound_bits"] > 100
        assert one["largest_payload_above_bound_bytes"] < 16
        assert one["within_claim"] == one["pictures"] == 4


def test_the_bound_is_that_of_the_symbols(folder: Path) -> None:
    coder = model(folder, "files").file_coder()
    pixels = as_picture(images_of(folder, "files")[0])
    continuous, tabled = ideal_bits(coder, pixels, 60)
    steps = coder.step_symbols(coder.analyze(pixels, 60), 60)
    scales = log_scale_levels(FILES)
    expected = in_bins = 0.0
    for symbols, indexes in (message for messages in steps for message in messages):
        expected += coder.tables.code_length_bits(symbols, indexes)
        ends = [(np.abs(symbols) + half) / np.exp(scales[indexes]) for half in (-0.5, 0.5)]
        near, far = (torch.special.log_ndtr(-torch.from_numpy(end)) for end in ends)
        in_bins -= float((near + torch.log1p(-torch.exp(far - near))).sum()) / math.log(2)
    assert tabled == pytest.approx(expected)
    # With scales rounded to a sixteenth, the symbols cost almost the same.
    assert continuous == pytest.approx(in_bins, rel=0.01)
    first, _ = ideal_bits(coder, pixels, 60, steps=1)
    assert 0 < first < continuous


def test_prefixes_are_files_that_were_cut(folder: Path, tmp_path: Path) -> None:
    found = run(
        folder, tmp_path / "draw.json", "prefix", "files", "--columns", "2", "--singles", "2",
        "--features", str(folder / "features.safetensors"), "--qualities", "60",
    )  # fmt: skip
    (row,) = found["found"]
    coder = model(folder, "files").file_coder()
    sheet = sheets(images_of(folder, "files"), 2)[0]
    file = write_file(coder, sheet, 60)
    prefixes = row["prefixes"]
    assert [one["layers"] for one in prefixes] == [1, 2, 3]
    for one, end in zip(prefixes, file.layer_ends, strict=True):
        assert one["mean"]["bytes_of_each_file"] == end == len(file.prefix(one["layers"]))
        container = read_container(io.BytesIO(file.data[:end]), partial=True)
        assert len(container.payloads) == one["layers"]
        for what, seed in (("mean", None), ("sampled", 0)):
            again = decompress_container(container, coder, seed=seed).pixels
            mse = ((again.astype(float) - sheet) ** 2).mean()
            assert one[what]["mse"] == pytest.approx(mse, rel=1e-4)
            assert one[what]["frechet_distance"] >= 0
        for peer in one["peers"].values():
            assert peer is None or peer["bytes_of_each_file"] <= end
    whole = decompress_container(read_container(io.BytesIO(file.data)), coder).pixels
    assert prefixes[-1]["mean"]["mse"] == prefixes[-1]["sampled"]["mse"]
    assert prefixes[-1]["mean"]["mse"] == pytest.approx(
        ((whole.astype(float) - sheet) ** 2).mean(), rel=1e-4
    )
    assert isinstance(row["summary"]["mse_falls_in_every_layer"], bool)
    tenth = found["tenth_of_the_finest_file"]
    assert (tenth["quality"], tenth["layers"]) == (60, 1)
    assert tenth["frechet_mean"] == prefixes[0]["mean"]["frechet_distance"]
    assert row["summary"]["near_a_tenth_of_the_bytes"]["frechet_mean"] == tenth["frechet_mean"]
    single = row["single_images"]
    assert single["images"] == 2
    for one in single["prefixes"]:
        for peer in one["peers"].values():
            assert (peer["bytes"] or 0) <= max(
                len(write_file(coder, as_picture(i), 60).data) for i in images_of(folder, "files")
            )


def test_a_peer_takes_the_most_that_fits() -> None:
    pixels = photo_like(0, 64, 64)
    for name in ("jpeg", "jpeg2000", "avif"):
        files = peer_files(name, pixels)
        for limit in (800, 1500):
            data = files.within(limit)
            assert data is not None
            assert len(data) <= limit
            beyond = [d for i, d in files.made.items() if len(d) <= limit]
            assert data in beyond
            assert max(i for i, d in files.made.items() if len(d) <= limit) == max(
                i for i, d in files.made.items() if d == data
            )
        assert files.within(files.smallest_bytes() - 1) is None
        assert files.decoded_within(20) is None
    jpeg = peer_files("jpeg", pixels)
    lengths = [len(jpeg.file(index)) for index in range(100)]
    best = max(index for index, length in enumerate(lengths) if length <= 1200)
    assert jpeg.within(1200) == jpeg.file(best)


def test_similarity_of_single_images() -> None:
    pytest.importorskip("pytorch_msssim")
    images = cut(photo_like(0, 64, 64), 32)
    assert similarity(images, images) == pytest.approx(np.ones(4))
    noisy = images.astype(int) + np.random.default_rng(0).integers(-40, 41, images.shape)
    found = similarity(images, noisy.clip(0, 255).astype(np.uint8))
    assert found.shape == (4,)
    assert (found < 0.99).all()


def test_contact_sheets(folder: Path, tmp_path: Path) -> None:
    found = run(
        folder, tmp_path / "draw.json", "sheet", "files", "--rows", "2",
        "--picture", str(tmp_path / "out" / "layers.png"),
    )  # fmt: skip
    assert found["files"] == ["layers-mean.png", "layers-sampled.png"]
    drawn = [np.asarray(Image.open(tmp_path / "out" / name)) for name in found["files"]]
    assert drawn[0].shape == drawn[1].shape == (4 + 2 * (128 + 16), 4 + 4 * 132, 3)
    original = as_picture(images_of(folder, "files")[0])
    assert np.array_equal(drawn[0][4:132, 4:132], original.repeat(4, 0).repeat(4, 1))
    # Nothing is missing after the last layer, and much after the first.
    assert np.array_equal(drawn[0][:, -132:], drawn[1][:, -132:])
    assert not np.array_equal(drawn[0], drawn[1])


def test_symbols_are_the_same_everywhere(folder: Path, tmp_path: Path) -> None:
    found = run(folder, tmp_path / "draw.json", "exactness", "files", "--limit", "4",
                "--columns", "2")  # fmt: skip
    assert found["pictures"] == 5
    assert found["all_same"]
    assert set(found["found"]) == {"threads", "order", "integers"}
    values = 3 * (8 * 8 * 2 + 4 * 4 * 3)
    assert {one["symbols"] for one in found["control_in_floating_point"]} == {8 * values}
    changed = [one["other_tables"] for one in found["control_in_floating_point"]]
    assert changed[0] <= changed[-1]


def test_another_network_is_noticed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Off(draw_exactness.IntegerDraw):
        def convolve(self, name: str, values: torch.Tensor) -> torch.Tensor:
            return super().convolve(name, values) + 40

    monkeypatch.setattr(draw_exactness, "IntegerDraw", Off)
    one = model(folder, "files")
    found = measure_exactness(one, [as_picture(images_of(folder, "files")[0])])
    assert not found["all_same"]
    assert found["found"]["order"] == {"same_files": 1, "same_pixels_of_all_prefixes": 1}


def test_the_section_of_the_results(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "draw.json"
    assert draw_section(tmp_path) == ""
    run(folder, output, "files", "files", "--limit", "4", "--columns", "2", "--qualities", "50")
    text = draw_section(tmp_path)
    assert "`files`: payload size above the ideal code length, sheets of 4,096 pixels" in text
    run(folder, output, "likelihood", "digits", "--importance", "2")
    run(folder, output, "likelihood", "colour")
    run(folder, output, "prefix", "files", "--columns", "2", "--singles", "1", "--peers", "jpeg")
    text = draw_section(tmp_path)
    assert "bits per dimension" in text
    assert "importance-weighted bound, 2 samples, the first 24 of them" in text
    assert "| layers | bits per pixel | rest: mean | rest: sampled | jpeg |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| `")}
    assert widths == {4}


def test_the_same_seed_gives_the_same_samples(folder: Path) -> None:
    coder = model(folder, "files").file_coder()
    file = write_file(coder, as_picture(images_of(folder, "files")[0]), 50)
    first, again, other = (list(decode_prefixes(coder, file, seed)) for seed in (1, 1, 2))
    assert all(map(np.array_equal, first, again))
    assert not np.array_equal(first[0], other[0])
    assert np.array_equal(first[-1], other[-1])
