"""Which files a command reads, and where it writes: planned before any work starts."""

import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from bitstream import CalotypeError, InputError, OutputError, UsageError, limits
from bitstream.sink import whole_writes
from codec.cli.terminal import print_notice
from codec.system.source import opened, read_all
from codec.system.write_file import kind_of, refuse_existing, write_atomically

PIPE = "-"


@dataclass(frozen=True)
class _Found:
    """An input file, its path relative to the folder that was given, and what is wrong with it."""

    source: Path | None
    relative: Path
    problem: CalotypeError | None = None


@dataclass(frozen=True)
class Job:
    """One file in, one file out.

    source, target   paths; None is standard input or standard output
    problem          why there is nothing to read: a folder without ``-r``, or one that cannot be
                     listed.  The job then fails like a file that cannot be read; others go on
    """

    source: Path | None
    target: Path | None
    problem: CalotypeError | None = None

    @property
    def name(self) -> str:
        """The input's name in messages."""
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
    known_suffixes: Container[str] = (),
    unread_suffixes: Container[str] = (),
    quiet: bool = False,
) -> list[Job]:
    """Return one job for each input file.

    inputs      paths, folders if ``recursive``, or "-"
    output      file, folder (existing, ending in a separator, or for several inputs), "-" or None:
                beside each input
    is_wanted   which files of a folder are taken
    suffix      of the outputs
    known_suffixes   an output with one of them is a file, which several inputs cannot go into
    unread_suffixes  a notice counts the files of a folder that have one of them and are not taken
    quiet       print no notices about files of a folder that are skipped, such as broken links

    Folders below an input folder are mirrored in the output folder; so are those below the common
    folder of all inputs if several inputs have the same name.  Links to folders are not followed,
    so a loop of links does no harm.  Raises UsageError.
    """
    if output is not None:
        _refuse_empty(output)
    found = [
        one
        for name in inputs
        for one in _expand(name, recursive, is_wanted, unread_suffixes, quiet)
    ]
    if not found:
        raise UsageError(f"no file to work on in {', '.join(inputs)}")
    several = len(found) > 1 or recursive
    if sum(one.source is None for one in found) > 1:
        raise UsageError("'-' was given twice, but there is only one standard input")
    if output == PIPE:
        if several:
            raise UsageError(f"{len(found)} inputs, but standard output can take only one file")
        return [Job(found[0].source, None, found[0].problem)]
    if output is None:
        return [
            Job(
                one.source,
                None if one.source is None else _with_suffix(one.source, suffix),
                one.problem,
            )
            for one in found
        ]
    target = Path(output)
    kind = kind_of(target)
    if not (several or output.endswith(("/", "\\")) or kind == "folder"):
        return [Job(found[0].source, target, found[0].problem)]
    if kind in ("file", "device"):
        raise UsageError(f"several inputs, but the output {target} is a file, expected a folder")
    is_named_as_file = kind == "nothing" and not output.endswith(("/", "\\"))
    if is_named_as_file and target.suffix.lower() in known_suffixes:
        raise UsageError(
            f"several inputs, but the output {target} has the name of a file, expected a folder: "
            f"give -o {target.with_suffix('')}, or -o {output}/ if you mean it"
        )
    names = [_with_suffix(one.relative, suffix) for one in found]
    if len(set(names)) < len(names):
        names = [_with_suffix(relative, suffix) for relative in _below_common_folder(found)]
    return [
        Job(one.source, target / name, one.problem) for one, name in zip(found, names, strict=True)
    ]


def _below_common_folder(found: Sequence[_Found]) -> list[Path]:
    """The paths of inputs relative to their common folder, if there is one."""
    places = [
        None if one.source is None else Path(os.path.abspath(one.source))  # noqa: PTH100 - as links
        for one in found
    ]
    try:
        root = os.path.commonpath([place.parent for place in places if place is not None])
    except ValueError:  # on several drives
        return [one.relative for one in found]
    return [
        one.relative if place is None else place.relative_to(root)
        for one, place in zip(found, places, strict=True)
    ]


