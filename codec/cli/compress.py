"""``calotype compress``."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from bitstream import InputError, UsageError
from codec.cli.arguments import AsJson, Device, Force, Jobs, Quiet, ReduceDepth, SkipExisting
from codec.cli.completion import model_names
from codec.cli.files import Job, allow_large_images, plan, read_input, write_output
from codec.cli.progress import PROGRESS_AFTER_SECONDS, progress
from codec.cli.run_jobs import notice, run_jobs
from codec.cli.values import only_one, parse_noise_seed, parse_roi, parse_size
from codec.models.catalog import find_model, split_name
from codec.models.spec import MAX_ERROR
from codec.options import DEFAULT_MODEL, DEFAULT_QUALITY, HIGHEST_QUALITY, LOSSLESS_MODEL

if TYPE_CHECKING:
    from codec import Compression

SUFFIX = ".calo"
# fmt: off
_UNREAD_SUFFIXES = frozenset((
    ".heic", ".heif", ".hif", ".jxl", ".jxr", ".svg", ".xcf", ".exr", ".hdr",
    ".djvu", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2",
    ".orf", ".raf", ".rw2", ".pef", ".srw", ".x3f", ".3fr", ".iiq",
))
# fmt: on
"""Pictures, including raw camera files, that Pillow does not read without a plugin."""


def compress(
    inputs: Annotated[
        list[str], typer.Argument(metavar="IN...", help="Image files, or - for standard input.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT|DIR",
            help="A file; a folder (end its name with / if it is new and there is one input); or - "
            "for standard output.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL[:WEIGHTS]",
            autocompletion=model_names,
            help=f"Name or number, and optionally weights other than the default; {DEFAULT_MODEL} "
            "by default, see calotype models. compressai:ARCHITECTURE needs a --checkpoint.",
        ),
    ] = None,
    lossless: Annotated[
        bool,
        typer.Option("--lossless", help=f"Keep every pixel; another name for -m {LOSSLESS_MODEL}."),
    ] = False,
    max_error: Annotated[
        int | None,
        typer.Option(
            "--max-error",
            metavar="N",
            help=f"0 .. {MAX_ERROR}: change no pixel value, 0 .. 255, by more than this; uses the "
            "model near-lossless.",
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option("--checkpoint", metavar="FILE", help="Weights of compressai:ARCHITECTURE."),
    ] = None,
    quality: Annotated[
        float | None,
        typer.Option(
            "--quality", "-q", help=f"1 .. 100, larger is better; {DEFAULT_QUALITY:g} by default."
        ),
    ] = None,
    bpp: Annotated[
        float | None,
        typer.Option("--bpp", help="Best quality within this number of bits per pixel."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            help="Best quality within this file size, in bytes: 12345, 20k or 20kB (20,000), 50KiB "
            "(51,200), 1.5M.",
        ),
    ] = None,
    psnr: Annotated[
        float | None, typer.Option("--psnr", help="Smallest file that reaches this PSNR in dB.")
    ] = None,
    ssimulacra2: Annotated[
        float | None,
        typer.Option(
            "--ssimulacra2",
            help="Smallest file that reaches this SSIMULACRA2, -50 .. 100; needs the extra "
            "metrics.",
        ),
    ] = None,
    tune: Annotated[
        str | None,
        typer.Option(
            "--tune",
            metavar="visual|psnr",
            help="Optimise how the picture looks (visual, the default) or its squared error "
            "(psnr); only for photo.",
        ),
    ] = None,
    roi: Annotated[
        list[str] | None,
        typer.Option(
            "--roi",
            metavar="X,Y,W,H[:DQ]",
            help="Raise the quality of a region by DQ, 20 by default. The file takes most of the "
            "bytes of the whole picture at that quality; at an equal size the rest is coarser.",
        ),
    ] = None,
    effort: Annotated[
        int,
        typer.Option(
            "--effort",
            "-e",
            help="1 .. 9: how long photo searches for smaller files. 3 takes almost twice as long "
            "as 1, the default, and at equal PSNR saves nothing; 9 saves a few per cent, and takes "
            "more than 100 times as long (measured with --tune psnr).",
        ),
    ] = 1,
    noise_seed: Annotated[
        str,
        typer.Option(
            "--noise-seed",
            metavar="N|free",
            help="For models that decode with noise: the seed to store in the file; free: store "
            "no seed, so that every decoding differs.",
        ),
    ] = "0",
    device: Device = "auto",
    jobs: Jobs = 1,
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Compress the images in folders.")
    ] = False,
    force: Force = False,
    skip_existing: SkipExisting = False,
    strip: Annotated[
        bool,
        typer.Option(
            "--strip", help="Remove ICC, EXIF, XMP, density and colour; turn the pixels upright."
        ),
    ] = False,
    reduce_depth: ReduceDepth = False,
    apply_orientation: Annotated[
        bool, typer.Option("--apply-orientation", help="Turn the pixels upright, as EXIF says.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Compress images to .calo files.

    photo.png becomes photo.calo beside it; inputs are never changed.

    Example: calotype compress -q 60 -o small.calo photo.png
    """
    from codec import api
    from codec.options import CompressOptions
    from codec.results import Compression

    region = only_one("roi", roi)
    options = CompressOptions(
        quality=quality,
        model=model,
        lossless=lossless,
        max_error=max_error,
        effort=effort,
        bpp=bpp,
        size=None if size is None else parse_size(size),
        psnr=psnr,
        ssimulacra2=ssimulacra2,
        tune=tune,
        roi=None if region is None else parse_roi(region),
        strip=strip,
        reduce_depth=reduce_depth,
        apply_orientation=apply_orientation,
        device=device,
        noise_seed=parse_noise_seed(noise_seed),
        checkpoint=checkpoint,
    )
    todo = plan(
        inputs,
        output,
        recursive=recursive,
        is_wanted=_is_image,
        suffix=SUFFIX,
        known_suffixes=(SUFFIX,),
        unread_suffixes=_UNREAD_SUFFIXES,
        quiet=quiet,
    )
    for target, source in ((job.target, job.source) for job in todo):
        if target is None or target == source:
            continue
        if _is_image(target) or target.suffix.lower() in _UNREAD_SUFFIXES:
            raise UsageError(
                f"the output {target} has the name of an image, expected a .calo file: "
                f"give -o {target.with_suffix(SUFFIX)}"
            )
    todo = [_checked(job) for job in todo]
    is_piped = any(job.target is None for job in todo)
    # A single file shows its own progress, several files how many are done.
    steps = 100 if len(todo) == 1 else 0
    is_search = options.effort > 2 or any(v is not None for v in (bpp, size, psnr, ssimulacra2))
    doing = "searching" if is_search else "compressing"

    def work(job: Job) -> Compression:
        allow_large_images()
        done: list[Compression] = []
        source = read_input(job.source)
        with progress(
            steps, doing, quiet=quiet or as_json or is_piped, after_seconds=PROGRESS_AFTER_SECONDS
        ) as advance:

            def write(fo: BinaryIO) -> None:
                done.append(
                    api.compress_with(
                        options,
                        source,
                        fo,
                        progress=lambda share: advance(int(steps * share), steps),
                    )
                )

            write_output(job, write, force=force)
        if not quiet:
            notice(job.name, done[0].notices)
        return done[0]

    run_jobs(
        todo,
        work,
        result_type=Compression,
        force=force,
        skip_existing=skip_existing,
        threads=jobs,
        what="compressing",
        summary=lambda done: _summary(done, options.roi),
        quiet=quiet,
        as_json=as_json,
    )


