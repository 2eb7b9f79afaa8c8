"""``calotype decompress``."""

from pathlib import Path
from typing import Annotated

import typer

from codec.cli.arguments import AsJson, Device, FileCheckpoint, Force, Jobs
from codec.cli.files import Job, plan, read_input, write_output
from codec.cli.run_jobs import notice, run_jobs
from codec.cli.values import parse_region
from codec.results import Decompression

SUFFIX = ".png"


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
            help="File, whose suffix picks the format; folder; or - for PNG on standard output.",
        ),
    ] = None,
    layers: Annotated[
        int | None,
        typer.Option("--layers", metavar="K", help="Decode only the first K quality layers."),
    ] = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Accept a file that was cut: decode its complete layers."),
    ] = False,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed",
            metavar="N",
            help="Files in layers: replaces missing layers by a random sample instead of the mean. "
            "Models that decode with noise: draws the noise from this seed instead of the file's.",
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
    region: Annotated[
        str | None, typer.Option("--region", metavar="X,Y,W,H", help="Decode only this part.")
    ] = None,
    device: Device = "auto",
    jobs: Jobs = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Work on the .calo files in folders.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Decompress .calo files to images.

    photo.calo becomes photo.png beside it; -o photo.jpg picks another format by its suffix.

    Example: calotype decompress -o photo.jpg photo.calo
    """
    from codec import api
    from codec.options import DecompressOptions

    options = DecompressOptions(
        region=None if region is None else parse_region(region),
        layers=layers,
        partial=partial,
        seed=seed,
        realism=realism,
        device=device,
        checkpoint=checkpoint,
    )
    todo = plan(
        inputs,
        output,
        recursive=recursive,
        is_wanted=lambda path: path.suffix.lower() == ".calo",
        suffix=SUFFIX,
    )
    formats = {job: _format_of(job.target) for job in todo}

    def work(job: Job) -> Decompression:
        done = api.decompress_with(
            options,
            read_input(job.source),
            formats[job],
            lambda fill: write_output(job, fill, force=force),
            # A damaged file must not send half an image down a pipe.
            whole=job.target is None,
        )
        notice(job.name, done.notices)
        return done

    run_jobs(
        todo,
        work,
        result_type=Decompression,
        force=force,
        threads=jobs,
        what="decompressing",
        summary=lambda done: f"{done.width}×{done.height}  {done.format}",
        as_json=as_json,
    )


def _format_of(target: Path | None) -> str:
    from codec.pictures.save import format_of_suffix

    return "PNG" if target is None else format_of_suffix(target.suffix)
