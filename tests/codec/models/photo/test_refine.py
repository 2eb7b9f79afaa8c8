"""Annealing: latents refined before they are rounded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch

from codec import loading
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.cost import Surroundings, TileCost
from codec.models.photo.refine import Annealing, anneal, computes_bfloat16, relaxed_rounding
from tests.codec.tiny import photographs

Pixels = npt.NDArray[np.uint8]


@pytest.fixture
def coder(tiny_weights: Path) -> PhotoCoder:
    loaded = loading.load_model("photo", device="cpu")
    assert isinstance(loaded, PhotoCoder)
    return loaded


def whole(coder: PhotoCoder, pixels: Pixels, quality: float) -> Surroundings:
    """A picture of one tile."""
    return Surroundings(pixels, coder.analyze(pixels, quality), slice(None), slice(None))


def test_relaxed_rounding_settles_on_the_nearer_integer() -> None:
    values = torch.tensor([0.1, 2.9, -1.2, 7.5]).repeat(2000, 1)
    generator = torch.Generator().manual_seed(0)
    hot = relaxed_rounding(values, 0.5, generator)
    cold = relaxed_rounding(values, 0.05, generator)
    for sample in (hot, cold):
        assert (sample >= values.floor()).all()
        assert (sample <= values.floor() + 1).all()
    np.testing.assert_allclose(cold.mean(0)[:3], [0, 3, -1], atol=0.02)
    assert 7.4 < float(cold.mean(0)[3]) < 7.6
    assert float((hot - hot.round()).abs().mean()) > float((cold - cold.round()).abs().mean())


def test_annealing_lowers_the_cost(coder: PhotoCoder) -> None:
    """Of latents that are far from good ones: what one pass gives, and noise."""
    pixels = photographs(1, side=64)[0]
    around = whole(coder, pixels, 60)
    rng = np.random.default_rng(0)
    latents = around.latents + rng.normal(0, 1.5, around.latents.shape).astype(np.float32)
    cost, calls = TileCost(coder, around, 60), []
    refined, hyper = anneal(
        coder.trainable(), cost, latents, Annealing(60, 0.05), lambda: calls.append(1)
    )
    assert len(calls) == 60
    assert refined.dtype == np.float32
    assert hyper.dtype == np.int32
    before = cost(coder.symbols(latents, 60)).cost_bits
    after = cost(coder.symbols(refined, 60, hyper_latents=hyper)).cost_bits
    assert after < 0.9 * before


def test_annealing_takes_bfloat16_where_the_processor_has_it(
    coder: PhotoCoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not computes_bfloat16(cpu)
    cost = TileCost(coder, whole(coder, photographs(1, side=64)[0], 40), 40)
    latents = coder.analyze(photographs(1, side=64)[0], 40)
    found = {}
    for is_there in (False, True):
        monkeypatch.setattr(
            torch.cpu, "_is_amx_tile_supported", lambda there=is_there: there, raising=False
        )
        assert computes_bfloat16(cpu) is is_there
        refined, hyper = anneal(coder.trainable(), cost, latents, Annealing(20, 0.02), lambda: None)
        found[is_there] = cost(coder.symbols(refined, 40, hyper_latents=hyper)).cost_bits
    assert found[True] == pytest.approx(found[False], rel=0.01)
    assert not computes_bfloat16(torch.device("meta"))