def _checked(job: Job) -> Job:
    """The job, with a problem if its input is named as a .calo file and would be its own output."""
    source = job.source
    if job.problem or source is None or source != job.target or source.suffix.lower() != SUFFIX:
        return job
    problem = InputError(
        f"{job.name} has the name of a .calo file, expected an image: to decode it, use calotype "
        "decompress; to compress an image of this name, give -o"
    )
    return replace(job, problem=problem)


def _is_image(path: Path) -> bool:
    from codec.pictures.read import has_image_suffix

    return path.suffix.lower() != SUFFIX and has_image_suffix(path)


def _summary(done: "Compression", roi: Sequence[int] | None) -> str:
    text = f"{done.width}×{done.height}  {done.size_bytes:,} bytes  {done.rate_bpp:.3f} bpp  "
    spec = find_model(split_name(done.model_name)[0])
    if spec.variants:
        text += f"{done.model_name}, bound to this machine"
    elif spec.lossless:
        text += "lossless"
    elif spec.bounded:
        text += f"error ≤ {done.max_error}"
    else:
        text += f"quality {done.quality:g}"
        if roi is not None:
            raised = min(done.quality + roi[4], HIGHEST_QUALITY)
            text += f" ({raised:g} in the region, which inspect shows)"
    text += f"  {done.elapsed_seconds:.2f} s"
    if done.psnr_db is not None:
        text += f"  {done.psnr_db:.2f} dB"
    if done.ssimulacra2 is not None:
        text += f"  SSIMULACRA2 {done.ssimulacra2:.2f}"
    return text
