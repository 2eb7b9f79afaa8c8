"""``calotype decompress``."""

from pathlib import Path
from typing import Annotated

import typer

from bitstream import UsageError
from codec.cli.batch import as_record, end, notice, print_json, run_batch
from codec.cli.files import check_targets, plan, read_input, write_output
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
            help="Draw what missing layers would say from the model's prior, instead of its mean; "
            "and for models that decode with noise, that noise, instead of the file's.",
        ),
    ] = None,
    realism: Annotated[
        float,
        typer.Option(
            "--realism",
            metavar="R",
            help="0 .. 1, for files of photo: from least squared error to most like a photograph.",
        ),
    ] = 0.0,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="Of files of compressai, the checkpoint that they were written with.",
        ),
    ] = None,
    region: Annotated[
        str | None, typer.Option("--region", metavar="X,Y,W,H", help="Decode only this part.")
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, openvino or cuda.")] = "auto",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Files at a time.")] = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Work on the .calo files in folders.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Decompress .calo files to images.

    photo.calo becomes photo.png beside it; -o photo.jpg picks another format by its suffix.
    """
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
    if as_json and any(job.target is None for job in todo):
        raise UsageError("--json and the image cannot share standard output: give -o")
    formats = [_format_of(job.target) for job in todo]
    problems = check_targets(todo, force=force)

    def work(number: int) -> Decompression:
        job, problem, format_name = todo[number], problems[number], formats[number]
        if problem is not None:
            raise problem
        from codec import api

        done = api.decompress_with(
            options,
            read_input(job),
            format_name,
            lambda fill: write_output(job, fill, force=force),
            # Nothing of a damaged file shall go down a pipe.
            whole=job.target is None,
        )
        notice(job.name, done.notices)
        return done

    outcomes = run_batch(
        [job.name for job in todo],
        work,
        threads=jobs,
        what="decompressing",
        show=lambda number, done: f"{todo[number]}  {done.width}×{done.height}  {done.format}",
        quiet=as_json or any(job.target is None for job in todo),
    )
    if as_json:
        pairs = zip(outcomes, todo, strict=True)
        files = [
            as_record(outcome, Decompression, output=job.output_name) for outcome, job in pairs
        ]
        print_json({"files": files})
    end(outcomes)


def _format_of(target: Path | None) -> str:
    from codec.pictures.save import format_of_suffix

    return "PNG" if target is None else format_of_suffix(target.suffix)
