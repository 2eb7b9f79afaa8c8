"""Runs the jobs of a command, for one file or many, reports, and ends with the exit code."""

import dataclasses
import json
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from bitstream import UsageError
from codec.cli.files import Job, check_targets
from codec.cli.progress import progress
from codec.cli.terminal import one_line, print_error, print_notice, print_remark
from codec.system.processors import compute_threads, single_threaded_blas, thread_count
from codec.system.workers import Outcome, run_each
from codec.system.write_file import OutputExistsError, kind_of

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")


def run_batch(
    names: Sequence[str],
    work: Callable[[int], T | None],
    *,
    threads: int = 1,
    what: str,
    show: Callable[[int, T], str],
    quiet: bool = False,
) -> list[Outcome[T]]:
    """Call ``work(0)`` .. ``work(n - 1)``; an error of one file does not stop the others.

    For a result of None no line is printed.

    Errors are those of the project, and those of a machine that runs out of memory or loses a
    disk, see `codec.system.workers.run_each`.

    names    of the inputs, for messages
    threads  how many files at a time; they share the processor's cores
    what     for the progress bar, such as "compressing"
    show     returns the line to print about a result
    quiet    no progress, no lines; errors are always printed

    An interrupt prints the finished results and their number, and is raised again.
    """
    finished: dict[int, T] = {}

    def noted(number: int) -> T | None:
        result = work(number)
        if result is not None:
            finished[number] = result
        return result

    outcomes: list[Outcome[T]] = []
    try:
        _run_batch(names, noted, outcomes, threads=threads, what=what, show=show, quiet=quiet)
    except KeyboardInterrupt:
        shown = len(outcomes)
        for number in sorted(number for number in finished if number >= shown and not quiet):
            typer.echo(one_line(show(number, finished[number])))
        if len(names) > 1:
            print_remark(f"interrupted: {len(finished)} of {len(names)} files finished")
        raise
    return outcomes


def _run_batch(
    names: Sequence[str],
    work: Callable[[int], T | None],
    outcomes: list[Outcome[T]],
    *,
    threads: int,
    what: str,
    show: Callable[[int, T], str],
    quiet: bool,
) -> None:
    """Append the outcomes of `run_batch` to a list, one by one."""
    workers = max(1, min(threads, len(names)))
    pool = _threads(workers) if workers > 1 else None
    task = work if pool is None else _sharing_cores(work, workers)
    # An interrupt waits for the files that are being written, and starts no others: leaving the
    # block cancels the others, then the pool waits.
    with (
        nullcontext() if pool is None else single_threaded_blas(),
        pool or nullcontext(),
        closing(run_each(task, range(len(names)), pool)) as every,
        progress(len(names), what, quiet=quiet) as advance,
    ):
        for name, outcome in zip(names, every, strict=True):
            advance()
            if outcome.error is not None:
                _print_failure(name, str(outcome.error))
            if outcome.result is not None and not quiet:
                typer.echo(one_line(show(len(outcomes), outcome.result)))
            outcomes.append(Outcome(outcome.result, outcome.error))


