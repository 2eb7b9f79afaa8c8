"""Sessions of ONNX Runtime, which compute graphs."""

from __future__ import annotations

import onnxruntime

from codec.system.onnx_writer import Graph
from codec.system.processors import thread_count


def session(
    graph: Graph, *, threads: int | None = None, keep_memory: bool = True
) -> onnxruntime.InferenceSession:
    """A session that computes a graph on the processor.

    threads       `thread_count` if not given
    keep_memory   whether it has memory of its own, for the largest call so far
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or thread_count()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = keep_memory
    # One block for all values of a call would be too large for the C library to keep.
    options.enable_mem_pattern = keep_memory
    # One level more would have convolutions compute on blocks of channels, which is slower here.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    # Threads that wait for the next call in a busy loop would take the cores from NumPy's.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in graph.weights.values()]
    options.add_external_initializers(list(graph.weights), values)
    return onnxruntime.InferenceSession(graph.model(), options, providers=["CPUExecutionProvider"])
