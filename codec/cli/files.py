"""Which files a command reads, and where it writes: planned before any work starts."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bitstream import InputError, OutputError, UsageError
from codec.write_file import refuse_existing, write_atomically

PIPE = "-"


@dataclass(frozen=True)
class Job:
    """One file in, one file out.

    source, target   paths; None is standard input or standard output
    """

    source: Path | None
    target: Path | None

    @property
    def name(self) -> str:
        """How messages call the input."""
        return PIPE if self.source is None else str(self.source)

    def __str__(self) -> str:
        return f"{self.name} -> {self.output_name}"

    @property
    def output_name(self) -> str:
        return PIPE if self.target is None else str(self.target)


def plan(
    inputs: Sequence[str],
    output: str | None,
    *,
    recursive: bool,
    is_wanted: Callable[[Path], bool],
    suffix: str,
) -> list[Job]:
    """Return one job for each input file.

    inputs      paths, folders if ``recursive``, or "-"
    output      file, folder (existing, ending in a separator, or for several inputs), "-" or None:
                beside each input
    is_wanted   which files of a folder are taken
    suffix      of the outputs

    Folders below an input folder are mirrored in the output folder.  Raises UsageError.
    """
    found = [pair for name in inputs for pair in _expand(name, recursive, is_wanted)]
    if not found:
        raise UsageError(f"no file to work on in {', '.join(inputs)}")
    several = len(found) > 1 or recursive
    if sum(source is None for source, _ in found) > 1:
        raise UsageError("'-' was given twice, but there is one standard input")
    if output == PIPE:
        if several:
            raise UsageError(f"{len(found)} inputs, but standard output can take one file")
        return [Job(found[0][0], None)]
    if output is None:
        return [
            Job(source, None if source is None else source.with_suffix(suffix))
            for source, _ in found
        ]
    target = Path(output)
    is_folder = several or target.is_dir() or output.endswith(("/", "\\"))
    if not is_folder:
        return [Job(found[0][0], target)]
    if target.exists() and not target.is_dir():
        raise UsageError(f"several inputs, but the output {target} is a file, expected a folder")
    return [Job(source, target / relative.with_suffix(suffix)) for source, relative in found]


def check_targets(jobs: Sequence[Job], *, force: bool) -> list[OutputError | None]:
    """Return for each job why its output cannot be written, or None.

    Raises UsageError for a single binary output to a terminal.
    """
    if any(job.target is None for job in jobs) and sys.stdout.isatty():
        raise UsageError("standard output is a terminal: give -o FILE, or redirect the output")
    seen: dict[Path, Job] = {}
    sources = {job.source.resolve() for job in jobs if job.source is not None}
    problems: list[OutputError | None] = []
    for job in jobs:
        problem = None
        if job.target is not None:
            place = job.target.resolve()
            if place in sources:
                problem = OutputError(f"{job.target} is an input: give another output name")
            elif place in seen:
                problem = OutputError(
                    f"{job.name} and {seen[place].name} would both become {job.target}: "
                    "compress them into different folders, or name the outputs with -o"
                )
            else:
                seen[place] = job
                problem = _refused(job.target, force)
        problems.append(problem)
    return problems


def read_input(job: Job) -> bytes | Path:
    """Return the path of a job, or the bytes of standard input.

    Raises UsageError if standard input is a terminal.
    """
    if job.source is not None:
        return job.source
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal: redirect a file into it, or name one")
    return sys.stdin.buffer.read()


def write_output(job: Job, write: Callable[[BinaryIO], object], *, force: bool) -> None:
    """Write the output of a job: a file that appears when it is complete, or standard output.

    Raises OutputError, and what ``write`` raises.
    """
    if job.target is None:
        try:
            write(sys.stdout.buffer)
            sys.stdout.buffer.flush()
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error
        return
    try:
        job.target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make {job.target.parent}: {error.strerror}") from error
    write_atomically(job.target, write, force=force)


def _expand(
    name: str, recursive: bool, is_wanted: Callable[[Path], bool]
) -> list[tuple[Path | None, Path]]:
    """Return pairs of a file and its path relative to the folder that was named."""
    if name == PIPE:
        return [(None, Path("stdin"))]
    path = Path(name)
    if not path.is_dir():
        return [(path, Path(path.name))]
    if not recursive:
        raise UsageError(f"{path} is a folder: give -r to work on the files in it")
    try:
        files = sorted(p for p in path.rglob("*") if p.is_file() and is_wanted(p))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return [(file, file.relative_to(path)) for file in files]


def _refused(target: Path, force: bool) -> OutputError | None:
    if target.exists() and not target.is_file() and not target.is_dir():
        return None  # a device or a named pipe
    try:
        refuse_existing(target, force=force)
    except OutputError as error:
        return error
    return None
