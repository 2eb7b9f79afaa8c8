"""Stochastic Gumbel annealing: latents and hyper-latents of one tile refined before rounding.

Yang, Bamler and Mandt 2020, "Improving inference for neural image compression": every value is
rounded up or down at random, more often to the nearer integer, by a differentiable relaxation; as
the temperature falls, the choice becomes ever more certain. Adam lowers J of such samples, with
the rate estimated by the float networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Float32Array, Int32Array
from codec.coding.quantize import round_hyper_latents
from codec.models.photo.code_length import gaussian_bits, logistic_bits, lower_bound
from codec.models.photo.cost import TileCost, computes_bfloat16
from codec.models.photo.network import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN, PhotoModel

_HOT, _COLD = 0.5, 0.1
_MARGIN = 1e-4  # distance to integers, at which the gradient of the relaxation is infinite
_SEED = 1841
# For Adam, in quantiser steps. The squared error needs smaller steps than the visual error.
_LEARNING_RATES = {"psnr": 0.008, "visual": 0.02}


def relaxed_rounding(values: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A sample between ⌊v⌋ and ⌈v⌉ that gets closer to one of them as the temperature falls."""
    below = values.floor().detach()
    share = (values - below).clamp(_MARGIN, 1 - _MARGIN)
    preference = (torch.atanh(share) - torch.atanh(1 - share)) / temperature
    uniform = torch.empty_like(values).uniform_(1e-7, 1 - 1e-7, generator=generator)
    # Only the difference of the two Gumbel variables matters, and it is logistic.
    return below + torch.sigmoid((preference + torch.logit(uniform)) / temperature)


def anneal(
    cost: TileCost,
    latents: Float32Array,
    steps: int,
    advance: Callable[[], None] = lambda: None,
) -> tuple[Float32Array, Int32Array]:
    """Refined latents (768, h, w) of a tile, in quantiser steps, and rounded hyper-latents.

    latents  initial latents, float32
    steps    steps of Adam; the learning rate falls over the second half
    advance  called after every step
    """
    model, mix, device = cost.model, cost.mix, cost.device
    generator = torch.Generator(device).manual_seed(_SEED)
    y = torch.from_numpy(np.array(latents)).to(device)[None]
    with torch.no_grad():
        z = model.hyper_analyze(y, mix)
        location, scales = model.hyper_location(mix), model.hyper_log_scale(mix).exp()
    y.requires_grad_()
    z.requires_grad_()
    optimizer = torch.optim.Adam([y, z], betas=(0.9, 0.99))
    for step in range(steps):
        done = step / steps
        temperature = _HOT * math.exp(-done * math.log(_HOT / _COLD))
        optimizer.param_groups[0]["lr"] = _LEARNING_RATES[cost.tune] * min(1.0, 2 * (1 - done))
        sample = relaxed_rounding(z, temperature, generator)
        with torch.autocast(device.type, torch.bfloat16, enabled=computes_bfloat16(device)):
            means, table, hidden = _predict(model, y, sample, mix)
        symbols = relaxed_rounding(y - means, temperature, generator)
        bits = gaussian_bits(symbols, table) + logistic_bits(sample - location, scales)
        drawn = cost.draw((symbols + means)[0], hidden[0])
        loss = cost.distortion_bits(drawn) + bits.sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        advance()
    refined: Float32Array = y.detach()[0].cpu().numpy()
    return refined, round_hyper_latents(z.detach()[0].cpu().numpy())


def _predict(
    model: PhotoModel, y: Tensor, hyper_latents: Tensor, mix: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Means and standard deviations (1, 768, h, w) of latents, and hyper-synthesis features."""
    rows, columns = y.shape[2:]
    hidden = model.hyper_synthesis.features(hyper_latents, mix)[:, :, :rows, :columns]
    means, indexes = model.hyper_synthesis.predict(hidden, mix)
    means, indexes = model.context(y, means, indexes, hidden, mix)
    # In bfloat16, as the context may return them, the bits would be too coarse to sum.
    means, indexes = means.float(), indexes.float()
    indexes = lower_bound(indexes, 0).clamp(max=SCALE_COUNT - 1)
    return means, SCALE_MIN * torch.exp(LOG_SCALE_STEP * indexes), hidden.float()
