"""The photo encoder without 8-bit products, for tests of what is exact in floating point."""

from __future__ import annotations

import pytest

from codec.models.photo import onnx_encoder
from codec.models.photo.onnx_encoder import OnnxEncoder
from codec.system.onnx_writer import Graph

_IN_8_BITS = OnnxEncoder._product


def in_float(encoder: OnnxEncoder, graph: Graph, name: str, features: str) -> str:
    """A layer that is computed in 8 bits otherwise."""
    channels_second = onnx_encoder._channels_second(graph, features)
    return onnx_encoder._channels_last(graph, encoder._layer(graph, name, channels_second))


def use_float_products(patch: pytest.MonkeyPatch) -> None:
    """Build the graphs of encoders without 8-bit products."""
    patch.setattr(OnnxEncoder, "_product", in_float)


def use_8_bit_products(patch: pytest.MonkeyPatch) -> None:
    """Undo `use_float_products`, which a fixture may have called for a whole module."""
    patch.setattr(OnnxEncoder, "_product", _IN_8_BITS)
