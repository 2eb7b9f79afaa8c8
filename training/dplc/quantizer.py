"""The quantiser of Tschannen et al. 2018: hard levels forward, the gradient of a soft choice back.

After Agustsson et al. 2017, "Soft-to-hard vector quantization".
"""

from __future__ import annotations

import torch
from torch import Tensor

SIGN_LEVELS = (-0.5, 0.5)


def soft_to_hard(
    x: Tensor, levels: tuple[float, ...] = SIGN_LEVELS, *, softness: float = 1.0
) -> Tensor:
    """The level nearest to each value of x, the upper one where two are; any shape to the same.

    levels    ascending
    softness  σ of the gradient, which is that of Σ_l l · softmax_l(−σ (x − l)²)
    """
    grid = x.new_tensor(levels)
    hard = grid[torch.bucketize(x.detach().contiguous(), (grid[1:] + grid[:-1]) / 2, right=True)]
    soft = ((-softness * (x[..., None] - grid).square()).softmax(-1) * grid).sum(-1)
    # The bracket is exactly 0, so that the result is exactly a level.
    return hard + (soft - soft.detach())
