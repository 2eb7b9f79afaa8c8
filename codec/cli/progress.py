"""Progress on standard error: bars on a terminal; elsewhere nothing, or now and then a line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

from codec.cli.terminal import print_remark

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn

PROGRESS_AFTER_SECONDS = 0.5  # for one file: a bar that vanishes at once would flicker
LINE_EVERY_SECONDS = 60.0
"""How often work in phases prints a line if standard error is no terminal."""


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


@contextmanager
def phases() -> Iterator[Callable[[float, float, str], None]]:
    """Show work that is done in named phases while the block runs.

    The function that it gives takes what is done, all there is to do (0 if that is not known), and
    the name of the phase. On a terminal there is a bar for the current phase, with the time that it
    has taken and what is left; elsewhere a line every minute.
    """
    if not sys.stderr.isatty():
        yield PhaseLines()
        return
    from rich.progress import TaskProgressColumn, TimeElapsedColumn

    with _bar("starting", None, TaskProgressColumn(), TimeElapsedColumn()) as bar:
        (task,) = bar.task_ids
        current = ""

        def tell(done: float, total: float, phase: str) -> None:
            nonlocal current
            if phase != current:
                current = phase
                # The pace of one phase says nothing about the next.
                bar.reset(task, description=phase, total=total or None, completed=int(done))
            bar.update(task, completed=done, total=total or None)

        yield tell


class PhaseLines:
    """Prints how far a phase is, and what is left, in one line every minute."""

    def __init__(self, name: str = "") -> None:
        """`name` begins every line."""
        self._name, self._phase, self._printed = name and f"{name}: ", "", time.monotonic()

    def __call__(self, done: float, total: float, phase: str) -> None:
        now = time.monotonic()
        if phase != self._phase:
            self._phase, self._began, self._first = phase, now, done
        if now - self._printed < LINE_EVERY_SECONDS:
            return
        self._printed = now
        line = self._name + phase
        if total:
            line += f": {done / total:.0%}"
            if done > self._first:
                left = (now - self._began) * (total - done) / (done - self._first)
                line += f", {duration(left)} left of this phase"
        print_remark(line)


def duration(seconds: float) -> str:
    """A time in words, such as "1 second", "3 minutes" or "2 hours"."""
    for size, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f} {name}"
    count = max(round(seconds), 1)
    return "1 second" if count == 1 else f"{count} seconds"


def _bar(what: str, total: float | None, *columns: ProgressColumn) -> Progress:
    """A bar with these columns; by default that with "3/7"."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    # Rich obeys NO_COLOR by itself.
    shown = columns or (MofNCompleteColumn(),)
    bar = Progress(
        "{task.description}",
        BarColumn(),
        *shown,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task(what, total=total)
    return bar
