"""The synthesis network in ONNX Runtime, which has kernels for 8 bits.

Sums times the scales of a layer are exact in float32, so that a kernel which follows the definition
of QLinearConv gives the integers of the reference (`codec.models.photo_next.numpy_backend`).
"""

from __future__ import annotations

import numpy as np
import onnxruntime

from bitstream.arrays import Array, Int8Array, Uint8Array
from codec.models.photo_next.integers import kind_of
from codec.models.photo_next.onnx_writer import CONTRIBUTED, Graph
from codec.models.photo_next.synthesis import SynthesisWeights, is_conditioned, network
from codec.system.processors import thread_count


class OnnxBackend:
    """Puts the network together; see `codec.models.photo_next.synthesis.Backend`.

    Activations are names of uint8 (1, channels, h, w); signed ones have 128 for zero.
    """

    def __init__(self, weights: SynthesisWeights, graph: Graph) -> None:
        self._weights, self._graph = weights, graph
        self._texture = graph.input("texture", "uint8", [1, weights.config.hidden, "h", "w"])
        self._zeros = [graph.constant(np.array(zero, np.uint8)) for zero in (0, 128)]
        self._one = graph.constant(np.array(1, np.float32))
        # Values whose channels are blocks of so many places, each with all of its channels.
        self._places: dict[str, int] = {}

    def image(self, factor: int) -> str:
        graph = self._graph
        sides = (f"height_{factor}", f"width_{factor}")
        blocks = graph.input(f"pixels_{factor}", "uint8", [*sides, 3 * factor**2])
        flat = graph.node("Transpose", [blocks], attributes={"perm": (2, 0, 1)})
        seen = graph.node("Unsqueeze", [flat, graph.constant(np.array([0], np.int64))])
        self._places[seen] = factor**2
        return seen

    def texture(self) -> str:
        return self._texture

    def layer(self, name: str, values: str) -> str:
        graph, kind = self._graph, kind_of(name)
        weight = self._weights.weight(name)
        outputs, size = weight.shape[0], weight.shape[-1]
        if values in self._places:
            # In torch each channel has all of its places.
            blocks = weight.reshape(outputs, -1, self._places[values])
            weight = blocks.swapaxes(1, 2).reshape(weight.shape)
        if is_conditioned(name):
            bias = graph.input(f"{name}.bias", "int32", [outputs])
            scale = graph.input(f"{name}.scale", "float32", [outputs])
        else:
            given = self._weights.condition(name, 100, 0)
            bias, scale = (graph.constant(array) for array in given)
        zero_in, zero_out = self._zeros[kind.signed], self._zeros[not kind.rectified]
        zeros = graph.constant(np.zeros(outputs, np.int8))
        return graph.node(
            "QLinearConv",
            [
                *(values, self._one, zero_in),
                *(graph.weight(weight), scale, zeros),
                *(self._one, zero_out, bias),
            ],
            attributes={
                "kernel_shape": (size, size),
                "pads": (size // 2,) * 4,
                "group": outputs if size > 1 else 1,
            },
        )

    def add(self, one: str, other: str) -> str:
        unit, zero = self._one, self._zeros[True]
        return self._graph.node(
            "QLinearAdd", [one, unit, zero, other, unit, zero, unit, zero], domain=CONTRIBUTED
        )

    def shuffle(self, values: str) -> str:
        return self._graph.node(
            "DepthToSpace", [values], attributes={"blocksize": 2, "mode": "CRD"}
        )

    def unshuffle(self, values: str) -> str:
        name = self._graph.node("SpaceToDepth", [values], attributes={"blocksize": 2})
        self._places[name] = 4
        return name


class OnnxRenderer:
    """See `codec.models.photo_next.synthesis.Renderer`: a session of ONNX Runtime."""

    def __init__(self, weights: SynthesisWeights) -> None:
        self._weights = weights
        graph = Graph()
        last = network(OnnxBackend(weights, graph), weights.config)
        last = graph.node("DepthToSpace", [last], attributes={"blocksize": 4, "mode": "CRD"})
        last = graph.node("Transpose", [last], attributes={"perm": (0, 2, 3, 1)})
        graph.output(last, "uint8", [1, "H", "W", 3])
        self._session = session(graph)
        self._conditioned = [
            each.name.removesuffix(".bias")
            for each in self._session.get_inputs()
            if each.name.endswith(".bias")
        ]

    def __call__(
        self, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        feeds: dict[str, Array] = {"texture": texture[None]}
        for factor in (4, 8):
            feeds[f"pixels_{factor}"] = _blocks(pixels, factor)
        for name in self._conditioned:
            bias, scale = self._weights.condition(name, hundredths, tune)
            feeds |= {f"{name}.bias": bias, f"{name}.scale": scale}
        (levels,) = self._session.run(None, feeds)
        rendered: Int8Array = (levels[0] ^ np.uint8(128)).view(np.int8)
        return rendered


def _blocks(pixels: Uint8Array, factor: int) -> Uint8Array:
    """Pixels (H, W, 3) to the blocks of (factor, factor, 3) that they consist of, (h, w, …)."""
    height, width, _ = pixels.shape
    # A line of a block is three words of so many bytes, which are copied at once.
    words = pixels.reshape(height // factor, factor, -1).view(f"u{factor}")
    lines = words.reshape(height // factor, factor, width // factor, 3).swapaxes(1, 2)
    blocks: Uint8Array = np.ascontiguousarray(lines).view(np.uint8)
    return blocks.reshape(height // factor, width // factor, -1)


def session(graph: Graph) -> onnxruntime.InferenceSession:
    """A session that computes a graph on the processor, with `thread_count` threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.log_severity_level = 3
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in graph.weights.values()]
    options.add_external_initializers(list(graph.weights), values)
    return onnxruntime.InferenceSession(graph.model(), options, providers=["CPUExecutionProvider"])
