"""Messages for a terminal: one line each, whatever characters file names contain."""

import os
import sys
import unicodedata
from contextlib import suppress
from pathlib import Path

import typer


def one_line(text: str) -> str:
    """Return ``text`` with its control characters escaped, such as a newline as ``\\n``.

    File names may contain them: a terminal would obey them, and a program that reads lines would
    take one name for two.
    """
    return "".join(_written_out(c) if unicodedata.category(c) == "Cc" else c for c in text)


def print_error(text: str) -> None:
    """Print the message of an error on standard error."""
    print_remark(f"error: {text}")


def print_notice(text: str) -> None:
    """Print a notice on standard error."""
    print_remark(f"notice: {text}")


def print_remark(text: str) -> None:
    """Print a line on standard error, if it can be written; the exit code does not depend on it."""
    with suppress(OSError):
        typer.echo(f"calotype: {one_line(text)}", err=True)


def accept_any_surroundings() -> None:
    """Let a command run even if standard error is closed, and if names have odd characters.

    File names on POSIX are bytes; names that are not UTF-8 would otherwise end the command.
    Standard output prints them escaped.
    """
    # A file opened in place of a closed stream would get what libraries print.
    while (place := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(place)
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - to the end
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
