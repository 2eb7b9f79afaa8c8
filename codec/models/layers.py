"""Building blocks shared by the model families."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bitstream.arrays import Array
from bitstream.errors import WeightsMismatchError


def in_full_precision(layer: nn.Module, values: Tensor) -> Tensor:
    """Apply `layer` in float32 under autocast.

    At high quality a latent spans hundreds of quantiser steps, more than bfloat16 resolves.
    """
    with torch.autocast(values.device.type, enabled=False):
        result: Tensor = layer(values.float())
    return result


def round_straight_through(values: Tensor) -> Tensor:
    """Round to integers; the gradient is that of the identity."""
    return values + (values.round() - values).detach()


def fill(network: nn.Module, arrays: Mapping[str, Array], prefix: str = "") -> None:
    """Load the floating-point arrays `<prefix><name>` into a network as float32, and freeze it.

    Raises `WeightsMismatchError` if an array is missing, has another size or is not finite, or if
    there are other arrays with the prefix.
    """
    state = {}
    for name, expected in network.state_dict().items():
        shape, array = tuple(expected.shape), arrays.get(prefix + name)
        if array is None or array.shape != shape or array.dtype.kind != "f":
            found = "missing" if array is None else f"{array.dtype}{list(array.shape)}"
            raise WeightsMismatchError(
                f"weights file: it does not fit its own sizes: {prefix}{name} is {found}, expected "
                f"floating point of {list(shape)}"
            )
        values = array.astype(np.float32)
        if not np.isfinite(values).all():
            raise WeightsMismatchError(
                f"weights file: {prefix}{name} has values that are not finite"
            )
        state[name] = torch.from_numpy(values)
    unknown = [key for key in arrays if prefix and key.startswith(prefix)]
    unknown = [key for key in unknown if key[len(prefix) :] not in state]
    if unknown:
        raise WeightsMismatchError(
            f"weights file: it does not fit its own sizes: there is no place for {unknown[0]}"
        )
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)
