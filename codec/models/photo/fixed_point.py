"""Conversion between the photo model's floating-point networks and their exact twins."""

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

# Fraction bits and limit of the inputs in layers that should fit float32. They are low because
# bits of the weights matter more: files grow by less than 0.1 % against float64.
_FEATURES = (3, 64)


def exact_arrays(model: PhotoModel) -> dict[str, Array]:
    """The hyper-synthesis and the context in fixed point, as a weights file stores them."""
    arrays: dict[str, Array] = {}
    for name, layer, bias, shuffle, inputs in _layers(model):
        arrays |= exact_layer_arrays(_exact(layer, bias, shuffle, inputs), name)
    return arrays


@torch.no_grad()
def restore(model: PhotoModel, arrays: Mapping[str, Array]) -> None:
    """Copy the exact path of a weights file into the float networks of a model of the same sizes.

    Raises `WeightsMismatchError` for missing arrays.
    """
    for name, layer, bias, _, _ in _layers(model):
        exact = [to_floats(of_tune(arrays, name, tune)) for tune in range(len(TUNES))]
        layer.weight.copy_(torch.from_numpy(exact[0][0]))
        if bias is not None:
            bias.knots.copy_(torch.from_numpy(np.stack([knots for _, knots in exact])))


_Layer = tuple[str, nn.Conv2d, ConditionTable | None, int, tuple[int, int] | None]


def _layers(model: PhotoModel) -> list[_Layer]:
    """Name, convolution, bias, pixel shuffle and input units of each layer.

    A layer without units uses the usual ones, which need float64. Layers on latent errors need
    them, since errors reach hundreds of steps and means are needed to a fraction of a step: in
    float32 files would grow by 1 % at high qualities. The layer on hyper-latents would clip them
    at 48, and takes hardly any time anyway.
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
    """One layer per tune, with shared weights and units."""
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
