"""The synthesis of the photo model as an ONNX graph, for runtimes that read one.

At one quality, as `codec.models.photo.numpy_network` has it: what the quality modulates is folded
into weights and biases. Needs the distribution `onnx`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from codec.models.photo.config import PhotoConfig
from codec.models.photo.numpy_layers import interpolate

Float32Array = npt.NDArray[np.float32]

_OPSET = 17
_IR_VERSION = 8


def synthesis_graph(
    arrays: Mapping[str, npt.NDArray[np.generic]], config: PhotoConfig, position: float
) -> bytes:
    """A model with input `latents` (1, C, h, w) in steps, output `pixels` (1, 3, 16·h, 16·w).

    arrays    those of a weights file
    position  of the quality, in [0, 1]

    Pixels are in [0, 1]; the size h × w is any.
    """
    return _Graph(arrays, position).synthesis(config)


class _Graph:
    """Nodes and constants as they come."""

    def __init__(self, arrays: Mapping[str, npt.NDArray[np.generic]], position: float) -> None:
        self._arrays, self._position = arrays, position
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def synthesis(self, config: PhotoConfig) -> bytes:
        gain = np.exp(self._vector("log_inverse_gain"))
        kernels = self._values("synthesis.linear.weight") * gain[:, None, None, None]
        patches = self._convolution(
            "latents",
            kernels.reshape(len(kernels), -1).T[:, :, None, None],
            np.repeat(self._values("synthesis.linear.bias"), 256),
        )
        linear = self._shuffle(patches, 16)
        head = self._values("synthesis.head.weight") * gain[None, :, None, None]
        features = self._convolution("latents", head, self._values("synthesis.head.bias"))
        features = self._stage(features, "stage_16", config.blocks_16)
        features = self._shuffle(self._named(features, "synthesis.up_16"), 2)
        features = self._stage(features, "stage_8", config.blocks_8)
        features = self._shuffle(self._named(features, "synthesis.up_8"), 2)
        # A 1×1 convolution behind a pixel unshuffle by 4 is one of 4×4 with the stride 4.
        side = self._values("synthesis.side.weight").reshape(-1, 3, 4, 4)
        repaired = self._convolution(
            linear, side, self._values("synthesis.side.bias"), strides=[4, 4]
        )
        features = self._stage(
            self._add_node("Add", features, repaired), "stage_4", config.blocks_4
        )
        out = self._values("synthesis.out.bias") + np.float32(0.5)
        rendered = self._convolution(features, self._values("synthesis.out.weight"), out)
        pixels = self._add_node("Add", linear, self._shuffle(rendered, 4))
        limits = self._constant(np.float32(0)), self._constant(np.float32(1))
        self._nodes.append(helper.make_node("Clip", [pixels, *limits], ["pixels"]))
        graph = helper.make_graph(
            self._nodes,
            "synthesis",
            [_tensor("latents", config.latent_channels)],
            [_tensor("pixels", 3)],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)])
        model.ir_version = _IR_VERSION
        data: bytes = model.SerializeToString()
        return data

    def _stage(self, features: str, name: str, blocks: int) -> str:
        for number in range(blocks):
            block = f"synthesis.{name}.blocks.{number}"
            scale = 1 + self._vector(f"{block}.scale")
            taps = self._values(f"{block}.spatial.weight") * scale[:, None, None, None]
            bias = self._values(f"{block}.spatial.bias") * scale + self._vector(f"{block}.shift")
            inner = self._convolution(features, taps, bias, pads=[1] * 4, group=len(taps))
            inner = self._add_node("Relu", self._named(inner, f"{block}.expand"))
            features = self._add_node("Add", features, self._named(inner, f"{block}.project"))
        return features

    def _values(self, name: str) -> Float32Array:
        return self._arrays[f"network.{name}"].astype(np.float32)

    def _vector(self, name: str) -> Float32Array:
        return interpolate(self._values(f"{name}.knots"), self._position)

    def _named(self, values: str, name: str) -> str:
        weight, bias = self._values(f"{name}.weight"), self._values(f"{name}.bias")
        return self._convolution(values, weight, bias)

    def _convolution(
        self, values: str, weight: Float32Array, bias: Float32Array, **attributes: object
    ) -> str:
        return self._add_node(
            "Conv", values, self._constant(weight), self._constant(bias), **attributes
        )

    def _shuffle(self, values: str, factor: int) -> str:
        return self._add_node("DepthToSpace", values, blocksize=factor, mode="CRD")

    def _constant(self, values: Float32Array | np.float32) -> str:
        name = f"constant_{len(self._constants)}"
        array = np.array(values, dtype=np.float32, order="C")
        self._constants.append(numpy_helper.from_array(array, name))
        return name

    def _add_node(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"values_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name


def _tensor(name: str, channels: int) -> onnx.ValueInfoProto:
    sides = [f"{name}_height", f"{name}_width"]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, *sides])
