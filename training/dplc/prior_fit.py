"""The learned prior of a block's bits, fitted in floating point.

A fully visible sigmoid belief network (Neal 1992; Frey 1998), which `codec.models.dplc.prior`
evaluates in integers: logistic regressions of every bit on the bits before it, all at once::

    log-odds of bit i = b_i + Σ_{j<i} W_ij (2 s_j − 1)

The loss is convex: mean code length + weight_penalty / (2 N) · ‖W‖² over N blocks, a Gaussian
prior on W. Adam minimises it; the number of steps and the penalty are those that code held-out
blocks best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.loop.optimise import Schedule, set_learning_rate

WEIGHT_PENALTIES = (10.0, 100.0)
STEPS = 600
BATCH = 512
LEARNING_RATE = 0.04
_LOOKS = 10  # how often held-out blocks are measured on the way


@dataclass(frozen=True)
class FittedPrior:
    """A prior of n bits, on the CPU.

    weight          W, float32 (n, n), zero on and above the diagonal; nats of log-odds
    bias            b, float32 (n,)
    held_out_bits   mean code length of a held-out block, bits
    weight_penalty  the penalty that was chosen
    """

    weight: Tensor
    bias: Tensor
    held_out_bits: float
    weight_penalty: float


def fit_prior(
    bits: Tensor,
    held_out: Tensor,
    *,
    weight_penalties: Sequence[float] = WEIGHT_PENALTIES,
    steps: int = STEPS,
    seed: int = 0,
) -> FittedPrior:
    """The prior of bits, bool (N, n), that codes held-out ones, bool (M, n), best.

    Computes on the device of `bits`.
    """
    known, unseen = _signs(bits), _signs(held_out)
    best: FittedPrior | None = None
    schedule = Schedule(LEARNING_RATE)
    for penalty in weight_penalties:
        network = _VisibleBeliefNetwork(known)
        adam = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
        generator = torch.Generator().manual_seed(seed)
        for step in range(steps + 1):
            # The first one is the prior of independent bits.
            if step % max(1, steps // _LOOKS) == 0:
                length = network.code_length_bits(unseen)
                if best is None or length < best.held_out_bits:
                    best = network.fitted(length, penalty)
            set_learning_rate(adam, schedule(step, step / steps))
            chosen = torch.randint(len(known), (BATCH,), generator=generator)
            nats = network.nats(known[chosen.to(known.device)]).mean()
            decay = penalty / (2 * len(known)) * network.weight.tril(-1).square().sum()
            adam.zero_grad(set_to_none=True)
            (nats + decay).backward()  # type: ignore[no-untyped-call]
            adam.step()
    assert best is not None
    return best


class _VisibleBeliefNetwork(nn.Module):
    """W and b; starts as the independent prior of the bits' frequencies in ±1 (N, n)."""

    def __init__(self, signs: Tensor) -> None:
        super().__init__()
        count, size = signs.shape
        ones = (signs > 0).sum(0).float()
        self.weight = nn.Parameter(signs.new_zeros(size, size))
        self.bias = nn.Parameter(((ones + 0.5) / (count - ones + 0.5)).log())

    def nats(self, signs: Tensor) -> Tensor:
        """Code length of blocks ±1 (m, n) in nats, (m,)."""
        log_odds = F.linear(signs, self.weight.tril(-1), self.bias)
        return F.softplus(-signs * log_odds).sum(1)

    @torch.no_grad()
    def code_length_bits(self, signs: Tensor) -> float:
        """Mean code length of blocks ±1 (m, n) in bits."""
        parts = torch.split(signs, 4096)
        nats = sum(float(self.nats(part).double().sum()) for part in parts)
        return nats / len(signs) / math.log(2)

    def fitted(self, held_out_bits: float, weight_penalty: float) -> FittedPrior:
        """A copy of the current prior."""
        weight, bias = (p.detach().cpu().clone() for p in (self.weight, self.bias))
        return FittedPrior(weight.tril(-1), bias, held_out_bits, weight_penalty)


def _signs(bits: Tensor) -> Tensor:
    return 2 * bits.float() - 1
