"""Compress and decompress folders of files, on all cores or on the machines of a cluster.

    from codec.batch import compress_files
    photographs = Path("photos").rglob("*.jpg")
    with Client("tcp://scheduler:8786") as client:  # of dask.distributed
        executor = client.get_executor()
        for done in compress_files(photographs, "packed", root="photos", executor=executor):
            print(done.source, done.error or done.result.size_bytes)

Only paths and options are sent to the workers, and only sizes come back.  The workers read and
write the files, so they must see the same folders and have the same weights installed.
"""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Generic, TypeVar

from bitstream import CalotypeError, OutputError, UsageError
from bitstream.foreign import shown
from codec import api
from codec.options import (
    CompressArguments,
    CompressOptions,
    DecompressArguments,
    DecompressOptions,
    PathName,
    check_integer,
    check_path,
    check_switch,
)
from codec.results import Compression, Decompression
from codec.system.keyword_options import takes_options
from codec.system.processors import compute_threads
from codec.system.source import path_of
from codec.system.workers import Outcome, run_each
from codec.system.write_file import OutputExistsError, kind_of, write_atomically

if TYPE_CHECKING:
    from typing_extensions import Unpack

T = TypeVar("T")

SUFFIX = ".calo"


@dataclass(frozen=True)
class FileResult(Generic[T]):
    """The outcome of one file.

    source   as it was given
    output   the file that was or would have been written
    result   `Compression` or `Decompression`; None if there is an error, or it was skipped
    error    None if there is a result, or it was skipped
    skipped  whether the output existed already and ``skip_existing`` left it
    """

    source: Path
    output: Path
    result: T | None
    error: CalotypeError | None
    skipped: bool = False


@dataclass(frozen=True)
class _Job:
    """One input and its output, and the error if that pair cannot be processed."""

    source: Path
    output: Path
    problem: CalotypeError | None
    skipped: bool = False


@takes_options(CompressOptions)
def compress_files(
    paths: Iterable[PathName],
    folder: PathName,
    *,
    root: PathName | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    executor: Executor | None = None,
    threads: int = 1,
    **options: Unpack[CompressArguments],
) -> Generator[FileResult[Compression], None, None]:
    """Compress image files into a folder; yield one result each, in the order of ``paths``.

    paths       image files.  photo.png becomes photo.calo
    folder      folder of the outputs; it and its subfolders are created as needed
    root        a folder that holds all inputs: its subfolders are mirrored in the output folder
    overwrite   replace existing outputs; without it they are errors
    skip_existing   skip files whose output exists.  Outputs appear only when they are complete, so
                a call after an interruption resumes the work
    executor    any `concurrent.futures.Executor`, or an object with its submit(...).result():
                threads, processes (start them by spawn or forkserver: torch may hang in a forked
                one), or ``Client.get_executor()`` of dask.distributed.  None works in this thread,
                file by file
    threads     CPU threads for each file on an executor.  Executors usually have one worker per
                core, so one thread is enough; without an executor this has no effect
    options     those of `codec.compress`

    Work begins when the first result is requested; closing the iterator cancels the files that
    have not begun.  An error in one file is put in its result and does not stop the others: what
    `codec.compress` raises, OutputError, WorkerError if a worker died, and CalotypeError for
    other failures of the machine.  An output appears when it is complete.  An executor may
    repeat a file, as dask does after it lost a worker: it is no error if the output already
    exists with the same bytes.

    Raises UsageError for options and paths that cannot be used, UnknownModelError.
    """
    checked = CompressOptions(**options)
    work = partial(_compress_file, _with_absolute_checkpoint(checked), overwrite)
    jobs = _plan(paths, folder, root, SUFFIX, overwrite, skip_existing)
    return _results(jobs, work, skip_existing, executor, threads)


@takes_options(DecompressOptions)
def decompress_files(
    paths: Iterable[PathName],
    folder: PathName,
    *,
    suffix: str = ".png",
    output_quality: int | None = None,
    root: PathName | None = None,
    overwrite: bool = False,
    skip_existing: bool = False,
    executor: Executor | None = None,
    threads: int = 1,
    **options: Unpack[DecompressArguments],
) -> Generator[FileResult[Decompression], None, None]:
    """Decompress .calo files into a folder; yield one result each, in the order of ``paths``.

    suffix      suffix of the outputs, such as ".png" or ".jpg": it picks their format
    output_quality   as in `codec.decompress_file`
    options     those of `codec.decompress` except ``as_``

    Everything else is as in `compress_files`.
    """
    from codec.pictures.save import check_output_quality, format_of_suffix

    checked = DecompressOptions(**options)
    format_name = format_of_suffix(suffix)
    check_output_quality(output_quality, format_name)
    work = partial(
        _decompress_file, _with_absolute_checkpoint(checked), format_name, output_quality, overwrite
    )
    jobs = _plan(paths, folder, root, suffix, overwrite, skip_existing)
    return _results(jobs, work, skip_existing, executor, threads)


Options = TypeVar("Options", CompressOptions, DecompressOptions)
Work = Callable[[tuple[Path, Path]], T]


def _with_absolute_checkpoint(options: Options) -> Options:
    if options.checkpoint is None:
        return options
    return dataclasses.replace(options, checkpoint=_absolute(options.checkpoint))


