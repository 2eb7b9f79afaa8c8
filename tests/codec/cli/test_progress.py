"""Progress bars on standard error: only on a terminal, with or without a known total."""

import io
import re
import sys

import pytest

from codec.cli.progress import duration, phases, progress


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


def test_phases_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = terminal_of(monkeypatch)
    with phases() as tell:
        tell(3, 0, "pilot")
        tell(4, 0, "pilot")
        tell(20, 80, "measuring")
        tell(40, 80, "measuring")
    text = terminal.getvalue()
    assert text.index("pilot") < text.index("measuring")
    assert re.findall(r"\d+%", text)[-1] == "50%"


def test_phases_elsewhere_print_a_line_every_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("codec.cli.progress.time.monotonic", lambda: now[0])
    with phases() as tell:
        for second, *at in (
            (10, 1, 0, "pilot"), (61, 2, 0, "pilot"), (70, 3, 0, "pilot"),
            # A third was found on disk, so 10 of 60 took a minute.
            (80, 30, 90, "measuring"), (140, 40, 90, "measuring"), (150, 41, 90, "measuring"),
        ):  # fmt: skip
            now[0] = second
            tell(*at)  # type: ignore[arg-type]
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["calotype: pilot", "calotype: measuring: 44%, 5 minutes left of this phase"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (1.6, "2 seconds"), (89, "89 seconds"), (91, "2 minutes"),
     (6000, "2 hours"), (200_000, "2 days")],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


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
