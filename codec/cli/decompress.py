"""``calotype decompress``."""

from dataclasses import replace
from typing import Annotated

import typer

from bitstream import CalotypeError, InputError, NotACaloFileError, UsageError
from bitstream.chunks import ChunkReader
from codec.cli.arguments import (
    AsJson,
    Device,
    FileCheckpoint,
    Force,
    Jobs,
    Quiet,
    SkipExisting,
)
from codec.cli.files import Job, plan, read_input, write_output
from codec.cli.progress import PROGRESS_AFTER_SECONDS, progress
from codec.cli.run_jobs import notice, run_jobs
from codec.cli.values import only_one, parse_region
from codec.results import Decompression
from codec.system.source import opened, read_calo
from codec.system.write_file import kind_of

SUFFIX = ".png"
CALO = ".calo"


def decompress(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN...", help=".calo files, or - for standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT|DIR",
            help="A file, whose suffix selects the format; a folder; or - for PNG on standard "
            "output.",
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option("--layers", metavar="K", help="Decode only the first K layers."),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Accept a file that was cut or damaged: decode its complete layers, or its intact "
            "tiles; the others are grey.",
        ),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Fill missing layers with a random sample instead of the mean; with models that "
            "decode with noise, replace the file's seed; with --realism, vary its texture.",
        ),
    ] = None,
    realism: Annotated[
        float,
        typer.Option(
            "--realism",
            metavar="R",
            help="0 .. 1, for files of photo: from the least error to the most natural look.",
        ),
    ] = 0.0,
    checkpoint: FileCheckpoint = None,
    reduce_depth: Annotated[
        bool,
        typer.Option(
            "--reduce-depth",
            help="Round more than 8 bits per channel to 8, as .jpg and .webp require.",
        ),
    ] = False,
    region: Annotated[
        list[str] | None, typer.Option("--region", metavar="X,Y,W,H", help="Decode only this part.")
    ] = None,
    reduce: Annotated[
        int,
        typer.Option(
            "--reduce",
            metavar="2|4|8",
            help="Decode a preview: the width and the height divided by this.",
            show_default=False,
        ),
    ] = 1,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="png|jpg|webp|avif|tif|...",
            help="Format of the outputs: a suffix without its dot; png by default, or as -o says.",
        ),
    ] = None,
    output_quality: Annotated[
        int | None,
        typer.Option(
            "--output-quality",
            metavar="1..100",
            help="Quality of jpg and avif (95 by default) and of webp (lossless by default).",
        ),
    ] = None,
    device: Device = "auto",
    jobs: Jobs = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Decompress the .calo files in folders.")
    ] = False,
    force: Force = False,
    skip_existing: SkipExisting = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Decompress .calo files to images.

    photo.calo becomes photo.png beside it; -o photo.jpg selects another format by its suffix, and
    --format jpg does so for many files.

    Example: calotype decompress -o photo.jpg photo.calo
    """
    from codec import api
    from codec.options import DecompressOptions
    from codec.pictures.save import check_output_quality, format_of_suffix, known_suffixes

    part = only_one("region", region)
    options = DecompressOptions(
        region=None if part is None else parse_region(part),
        reduce=reduce,
        layers=layers,
        partial=partial,
        seed=seed,
        realism=realism,
        reduce_depth=reduce_depth,
        device=device,
        checkpoint=checkpoint,
    )
    suffix = SUFFIX if format_ is None else f".{format_.lower().removeprefix('.')}"
    chosen = format_of_suffix(suffix)
    todo = [
        _checked(job)
        for job in plan(
            inputs,
            output,
            recursive=recursive,
            is_wanted=lambda path: path.suffix.lower() == CALO,
            suffix=suffix,
            known_suffixes=known_suffixes(),
            quiet=quiet,
        )
    ]
    for target in (job.target for job in todo if job.problem is None):
        if target is not None and not target.suffix and not format_:
            raise UsageError(
                f"the output {target} has no suffix to select the format: give -o "
                f"{target}{SUFFIX}, or -o {target}/ for a folder"
            )
    formats = {
        job: chosen if format_ or job.target is None else format_of_suffix(job.target.suffix)
        for job in todo
        if job.problem is None  # a folder's suffix would not be that of a format
    }
    for target in (job.target for job in formats):
        named = target is not None and target.suffix.lower() in known_suffixes()
        if format_ and target is not None and named and format_of_suffix(target.suffix) != chosen:
            raise UsageError(
                f"--format {format_} was given, but the output is {target}: leave out --format, or "
                f"give -o {target.with_suffix(suffix)}"
            )
    for name in set(formats.values()):
        check_output_quality(output_quality, name)

    is_piped = any(job.target is None for job in todo)
    # A single file shows its own progress, several files how many are done.
    steps = 100 if len(todo) == 1 else 0

    def work(job: Job) -> Decompression:
        with progress(
            steps,
            "decompressing",
            quiet=quiet or as_json or is_piped,
            after_seconds=PROGRESS_AFTER_SECONDS,
        ) as advance:
            done = api.decompress_with(
                options,
                read_input(job.source, read_calo),
                formats[job],
                lambda fill: write_output(job, fill, force=force),
                # A damaged file must not send half an image down a pipe.
                whole=job.target is None,
                output_quality=output_quality,
                progress=lambda share: advance(int(steps * share), steps),
            )
        if not quiet:
            notice(job.name, done.notices)
        return done

    run_jobs(
        todo,
        work,
        result_type=Decompression,
        force=force,
        skip_existing=skip_existing,
        threads=jobs,
        what="decompressing",
        summary=lambda done: f"{done.width}×{done.height}  {done.format}",
        quiet=quiet,
        as_json=as_json,
    )


def _checked(job: Job) -> Job:
    """The job, with a problem if its input is not a .calo file, which the output might replace."""
    if job.source is None or job.problem is not None or job.source.suffix.lower() == CALO:
        return job
    if kind_of(job.source) == "device":  # a pipe can be read only once
        return job
    try:
        with opened(job.source) as fo:
            ChunkReader(fo)
    except NotACaloFileError as error:
        hint = "calotype compress makes one from an image"
        return replace(job, problem=NotACaloFileError(f"{job.name}: {error}; {hint}"))
    except InputError as error:
        return replace(job, problem=error)
    except CalotypeError:
        pass  # reported when its turn comes
    return job
