"""Likelihood, archive and R_p(D) of DRAW, on small untrained networks."""

from __future__ import annotations

import json
import math
import os
import zlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import codec
from benchmarks.draw.archive import ARCHIVE
from benchmarks.draw.decoder import DrawDecoder, picture
from benchmarks.draw.likelihood import importance_bound, posterior_pass, targets
from benchmarks.draw.reference import (
    block_factor,
    neighbour_factor,
    path_length,
    places,
    posterior_mode,
    precision_at,
)
from benchmarks.harness.small_images import write_file
from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec.rate_distortion.ladder.ladder import Ladder
from tests.benchmarks.tiny_draw import CONFIGS, as_picture, images_of, model, run, write_all
from training.data.small_images import evenly
from training.draw.config import DRAW_PRESETS
from training.draw.learner import DrawLearner


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights and data."""
    made = tmp_path_factory.mktemp("draw")
    write_all(made)
    return made


def test_the_likelihood_is_that_of_training(folder: Path, tmp_path: Path) -> None:
    for name, preset in (("digits", "draw-digits"), ("colour", "draw-colour")):
        found = run(folder, tmp_path / "draw.json", "likelihood", name, "--seed", "2016")["found"]
        changed = replace(DRAW_PRESETS[preset], model=CONFIGS[name], optimizer="adam")
        learner = DrawLearner(changed, autocast=False)
        learner.network = model(folder, name).network
        images = images_of(folder, name)
        expected = learner.eval().measure(torch.from_numpy(images.astype(np.float32) / 255))
        assert found["nelbo_nats"] == pytest.approx(expected["nelbo_nats"], rel=1e-5)
        assert found["kl_nats"] == pytest.approx(expected["kl_nats"], rel=1e-5)
        assert sum(found["kl_nats_of_each_step"]) == pytest.approx(found["kl_nats"], rel=1e-5)
        bits = found["nelbo_bits_per_dimension"]
        assert bits == pytest.approx(expected["bits_per_dimension"], rel=1e-5)
        assert found["nelbo_standard_error_nats"] > 0
    content = json.loads((tmp_path / "draw.json").read_text("utf-8"))
    assert set(content["likelihood"]) == {"digits", "colour"}


def test_importance_weights_tighten_the_bound(folder: Path, tmp_path: Path) -> None:
    options = ("--importance", "20", "--subset", "10")
    found = run(folder, tmp_path / "draw.json", "likelihood", "digits", *options)["found"]
    weighted = found["importance_weighted"]
    assert (weighted["samples"], weighted["images"]) == (20, 10)
    assert weighted["bound_nats"] < weighted["nelbo_nats_of_these"]


def test_one_importance_weight_is_the_negative_elbo_on_average(folder: Path) -> None:
    one = model(folder, "digits")
    x = targets(one, images_of(folder, "digits", 2)).repeat(400, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    done = posterior_pass(one.network, x, generator)
    # E_q log q/p is the sum of the divergences.
    spread = float((done.log_ratio - done.kl.sum(1)).std()) / math.sqrt(len(x))
    assert abs(float((done.log_ratio - done.kl.sum(1)).mean())) < 4 * spread
    bound = importance_bound(one, x[:2], 1, generator)
    assert bound.shape == (2,)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_the_decoder_of_noise(folder: Path, name: str) -> None:
    network, side = model(folder, name).network, 28 if name == "digits" else 32
    decoder = DrawDecoder(network, side, quality=40)
    noise = torch.randn(3, decoder.dim, generator=torch.Generator().manual_seed(0))
    images = decoder(noise)
    assert images.shape == (3, CONFIGS[name].channels, side, side)
    one = decoder(noise[1:2])
    assert torch.allclose(images[1:2], one, atol=1e-5)
    first = DrawDecoder(network, side, steps=1, quality=40)
    assert first.dim * CONFIGS[name].steps == decoder.dim
    rest = torch.zeros(3, decoder.dim - first.dim)
    head = noise[:, : first.dim]
    assert torch.equal(first(head), decoder(torch.cat([head, rest], 1)))
    asked = noise.clone().requires_grad_(True)
    decoder(asked).square().sum().backward()
    assert asked.grad is not None
    assert bool((asked.grad != 0).any(0).all())
    for wrong, steps in ((side + 1, 1), (side, 9)):
        with pytest.raises(UsageError, match="expected"):
            DrawDecoder(network, wrong, steps=steps)


def test_the_decoder_draws_what_the_posterior_says(folder: Path) -> None:
    one = model(folder, "digits")
    x = targets(one, images_of(folder, "digits", 4))
    said: list[torch.Tensor] = []
    step = one.network.recursion.step

    def heard(state: Any, choose: Any) -> None:
        def kept(level: int, prior: Any) -> torch.Tensor:
            said.append(choose(level, prior))
            return said[-1]

        step(state, kept)

    object.__setattr__(one.network.recursion, "step", heard)
    done = posterior_pass(one.network, x, torch.Generator().manual_seed(0))
    object.__setattr__(one.network.recursion, "step", step)
    noise = torch.cat([u.flatten(1) for u in said], 1)
    again = DrawDecoder(one.network, 28)(noise)
    assert torch.allclose(again, picture(one.network, done.canvas), atol=1e-5)


def test_without_noise_the_decoder_draws_the_files_mean(folder: Path) -> None:
    one = model(folder, "files")
    decoder = one.file_coder().tile_decoder(4, 4, 40)
    levels = one.file_coder().synthesize(decoder.latents(), 40)
    image = DrawDecoder(one.network, 32, quality=40)(torch.zeros(1, 1, 960 * 3)[0])
    assert 255 * image[0].permute(1, 2, 0).clamp(0, 1).numpy() == pytest.approx(
        levels.astype(float), abs=1.5
    )


@pytest.mark.parametrize("name", ["digits", "files"])
def test_the_rate_stands_beside_the_encoder_and_the_files(
    folder: Path, tmp_path: Path, name: str
) -> None:
    pytest.importorskip("matplotlib")
    found = run(
        folder, tmp_path / "draw.json", "rate", name, "--count", "3", "--betas", "0.001", "0.01",
        "--temperatures", "4", "--chains", "2", "--simulations", "1", "--leapfrog", "1",
        "--steps", "1",
    )  # fmt: skip
    assert found["code_dimensions"] == {"digits": 49, "files": 8 * 8 * 2 + 4 * 4 * 3}[name]
    ladder = Ladder.from_json(found["ladder"])
    kinds = [rung.kind for rung in ladder.rungs]
    assert (
        kinds
        == {"digits": ["model", "amortised"], "files": ["model", "code_length", "bytes"]}[name]
    )
    assert len(found["found"]["rows"]) == 2
    assert found["found"]["certified_points"] <= 2
    assert {p.suffix for p in tmp_path.glob(f"draw_rate_{name}.*")} == {".svg", ".png"}
    if name == "files":
        coder = model(folder, "files").file_coder()
        files = [
            write_file(coder, as_picture(i), 75) for i in evenly(images_of(folder, "files"), 3)
        ]
        expected = np.mean([8 * math.log(2) * file.layer_ends[0] for file in files])
        assert ladder.rungs[2].rate_nats == pytest.approx([expected], rel=1e-5)


def test_an_archive_is_judged_by_its_bound(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def compress(sheet: Uint8Array, *, model: str) -> bytes:
        (entry,) = json.loads(Path(codec_weights_folder(), "registry.json").read_text("utf-8"))[
            ARCHIVE
        ]
        seen.append(Path(codec_weights_folder(), entry["file"]))
        assert model == ARCHIVE
        assert set(np.unique(sheet)) == {0, 255}
        return zlib.compress(sheet.tobytes())

    def decompress(data: bytes, *, as_: str) -> Uint8Array:
        assert as_ == "numpy"
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(6 * 28, 4 * 28)

    def codec_weights_folder() -> str:
        return os.environ["CALOTYPE_WEIGHTS"]

    monkeypatch.setattr(codec, "compress", compress)
    monkeypatch.setattr(codec, "decompress", decompress)
    monkeypatch.setattr(codec, "inspect", lambda data: SimpleNamespace(payload_bytes=len(data)))
    found = run(folder, tmp_path / "draw.json", "archive", "digits", "--columns", "4")["found"]
    assert found["lossless"]
    assert seen[0].name == "digits.safetensors"
    above = 100 * (found["bits_per_image"] / found["bound_bits_per_image"] - 1)
    assert found["above_bound_percent"] == pytest.approx(above, rel=1e-4)
    one = model(folder, "digits")
    x = targets(one, images_of(folder, "digits"))
    done = posterior_pass(one.network, x, torch.Generator().manual_seed(9))
    kl_bits = float(done.kl.sum(1).mean()) / math.log(2)
    assert found["bound_bits_per_image"] > kl_bits


def test_lengths_of_paths_with_closed_forms() -> None:
    unit = torch.eye(2).double()
    wider = torch.diag(torch.tensor([9.0, 1.0])).double()
    assert path_length(wider, unit) == pytest.approx(math.log(9) / math.sqrt(2), rel=1e-6)
    shifted = path_length(unit, unit, torch.tensor([3.0, 4.0]))
    assert shifted == pytest.approx(5, rel=1e-6)
    factor = torch.linalg.cholesky(wider, upper=True)
    assert path_length(wider, factor) == pytest.approx(0, abs=1e-9)
    # The length does not depend on the coordinates.
    turn = torch.tensor([[1.0, 2.0], [0.5, 3.0]]).double()
    turned = path_length(turn.T @ wider @ turn, turn, torch.tensor([1.0, 0.0]))
    assert turned == pytest.approx(path_length(wider, unit, turn[:, 0]), rel=1e-6)


def test_factors_of_references() -> None:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=generator).double()
    precision = torch.eye(6).double() + root.T @ root
    whole = block_factor(precision, torch.zeros(6, dtype=torch.int64))
    assert torch.allclose(whole.T @ whole, precision)
    halves = block_factor(precision, torch.tensor([0, 1, 0, 1, 0, 1]))
    found = halves.T @ halves
    assert torch.allclose(found[::2, ::2], precision[::2, ::2])
    assert not found[::2, 1::2].any()
    row, column = torch.tensor([0, 0, 0, 0, 0, 0]), torch.tensor([0, 0, 1, 1, 2, 2])
    near = neighbour_factor(precision, row, column)
    covariance, true = torch.linalg.inv(near.T @ near), torch.linalg.inv(precision)
    assert torch.allclose(covariance[:4, :4], true[:4, :4])
    assert torch.allclose(covariance[2:, 2:], true[2:, 2:])
    assert not torch.allclose(covariance, true)
    # With two positions, both are neighbours.
    both = neighbour_factor(precision, row, column.clamp(max=1))
    assert torch.allclose(both.T @ both, precision)


def test_references_of_codes(folder: Path, tmp_path: Path) -> None:
    one = model(folder, "files")
    decoder = DrawDecoder(one.network, 32).requires_grad_(False)
    step, row, column = places(decoder)
    assert len(step) == decoder.dim
    assert torch.bincount(step).tolist() == [8 * 8 * 2 + 4 * 4 * 3] * 3
    assert (int(row.max()), int(column.max())) == (3, 3)
    assert ((row == 2) & (column == 1)).sum() == 3 * (2 * 2 * 2 + 3)
    # A number of noise changes pixels in its own quarter of the image most.
    for corner in ((0, 3), (3, 0)):
        noise = torch.zeros(2, decoder.dim)
        noise[1, (row == corner[0]) & (column == corner[1])] = 1
        changed = torch.diff(decoder(noise), dim=0).square()[0].sum(0)
        quarters = changed.reshape(2, 16, 2, 16).sum((1, 3))
        assert divmod(int(quarters.argmax()), 2) == (corner[0] // 2, corner[1] // 2)

    image = decoder(torch.ones(1, decoder.dim))[0]
    code = posterior_mode(decoder, image, 0.01, torch.zeros(decoder.dim)).requires_grad_(True)
    energy = 0.01 * (decoder(code[None])[0] - image).square().sum() + 0.5 * code.square().sum()
    (gradient,) = torch.autograd.grad(energy, code)
    assert float(gradient.norm()) < 0.05 * math.sqrt(decoder.dim)
    precision = precision_at(decoder, code.detach(), 0.01)
    along = torch.randn(decoder.dim, generator=torch.Generator().manual_seed(0))
    _, moved = torch.autograd.functional.jvp(  # type: ignore[no-untyped-call]
        decoder, code.detach()[None], along[None]
    )
    expected = along.square().sum() + 0.02 * moved.square().sum()
    assert float(along.double() @ precision @ along.double()) == pytest.approx(
        float(expected), rel=1e-3
    )

    found = run(
        folder, tmp_path / "draw.json", "reference", "files", "--count", "1", "--betas", "0.01"
    )
    assert (found["code_dimensions"], found["images"]) == (decoder.dim, 1)
    prior, single, _, position, neighbours = (row["length"] for row in found["found"])
    assert prior > single > position > neighbours > 0
    for row in found["found"]:
        assert row["steps"] == pytest.approx(2 * row["length"] ** 2, rel=1e-3)
