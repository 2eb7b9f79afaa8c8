"""The synthesis network in ONNX Runtime, which has 8-bit kernels.

The sums times the scales of a layer are exact in float32, so any kernel that follows the definition
of QLinearConv gives the same integers as the reference (`codec.models.photo.numpy_backend`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Array, Int8Array, Uint8Array
from codec.models.photo.integers import kind_of
from codec.models.photo.synthesis import SynthesisWeights, is_conditioned, network
from codec.system.onnx_session import session
from codec.system.onnx_writer import CONTRIBUTED, Graph


@dataclass(frozen=True)
class Activations:
    """The name of a value uint8 (1, h, w, channels); signed values are offset by 128.

    places   number of pixels in each block that the channels hold. The order is (place, channel),
             so a shuffle moves whole lines; torch's order is (channel, place)
    """

    name: str
    channels: int
    places: int = 1


_DRAWN_PLACES = {"up_16": 4, "up_8": 4, "out": 16}
"""Places in the outputs of layers that are followed by a shuffle."""


class OnnxBackend:
    """Builds the graph of the network; see `codec.models.photo.synthesis.Backend`."""

    def __init__(self, weights: SynthesisWeights, graph: Graph) -> None:
        self._weights, self._graph = weights, graph
        self._zeros = [graph.constant(np.array(zero, np.uint8)) for zero in (0, 128)]
        self._one = graph.constant(np.array(1, np.float32))

    def image(self, factor: int) -> Activations:
        channels = 3 * factor**2
        shape: list[int | str] = [1, f"height_{factor}", f"width_{factor}", channels]
        name = self._graph.input(f"pixels_{factor}", "uint8", shape)
        return Activations(name, channels, factor**2)

    def texture(self) -> Activations:
        channels = self._weights.config.hidden
        return Activations(self._graph.input("texture", "uint8", [1, "h", "w", channels]), channels)

    def layer(self, name: str, values: Activations) -> Activations:
        graph, kind = self._graph, kind_of(name)
        weight = self._weights.weight(name)
        outputs, size = weight.shape[0], weight.shape[-1]
        weight = _places_first(weight, values.places, 1)
        places = _DRAWN_PLACES.get(name, 1)
        if is_conditioned(name):
            bias = graph.input(f"{name}.bias", "int32", [outputs])
            scale = graph.input(f"{name}.scale", "float32", [outputs])
        else:
            weight = _places_first(weight, places, 0)
            given = self._weights.condition(name, 100, 0)
            bias, scale = (graph.constant(_places_first(array, places, 0)) for array in given)
        zero_in, zero_out = self._zeros[kind.signed], self._zeros[not kind.rectified]
        zeros = graph.constant(np.zeros(outputs, np.int8))
        result = graph.node(
            "QLinearConv",
            [
                *(values.name, self._one, zero_in),
                *(graph.weight(weight), scale, zeros),
                *(self._one, zero_out, bias),
            ],
            domain=CONTRIBUTED,
            attributes={
                "channels_last": 1,
                "kernel_shape": (size, size),
                "pads": (size // 2,) * 4,
                "group": outputs if size > 1 else 1,
            },
        )
        return Activations(result, outputs, places)

    def add(self, one: Activations, other: Activations) -> Activations:
        unit, zero = self._one, self._zeros[True]
        words = [one.name, unit, zero, other.name, unit, zero, unit, zero]
        name = self._graph.node("QLinearAdd", words, domain=CONTRIBUTED)
        return Activations(name, one.channels)

    def shuffle(self, values: Activations) -> Activations:
        channels = values.channels // 4
        lines = self.lines(values, 2)
        rows = self._graph.reshaped(lines, [1, -1, 0, 2 * channels])
        return Activations(self._graph.reshaped(rows, [0, 0, -1, channels]), channels)

    def lines(self, values: Activations, factor: int) -> str:
        """Blocks of factor² places as lines of pixels: (h, factor, w, 1, factor · channels)."""
        line = values.channels // factor
        blocks = self._graph.reshaped(values.name, [0, 0, 0, factor, line])
        return self._graph.node("Transpose", [blocks], attributes={"perm": (1, 3, 2, 0, 4)})

    def unshuffle(self, values: Activations) -> Activations:
        graph, channels = self._graph, 4 * values.channels
        pairs = graph.reshaped(values.name, [0, 0, -1, channels // 2])
        lines = graph.reshaped(pairs, [-1, 2, 0, 1, channels // 2])
        blocks = graph.node("Transpose", [lines], attributes={"perm": (3, 0, 2, 1, 4)})
        return Activations(graph.reshaped(blocks, [0, 0, 0, channels]), channels, 4)


def _places_first(array: Array, places: int, axis: int) -> Array:
    """Reorder an axis from (channel, place) to (place, channel)."""
    before, after = array.shape[:axis], array.shape[axis + 1 :]
    blocks = array.reshape(*before, -1, places, *after).swapaxes(axis, axis + 1)
    merged: Array = blocks.reshape(array.shape)
    return merged


class OnnxRenderer:
    """See `codec.models.photo.synthesis.Renderer`: a session of ONNX Runtime."""

    def __init__(self, weights: SynthesisWeights) -> None:
        self._weights = weights
        graph = Graph()
        backend = OnnxBackend(weights, graph)
        last = backend.lines(network(backend, weights.config), 4)
        graph.output(last, "uint8", ["h_4", 4, "w_4", 1, 12])
        self._session = session(graph)
        self._conditioned = [
            each.name.removesuffix(".bias")
            for each in self._session.get_inputs()
            if each.name.endswith(".bias")
        ]

    def __call__(
        self, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        feeds: dict[str, Array] = {
            "texture": np.ascontiguousarray(texture.transpose(1, 2, 0))[None]
        }
        for factor in (4, 8):
            feeds[f"pixels_{factor}"] = _blocks(pixels, factor)[None]
        for name in self._conditioned:
            bias, scale = self._weights.condition(name, hundredths, tune)
            feeds |= {f"{name}.bias": bias, f"{name}.scale": scale}
        (levels,) = self._session.run(None, feeds)
        rendered: Int8Array = (levels.reshape(pixels.shape) ^ np.uint8(128)).view(np.int8)
        return rendered


def _blocks(pixels: Uint8Array, factor: int) -> Uint8Array:
    """Split pixels (H, W, 3) into blocks of (factor, factor, 3): (h, w, 3 · factor²)."""
    height, width, _ = pixels.shape
    # A line of a block is three words of `factor` bytes, each of which is copied at once.
    words = pixels.reshape(height // factor, factor, -1).view(f"u{factor}")
    lines = words.reshape(height // factor, factor, width // factor, 3).swapaxes(1, 2)
    blocks: Uint8Array = np.ascontiguousarray(lines).view(np.uint8)
    return blocks.reshape(height // factor, width // factor, -1)
