"""Progress on standard error, and only on a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Advance(Protocol):
    """Tells that one more file is done, successfully or not, or one more step of one file."""

    def __call__(self) -> None: ...


@contextmanager
def progress(total: int, what: str, *, quiet: bool = False) -> Iterator[Advance]:
    """Show a bar for ``total`` files or steps while the block runs; nothing for less than two.

    what    such as "compressing"
    quiet   show nothing in any case
    """
    if quiet or total < 2 or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    # Rich obeys NO_COLOR by itself.
    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
