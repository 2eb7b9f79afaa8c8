"""Runs independent blocks of work on any executor, or in this process.

Any `concurrent.futures.Executor` will do: threads, processes, or `Client.get_executor()` of
dask.distributed, which moves the blocks of a worker that died to another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, as_completed
from typing import TypeVar

from codec.rate_distortion.errors import MeasurementError

Result = TypeVar("Result")
Progress = Callable[[float, float, str], None]
"""Work done, all of the work (0 if that is not known yet), and what is being done."""

Tick = Callable[[float], None]
"""The share of one piece of work that is done."""


def run_tasks(
    tasks: Sequence[Callable[[], Result]],
    executor: Executor | None = None,
    keep: Callable[[int, Result], None] | None = None,
) -> list[Result]:
    """Call every task and return the results in their order.

    keep   called with the index and the result of each finished task

    The first error of a task is raised, and the tasks not yet begun are cancelled; the results of
    those that are done are kept before.  Raises
    `MeasurementError` if the executor itself breaks (a process of a pool was killed).
    """
    results: dict[int, Result] = {}
    futures: dict[Future[Result], int] = {}

    def finished(index: int, result: Result) -> None:
        results[index] = result
        if keep is not None:
            keep(index, result)

    try:
        if executor is None:
            for index, task in enumerate(tasks):
                finished(index, task())
        else:
            futures = {executor.submit(call, task): index for index, task in enumerate(tasks)}
            try:
                for future in as_completed(futures):
                    finished(futures[future], future.result())
            finally:
                for future, index in futures.items():
                    # What is done when another one fails is not lost.
                    if not future.cancel() and index not in results and _succeeded(future):
                        finished(index, future.result())
    except BrokenExecutor as error:
        raise MeasurementError(
            f"a worker of the executor died after {len(results)} of {len(tasks)} blocks: {error}; "
            "continue with fewer workers if memory ran out"
        ) from error
    return [results[index] for index in range(len(tasks))]


def _succeeded(future: Future[Result]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def call(task: Callable[[], Result]) -> Result:
    """Call a task.  It is a named function so that executors can send it to other processes."""
    return task()
