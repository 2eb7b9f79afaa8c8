"""Progress on standard error, and only on a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.progress import Progress

PROGRESS_AFTER_SECONDS = 0.5  # for one file: a bar that vanishes at once would flicker


class Advance(Protocol):
    """Advances a bar by one, or to a given position."""

    def __call__(self, done: float | None = None, total: float | None = None, /) -> None:
        """One more file or step is done; or ``done`` of ``total`` are."""


@contextmanager
def progress(
    total: int | None, what: str, *, quiet: bool = False, after_seconds: float = 0
) -> Iterator[Advance]:
    """Show a bar for ``total`` files or steps while the block runs; nothing for fewer than two.

    total   None if the first call of `Advance` gives it
    what    such as "compressing"
    quiet   never show anything
    after_seconds   show nothing before this time has passed
    """
    if quiet or (total is not None and total < 2) or not sys.stderr.isatty():
        yield lambda done=None, total=None: None
        return
    begin = time.monotonic()
    with ExitStack() as stack:
        bar = None if after_seconds else stack.enter_context(_bar(what, total))

        def advance(done: float | None = None, total: float | None = None, /) -> None:
            nonlocal bar
            if bar is None:
                if time.monotonic() - begin < after_seconds:
                    return
                bar = stack.enter_context(_bar(what, total))
            (task,) = bar.task_ids
            if done is None:
                bar.advance(task)
            else:
                bar.update(task, completed=done, total=total)

        yield advance


def _bar(what: str, total: float | None) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    # Rich obeys NO_COLOR by itself.
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    bar.add_task(what, total=total)
    return bar
