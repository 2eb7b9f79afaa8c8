"""The command line of every room: `python -m benchmarks.ROOM PART …`.

A part is a module of the room. Its docstring says what it measures, `add_arguments` adds its
options, `run` yields the measurements, and `RESULT` is the file in `benchmarks/results` for them.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from benchmarks.harness.results import RESULTS, Measured, write
from bitstream.errors import CalotypeError


class Part(Protocol):
    """A module that measures something.

    SCHEMA   schema of the result file
    RESULT   name of the result file, which may contain `{options}`
    """

    __doc__: str | None
    SCHEMA: str
    RESULT: str

    @staticmethod
    def add_arguments(parser: ArgumentParser) -> None:
        """Add the options of the part; the room adds `-o`."""

    @staticmethod
    def run(options: Namespace) -> Iterator[Measured]:
        """Measure. Each result is written before the next one is requested."""


def load_part(room: str, name: str) -> Part:
    """The module of a part: `a-b` is `benchmarks.ROOM.a_b`."""
    return cast("Part", import_module(f"benchmarks.{room}.{name.replace('-', '_')}"))


def measure(room: str, parts: Mapping[str, str], words: Sequence[str]) -> int:
    """Run the part that `words` name; returns 1 if a claim fails, else 0.

    parts   a line for each part, by name, that says what it measures

    Raises `CalotypeError`; exits with 2 if the command line is wrong.
    """
    parser = ArgumentParser(
        prog=f"python -m benchmarks.{room}",
        usage=f"python -m benchmarks.{room} PART [-h] …",
        description="parts:\n" + "\n".join(f"  {n:18}{what}" for n, what in parts.items()),
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=parts, metavar="PART")
    name: str = parser.parse_args(words[:1]).part
    part = load_part(room, name)
    parser = ArgumentParser(
        prog=f"python -m benchmarks.{room} {name}",
        description=part.__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    part.add_arguments(parser)
    shown = part.RESULT.replace("{", "<").replace("}", ">")
    parser.add_argument(
        "-o", "--output", type=Path, help=f"result file [benchmarks/results/{shown}]"
    )
    options = parser.parse_args(words[1:])
    if options.output is None:
        options.output = RESULTS / part.RESULT.format(**vars(options))
    failed = 0
    for measured in part.run(options):
        write(options.output, part.SCHEMA, measured)
        for line in measured.lines:
            print(line, flush=True)
        if measured.failure:
            print(f"{name}: {measured.failure}", file=sys.stderr)
            failed = 1
    return failed


def main(room: str, parts: Mapping[str, str], words: Sequence[str] | None = None) -> int:
    """Exit status of a room's command line, `sys.argv` by default."""
    try:
        return measure(room, parts, sys.argv[1:] if words is None else words)
    except CalotypeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def named_path(text: str) -> tuple[str, Path]:
    """The value `NAME=PATH` of an argument. Raises `ArgumentTypeError` for another form."""
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ArgumentTypeError(f"{text!r}: expected NAME=PATH")
    return name, Path(path)
