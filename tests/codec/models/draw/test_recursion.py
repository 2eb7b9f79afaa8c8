"""The recursion of DRAW follows its equations, and is alike in fixed and floating point."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bitstream.errors import WeightsMismatchError
from codec.models.draw.exact import ExactDraw, image_units
from codec.models.draw.network import DrawNetwork, network_from_arrays
from codec.models.draw.recursion import DrawConfig, Prior
from tests.codec.models.draw.tiny import CONFIG, arrays, network, scenes


@torch.no_grad()
@pytest.mark.parametrize("quality", [1.0, 47.5, 100.0])
def test_fixed_point_is_close_to_floating_point(quality: float) -> None:
    floating = network_from_arrays(CONFIG, arrays())
    floating.set_quality(torch.tensor([(quality - 1) / 99]))
    fixed = ExactDraw(CONFIG, arrays()).at_quality(round(quality * 100))
    levels = torch.from_numpy(scenes(1, seed=8))
    units = image_units(levels, CONFIG)
    one, other = fixed.recursion, floating.recursion
    state, copy = one.begin(1, 32, 32), other.begin(1, 32, 32)
    parts = one.image_part(units), other.image_part(units.float() / 4096)
    symbols: list[Tensor] = []
    off: list[float] = []

    def choose(level: int, prior: Prior) -> Tensor:
        symbols.append((one.posterior(state, level) / 4096).round())
        return symbols[-1]

    def same(level: int, prior: Prior) -> Tensor:
        forced = symbols.pop(0).float()
        off.append(float((other.posterior(copy, level) - forced).abs().max()))
        return forced

    for _ in range(CONFIG.steps):
        one.look(state, units, parts[0])
        other.look(copy, units.float() / 4096, parts[1])
        one.step(state, choose)
        other.step(copy, same)
    difference = (state.canvas / 4096 - copy.canvas).abs()
    # A level is 0.0078; each of hundreds of operations rounds by up to 0.0002.
    assert 0 < difference.mean() < 0.002
    assert difference.max() < 0.02
    assert max(off) < 0.52  # the floating-point posterior rounds alike, except in close cases


def test_rounded_weights_are_close_to_what_was_trained() -> None:
    rounded, trained = network_from_arrays(CONFIG, arrays()).state_dict(), network().state_dict()
    assert rounded.keys() == trained.keys()
    for name, values in trained.items():
        torch.testing.assert_close(rounded[name], values, rtol=1e-3, atol=2.0**-12)
        if name.startswith("weights"):
            assert (rounded[name] - values).abs().max() <= 2.0**-15


@pytest.mark.parametrize(
    "change",
    [
        {"channels": 2}, {"steps": 0}, {"steps": 65}, {"stride": 17}, {"hidden": ()},
        {"hidden": (8,)}, {"hidden": (8, 6, 5, 4), "codes": (1, 1, 1, 1)}, {"codes": (3, 0)},
        {"hidden": (8, 6.5)}, {"likelihood": "poisson"}, {"posterior": "normal"},
        {"knots": 1025}, {"stride": "4"},
    ],
)  # fmt: skip
def test_configurations_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(WeightsMismatchError, match="DRAW"):
        dataclasses.replace(CONFIG, **change)


def test_a_step_sees_what_the_equations_say() -> None:
    # One level, written out with torch's own convolution, in floating point.
    config = DrawConfig(1, "gaussian", "gaussian", 1, 2, (5,), (2,))
    torch.manual_seed(0)
    model = DrawNetwork(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
        x = torch.randn(2, 1, 6, 8)
        recursion = model.recursion
        state = recursion.begin(2, 6, 8)
        part = recursion.image_part(x)
        states = []
        for _ in range(2):
            recursion.look(state, x, part)
            recursion.step(state, lambda level, prior: recursion.posterior(state, level)[:, :2])
            states.append(state.canvas)

        def conv(name: str, *inputs: Tensor) -> Tensor:
            return F.conv2d(
                torch.cat(inputs, 1), model.weights[name], model.biases[name][0], padding=1
            )

        def lstm(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
            i, f, o, g = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c

        h_e = c_e = h_d = c_d = torch.zeros(2, 5, 3, 4)
        r = model.start.expand(2, 6, 8)[:, None]
        for expected in states:
            error = F.pixel_unshuffle(x - r, 2)
            gates = conv("encoder0", error, h_d, h_e) + conv("image", F.pixel_unshuffle(x, 2))
            h_e, c_e = lstm(gates, c_e)
            mean, scale = conv("prior0", h_d).chunk(2, 1)
            u = conv("posterior0", h_e)[:, :2]
            z = mean + scale.clamp(-6, 2).exp() * u
            h_d, c_d = lstm(conv("decoder0", z, F.pixel_unshuffle(r, 2), h_d), c_d)
            r = r + F.pixel_shuffle(conv("paint", h_d), 2)
            torch.testing.assert_close(expected, r)