def run_jobs(
    jobs: Sequence[Job],
    work: Callable[[Job], T],
    *,
    result_type: type[T],
    force: bool,
    skip_existing: bool,
    threads: int,
    what: str,
    summary: Callable[[T], str],
    quiet: bool,
    as_json: bool,
) -> None:
    """Do all jobs of a command that writes files, report on each, and end the command.

    result_type   dataclass that ``work`` returns: its fields are keys of the JSON output
    force         replace existing outputs
    skip_existing leave out jobs whose output is a file; a file that exists is complete
    threads       how many jobs at a time
    what          for the progress bar, such as "compressing"
    summary       the end of the line that is printed about a result
    quiet         print errors only
    as_json       print results as JSON, and no lines
    """
    is_piped = any(job.target is None for job in jobs)
    if as_json and is_piped:
        raise UsageError("--json and the output cannot share standard output: give -o")
    if force and skip_existing:
        raise UsageError("--force and --skip-existing were given, expected only one of them")
    checked = list(zip(jobs, check_targets(jobs, force=force or skip_existing), strict=True))
    skipped = [job for job, problem in checked if skip_existing and not problem and _is_done(job)]
    if skipped and not (as_json or quiet):
        print_remark(f"{len(skipped)} of {len(jobs)} files skipped: their outputs exist")
    files, left_out = len(jobs), set(skipped)
    checked = [pair for pair in checked if pair[0] not in left_out]
    jobs, problems = [job for job, _ in checked], [problem for _, problem in checked]

    def attempt(number: int) -> T | None:
        problem, job = problems[number], jobs[number]
        if problem is not None:
            raise problem
        if skip_existing and _is_done(job):
            return None  # another process has written it meanwhile
        try:
            return work(job)
        except OutputExistsError:
            if skip_existing:
                return None
            raise

    try:
        outcomes = run_batch(
            [job.name for job in jobs],
            attempt,
            threads=threads,
            what=what,
            show=lambda number, done: f"{jobs[number]}  {summary(done)}",
            quiet=quiet or as_json or is_piped,
        )
    except KeyboardInterrupt:
        if len(jobs) > 1 and not force:
            print_remark("with --skip-existing, the same command continues with the others")
        raise
    if as_json:
        records = []
        for job, outcome in zip(jobs, outcomes, strict=True):
            if outcome.result is None and outcome.error is None:
                skipped.append(job)
            else:
                name = job.output_name
                records.append(as_record(job.name, outcome, result_type, output=name))
        print_json({"files": records, "skipped": [job.name for job in skipped]})
    end(outcomes, files)


def _is_done(job: Job) -> bool:
    return job.target is not None and kind_of(job.target) == "file"


def _threads(count: int) -> "ThreadPoolExecutor":
    from concurrent.futures import ThreadPoolExecutor  # not needed for one file

    return ThreadPoolExecutor(count)


def _sharing_cores(work: Callable[[int], T | None], workers: int) -> Callable[[int], T | None]:
    """``work`` with its share of the threads that it would use alone; more would only wait."""
    share = max(1, thread_count() // workers)

    def attempt(number: int) -> T | None:
        with compute_threads(share):
            return work(number)

    return attempt


def end(outcomes: Sequence[Outcome[Any]], files: int | None = None) -> None:
    """Exit with the code of the error if there was one file, or with 1 if some of several failed.

    files   how many there were, including skipped ones; None for as many as outcomes
    """
    files = len(outcomes) if files is None else files
    failed = [outcome.error for outcome in outcomes if outcome.error is not None]
    if not failed:
        return
    if files == 1:
        raise typer.Exit(failed[0].exit_code)
    are_there = any(isinstance(error, OutputExistsError) for error in failed)
    hint = "; --skip-existing skips those whose output exists" if are_there else ""
    print_remark(f"{len(failed)} of {files} files failed{hint}")
    raise typer.Exit(1)


def print_json(value: object) -> None:
    """Print JSON with keys in their order; bytes and paths become strings."""
    if sys.stdout is None:  # closed by whoever started the command
        return
    # Names that are not UTF-8 have lone surrogates, which JSON can hold in ASCII only.
    text = json.dumps(value, indent=2, default=_plain, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, default=_plain)
    sys.stdout.write(text + "\n")


def as_record(
    name: str, outcome: Outcome[Any], result_type: type, **more: object
) -> dict[str, object]:
    """Return the JSON keys of one file: always the same ones, null if there is no result.

    name          of the input
    result_type   dataclass of the results
    more          further keys
    """
    error = outcome.error
    result = {field.name: None for field in dataclasses.fields(result_type)}
    if outcome.result is not None:
        # JSON has no infinity: the PSNR of a file that reproduces its picture exactly is null.
        result = {
            key: None if isinstance(value, float) and math.isinf(value) else value
            for key, value in dataclasses.asdict(outcome.result).items()
        }
    return {
        "input": name,
        **more,
        "ok": error is None,
        "error": None if error is None else str(error),
        "error_type": None if error is None else type(error).__name__,
        **result,
    }


def notice(name: str, texts: Sequence[str]) -> None:
    """Print notices about one file on standard error."""
    for text in texts:
        print_notice(f"{name}: {text}")


def _print_failure(name: str, message: str) -> None:
    # Errors of the format do not know the file's name.  A short name may be in them by chance.
    is_named = len(name) >= 4 and name in message
    print_error(message if is_named else f"{name}: {message}")


def _plain(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
