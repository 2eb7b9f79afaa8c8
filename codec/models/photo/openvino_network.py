"""The networks of the photo model through OpenVINO: in bfloat16, where the processor has it.

What the networks make comes on top of a linear transform in both directions. That one stays in
float32 NumPy (`codec.models.photo.numpy_network`), since its sums reach hundreds of quantiser
steps; the networks add a correction, for which bfloat16 is precise enough. The distribution
`openvino` is needed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from bitstream.arrays import Array, Float32Array
from codec.models.photo.config import PhotoConfig
from codec.models.photo.numpy_layers import Block, Crew, Dense, Plane
from codec.models.photo.numpy_network import NumpyTransforms
from codec.system.missing_extra import extra_needed_by
from codec.system.processors import thread_count

MAX_IDLE = 8  # networks
REPORTS = "openvino_telemetry"

_first_use = threading.Lock()

_Key = tuple[str, float, int]
"""Network, position of the quality, threads."""
Run = Callable[[Sequence[Float32Array]], Float32Array]


class OpenVinoTransforms(NumpyTransforms):
    """`NumpyTransforms` with networks that OpenVINO computes; the same arguments and methods.

    Each network is compiled once for a quality and a number of threads. Compiling costs about as
    much as decoding one photograph of 0.4 megapixels with NumPy.

    Raises `MissingExtraError` without OpenVINO, and what `NumpyTransforms` raises.
    """

    def __init__(self, arrays: Mapping[str, Array], config: PhotoConfig) -> None:
        super().__init__(arrays, config)
        self._core = load_library().Core()
        supported = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._precision = "bf16" if "BF16" in supported else "f32"
        self._idle: list[tuple[_Key, Run]] = []
        self._lock = threading.Lock()

    def _correct_latents(self, linear: Plane, features: Plane, position: float, crew: Crew) -> None:
        with self._network("analysis", position) as run:
            np.add(linear.image, run([features.image, linear.image]), out=linear.image)

    def _hyper_latents(self, features: Plane, position: float, crew: Crew) -> Float32Array:
        with self._network("hyper_analysis", position) as run:
            hyper_latents: Float32Array = run([features.image]).copy()
        return hyper_latents

    def _rendered(self, latents: Plane, linear: Plane, position: float, crew: Crew) -> Plane:
        features = Plane(linear.height, linear.width, self.config.width_4)
        with self._network("synthesis", position) as run:
            features.image[:] = run([latents.image, linear.image])
        return features

    @contextmanager
    def _network(self, name: str, position: float) -> Iterator[Run]:
        """A network for this block alone, since other threads run networks at the same time.

        Its output is overwritten by its next call.
        """
        key = name, position, thread_count()
        with self._lock:
            numbers = [k for k, (idle, _) in enumerate(self._idle) if idle == key]
            run = self._idle.pop(numbers[-1])[1] if numbers else None
        if run is None:
            run = self._compiled(*key)
        yield run
        with self._lock:
            self._idle.append((key, run))
            del self._idle[:-MAX_IDLE]

    def _compiled(self, name: str, position: float, threads: int) -> Run:
        make = {
            "analysis": self._analysis_graph,
            "hyper_analysis": self._hyper_analysis_graph,
            "synthesis": self._synthesis_graph,
        }[name]
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": self._precision,
            "NUM_STREAMS": 1,
        }
        model = self._core.compile_model(make(_Graph(position)), "CPU", settings)
        request = model.create_infer_request()

        def run(inputs: Sequence[Float32Array]) -> Float32Array:
            batches = [np.ascontiguousarray(values)[None] for values in inputs]
            outputs = request.infer(batches, share_inputs=True, share_outputs=True)
            result: Float32Array = outputs[0][0]
            return result

        return run

    def _analysis_graph(self, graph: _Graph) -> Any:
        layers = self._analysis
        features = graph.input(self.config.width_8)
        linear = graph.input(self.config.latent_channels)
        features = graph.stage(features, layers.stage_8.at(graph.position))
        features = graph.dense(graph.unshuffle(features, 2), layers.down)
        features = graph.add(features, graph.dense(linear, layers.merge))
        features = graph.stage(features, layers.stage_16.at(graph.position))
        return graph.model(graph.dense(features, layers.out))

    def _hyper_analysis_graph(self, graph: _Graph) -> Any:
        layers = self._hyper_analysis
        features = graph.input(self.config.hyper_width)
        features = graph.stage(features, layers.stage_16.at(graph.position))
        features = graph.dense(graph.unshuffle(features, 2), layers.down_16)
        features = graph.stage(features, layers.stage_32.at(graph.position))
        return graph.model(graph.dense(graph.unshuffle(features, 2), layers.down_32))

    def _synthesis_graph(self, graph: _Graph) -> Any:
        layers = self._synthesis
        latents = graph.input(self.config.latent_channels)
        linear = graph.input(len(layers.side.weight))
        features = graph.stage(
            graph.dense(latents, layers.head), layers.stage_16.at(graph.position)
        )
        features = graph.shuffle(graph.dense(features, layers.up_16), 2)
        features = graph.stage(features, layers.stage_8.at(graph.position))
        features = graph.shuffle(graph.dense(features, layers.up_8), 2)
        features = graph.add(features, graph.dense(linear, layers.side))
        return graph.model(graph.stage(features, layers.stage_4.at(graph.position)))


class _Graph:
    """A network in OpenVINO's operations, at the position of a quality.

    Features come and go as (1, height, width, channels), and are (1, channels, height, width)
    between; the layers are those of `codec.models.photo.numpy_layers`, with the same order of
    channels.
    """

    def __init__(self, position: float) -> None:
        self.position = position
        self._operations: Any = load_library().opset13
        self._inputs: list[Any] = []

    def input(self, channels: int) -> Any:
        """The next input, of any height and width."""
        self._inputs.append(self._operations.parameter([1, -1, -1, channels], np.float32))
        return self._operations.transpose(self._inputs[-1], np.array([0, 3, 1, 2]))

    def model(self, output: Any) -> Any:
        """The whole network, of all inputs in their order and one output."""
        last = self._operations.transpose(output, np.array([0, 2, 3, 1]))
        return load_library().Model([last], self._inputs)

    def dense(self, values: Any, layer: Dense) -> Any:
        return self._dense(values, layer.weight, layer.bias)

    def stage(self, values: Any, blocks: Sequence[Block]) -> Any:
        for block in blocks:
            # As `Block` has it, with the bias back in front of the ReLU.
            kernel = block.taps.T.reshape(-1, 1, 1, 3, 3)
            around = self._operations.group_convolution(
                values, _constant(kernel), [1, 1], [1, 1], [1, 1], [1, 1]
            )
            hidden = self._operations.relu(self._dense(around, block.expand, -block.floor))
            bias = block.bias + block.floor @ block.project
            values = self.add(values, self._dense(hidden, block.project, bias))
        return values

    def add(self, left: Any, right: Any) -> Any:
        return self._operations.add(left, right)

    def shuffle(self, values: Any, factor: int) -> Any:
        """A pixel shuffle of channels in the order (dy, dx, c)."""
        return self._operations.depth_to_space(values, "blocks_first", factor)

    def unshuffle(self, values: Any, factor: int) -> Any:
        """A pixel unshuffle to channels in the order (dy, dx, c)."""
        return self._operations.space_to_depth(values, "blocks_first", factor)

    def _dense(self, values: Any, weight: Float32Array, bias: Float32Array) -> Any:
        kernel = _constant(weight.T[:, :, None, None])
        product = self._operations.convolution(values, kernel, [1, 1], [0, 0], [0, 0], [1, 1])
        return self.add(product, _constant(bias[:, None, None]))


def load_library() -> Any:
    """The library, ready for several threads; raises `MissingExtraError` without it."""
    with _first_use:
        library = _imported()
        # The library looks up NumPy's interface on first use. Two threads that do so at the same
        # time block each other for ever.
        library.Tensor(np.zeros(1, dtype=np.float32))
        return library


def _imported() -> Any:
    # On import the library reports the process and an identifier of the user to its makers, unless
    # its reporting module is missing. Decoding a picture must not report anything.
    is_silenced = not sys.modules.keys() & {"openvino", REPORTS}
    if is_silenced:
        sys.modules[REPORTS] = None  # type: ignore[assignment]
    try:
        with extra_needed_by("The device 'openvino'"):
            import openvino
    finally:
        if is_silenced:
            del sys.modules[REPORTS]
    return openvino


def _constant(values: Float32Array) -> Float32Array:
    return np.ascontiguousarray(values, dtype=np.float32)
