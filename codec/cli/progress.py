"""Progress on standard error, and only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Moves a bar: by one, or to a place that is known."""

    def __call__(self, done: float | None = None, total: float | None = None, /) -> None:
        """One more file or step is done; or ``done`` of ``total`` are."""


@contextmanager
def progress(total: int | None, what: str, *, quiet: bool = False) -> Iterator[Advance]:
    """Show a bar for ``total`` files or steps while the block runs; nothing for less than two.

    total   None where the first call of `Advance` brings it
    what    such as "compressing"
    quiet   show nothing in any case
    """
    if quiet or (total is not None and total < 2) or not sys.stderr.isatty():
        yield lambda done=None, total=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    # Rich obeys NO_COLOR by itself.
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)

        def advance(done: float | None = None, total: float | None = None, /) -> None:
            if done is None:
                bar.advance(task)
            else:
                bar.update(task, completed=done, total=total)

        yield advance
