"""Sizes and float networks of vector quantisation."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch

from bitstream import UsageError
from codec.models.vq.networks import (
    QualityScale,
    VqNetworks,
    interpolate,
    quality_fraction,
    squared_distances,
)
from tests.codec.models.vq.tiny import COLOUR, GREY


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 2}, "channels 2"),
        ({"channels": True}, "whole numbers"),
        ({"side": 20}, "side 20"),
        ({"side": 264}, "side 264"),
        ({"side": 32.0}, "whole numbers"),
        ({"strides": ()}, "strides"),
        ({"strides": (4, 4)}, "strides"),
        ({"strides": (16, 8, 4)}, "strides"),
        ({"strides": (32, 16)}, "strides"),
        ({"side": 256, "strides": (4, 2)}, "more than 4096 codes"),
        ({"codes": (4,)}, "codes"),
        ({"codes": (4, 6)}, "power of two"),
        ({"codes": (4, 1)}, "power of two"),
        ({"codes": (4, 2048)}, "power of two"),
        ({"dimension": 0}, "channels"),
        ({"hidden": 2048}, "channels"),
        ({"depth": 17}, "depth 17"),
        ({"knots": 1}, "knots 1"),
        ({"lambdas": (1e-3,)}, "lambdas"),
        ({"lambdas": (1e-3, 1e-4)}, "lambdas"),
        ({"lambdas": (0.0, 1.0)}, "lambdas"),
        ({"lambdas": (1.0, math.inf)}, "lambdas"),
        ({"lambdas": (math.nan, 1.0)}, "lambdas"),
        ({"lambdas": (1, 2)}, "lambdas"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(COLOUR, **changes)


def test_positions_and_bits() -> None:
    assert [COLOUR.grid(level) for level in range(2)] == [4, 8]
    assert [COLOUR.positions(level) for level in range(2)] == [16, 64]
    assert [COLOUR.depth_of_codes(level) for level in range(2)] == [2, 3]


def test_lambda_is_geometric_between_the_qualities() -> None:
    found = COLOUR.weight(torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(found, torch.tensor([1e-4, math.sqrt(1e-4 * 2e-2), 2e-2]))
    assert [quality_fraction(q) for q in (100, 5050, 10_000)] == [0, 0.5, 1]


def test_scales_are_interpolated_between_the_knots() -> None:
    table = torch.tensor([[0.0, 1.0], [10.0, 3.0], [20.0, -1.0]])
    found = interpolate(table, torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    expected = [[0, 1], [5, 2], [10, 3], [15, 1], [20, -1]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))
    layer = QualityScale(3, 2)
    layer.scale.data.copy_(table)
    layer.shift.data.copy_(-table)
    values = torch.full((1, 2, 1, 1), 3.0)
    changed = layer(values, torch.tensor([0.25]))
    torch.testing.assert_close(changed, torch.tensor([10.0, 4.0]).view(1, 2, 1, 1))


def test_distances_are_those_of_every_vector() -> None:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(2, 4, 3, 5, generator=generator)
    codebook = torch.randn(8, 4, generator=generator)
    found = squared_distances(latents, codebook)
    differences = latents.permute(0, 2, 3, 1)[..., None, :] - codebook
    torch.testing.assert_close(found, differences.square().sum(-1))


@pytest.mark.parametrize("config", [COLOUR, GREY], ids=["two levels", "one level"])
def test_blocks_are_independent_and_depend_on_every_code(config: Any) -> None:
    torch.manual_seed(3)
    networks = VqNetworks(config).eval()
    quality = torch.tensor([0.3, 0.8])
    codes = [
        torch.randint(codes, (2, config.grid(level), config.grid(level)))
        for level, codes in enumerate(config.codes)
    ]
    with torch.inference_mode():
        drawn = networks.synthesize(codes, quality)
        assert drawn.shape == (2, config.channels, config.side, config.side)
        alone = networks.synthesize([level[1:] for level in codes], quality[1:])
        torch.testing.assert_close(alone, drawn[1:])
        for level, size in enumerate(config.codes):
            changed = [each.clone() for each in codes]
            changed[level][0, -1, -1] = (changed[level][0, -1, -1] + 1) % size
            other = networks.synthesize(changed, quality)
            assert not torch.equal(other[0], drawn[0])
            assert torch.equal(other[1], drawn[1])
