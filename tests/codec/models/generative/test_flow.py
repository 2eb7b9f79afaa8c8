"""The flow: its inverse, its density against automatic Jacobians, and how it mixes dimensions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from codec.models.generative.flow import Flow

DIMENSIONS, CLASSES = 8, 3


def random_flow(couplings: int, classes: int = 0) -> Flow:
    torch.manual_seed(0)
    flow = Flow(DIMENSIONS, couplings, 16, classes)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_(0, 0.3)
    return flow.requires_grad_(False)


def normal(count: int) -> Tensor:
    return torch.randn(count, DIMENSIONS, generator=torch.Generator().manual_seed(1))


def jacobian(flow: Flow, z: Tensor) -> Tensor:
    """Row i has the derivatives of the i-th value of the code."""
    z = z[None].requires_grad_(True)
    values = flow(z)[0].unbind()
    return torch.cat([torch.autograd.grad(v, z, retain_graph=True)[0] for v in values])


def test_the_inverse_returns_what_went_in() -> None:
    flow, z = random_flow(5), normal(100)
    codes = flow(z)
    assert (codes - z).abs().max() > 1
    torch.testing.assert_close(flow.inverse(codes)[0], z, atol=1e-4, rtol=1e-4)


def test_the_density_is_that_of_the_change_of_variables() -> None:
    flow = random_flow(3)
    for z in normal(5):
        code = flow(z[None])
        matrix = jacobian(flow, z)
        expected = -0.5 * (z.square().sum() + DIMENSIONS * math.log(2 * math.pi))
        expected = expected - torch.linalg.slogdet(matrix.double())[1].float()
        torch.testing.assert_close(flow.log_density(code)[0], expected, atol=1e-3, rtol=1e-4)


def scores(count: int) -> Tensor:
    return torch.randn(count, CLASSES, generator=torch.Generator().manual_seed(2))


def test_given_the_scores_a_flow_with_classes_is_one_of_the_other_dimensions() -> None:
    flow = random_flow(3, CLASSES)
    z, given = normal(5), scores(5)
    codes = flow(torch.cat([z, given], 1))
    assert codes.shape == (5, DIMENSIONS)
    torch.testing.assert_close(flow.inverse(codes, given)[0], z, atol=1e-4, rtol=1e-4)
    for index in range(5):
        whole = torch.cat([z[index], given[index]])
        matrix = jacobian(flow, whole)[:, :DIMENSIONS]
        expected = -0.5 * (z[index].square().sum() + DIMENSIONS * math.log(2 * math.pi))
        expected = expected - torch.linalg.slogdet(matrix.double())[1].float()
        found = flow.log_density(codes[index : index + 1], given[index : index + 1])[0]
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-4)


def test_the_largest_score_decides_the_class() -> None:
    flow, z = random_flow(3, CLASSES), normal(1)

    def codes(*values: float) -> Tensor:
        found: Tensor = flow(torch.cat([z, torch.tensor([values])], 1))
        return found

    clear = codes(0.0, 2.0, -1.0)
    torch.testing.assert_close(codes(0.3, 1.8, -2.0), clear, atol=1e-4, rtol=1e-4)
    assert (codes(2.0, 0.0, -1.0) - clear).abs().max() > 0.1
    between = codes(1.0, 1.01, -1.0)  # still smooth there
    assert 0 < (codes(1.01, 1.0, -1.0) - between).abs().max() < 1


@pytest.mark.parametrize(("couplings", "mixed"), [(2, False), (6, True)])
def test_after_enough_layers_every_dimension_has_an_effect_on_every_other(
    couplings: int, mixed: bool
) -> None:
    flow = random_flow(couplings)
    matrix = jacobian(flow, normal(1)[0])
    assert bool((matrix != 0).all()) == mixed


def test_an_untrained_flow_keeps_the_set_of_values() -> None:
    z = normal(3)
    codes = Flow(DIMENSIONS, 3, 4)(z)
    assert torch.equal(codes.sort()[0], z.sort()[0])
    assert torch.equal(codes, z.flip(-1))  # three shuffles of eight values undo each other


def test_autocast_does_not_round_the_flow() -> None:
    flow, z = random_flow(3), normal(4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = flow(z), flow.inverse(z)[0]
    assert torch.equal(found[0], flow(z))
    assert torch.equal(found[1], flow.inverse(z)[0])
