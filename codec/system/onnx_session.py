"""ONNX Runtime sessions."""

from __future__ import annotations

import onnxruntime

from codec.system.onnx_writer import Graph
from codec.system.processors import thread_count


def session(
    graph: Graph, *, threads: int | None = None, keep_memory: bool = True
) -> onnxruntime.InferenceSession:
    """A session that runs a graph on the CPU.

    threads       number of threads; None takes `thread_count`
    keep_memory   whether the session keeps the memory of its largest call so far
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or thread_count()
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = keep_memory
    # A memory pattern puts all values of a call in one block, too large for malloc to keep.
    options.enable_mem_pattern = keep_memory
    # The next level converts convolutions to a channel-blocked layout, which is slower here.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    # Threads that spin while they wait for each other would take cores from NumPy's threads.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    values = [onnxruntime.OrtValue.ortvalue_from_numpy(array) for array in graph.weights.values()]
    options.add_external_initializers(list(graph.weights), values)
    return onnxruntime.InferenceSession(graph.model(), options, providers=["CPUExecutionProvider"])
