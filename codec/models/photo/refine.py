"""Stochastic Gumbel annealing: latents and hyper-latents of one tile refined before rounding.

Yang, Bamler and Mandt 2020, "Improving inference for neural image compression": every value is
rounded up or down at random, more often to the nearer integer, and by a relaxation that can be
differentiated; a temperature that falls makes the choice ever more certain. Adam lowers J of such
samples, with the float networks' rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Float32Array, Int32Array
from codec.coding.quantize import round_hyper_latents
from codec.models.photo.code_length import gaussian_bits, logistic_bits, lower_bound
from codec.models.photo.cost import TileCost
from codec.models.photo.network import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN, PhotoModel

_HOT, _COLD = 0.5, 0.1
_MARGIN = 1e-4  # from the integers, where the gradient of the relaxation is infinite
_SEED = 1841


@dataclass(frozen=True)
class Annealing:
    """How long, and how fast at first, in quantiser steps; slower over the second half."""

    steps: int
    learning_rate: float


def relaxed_rounding(values: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A sample between ⌊v⌋ and ⌈v⌉ that gets nearer to either as the temperature falls."""
    below = values.floor().detach()
    share = (values - below).clamp(_MARGIN, 1 - _MARGIN)
    preference = (torch.atanh(share) - torch.atanh(1 - share)) / temperature
    uniform = torch.empty_like(values).uniform_(1e-7, 1 - 1e-7, generator=generator)
    # Of two Gumbel variables only the difference counts, and that is logistic.
    return below + torch.sigmoid((preference + torch.logit(uniform)) / temperature)


def computes_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is faster than float32 there: the processor has instructions for it.

    Its rounding is small beside the noise of the annealing, which ends with symbols that are judged
    in full precision.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    # Not in all versions of torch.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, name, bool)() for name in names)


def anneal(
    model: PhotoModel,
    cost: TileCost,
    latents: Float32Array,
    annealing: Annealing,
    advance: Callable[[], None],
) -> tuple[Float32Array, Int32Array]:
    """Latents (C, h, w) of a tile and its rounded hyper-latents, refined.

    model    all networks in floating point, `PhotoCoder.trainable`
    cost     of the tile
    latents  as `analyze` gives them
    advance  called after every step
    """
    position = cost.position
    generator = torch.Generator(position.device).manual_seed(_SEED)
    is_coarse = computes_bfloat16(position.device)
    y = torch.from_numpy(np.array(latents)).to(position.device)[None]
    with torch.no_grad():
        z = model.hyper_analyze(y, position)
        location, scales = model.hyper_location(position), model.hyper_log_scale(position).exp()
    y.requires_grad_()
    z.requires_grad_()
    optimizer = torch.optim.Adam([y, z], betas=(0.9, 0.99))
    for step in range(annealing.steps):
        done = step / annealing.steps
        temperature = _HOT * math.exp(-done * math.log(_HOT / _COLD))
        optimizer.param_groups[0]["lr"] = annealing.learning_rate * min(1.0, 2 * (1 - done))
        sample = relaxed_rounding(z, temperature, generator)
        with torch.autocast(position.device.type, torch.bfloat16, enabled=is_coarse):
            means, table = _predict(model, y, sample, position)
        symbols = relaxed_rounding(y - means, temperature, generator)
        bits = gaussian_bits(symbols, table) + logistic_bits(sample - location, scales)
        with torch.autocast(position.device.type, torch.bfloat16, enabled=is_coarse):
            drawn = cost.draw((symbols + means)[0])
        loss = cost.distortion_bits(drawn.float()) + bits.sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        advance()
    refined: Float32Array = y.detach()[0].cpu().numpy()
    return refined, round_hyper_latents(z.detach()[0].cpu().numpy())


def _predict(
    model: PhotoModel, y: Tensor, hyper_latents: Tensor, position: Tensor
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations (1, C, h, w) of latents of that size."""
    rows, columns = y.shape[2:]
    hidden = model.hyper_synthesis.features(hyper_latents, position)
    means, indexes = model.hyper_synthesis.predict(hidden, position)
    hidden, means, indexes = (v[:, :, :rows, :columns] for v in (hidden, means, indexes))
    if model.context is not None:
        means, indexes = model.context(y, means, indexes, hidden, position)
    # A context in bfloat16 gives bfloat16, in which bits would be too coarse to add up.
    means, indexes = means.float(), indexes.float()
    indexes = lower_bound(indexes, 0).clamp(max=SCALE_COUNT - 1)
    return means, SCALE_MIN * torch.exp(LOG_SCALE_STEP * indexes)
