"""`vae-round` with the weights of a regularised autoencoder, whose prior is a mixture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import codec
from bitstream.errors import PayloadError, UsageError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from codec import loading
from codec.coding.prior_tables import RUNGS_PER_OCTAVE, step_sizes, symbol_bits
from codec.models.vae.sample_coders import MixtureCoder, Posterior, rungs_at
from codec.models.weights_files import ENVIRONMENT_VARIABLE
from codec.priors import GaussianMixture
from tests.codec.models.vae import tiny
from training.generative import digits_export


def mixture_coder() -> MixtureCoder:
    coder = tiny.rae_coder().coder
    assert isinstance(coder, MixtureCoder)
    return coder


def point(codes: torch.Tensor) -> Posterior:
    return Posterior(codes.double().numpy(), np.full(codes.shape, 1e-9))


def samples(count: int) -> torch.Tensor:
    return tiny.rae().prior.sample(count, torch.Generator().manual_seed(4))


def test_codes_come_back_within_half_a_step() -> None:
    coder, codes = mixture_coder(), samples(200)
    for hundredths in (100, 4000, 7500, 10_000):
        encoder = SymbolEncoder()
        label, _ = messages = coder.messages(point(codes), hundredths)
        for message in messages:
            encoder.put(message.symbols, message.indexes, message.tables)
        again = coder.codes(SymbolDecoder(encoder.finish()), len(codes), hundredths)
        turns = coder.turns[label.symbols].astype(np.float64)
        error = np.linalg.solve(turns, (again - codes.numpy())[..., None])[..., 0]
        steps = step_sizes()[rungs_at(hundredths, coder.offsets)[label.symbols]]
        assert np.all(np.abs(error) < steps * 0.501 + 1e-4)
        assert len(np.unique(label.symbols)) == 3 or hundredths == 100


def test_the_code_length_is_that_of_the_mixture() -> None:
    """For small steps, a cell has the probability w_j N(z; m_j, T Tᵀ) · Π Δ · |det T|."""
    coder, codes = mixture_coder(), samples(2000)
    coder = replace(coder, offsets=coder.offsets + 2 * RUNGS_PER_OCTAVE)
    label, message = coder.messages(point(codes), 10_000)
    bits = symbol_bits(label.symbols, label.indexes, label.tables)
    bits = bits + symbol_bits(message.symbols, message.indexes, message.tables).reshape(
        len(codes), -1
    ).sum(1)
    steps = step_sizes()[rungs_at(10_000, coder.offsets)[label.symbols]]
    assert steps.max() < 0.5
    volume = np.log2(steps).sum(1) + np.linalg.slogdet(coder.turns)[1][label.symbols] / np.log(2)
    prior = tiny.rae().prior
    assert isinstance(prior, GaussianMixture)
    of_each = torch.stack([
        GaussianMixture(torch.ones(1), mean[None], covariance[None]).log_prob(codes.double())
        + weight.log()
        for weight, mean, covariance in zip(
            prior.weights, prior.means, prior.covariances, strict=True
        )
    ]).numpy()  # fmt: skip
    density = of_each[label.symbols, np.arange(len(codes))] / np.log(2)
    assert bits.mean() == pytest.approx(-(density + volume).mean(), abs=0.05)
    # The chosen component is the most likely one for the code, except for a few near the border.
    assert (of_each.argmax(0) == label.symbols).mean() > 0.95


def test_coordinates_make_the_prior_white_and_errors_uncorrelated() -> None:
    coder, prior = mixture_coder(), tiny.rae().prior
    assert isinstance(prior, GaussianMixture)
    turns = torch.from_numpy(coder.turns).double()
    assert torch.allclose(turns @ turns.mT, prior.covariances, atol=1e-5)
    # Steps are finer in directions in which errors of u are more visible.
    assert len(np.unique(coder.offsets)) > 3


def test_a_component_outside_the_mixture_is_damage() -> None:
    coder = mixture_coder()
    encoder = SymbolEncoder()
    encoder.put(np.array([3], np.int32), np.zeros(1, np.int32), coder.labels)
    with pytest.raises(
        PayloadError, match=r"a component of 3 \.\. 3 was decoded, expected 0 \.\. 2"
    ):
        coder.codes(SymbolDecoder(encoder.finish()), 1, 7500)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"mixture.offsets": np.zeros((2, tiny.CODE), np.int32)}, "mixture.means"),
        ({"mixture.offsets": np.int32(3)}, "mixture.offsets"),
        ({"mixture.turns": np.zeros((3, tiny.CODE, tiny.CODE), np.float32)}, "not regular"),
        ({"mixture.means": np.full((3, tiny.CODE), np.nan, np.float32)}, "not regular"),
        ({"label_tables.minimums": np.array([1], np.int32)}, "not over 0 .. 2"),
    ],
    ids=["two", "scalar", "singular", "nan", "labels"],
)
def test_wrong_weights_are_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(WeightsMismatchError, match=reason):
        tiny.rae_coder(**changes)


def test_a_vae_is_no_rae() -> None:
    with pytest.raises(UsageError, match="expected a rae"):
        digits_export.rae_arrays(tiny.generative("gaussian"), tiny.digits(4))


def test_files_are_coded_with_the_weights_that_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny.rae()
    digits_export.write_digits(tmp_path, "rae", tiny.rae_arrays(), model, ["vae-round"])
    card = (tmp_path / "rae.md").read_text("utf-8")
    assert "the model `vae-round`" in card
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    pixels = tiny.sheet(tiny.digits(6), 3)
    sizes = [
        len(codec.compress(pixels, model="vae-round:rae", quality=quality))
        for quality in (20, 60, 90)
    ]
    assert sizes[0] < sizes[1] < sizes[2]
    data = codec.compress(pixels, model="vae-round:rae", quality=90)
    assert np.asarray(codec.decompress(data)).shape == pixels.shape
    registry = json.loads((tmp_path / "registry.json").read_text("utf-8"))
    own = registry["vae-round"][0]["sha256"]
    assert own.startswith(codec.inspect(data).weights_hash)
    assert loading.load_model("vae-round:rae", device="cpu").weights_hash.hex() == own[:16]
