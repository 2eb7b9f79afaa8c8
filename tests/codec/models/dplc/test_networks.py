"""Sizes and float networks of the distribution-preserving codec."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from bitstream import UsageError
from codec.models.dplc.networks import DplcConfig, DplcNetworks
from tests.codec.models.dplc.tiny import CODES, COLOUR, FLOW, FLOW_SIZES, GREY, PLAIN, networks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 2}, "channels 2"),
        ({"channels": True}, "whole numbers"),
        ({"side": 24}, "side 24"),
        ({"side": 0}, "side 0"),
        ({"side": 272}, "side 272"),
        ({"side": 32.0}, "whole numbers"),
        ({"code": 0}, "code"),
        ({"hidden": (4,) * 6}, "multiples of 64"),
        ({"hidden": [4, 5, 6]}, "whole numbers"),
        ({"encoder": (4, 4, 5)}, "4 convolutions"),
        ({"encoder": (4, 4, 5, 0)}, "channels"),
        ({"mixer": 4096}, "channels"),
        ({"noise": -1}, "noise -1"),
        ({"flow_blocks": -1}, "flow_blocks"),
        ({"flow_blocks": 2.0}, "whole numbers"),
        ({"flow_width": 5}, "flow_width 5"),
        ({"flow_steps": 5}, "flow_steps 5"),
        ({"codes_from": 1}, "codes_from 1"),
        ({**FLOW_SIZES, "codes_from": -1}, "codes_from -1"),
        ({**FLOW_SIZES, "codes_from": 1.0}, "whole numbers"),
        ({"rates": ()}, "rates"),
        ({"rates": (2, 2)}, "ascending"),
        ({"rates": (-1, 2)}, "at most 4096"),
        ({"rates": (0, 1025)}, "at most 4096"),
        ({"rates": tuple(range(17))}, "1 .. 16"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(COLOUR, **changes)


def test_positions_and_symbols() -> None:
    assert (COLOUR.grid, COLOUR.positions) == (2, 4)
    assert [COLOUR.symbols(rate) for rate in range(3)] == [0, 4, 12]
    assert dataclasses.replace(COLOUR, rates=(0, 1024)).symbols(1) == 4096


def test_the_rates_divide_the_qualities_evenly() -> None:
    five = dataclasses.replace(COLOUR, rates=(0, 2, 8, 32, 128))
    found = [five.rate_at(q) for q in (100, 2000, 2001, 4000, 4001, 6000, 6001, 8000, 8001, 10_000)]
    assert found == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert {PLAIN.rate_at(q) for q in range(100, 10_001)} == {0}
    sixteen = dataclasses.replace(COLOUR, rates=tuple(range(16)))
    counts = [0] * 16
    for q in range(100, 10_001):
        counts[sixteen.rate_at(q)] += 1
    assert min(counts[1:]) >= 625
    assert counts[0] == 526  # there is no quality below 1


@pytest.mark.parametrize(
    "config",
    [COLOUR, GREY, PLAIN, FLOW, CODES],
    ids=["colour", "grey", "plain", "flow", "codes"],
)
def test_shapes(config: DplcConfig) -> None:
    found, count = DplcNetworks(config).requires_grad_(False), 3
    images = torch.rand(count, config.channels, config.side, config.side)
    for rate, symbols in enumerate(config.rates):
        values = found.analyze(images, rate)
        assert values.shape == (count, symbols, config.grid, config.grid)
        noise = torch.zeros(count, config.noise, config.grid, config.grid)
        if not symbols:
            noise = torch.randn(count, config.code)
        drawn = found.synthesize(torch.sign(values) / 2, noise, rate)
        assert drawn.shape == images.shape
        assert 0 <= float(drawn.min()) <= float(drawn.max()) <= 1


def test_the_rate_of_no_symbols_has_no_parameters() -> None:
    names = DplcNetworks(COLOUR).state_dict().keys()
    assert not [name for name in names if name.startswith(("encoders.0.", "maps.0."))]
    assert {name.split(".")[0] for name in names} == {"generator", "encoders", "maps"}


def test_codes_of_the_higher_rates_do_not_go_through_the_flow() -> None:
    found = networks(CODES)
    assert [CODES.gives_codes(rate) for rate in range(3)] == [False, False, True]
    assert not any(FLOW.gives_codes(rate) for rate in range(3))
    mapped = torch.randn(2, CODES.code, generator=torch.Generator().manual_seed(0))
    behind = found.generator.flow(mapped)  # type: ignore[misc]
    torch.testing.assert_close(found.logits(behind, 2), found.logits(mapped, 1))
    assert not torch.allclose(found.logits(mapped, 2), found.logits(mapped, 1))
    torch.testing.assert_close(found.logits(mapped, 0), found.logits(mapped, 1))
