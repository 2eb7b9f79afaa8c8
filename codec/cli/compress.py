"""``calotype compress``."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitstream import UsageError, limits
from codec.cli.batch import as_record, end, notice, print_json, run_batch
from codec.cli.completion import model_names
from codec.cli.files import check_targets, plan, read_input, write_output
from codec.cli.progress import Advance, progress
from codec.cli.values import parse_noise_seed, parse_size
from codec.models.catalog import FOREIGN

if TYPE_CHECKING:
    from codec import Compression

SUFFIX = ".calo"


def compress(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Image files, or - for standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="OUT|DIR", help="File, folder, or - for standard output."
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL[:WEIGHTS]",
            autocompletion=model_names,
            help="Name or number, and weights other than the default; see calotype models. "
            "compressai:ARCHITECTURE needs a --checkpoint.",
        ),
    ] = "photo",
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Weights of compressai:ARCHITECTURE."),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option("--quality", "-q", help="1 .. 100, larger is better; 75 by default."),
    ] = None,
    bpp: Annotated[
        float | None, typer.Option("--bpp", help="Best quality within so many bits per pixel.")
    ] = None,
    size: Annotated[
        str | None,
        typer.Option("--size", help="Best quality within a file size: 50KiB, 20kB, 12345."),
    ] = None,
    psnr: Annotated[
        float | None, typer.Option("--psnr", help="Smallest file that reaches so many dB.")
    ] = None,
    effort: Annotated[
        int,
        typer.Option(
            "--effort", "-e", help="1 .. 9: how long to search for a smaller file of photo."
        ),
    ] = 1,
    noise_seed: Annotated[
        str,
        typer.Option(
            "--noise-seed",
            metavar="N|free",
            help="Seed that the file keeps, for models that decode with noise; free: none is kept.",
        ),
    ] = "0",
    device: Annotated[str, typer.Option("--device", help="auto, cpu, openvino or cuda.")] = "auto",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Files at a time.")] = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Work on the images in folders.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")] = False,
    strip: Annotated[bool, typer.Option("--strip", help="Leave out ICC, EXIF and XMP.")] = False,
    reduce_depth: Annotated[
        bool, typer.Option("--reduce-depth", help="Accept more than 8 bits, rounded to 8.")
    ] = False,
    apply_orientation: Annotated[
        bool, typer.Option("--apply-orientation", help="Turn the pixels as EXIF says.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Compress images to .calo files.

    photo.png becomes photo.calo beside it; inputs are never changed.
    """
    from codec.options import CompressOptions

    options = CompressOptions(
        quality=quality,
        model=model,
        effort=effort,
        bpp=bpp,
        size=None if size is None else parse_size(size),
        psnr=psnr,
        strip=strip,
        reduce_depth=reduce_depth,
        apply_orientation=apply_orientation,
        device=device,
        noise_seed=parse_noise_seed(noise_seed),
        checkpoint=checkpoint,
    )
    todo = plan(inputs, output, recursive=recursive, is_wanted=_is_image, suffix=SUFFIX)
    quiet = as_json or any(job.target is None for job in todo)
    if as_json and any(job.target is None for job in todo):
        raise UsageError("--json and the compressed bytes cannot share standard output: give -o")
    problems = check_targets(todo, force=force)

    def work(number: int) -> "Compression":
        job, problem = todo[number], problems[number]
        if problem is not None:
            raise problem
        from PIL import Image

        from codec import api

        # The codec's own cap is checked before anything is decoded; it is above Pillow's.
        Image.MAX_IMAGE_PIXELS = limits.MAX_PIXELS
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        done: list[Compression] = []
        source = read_input(job)
        # One file shows how far its search is, several how many are done.
        steps = 100 if len(todo) == 1 and effort > 1 else 0
        with progress(steps, "searching", quiet=quiet) as advance:
            tell = _in_steps(advance, steps)
            write_output(
                job,
                lambda fo: done.append(api.compress_with(options, source, fo, progress=tell)),
                force=force,
            )
        notice(job.name, done[0].notices)
        return done[0]

    outcomes = run_batch(
        [job.name for job in todo],
        work,
        threads=jobs,
        what="compressing",
        show=lambda number, done: f"{todo[number]}  {_summary(done)}",
        quiet=quiet,
    )
    if as_json:
        from codec import Compression as Result

        pairs = zip(outcomes, todo, strict=True)
        files = [as_record(outcome, Result, output=job.output_name) for outcome, job in pairs]
        print_json({"files": files})
    end(outcomes)


def _in_steps(advance: Advance, steps: int) -> Callable[[float], None]:
    """Advance a bar of so many steps to a share of them."""
    shown = 0

    def tell(share: float) -> None:
        nonlocal shown
        while shown < int(share * steps):
            advance()
            shown += 1

    return tell


def _is_image(path: Path) -> bool:
    from codec.pictures.read import has_image_suffix

    return path.suffix.lower() != SUFFIX and has_image_suffix(path)


def _summary(done: "Compression") -> str:
    text = f"{done.width}×{done.height}  {done.size_bytes:,} bytes  {done.rate_bpp:.3f} bpp  "
    if done.model_name.partition(":")[0] == FOREIGN:
        return f"{text}{done.model_name}, bound to this machine"
    text += f"quality {done.quality:g}"
    return text if done.psnr_db is None else f"{text}  {done.psnr_db:.2f} dB"
