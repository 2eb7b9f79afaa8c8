"""Weight updates: learning-rate schedule, optimisers, gradient steps, moving averages."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from bitstream.errors import UsageError
from codec.system.missing_extra import extra_needed_by

Network = TypeVar("Network", bound=nn.Module)
Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Schedule:
    """A learning rate: a linear warm-up, and half a cosine over the budget from `start` to `end`.

    Loshchilov & Hutter 2017, "SGDR", without restarts. The cosine follows the used fraction of the
    budget, which may be a time; torch's own schedulers cannot do this, because they count steps.

    warmup_steps   number of steps in which the rate rises from 0
    """

    start: float
    end: float = 0.0
    warmup_steps: int = 1

    def __call__(self, step: int, fraction: float) -> float:
        """The rate for a step, counted from 0, at a fraction of the budget in [0, 1]."""
        cosine = 0.5 * (1 + math.cos(math.pi * fraction))
        warmup = min(1.0, (step + 1) / self.warmup_steps)
        return (self.end + (self.start - self.end) * cosine) * warmup


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the rate of every parameter group, times the group's "rate_factor" if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)


def build_optimizer(
    kind: str, parameters: Iterable[nn.Parameter] | list[dict[str, Any]], rate: float
) -> torch.optim.Optimizer:
    """The optimiser "adam", "adamw" or "soap" (Vyas et al. 2024) for parameters or their groups.

    Raises `UsageError` for another kind, `MissingExtraError` if "soap" is not installed.
    """
    if kind == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    if kind == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    if kind != "soap":
        raise UsageError(f"optimizer {kind!r} is unknown; use 'soap', 'adamw' or 'adam'")
    with extra_needed_by("the optimizer 'soap'"):
        from pytorch_optimizer import SOAP
    optimizer: torch.optim.Optimizer = SOAP(
        parameters, lr=rate, weight_decay=0.0, precondition_frequency=10
    )
    return optimizer


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, *, clip: float | None = None) -> bool:
    """One step of an optimiser on `loss`; if a number is not finite, change nothing, return False.

    clip   largest norm of the gradient over all its parameters; None for no limit
    """
    if not torch.isfinite(loss):
        return False
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    if clip is not None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if not torch.isfinite(nn.utils.clip_grad_norm_(parameters, clip)):
            return False
    optimizer.step()
    return True


class MovingAverage(AveragedModel, Generic[Network]):
    """The exponential moving average of a network's weights, updated by `update_parameters`.

    The averaged network is its `module`. Unless the network starts with trained weights, the
    decay is small at first, so that the average forgets the untrained weights.
    """

    module: Network

    def __init__(self, network: Network, decay: float, *, starts_trained: bool = False) -> None:
        @torch.no_grad()
        def blend(averages: Any, currents: Any, updates: Tensor | int) -> None:
            count = int(updates)
            kept = decay if starts_trained else min(decay, (1 + count) / (10 + count))
            torch._foreach_lerp_(averages, currents, 1 - kept)

        super().__init__(network, multi_avg_fn=blend)
        # The average begins with the network's weights; torch would replace it at the first update.
        self.n_averaged += 1
        self.requires_grad_(False)


def compiled(function: Function) -> Function:
    """The function, compiled for each size that occurs; unchanged without a C++ compiler."""
    if not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))):
        return function
    return cast(Function, torch.compile(function, dynamic=False))
