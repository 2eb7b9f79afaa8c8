"""Lines for a terminal: one line each, whatever the names of files hold."""

import sys
import unicodedata

import typer


def one_line(text: str) -> str:
    """Return ``text`` with its control characters written out, such as a newline as ``\\n``.

    Names of files may hold them: a terminal would obey them, and a program that reads lines would
    take one name for two.
    """
    return "".join(_written_out(c) if unicodedata.category(c) == "Cc" else c for c in text)


def print_error(text: str) -> None:
    """Print the message of an error on standard error."""
    typer.echo(f"calotype: error: {one_line(text)}", err=True)


def print_notice(text: str) -> None:
    """Print a notice on standard error."""
    typer.echo(f"calotype: notice: {one_line(text)}", err=True)


def accept_all_names() -> None:
    """Let standard output print names that its encoding has no characters for, escaped.

    Names of files on POSIX are bytes; those that are no UTF-8 would otherwise end the command.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


def _written_out(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
