"""Run independent pieces of work, on any executor or in this thread.

Any `concurrent.futures.Executor` will do, or an object with its ``submit(...).result()``: threads,
processes, or ``Client.get_executor()`` of dask.distributed.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from bitstream import CalotypeError

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

Item = TypeVar("Item")
T = TypeVar("T")

MACHINE_ERRORS = (MemoryError, OSError, RuntimeError)


class WorkerError(CalotypeError):
    """The executor lost a piece of work: its worker died, or it was cancelled or never sent."""


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """The outcome of one piece of work: a result or an error."""

    result: T | None
    error: CalotypeError | None


class _DefectError(Exception):
    """Wraps an exception that is a bug in the work, to tell it from the executor's own."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


def run_each(
    work: Callable[[Item], T], items: Iterable[Item], executor: Executor | None = None
) -> Generator[Outcome[T], None, None]:
    """Call ``work`` on every item; yield one outcome each, in the order of the items.

    These errors of one item do not stop the others: the project's own; MemoryError, OSError and
    RuntimeError (which torch raises if memory runs out); and those of the executor, which become a
    `WorkerError`.  Other exceptions are bugs and are raised.

    Work begins when the first outcome is requested.  Closing the iterator cancels the items that
    have not begun.
    """
    if executor is None:
        for item in items:
            yield attempt(work, item)
        return
    # dask may answer a call from its cache if the arguments are the same, so make them unique.
    call = secrets.token_hex(8)
    futures: deque[Future[Outcome[T]]] = deque()
    try:
        for item in items:
            futures.append(_submitted(executor, work, item, call))
        while futures:
            outcome = _outcome_of(futures[0])
            futures.popleft()
            yield outcome
    finally:
        for future in futures:
            future.cancel()


def attempt(work: Callable[[Item], T], item: Item) -> Outcome[T]:
    """Call ``work`` on an item; return errors of the project and the machine as outcomes."""
    try:
        return Outcome(work(item), None)
    except CalotypeError as error:
        # Its frames would keep the file's pixels in memory, and cannot be pickled.
        error.__cause__ = error.__context__ = None
        return Outcome(None, error.with_traceback(None))
    except MACHINE_ERRORS as error:
        return Outcome(None, _of_machine(error))


def _attempt_there(work: Callable[[Item], T], item: Item, call: str) -> Outcome[T]:
    try:
        return attempt(work, item)
    except Exception as error:
        raise _DefectError(error) from error


def _submitted(
    executor: Executor, work: Callable[[Item], T], item: Item, call: str
) -> Future[Outcome[T]]:
    try:
        return executor.submit(_attempt_there, work, item, call)
    except RuntimeError as error:  # the executor is shut down or broken; other futures still end
        from concurrent.futures import Future

        failed: Future[Outcome[T]] = Future()
        failed.set_exception(error)
        return failed


def _outcome_of(future: Future[Outcome[T]]) -> Outcome[T]:
    try:
        return future.result()
    except _DefectError as defect:
        raise defect.error from defect
    except Exception as error:  # noqa: BLE001 - executors raise their own exceptions
        text = f"{type(error).__name__}: {error}".rstrip(": ")
        return Outcome(
            None,
            WorkerError(
                f"the executor lost the work on it ({text}): run it again, with fewer workers if "
                "memory ran out"
            ),
        )


def _of_machine(error: BaseException) -> CalotypeError:
    if isinstance(error, OSError):
        return CalotypeError(f"the system failed: {error.strerror or error}")
    return CalotypeError(f"the machine failed: {type(error).__name__}: {error}".rstrip(": "))
