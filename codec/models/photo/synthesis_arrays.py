"""Conversion of the synthesis between torch and the arrays of a weights file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Array, Float32Array, Int8Array
from bitstream.errors import WeightsMismatchError
from codec.models.photo.config import COEFFICIENTS, TUNES
from codec.models.photo.integers import (
    BIAS_LIMIT,
    LARGEST_EXPONENT,
    LEAST_EXPONENT,
    SHIFT_LIMIT,
    STREAM_BITS,
    block_names,
    float_gains,
    float_log_steps,
    float_offsets,
    float_weights,
    integer_gains,
    integer_log_steps,
    integer_offsets,
    integer_weights,
    layer_inputs,
    weight_exponents,
)
from codec.models.photo.network import PhotoModel
from codec.models.photo.quantised import Convolution, QuantisedBlock
from codec.models.weights_files import stored


def synthesis_arrays(model: PhotoModel) -> dict[str, Array]:
    """The synthesis and the quantiser steps of a trained model as integers. See `integers`."""
    arrays: dict[str, Array] = {"log_step": integer_log_steps(_array(model.log_step.knots))}
    for name, bits in layer_inputs(model.config).items():
        layer = _convolution(model, name)
        assert layer.bias is not None
        weight, bias = _array(layer.weight), _array(layer.bias)
        offsets = bias
        block = name.removesuffix(".spatial")
        limit = BIAS_LIMIT if block == name else SHIFT_LIMIT
        if block != name:
            # The bias is merged into the shift that the block adds to the same sums.
            offsets = _array(_block(model, block).shift.knots) + bias
        exponents = weight_exponents(weight, offsets.reshape(-1, len(weight)).T, bits, limit)
        arrays[f"{name}.weight"] = integer_weights(weight, exponents)
        arrays[f"{name}.exponent"] = exponents
        key = f"{name}.bias" if block == name else f"{block}.shift"
        arrays[key] = integer_offsets(offsets, exponents, bits, limit)
    for block in block_names(model.config):
        arrays[f"{block}.gain"] = integer_gains(_array(_block(model, block).gain.knots))
    return arrays


@torch.no_grad()
def restore_synthesis(model: PhotoModel, arrays: Mapping[str, Array]) -> None:
    """Copy the synthesis and the steps of a weights file into a model of the same sizes.

    Raises `WeightsMismatchError` for arrays that are missing or of other sizes.
    """
    tables = (len(TUNES), model.config.knots)
    steps = stored(arrays, "log_step", "int32", *tables, COEFFICIENTS)
    _copy(model.log_step.knots, float_log_steps(steps))
    for name, bits in layer_inputs(model.config).items():
        layer = _convolution(model, name)
        outputs = layer.out_channels
        weight = stored(arrays, f"{name}.weight", "int8", *layer.weight.shape)
        exponents = _exponents(arrays, name, outputs)
        _copy(layer.weight, float_weights(weight, exponents))
        assert layer.bias is not None
        if name.endswith(".spatial"):
            layer.bias.zero_()
        else:
            bias = stored(arrays, f"{name}.bias", "int32", outputs)
            _copy(layer.bias, float_offsets(bias, exponents, bits))
    for name in block_names(model.config):
        block = _block(model, name)
        width = block.spatial.out_channels
        exponents = _exponents(arrays, f"{name}.spatial", width)
        shift = stored(arrays, f"{name}.shift", "int32", *tables, width)
        gain = stored(arrays, f"{name}.gain", "int16", *tables, width)
        _copy(block.shift.knots, float_offsets(shift, exponents, STREAM_BITS))
        _copy(block.gain.knots, float_gains(gain))


def _convolution(model: PhotoModel, name: str) -> Convolution:
    layer = model.get_submodule(name)
    assert isinstance(layer, Convolution)
    return layer


def _block(model: PhotoModel, name: str) -> QuantisedBlock:
    block = model.get_submodule(name)
    assert isinstance(block, QuantisedBlock)
    return block


def _exponents(arrays: Mapping[str, Array], layer: str, outputs: int) -> Int8Array:
    name = f"{layer}.exponent"
    exponents: Int8Array = stored(arrays, name, "int8", outputs)
    if exponents.min() < LEAST_EXPONENT or exponents.max() > LARGEST_EXPONENT:
        raise WeightsMismatchError(
            f"weights file: {name} has numbers {exponents.min()} .. {exponents.max()}, expected "
            f"{LEAST_EXPONENT} .. {LARGEST_EXPONENT}"
        )
    return exponents


def _copy(parameter: Tensor, values: Float32Array) -> None:
    parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _array(tensor: Tensor) -> Float32Array:
    array: Float32Array = tensor.detach().cpu().float().numpy()
    return array
