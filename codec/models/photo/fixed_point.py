"""Between the floating-point networks of the photo model and their exact twins, both ways."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from bitstream.arrays import Array
from codec.coding.exact_layers import ExactLayer, single_precision, to_fixed_point, to_floats
from codec.models.photo.config import TUNES
from codec.models.photo.context import ContextStep
from codec.models.photo.exact_context import exact_layer_arrays, of_tune, step_names
from codec.models.photo.network import PhotoModel
from codec.models.photo.quantised import ConditionTable

# Bits of fraction of the inputs, and their limit, of layers that float32 is to hold. Bits of the
# weights are worth more: with these numbers files grow by less than 0.1 % against float64.
_FEATURES = (3, 64)


def exact_arrays(model: PhotoModel) -> dict[str, Array]:
    """The hyper-synthesis and the context in fixed point, as the weights file has them."""
    arrays: dict[str, Array] = {}
    for name, layer, bias, shuffle, inputs in _layers(model):
        arrays |= exact_layer_arrays(_exact(layer, bias, shuffle, inputs), name)
    return arrays


@torch.no_grad()
def restore(model: PhotoModel, arrays: Mapping[str, Array]) -> None:
    """Copy the exact path of a weights file into the float networks of a model of these sizes.

    Raises `WeightsMismatchError` for arrays that are missing.
    """
    for name, layer, bias, _, _ in _layers(model):
        exact = [to_floats(of_tune(arrays, name, tune)) for tune in range(len(TUNES))]
        layer.weight.copy_(torch.from_numpy(exact[0][0]))
        if bias is not None:
            bias.knots.copy_(torch.from_numpy(np.stack([knots for _, knots in exact])))


_Layer = tuple[str, nn.Conv2d, ConditionTable | None, int, tuple[int, int] | None]


def _layers(model: PhotoModel) -> list[_Layer]:
    """Name, convolution, bias, pixel shuffle and units of inputs of each layer.

    Without units a layer has those of float64. Errors of latents need them: they are up to hundreds
    of steps, and means are wanted to a fraction of one. In float32 files would grow by 1 % at high
    qualities. Hyper-latents would be cut at 48, and their layer takes hardly any time.
    """
    found: list[_Layer] = []
    for number, (layer, bias, shuffle) in enumerate(model.hyper_synthesis.layers()):
        found.append((f"exact.{number}", layer, bias, shuffle, _FEATURES if number else None))
    for step_name in step_names(model.config):
        step: ContextStep = getattr(model.context, step_name)
        name = f"context.{step_name}"
        found.append((f"{name}.here", step.here, step.bias, 1, _FEATURES))
        found.append((f"{name}.out", step.out, step.bias_out, 1, _FEATURES))
        if step.near is not None:
            found.append((f"{name}.near", step.near, None, 1, _FEATURES))
        if step.linear is not None:
            found.append((f"{name}.linear", step.linear, None, 1, None))
    return found


def _exact(
    layer: nn.Conv2d,
    bias: ConditionTable | None,
    shuffle: int,
    inputs: tuple[int, int] | None,
) -> list[ExactLayer]:
    """A layer for each tune, which share weights and units."""
    weight = _array(layer.weight)
    tables = np.zeros((len(TUNES), 2, len(weight))) if bias is None else _array(bias.knots)
    units = None
    if inputs is not None:
        bits, limit = inputs
        units = single_precision(weight, bits, limit << bits)
    return [to_fixed_point(weight, knots, shuffle, units) for knots in tables]


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array
