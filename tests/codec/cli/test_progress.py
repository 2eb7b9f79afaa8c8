"""Progress bars on standard error: only on a terminal, with or without a known total."""

import io
import re
import sys

import pytest

from codec.cli.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def terminal_of(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Replace standard error by a terminal.  Not a fixture, since capturing begins after those."""
    fake = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "stderr", fake)
    return fake


def counts(terminal: Terminal) -> list[str]:
    return re.findall(r"\d+/\d+", terminal.getvalue())


def test_steps_and_places(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with progress(4, "compressing") as advance:
        advance()
        advance()
    assert "compressing" in terminal.getvalue()
    assert counts(terminal)[-1] == "2/4"
    with progress(None, "annealing") as advance:
        advance(30, 100)
    assert counts(terminal)[-1] == "30/100"


def test_one_step_quiet_and_pipes_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    for total, quiet in ((1, False), (5, True)):
        with progress(total, "compressing", quiet=quiet) as advance:
            advance()
            advance(1, 2)
    assert terminal.getvalue() == ""
    pipe = io.StringIO()
    monkeypatch.setattr(sys, "stderr", pipe)
    with progress(5, "compressing") as advance:
        advance()
    assert pipe.getvalue() == ""


def test_a_bar_may_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    now = [0.0]
    monkeypatch.setattr("codec.cli.progress.time.monotonic", lambda: now[0])
    with progress(100, "compressing", after_seconds=1) as advance:
        advance(10, 100)
        assert terminal.getvalue() == ""
        now[0] = 1.5
        advance(30, 100)
    assert counts(terminal)[-1] == "30/100"
