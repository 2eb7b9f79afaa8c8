"""The flow: its equation solved by another method, its loss, and that it finds separate modes."""

from __future__ import annotations

import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from bitstream.arrays import Float64Array
from codec.models.generative.flow import Flow, Velocity

DIMENSIONS, WIDTH = 6, 16


def random_flow(steps: int, blocks: int = 2) -> Flow:
    torch.manual_seed(0)
    flow = Flow(DIMENSIONS, blocks, WIDTH, steps)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.normal_(0, 0.3)
    return flow.requires_grad_(False)


def normal(count: int, dimensions: int = DIMENSIONS) -> Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(1))


def solved(flow: Flow, z: Tensor) -> Tensor:
    """The equation from one z to its code, to many digits."""

    def velocity(time: float, x: Float64Array) -> Float64Array:
        found = flow.velocity.double()(torch.from_numpy(x)[None], torch.tensor(time).double())
        numbers: Float64Array = found[0].double().numpy()
        return numbers

    flow = random_flow(flow.steps)  # one that may become float64
    x = solve_ivp(velocity, (0, 1), z.double().numpy(), rtol=1e-6, atol=1e-6).y[:, -1]
    return torch.from_numpy(x).float() * flow.log_scale.exp() + flow.shift


def test_codes_are_where_the_equation_leads_up_to_an_error_of_the_second_order() -> None:
    z = normal(4)
    expected = torch.stack([solved(random_flow(1), each) for each in z])
    straight = random_flow(1)
    assert (expected - z * straight.log_scale.exp() - straight.shift).abs().amax(1).min() > 0.3
    coarse, fine = ((random_flow(steps)(z) - expected).abs().max() for steps in (16, 64))
    assert coarse < 0.05
    assert fine < coarse / 12


def test_the_network_depends_on_the_time_of_each_row() -> None:
    velocity, x = random_flow(1).velocity, normal(3)
    times = torch.tensor([[0.0], [0.4], [1.0]])
    rows = torch.cat([velocity(x[i : i + 1], times[i, 0]) for i in range(3)])
    torch.testing.assert_close(velocity(x, times), rows)
    assert (velocity(x, times) - velocity(x, times[0, 0]))[1:].abs().min() > 1e-3


def test_an_untrained_flow_keeps_its_input() -> None:
    z = normal(3)
    assert torch.equal(Flow(DIMENSIONS, 2, 4, 3)(z), z)


def test_the_loss_is_that_of_the_straight_lines() -> None:
    flow, z, codes = random_flow(1), normal(5), 3 * normal(5).flip(0) + 1
    times = torch.tensor([[0.0], [0.25], [0.5], [0.75], [1.0]])
    normalised = (codes - flow.shift) / flow.log_scale.exp()
    found = flow.velocity(z + times * (normalised - z), times)
    expected = (found - (normalised - z)).square().mean()
    torch.testing.assert_close(flow.matching_loss(codes, z, times), expected)


def test_scale_and_shift_get_no_gradient_from_the_loss() -> None:
    flow = random_flow(1).requires_grad_(True)
    flow.matching_loss(normal(5), normal(5).flip(0), torch.rand(5, 1)).backward()  # type: ignore[no-untyped-call]
    assert flow.log_scale.grad is None
    assert flow.shift.grad is None
    assert flow.velocity.first.weight.grad is not None


def test_a_trained_flow_leaves_few_samples_between_modes() -> None:
    torch.manual_seed(0)
    flow, generator = Flow(2, 2, 64, 8), torch.Generator().manual_seed(0)
    adam = torch.optim.Adam(flow.parameters(), lr=3e-3)
    centres = torch.tensor([[0.0, 1.2], [1.2, -0.8], [-1.2, -0.8]])
    for _ in range(600):
        modes = torch.randint(3, (512,), generator=generator)
        codes = centres[modes] + 0.1 * torch.randn(512, 2, generator=generator)
        z, times = torch.randn(512, 2, generator=generator), torch.rand(512, 1, generator=generator)
        adam.zero_grad()
        flow.matching_loss(codes, z, times).backward()  # type: ignore[no-untyped-call]
        adam.step()
    with torch.no_grad():
        distances = torch.cdist(flow(normal(2000, 2)), centres)
    assert (distances.amin(1) < 0.4).float().mean() > 0.9
    shares = distances.argmin(1).bincount(minlength=3) / 2000
    assert ((shares - 1 / 3).abs() < 0.1).all()


def test_the_velocity_is_a_float_even_under_autocast() -> None:
    velocity = Velocity(DIMENSIONS, 1, WIDTH)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert velocity(normal(2), torch.tensor(0.5)).dtype == torch.float32
