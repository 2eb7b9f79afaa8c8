"""Runs that start from a weights file of the lossless model."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from bitstream.errors import WeightsMismatchError
from codec.coding.exact_layers import ACTIVATION_BITS, ExactLayer
from codec.models.pixel.coder import PixelCoder, PixelConfig
from codec.models.weights_files import read_config
from training.loop.start import read_start
from training.pixel.network import MORE_OCTAVES, PER_OCTAVE, PixelNetwork


@torch.no_grad()
def start_from_weights(network: PixelNetwork, path: Path) -> None:
    """Copy the layers of an exported lossless model; the mixture is trained from scratch.

    Raises `InputError` for an unreadable file, `WeightsMismatchError` for weights of another model
    or other sizes.
    """
    arrays, metadata = read_start(path)
    coder = PixelCoder(arrays, read_config(metadata, PixelConfig), bytes(8))
    if len(coder.network) != len(network.layers):
        raise WeightsMismatchError(f"{path} has {len(coder.network)} layers, and the preset others")
    for exact, layer in zip(coder.network, network.layers, strict=True):
        assert isinstance(layer, nn.Linear)
        weight, bias = _real(exact)
        if weight.shape[0] != layer.weight.shape[0]:
            raise WeightsMismatchError(
                f"{path} has layers of other sizes than the preset: {list(weight.shape)}, expected "
                f"{list(layer.weight.shape)}"
            )
        layer.weight.zero_()  # an input that the lossless model lacks has no effect at first
        layer.weight[:, : weight.shape[1]].copy_(weight)
        layer.bias.copy_(bias)
    if network.bounded:
        network.layers[-1].bias[1] += MORE_OCTAVES * PER_OCTAVE  # type: ignore[operator, index]


def _real(layer: ExactLayer) -> tuple[Tensor, Tensor]:
    weight = torch.from_numpy(layer.weight[:, :, 0, 0].astype("float32"))
    bias = torch.from_numpy(layer.bias[0].astype("float32"))
    return weight * 2.0**-layer.units.weight_bits, bias * 2.0**-ACTIVATION_BITS
