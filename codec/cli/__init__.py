"""The command ``calotype``: one file per sub-command, each loaded only when it is used."""

import errno
import importlib
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from bitstream import CalotypeError, OutputError
from codec.cli.terminal import accept_any_surroundings, print_error
from codec.system.missing_extra import extra_needed_by

if TYPE_CHECKING:
    from typer._click import Command, Context

__all__ = ["app", "main"]

# Each is a function in the module of its own name, unless _MODULES has another one.
_COMMANDS = (
    "compress", "decompress", "inspect", "verify", "compare", "models", "rd", "bound", "plot",
    "demo",
)  # fmt: skip
_MODULES = {"rd": "rate_distortion"}


class Terminated(KeyboardInterrupt):
    """The command was asked to end by a signal other than Ctrl-C's.

    It is an exception, so that temporary files are removed, and of this kind, so that everything
    that lets Ctrl-C pass does the same for it.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = 128 + number


class _Commands(TyperGroup):
    """Imports each sub-command on demand, and turns errors into exit codes."""

    def list_commands(self, ctx: "Context") -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name not in self.commands:
            module = importlib.import_module(f"codec.cli.{_MODULES.get(cmd_name, cmd_name)}")
            single = typer.Typer(add_completion=False, rich_markup_mode=None)
            single.command(cmd_name)(getattr(module, cmd_name))
            self.commands[cmd_name] = typer.main.get_command(single)
        return self.commands[cmd_name]

    def invoke(self, ctx: "Context") -> Any:
        try:
            with extra_needed_by("this command"):
                return super().invoke(ctx)
        except Terminated as error:
            raise typer.Exit(error.exit_code) from error
        except CalotypeError as error:
            print_error(str(error))
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if error.errno == errno.EPIPE:  # typer exits quietly: the reader closed the pipe
                raise
            # Inputs and output files raise errors of the library, so this is standard output.
            raise typer.Exit(_cannot_write(error)) from error


app = typer.Typer(
    name="calotype",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from codec import __version__

        typer.echo(f"calotype {__version__}")
        raise typer.Exit


@app.callback()
def calotype(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Compress photographs with a neural codec, and measure such codecs.

    Exit codes: 0 ok, 1 some of the files failed, 2 usage, 3 unreadable input, 4 damaged .calo file,
    5 model missing or failing, 6 cannot write, 130 interrupted.
    """


def main() -> None:
    """Run the command and exit."""
    for name in ("SIGTERM", "SIGHUP"):  # Windows has only the first
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup ignores it
            signal.signal(number, _terminated)
    accept_any_surroundings()
    try:
        app(prog_name="calotype")
    except OSError as error:  # from printing the help or the version, which are not commands
        sys.exit(_cannot_write(error))


def _cannot_write(error: OSError) -> int:
    """Print that standard output cannot be written; return the exit code."""
    print_error(f"cannot write: {error.strerror or error}")
    return OutputError.exit_code


def _terminated(number: int, frame: object) -> NoReturn:
    raise Terminated(number)