def _plan(
    paths: Iterable[PathName],
    folder: PathName,
    root: PathName | None,
    suffix: str,
    overwrite: bool,
    skip_existing: bool,
) -> list[_Job]:
    check_path("root", root)
    check_path("folder", folder)
    overwrite = check_switch("overwrite", overwrite)
    skip_existing = check_switch("skip_existing", skip_existing)
    if overwrite and skip_existing:
        raise UsageError("overwrite and skip_existing were given, expected only one of them")
    if isinstance(paths, (str, os.PathLike)):
        raise UsageError(
            f"paths {str(path_of(paths))!r} is one path, expected several: give a list"
        )
    try:
        sources = [_input_path(path) for path in paths]
    except TypeError:
        raise UsageError(
            f"paths of type {type(paths).__name__} were given, expected several paths"
        ) from None
    places = {os.path.realpath(source) for source in sources}
    seen: dict[str, Path] = {}
    jobs = []
    for source in sources:
        name = _relative(source, root)
        output = Path(folder) / (name.with_suffix(suffix) if name.name else name)
        place, problem = os.path.realpath(output), None
        skipped = skip_existing and place not in seen and kind_of(output) == "file"
        if place in places:
            problem = OutputError(f"the output {output} is an input as well: give another folder")
        elif place in seen:
            problem = OutputError(
                f"{source} and {seen[place]} would both become {output}: give the folder that "
                "holds both as root, or compress them into different folders"
            )
        elif not (overwrite or skipped) and os.path.lexists(output):
            problem = OutputError(
                f"{output} exists: give another folder, or overwrite=True to replace it"
            )
        seen.setdefault(place, source)
        jobs.append(_Job(source, output, problem, skipped and problem is None))
    return jobs


def _input_path(path: object) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"a path {shown(path)} was given, which cannot be a file name")
    check_path("a path", path)
    return path_of(path)


def _relative(source: Path, root: PathName | None) -> Path:
    if root is None:
        return Path(_absolute(source).name)
    try:
        return _absolute(source).relative_to(_absolute(root))
    except ValueError:
        raise UsageError(f"{source} is not in the root {os.fspath(root)}") from None


def _absolute(path: PathName) -> Path:
    # Not Path.resolve: a symbolic link keeps its own name and folder.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _results(
    jobs: Sequence[_Job],
    work: Work[T],
    skip_existing: bool,
    executor: Executor | None,
    threads: int,
) -> Generator[FileResult[T], None, None]:
    check_integer("threads", threads, 1, 2**16)
    if executor is not None and not hasattr(executor, "submit"):
        raise UsageError(
            f"an executor of type {type(executor).__name__} was given, expected an Executor of "
            "concurrent.futures, or None"
        )
    alone = executor is None
    task = partial(_on_threads, work, None if alone else threads)
    return _iterate(jobs, task, skip_existing, executor)


def _iterate(
    jobs: Sequence[_Job], work: Work[T], skip_existing: bool, executor: Executor | None
) -> Generator[FileResult[T], None, None]:
    # Workers may have other working directories, so they are given absolute paths.
    is_due = [job.problem is None and not job.skipped for job in jobs]
    due = (job for job, is_one in zip(jobs, is_due, strict=True) if is_one)
    tasks = ((_absolute(job.source), _absolute(job.output)) for job in due)
    with closing(run_each(work, tasks, executor)) as outcomes:
        for job, is_one in zip(jobs, is_due, strict=True):
            outcome: Outcome[T] = next(outcomes) if is_one else Outcome(None, job.problem)
            if skip_existing and isinstance(outcome.error, OutputExistsError):
                outcome, skipped = Outcome(None, None), True  # another process wrote it since
            else:
                skipped = job.skipped
            yield FileResult(job.source, job.output, outcome.result, outcome.error, skipped)


def _on_threads(work: Work[T], threads: int | None, task: tuple[Path, Path]) -> T:
    with nullcontext() if threads is None else compute_threads(threads):
        return work(task)


def _compress_file(
    options: CompressOptions, overwrite: bool, task: tuple[Path, Path]
) -> Compression:
    source, output = task
    done: list[Compression] = []
    _write(output, lambda fo: done.append(api.compress_with(options, source, fo)), overwrite)
    return done[0]


def _decompress_file(
    options: DecompressOptions,
    format_name: str,
    output_quality: int | None,
    overwrite: bool,
    task: tuple[Path, Path],
) -> Decompression:
    source, output = task
    return api.decompress_with(
        options,
        source,
        format_name,
        lambda fill: _write(output, fill, overwrite),
        output_quality=output_quality,
    )


def _write(output: Path, write: Callable[[BinaryIO], object], overwrite: bool) -> None:
    """Write an output; one that has appeared since planning must have the same bytes.

    With `overwrite` it is replaced.  Raises OutputExistsError if its bytes differ.
    """
    if overwrite or not output.is_file():
        write_atomically(output, write, force=overwrite, make_folders=True)
        return
    again = io.BytesIO()
    write(again)
    if output.read_bytes() != again.getbuffer():
        raise OutputExistsError(
            f"{output} appeared meanwhile: give another folder, or overwrite=True to replace it"
        )
