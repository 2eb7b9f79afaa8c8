"""Which units count as active, the effect of error feedback, and the table of remedies."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.draw import collapse
from benchmarks.draw.__main__ import PARTS
from benchmarks.draw.collapse import NO_FEEDBACK, VARIANTS, WithoutFeedback, measure_units
from benchmarks.draw.likelihood import posterior_pass
from benchmarks.harness.command import measure
from benchmarks.readme.draw import draw_section
from codec.models.draw.network import DrawNetwork
from codec.models.draw.recursion import DrawConfig
from tests.training.generative.test_learners import save_idx
from training.draw.config import DRAW_PRESETS

CONFIG = DrawConfig(1, "bernoulli", "gaussian", 3, 4, (6,), (4,))


def network() -> DrawNetwork:
    torch.manual_seed(5)
    made = DrawNetwork(CONFIG)
    with torch.no_grad():
        for name in ("posterior0", "paint"):
            made.weights[name] *= 30
        # Means come first: the last two of four channels carry no information.
        made.weights["posterior0"][2:4] = 0
    return made.eval().requires_grad_(False)


def binary(count: int = 40) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.bernoulli(torch.full((count, 1, 8, 8), 0.5), generator=generator)


def test_units_that_say_the_same_of_all_images_are_not_active() -> None:
    found = measure_units(network(), binary(), torch.Generator().manual_seed(0))
    assert found["units"] == 3 * 4 * 4
    assert found["active_units_of_each_step_and_level"] == [8, 8, 8]
    assert found["active_units"] == 24
    assert sum(found["kl_nats_of_each_step"]) < found["nelbo_nats"]
    alike = measure_units(network(), binary(1).expand(9, -1, -1, -1), torch.Generator())
    assert alike["active_units_of_each_step_and_level"][0] == 0


def test_means_are_those_of_the_posterior_and_cost_what_they_should() -> None:
    done = posterior_pass(network(), binary(6), torch.Generator().manual_seed(0))
    assert [one.shape for one in done.means] == [(6, 4, 2, 2)] * 3
    # KL(N(m, s²) ‖ N(0, 1)) ≥ m² / 2
    least = [one.square().flatten(1).sum(1) / 2 for one in done.means]
    assert (done.kl >= torch.stack(least, 1) - 1e-5).all()


def test_without_error_feedback_the_encoder_does_not_see_the_canvas() -> None:
    own = network()
    image = binary(3)
    states = []
    for recursion in (own.recursion, WithoutFeedback(CONFIG, own)):
        for canvas in (0.0, 3.0):
            state = recursion.begin(3, 8, 8)
            state.canvas = state.canvas + canvas
            recursion.look(state, image, recursion.image_part(image))
            states.append(state.encoder[0][0])
    assert not torch.equal(states[0], states[1])
    assert torch.equal(states[2], states[3])


def test_remedies_are_trained_measured_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = DRAW_PRESETS["draw-tiny"]
    few = {"no remedy": tiny, "free bits": replace(tiny, free_nats=9.0), NO_FEEDBACK: tiny}
    monkeypatch.setattr(collapse, "VARIANTS", few)
    data, output = save_idx(tmp_path / "data"), tmp_path / "draw.json"
    words = ["collapse", "--data", str(data), "--steps", "40", "--limit", "20"]
    assert measure("draw", PARTS, [*words, "--variants", *few, "--output", str(output)]) == 0
    found = json.loads(output.read_text("utf-8"))["collapse"]
    assert list(found) == list(few)
    nats = [sum(found[name]["found"]["kl_nats_of_each_step"]) for name in few]
    assert nats[1] > nats[0] + 1  # codes that cost nothing carry more information
    assert nats[2] != nats[0]
    assert all(one["training_steps"] == 40 and one["images"] == 20 for one in found.values())
    text = draw_section(tmp_path)
    assert "| free bits |" in text
    assert "40 training steps" in text


def test_all_variants_have_as_many_codes() -> None:
    width = DRAW_PRESETS["draw-digits"].model.hidden[0]
    for preset in VARIANTS.values():
        assert (preset.model.steps * preset.model.levels, preset.model.hidden[0]) == (8, width)