def check_targets(jobs: Sequence[Job], *, force: bool) -> list[CalotypeError | None]:
    """Return for each job why its output cannot be written, or None; checks paths only.

    Raises UsageError if standard output is the output and a terminal.
    """
    if any(job.target is None for job in jobs) and sys.stdout is not None and sys.stdout.isatty():
        raise UsageError("standard output is a terminal: give -o FILE, or redirect the output")
    seen: dict[str, Job] = {}
    # Not Path.resolve, which raises an error for a loop of links.
    sources = {os.path.realpath(job.source) for job in jobs if job.source is not None}
    problems: list[CalotypeError | None] = []
    for job in jobs:
        problem = job.problem
        if problem is None and job.target is not None:
            place = os.path.realpath(job.target)
            if place in sources:
                problem = OutputError(
                    f"the output {job.target} is an input as well: give another name"
                )
            elif place in seen and job.source is not None and job.source == seen[place].source:
                problem = OutputError(f"{job.name} was given twice: name it once")
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


def source_of(name: str) -> Path | None:
    """Return the path that was given, None for standard input."""
    _refuse_empty(name)
    return None if name == PIPE else Path(name)


def _refuse_empty(name: str) -> None:
    # An empty path would be the current folder.
    if not name:
        raise UsageError("an empty name was given, expected a file, a folder or '-'")


def read_input(source: Path | None, read: Callable[[BinaryIO], bytes] = read_all) -> bytes | Path:
    """Return the path of a source, or the bytes of standard input where it is None.

    read   the function that reads standard input

    Raises UsageError if standard input is a terminal.
    """
    if source is not None:
        return source
    if sys.stdin is None:
        raise InputError("standard input is closed: redirect a file into it, or name one")
    if sys.stdin.isatty():
        raise UsageError("standard input is a terminal: redirect a file into it, or name one")
    with opened(sys.stdin.buffer) as fo:
        return read(fo)


def allow_large_images() -> None:
    """Let Pillow open what fits into a .calo file; that limit, above Pillow's own, is checked."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = limits.MAX_PIXELS
    warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def write_output(job: Job, write: Callable[[BinaryIO], object], *, force: bool) -> None:
    """Write the output of a job: a file that appears when it is complete, or standard output.

    Raises OutputError, and what ``write`` raises.
    """
    if job.target is None:
        if sys.stdout is None:
            raise OutputError("standard output is closed: give -o FILE, or redirect the output")
        try:
            # If it is unbuffered (python -u), standard output may take only a part of the bytes.
            write(whole_writes(sys.stdout.buffer, "to standard output"))
            sys.stdout.buffer.flush()
        except OSError as error:
            raise OutputError(f"cannot write to standard output: {error.strerror}") from error
        return
    write_atomically(job.target, write, force=force, make_folders=True)


def _expand(
    name: str,
    recursive: bool,
    is_wanted: Callable[[Path], bool],
    unread_suffixes: Container[str],
    quiet: bool,
) -> list[_Found]:
    if name == PIPE:
        return [_Found(None, Path("stdin"))]
    _refuse_empty(name)
    path = Path(name)
    if kind_of(path) != "folder":
        return [_Found(path, Path(path.name))]
    if not recursive:
        problem = UsageError("it is a folder; give -r to work on the files in it")
        return [_Found(path, Path(path.name), problem)]
    found: list[_Found] = []
    unread: Counter[str] = Counter()

    def report(error: OSError) -> None:
        folder = Path(error.filename)
        problem = InputError(f"cannot read the folder {folder}: {error.strerror or error}")
        found.append(_Found(folder, folder.relative_to(path), problem))

    for folder, _, files in os.walk(path, onerror=report):
        for file in (Path(folder, name) for name in files):
            if is_wanted(file) and (kind := kind_of(file)) == "file":
                found.append(_Found(file, file.relative_to(path)))
            elif is_wanted(file) and not quiet:
                what = "a broken link" if kind == "nothing" else "a pipe or a device"
                print_notice(f"{file} was skipped: it is {what}, not a file")
            elif (suffix := file.suffix.lower()) in unread_suffixes:
                unread[suffix] += 1
    if unread and not quiet:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(unread.items()))
        print_notice(
            f"{path}: files in formats that Pillow does not read were skipped ({kinds}): convert "
            "them to PNG or JPEG"
        )
    return sorted(found, key=lambda one: one.relative)


def _with_suffix(path: Path, suffix: str) -> Path:
    # Folders such as "." and "/" have no name to which a suffix could be added.
    return path.with_suffix(suffix) if path.name else path


def _refused(target: Path, force: bool) -> OutputError | None:
    if kind_of(target) == "device":
        return None
    try:
        refuse_existing(target, force=force)
    except OutputError as error:
        return error
    return None
