"""Between the floating-point networks of the photo model and their exact twins, both ways."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from bitstream.arrays import Array
from codec.coding.exact_layers import ExactLayer, single_precision, to_fixed_point, to_floats
from codec.models.layers import QualityTable
from codec.models.photo.context import ContextStep
from codec.models.photo.exact_context import STEPS, ExactContext, ExactStep
from codec.models.photo.network import PhotoModel


def exact_layers(model: PhotoModel) -> list[ExactLayer]:
    """The hyper-synthesis in fixed point, layer by layer."""
    return [
        to_fixed_point(_array(layer.weight), _array(bias.knots), shuffle)
        for layer, bias, shuffle in model.hyper_synthesis.layers()
    ]


def exact_context(model: PhotoModel, table_count: int) -> ExactContext | None:
    """The context in fixed point; None for a model without."""
    if model.context is None:
        return None
    steps = {name: _exact_step(getattr(model.context, name)) for name in STEPS}
    return ExactContext(steps, table_count)


def restore(
    model: PhotoModel, layers: Sequence[ExactLayer], context: ExactContext | None
) -> PhotoModel:
    """Copy the exact path into the float networks of a model of the same sizes; returns it.

    Without a context, that of the model stays as it is.
    """
    for (layer, bias, _), exact in zip(model.hyper_synthesis.layers(), layers, strict=True):
        _copy(exact, layer, bias)
    if context is not None:
        for step_name in STEPS:
            step: ContextStep = getattr(model.context, step_name)
            exact_step: ExactStep = getattr(context, step_name)
            _copy(exact_step.here, step.here, step.bias)
            _copy(exact_step.out, step.out, step.bias_out)
            for name in ("near", "linear"):
                around: nn.Conv2d | None = getattr(step, name)
                if around is not None:
                    _copy(getattr(exact_step, name), around)
    return model


def _exact_step(step: ContextStep) -> ExactStep:
    def layer(
        layer: nn.Conv2d, bias: QualityTable | None = None, bits: int = 5, limit: int = 64
    ) -> ExactLayer:
        weight = _array(layer.weight)
        knots = np.zeros((2, len(weight))) if bias is None else _array(bias.knots)
        units = single_precision(weight, bits, limit << bits)
        return to_fixed_point(weight, knots, units=units)

    return ExactStep(
        here=layer(step.here, step.bias),
        out=layer(step.out, step.bias_out),
        near=None if step.near is None else layer(step.near),
        # Errors are larger than features, and come from integers.
        linear=None if step.linear is None else layer(step.linear, bits=3, limit=512),
    )


@torch.no_grad()
def _copy(exact: ExactLayer, layer: nn.Conv2d, bias: QualityTable | None = None) -> None:
    weight, knots = to_floats(exact)
    layer.weight.copy_(torch.from_numpy(weight))
    if bias is not None:
        bias.knots.copy_(torch.from_numpy(knots))


def _array(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array
