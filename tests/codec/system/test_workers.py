"""Work on executors: outcomes in order, separate errors, and workers that die."""

from __future__ import annotations

import errno
import inspect
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest

import bitstream
from bitstream import CalotypeError, InputError
from codec.system.missing_extra import MissingExtraError
from codec.system.workers import Outcome, WorkerError, run_each


def work(item: object) -> object:
    if isinstance(item, BaseException):
        raise item
    return item


def die(item: str) -> str:
    if item == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return item


class Held(Executor):
    """Begins nothing, but stores its tasks."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.futures: list[Future[Any]] = []

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.calls.append((call, arguments))
        self.futures.append(Future())
        return self.futures[-1]


ITEMS = (
    1,
    InputError("no image"),
    MemoryError(),
    OSError(errno.EIO, "Input/output error"),
    RuntimeError("CUDA out of memory"),
    2,
)


@pytest.mark.parametrize("workers", [0, 3])
def test_outcomes_come_in_order_and_errors_stop_no_other(workers: int) -> None:
    executor = ThreadPoolExecutor(workers) if workers else None
    outcomes = list(run_each(work, ITEMS, executor))
    assert [outcome.result for outcome in outcomes] == [1, None, None, None, None, 2]
    assert [(type(o.error), str(o.error)) for o in outcomes if o.error] == [
        (InputError, "no image"),
        (CalotypeError, "the machine failed: MemoryError"),
        (CalotypeError, "the system failed: Input/output error"),
        (CalotypeError, "the machine failed: RuntimeError: CUDA out of memory"),
    ]
    # Frames hold pictures, and thousands of errors may be stored.
    assert all(o.error is None or o.error.__traceback__ is None for o in outcomes)


@pytest.mark.parametrize("workers", [0, 1])
def test_other_exceptions_are_defects_and_end_the_batch(workers: int) -> None:
    executor = ThreadPoolExecutor(workers) if workers else None
    outcomes = run_each(work, [1, KeyError("x"), 2], executor)
    assert next(outcomes) == Outcome(1, None)
    with pytest.raises(KeyError, match="x"):
        next(outcomes)


def test_processes_that_die_and_defects_in_them() -> None:
    context = get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        (missing,) = run_each(work, [MissingExtraError("drawing", "matplotlib", "plot")], pool)
        assert isinstance(missing.error, MissingExtraError)
        with pytest.raises(KeyError) as caught:
            list(run_each(work, [KeyError("x")], pool))
        # The traceback is shown, although frames cannot be sent between processes.
        assert "in work\n    raise item" in str(caught.value.__cause__.__cause__)  # type: ignore[union-attr]
        # The pool breaks: only the file that killed it and those after it are lost.
        outcomes = list(run_each(die, ["fine", "die", "lost"], pool))
        assert outcomes[0] == Outcome("fine", None)
        for outcome in outcomes[1:]:
            assert isinstance(outcome.error, WorkerError)
            assert "BrokenProcessPool" in str(outcome.error)
        # It takes no more work, which every item reports.
        assert all(isinstance(o.error, WorkerError) for o in run_each(die, ["a", "b"], pool))


def test_nothing_begins_unasked_and_the_rest_is_cancelled() -> None:
    executor = Held()
    outcomes = run_each(work, [1, 2, 3], executor)
    futures = executor.futures
    assert futures == []
    thread = threading.Thread(target=next, args=(outcomes,))
    thread.start()
    while len(futures) < 3:
        thread.join(0.01)
    futures[0].set_result(Outcome(1, None))
    thread.join()
    outcomes.close()
    assert [future.cancelled() for future in futures] == [False, True, True]


def test_a_cancelled_item_is_lost() -> None:
    executor = Held()
    submit = executor.submit

    def cancelled(*arguments: Any, **named: Any) -> Future[Any]:
        future = submit(*arguments, **named)
        future.cancel()
        return future

    executor.submit = cancelled  # type: ignore[method-assign]
    (outcome,) = run_each(work, [1], executor)
    assert isinstance(outcome.error, WorkerError)
    assert "CancelledError" in str(outcome.error)


def test_calls_of_two_batches_are_not_alike() -> None:
    # dask returns a cached value if function and arguments equal those of another call.
    executor = Held()
    submit = executor.submit

    def done(*arguments: Any, **named: Any) -> Future[Any]:
        future = submit(*arguments, **named)
        future.set_result(Outcome(1, None))
        return future

    executor.submit = done  # type: ignore[method-assign]
    for _ in range(2):
        list(run_each(work, [1], executor))
    first, second = (arguments for _, arguments in executor.calls)
    assert first != second


def test_every_error_can_travel() -> None:
    names = [value for _, value in inspect.getmembers(bitstream, inspect.isclass)]
    kinds = [kind for kind in names if issubclass(kind, CalotypeError)]
    assert len(kinds) > 10
    for error in [*(kind("what was read") for kind in kinds), MissingExtraError("a", "b", "c")]:
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (type(error), str(error))
