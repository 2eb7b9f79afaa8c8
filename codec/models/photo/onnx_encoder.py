"""The encoder's networks in ONNX Runtime.

No decoder depends on their rounding, so the layers with the most multiplications use 8 bits, which
adds less than 1 % to the error of the quantiser. Their inputs are scaled by the largest value in a
tile, so a latent depends faintly on the whole tile.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from functools import cached_property, lru_cache

import numpy as np
import onnxruntime

from bitstream.arrays import Array, Float32Array, Uint8Array, Uint16Array
from codec.models.photo.config import COEFFICIENTS, LATENT_STRIDE, PhotoConfig
from codec.models.photo.transform import COLOURS, channel_order, cosine_basis
from codec.system.onnx_session import session
from codec.system.onnx_writer import CONTRIBUTED, Graph
from codec.system.processors import bands, share
from codec.system.products import product

_BAND_SQUARES = 192  # computed at once, so that they stay in the cache


class OnnxEncoder:
    """Analysis and hyper-analysis of one set of weights.

    arrays   those of a weights file, of which `network.analysis.*`, `network.hyper_analysis.*` and
             `network.log_gain.knots` are read, in any floating-point type

    A condition is a position in hundredths, 100 .. 10000, and the index of a tune.
    """

    def __init__(self, arrays: Mapping[str, Array], config: PhotoConfig) -> None:
        self.config = config
        self._arrays = {
            name.removeprefix("network."): array
            for name, array in arrays.items()
            if name.startswith("network.")
        }
        self._analyses: dict[str, onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()

    def analyze(self, pixels: Uint8Array | Uint16Array, hundredths: int, tune: int) -> Float32Array:
        """Pixels (16·h, 16·w, 3) to latents float32 (768, h, w) in quantiser steps.

        pixels   uint8, or uint16 with white at 65535
        """
        height, width, _ = pixels.shape
        gain = np.exp(self._vector("log_gain", hundredths, tune))
        feeds: dict[str, Array] = {"gain": gain[None, :, None, None], "others": _others(tune)}
        for size in (8, LATENT_STRIDE):
            feeds[f"pixels_{size}"] = pixels.reshape(height // size, size, width // size, -1)
        kind = pixels.dtype.name
        if kind not in self._analyses:
            self._analyses[kind] = self._analysis(kind, int(np.iinfo(pixels.dtype).max))
        return self._run(self._analyses[kind], feeds, hundredths, tune)

    def hyper_analyze(self, latents: Float32Array, hundredths: int, tune: int) -> Float32Array:
        """Latents (768, h, w) in quantiser steps to unrounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉)."""
        _, height, width = latents.shape
        if height % 4 or width % 4:
            latents = np.pad(latents, ((0, 0), (0, -height % 4), (0, -width % 4)), mode="edge")
        feeds: dict[str, Array] = {"head": self._head(latents)[None]}
        return self._run(self._hyper_analysis, feeds, hundredths, tune)

    def _head(self, latents: Float32Array) -> Float32Array:
        """The first layer of the hyper-analysis: latents (768, h, w) to features (C, h, w).

        It is computed in bands of rows, which stay in the cache. In the graph, all latents would
        pass through memory seven times before the product.
        """
        weight, bias = self._head_arrays
        _, height, width = latents.shape
        features = np.empty((len(weight), height, width), np.float32)

        def band(rows: slice) -> None:
            own = latents[:, rows].reshape(COEFFICIENTS, -1)
            signed, magnitude = both = np.empty((2, *own.shape), np.float32)
            np.abs(own, out=magnitude)
            magnitude += 1
            np.log(magnitude, out=magnitude)
            np.copysign(magnitude, own, out=signed)
            with np.errstate(invalid="ignore"):  # latents may be infinite
                found = product(weight, both.reshape(2 * COEFFICIENTS, -1)) + bias
            features[:, rows] = found.reshape(len(weight), -1, width)

        share(band, bands(height, _BAND_SQUARES, width))
        return features

    @cached_property
    def _head_arrays(self) -> tuple[Float32Array, Float32Array]:
        """Its weight (C, 1536) and bias (C, 1)."""
        weight = self._values("hyper_analysis.head.weight")
        return weight.reshape(len(weight), -1), self._values("hyper_analysis.head.bias")[:, None]

    def _run(
        self,
        graph: onnxruntime.InferenceSession,
        feeds: dict[str, Array],
        hundredths: int,
        tune: int,
    ) -> Float32Array:
        for each in graph.get_inputs():
            if each.name not in feeds:
                vector = self._vector(each.name, hundredths, tune)
                feeds[each.name] = vector[None, :, None, None]
        # One call at a time, because each uses all threads and a hundred megabytes.
        with self._lock:
            (values,) = graph.run(None, feeds)
        result: Float32Array = values[0]
        return result

    def _vector(self, table: str, hundredths: int, tune: int) -> Float32Array:
        """A table of knots, interpolated at a condition."""
        knots = self._values(f"{table}.knots")[tune]
        scaled = (hundredths - 100) / 9900 * (len(knots) - 1)
        left = min(int(scaled), len(knots) - 2)
        fraction = np.float32(scaled - left)
        vector: Float32Array = knots[left] * (1 - fraction) + knots[left + 1] * fraction
        return vector

    def _values(self, name: str) -> Float32Array:
        return self._arrays[name].astype(np.float32)

    def _analysis(self, kind: str, white: int) -> onnxruntime.InferenceSession:
        """The analysis of pixels of a type with the largest value `white`."""
        graph, config = Graph(), self.config
        # Pixels arrive as integers, and the networks take them as x / white − 1/2.
        linear = _transform(graph, _blocks(graph, kind, LATENT_STRIDE), white)

        stem = self._values("analysis.stem.weight")
        # The blocks are ordered (place, channel), torch's weights (channel, place).
        places = stem.reshape(-1, 3, 64).swapaxes(1, 2).reshape(stem.shape)
        blocks = _together(graph, _blocks(graph, kind, 8), 192)
        pixels = _channels_first(graph, _centred(graph, blocks, white))
        bias = self._values("analysis.stem.bias")
        features = _convolution(graph, pixels, places / white, bias)
        features = self._stage(graph, "analysis.stage_8", config.encoder_blocks_8, features)
        features = self._down(graph, "analysis.down", features)
        merged = self._layer(graph, "analysis.merge", linear)
        features = graph.node("Add", [features, merged])
        features = self._stage(graph, "analysis.stage_16", config.encoder_blocks_16, features)
        latents = graph.node("Add", [linear, self._layer(graph, "analysis.out", features)])
        gain = graph.input("gain", "float32", [1, COEFFICIENTS, 1, 1])
        latents = graph.node("Mul", [latents, gain])
        graph.output(latents, "float32", [1, COEFFICIENTS, "h", "w"])
        return session(graph, keep_memory=False)

    @cached_property
    def _hyper_analysis(self) -> onnxruntime.InferenceSession:
        graph = Graph()
        shape: list[int | str] = [1, self.config.hyper_width, "height", "width"]
        features = graph.input("head", "float32", shape)
        features = self._stage(graph, "hyper_analysis.stage_16", 1, features)
        features = self._down(graph, "hyper_analysis.down_16", features)
        features = self._stage(graph, "hyper_analysis.stage_32", 1, features)
        features = self._down(graph, "hyper_analysis.down_32", features)
        graph.output(features, "float32", [1, self.config.hyper_channels, "h", "w"])
        return session(graph, keep_memory=False)

    def _stage(self, graph: Graph, name: str, blocks: int, features: str) -> str:
        for block in (f"{name}.blocks.{number}" for number in range(blocks)):
            hidden = self._layer(graph, f"{block}.spatial", features)
            width = len(self._arrays[f"{block}.spatial.bias"])
            for operator, table in (("Mul", "gain"), ("Add", "shift")):
                vector = graph.input(f"{block}.{table}", "float32", [1, width, 1, 1])
                hidden = graph.node(operator, [hidden, vector])
            hidden = _channels_last(graph, hidden)
            hidden = graph.node("Relu", [self._product(graph, f"{block}.expand", hidden)])
            hidden = self._product(graph, f"{block}.project", hidden)
            features = graph.node("Add", [features, _channels_second(graph, hidden)])
        return features

    def _layer(self, graph: Graph, name: str, features: str) -> str:
        return _convolution(
            graph, features, self._values(f"{name}.weight"), self._values(f"{name}.bias")
        )

    def _product(self, graph: Graph, name: str, features: str) -> str:
        """A 1×1 convolution of (1, h, w, C) in 8 bits, which is faster than in float32.

        Its input is quantised by its own range, its weights by that of each output, and the result
        is float32.
        """
        weight, bias = self._values(f"{name}.weight"), self._values(f"{name}.bias")
        weight = weight.reshape(len(weight), -1)
        # Processors without VNNI add pairs of products in 16 bits, where weights of 7 bits fit.
        scale = np.maximum(np.abs(weight).max(1), 1e-30) / 63
        whole = np.round(weight / scale[:, None]).astype(np.int8).T
        return graph.node(
            "DynamicQuantizeMatMul",
            [
                features,
                graph.weight(whole),
                graph.weight(scale.astype(np.float32)),
                graph.weight(np.zeros(len(scale), np.int8)),
                graph.weight(bias),
            ],
            domain=CONTRIBUTED,
        )

    def _down(self, graph: Graph, name: str, features: str) -> str:
        """A 1×1 convolution after a pixel unshuffle by two."""
        features = graph.node("SpaceToDepth", [features], attributes={"blocksize": 2})
        weight = self._values(f"{name}.weight")
        places = weight.reshape(len(weight), -1, 4).swapaxes(1, 2).reshape(weight.shape)
        return _convolution(graph, features, places, self._values(f"{name}.bias"))


def _blocks(graph: Graph, kind: str, size: int) -> str:
    """Declare an input: pixels as blocks (h, size, w, size · 3)."""
    shape: list[int | str] = [f"height_{size}", size, f"width_{size}", 3 * size]
    return graph.input(f"pixels_{size}", kind, shape)


def _centred(graph: Graph, pixels: str, white: int) -> str:
    """Pixels 0 .. `white` minus `white` / 2, in float32."""
    pixels = graph.node("Cast", [pixels], attributes={"to": 1})
    return graph.node("Sub", [pixels, graph.constant(np.array(white / 2, np.float32))])


@lru_cache(maxsize=len(COLOURS))
def _others(tune: int) -> Float32Array:
    """The transform over columns and colours, (48 places, 48 frequencies)."""
    colours = np.linalg.inv(COLOURS[tune])
    both = np.einsum("vj,cw->jcvw", cosine_basis(LATENT_STRIDE), colours)
    others: Float32Array = both.reshape(48, 48).astype(np.float32)
    return others


def _transform(graph: Graph, blocks: str, white: int) -> str:
    """The transform of blocks (h, 16, w, 48) of pixels 0 .. `white`.

    It transforms the rows first, then columns and colours, and returns (1, 768, h, w) in channel
    order.
    """
    rows = graph.weight((cosine_basis(LATENT_STRIDE) / white).astype(np.float32))
    lines = graph.reshaped(_centred(graph, blocks, white), [0, 0, -1])
    values = graph.reshaped(graph.node("MatMul", [rows, lines]), [0, 0, -1, 48])
    values = graph.node("MatMul", [values, graph.input("others", "float32", [48, 48])])
    values = _channels_first(graph, _together(graph, values, COEFFICIENTS))
    order = graph.constant(channel_order())
    return graph.node("Gather", [values, order], attributes={"axis": 1})


def _together(graph: Graph, blocks: str, channels: int) -> str:
    """Blocks (h, lines, w, values) to one vector per block, (h, w, channels)."""
    blocks = graph.node("Transpose", [blocks], attributes={"perm": (0, 2, 1, 3)})
    return graph.reshaped(blocks, [0, 0, channels])


def _channels_first(graph: Graph, values: str) -> str:
    """(h, w, C) to (1, C, h, w)."""
    flat = graph.node("Transpose", [values], attributes={"perm": (2, 0, 1)})
    return graph.node("Unsqueeze", [flat, graph.constant(np.array([0], np.int64))])


def _channels_last(graph: Graph, values: str) -> str:
    """(1, C, h, w) to (1, h, w, C)."""
    return graph.node("Transpose", [values], attributes={"perm": (0, 2, 3, 1)})


def _channels_second(graph: Graph, values: str) -> str:
    """(1, h, w, C) to (1, C, h, w)."""
    return graph.node("Transpose", [values], attributes={"perm": (0, 3, 1, 2)})


def _convolution(graph: Graph, features: str, weight: Array, bias: Array) -> str:
    outputs, size = weight.shape[0], weight.shape[-1]
    return graph.node(
        "Conv",
        [
            features,
            graph.weight(weight.astype(np.float32)),
            graph.weight(bias.astype(np.float32)),
        ],
        attributes={
            "kernel_shape": (size, size),
            "pads": (size // 2,) * 4,
            "group": outputs if size > 1 else 1,
        },
    )
