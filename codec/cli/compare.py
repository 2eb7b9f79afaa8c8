"""``calotype compare``: how much two images differ, and how large their files are."""

from __future__ import annotations

import dataclasses
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitstream import SIGNATURE, StreamError, UsageError
from codec.cli.arguments import Device, Force, Quiet, ReduceDepth
from codec.cli.files import (
    PIPE,
    Job,
    allow_large_images,
    check_targets,
    read_input,
    source_of,
    write_output,
)
from codec.cli.run_jobs import notice, print_json
from codec.cli.terminal import one_line, print_notice
from codec.system.missing_extra import in_few_words

if TYPE_CHECKING:
    from codec.pictures.picture import Picture
    from codec.rate_distortion.files.comparison import Comparison

SCHEMA = "calotype.compare/1"


@dataclass(frozen=True)
class ComparedFile:
    """One of the two files: Pillow's name of its format or CALO, its size and its contents."""

    file: str
    format: str
    size_bytes: int
    rate_bpp: float
    channels: int
    bit_depth: int
    has_alpha: bool
    notices: tuple[str, ...]


def compare(
    first: Annotated[
        str, typer.Argument(metavar="A", help="The original: an image, a .calo file, or -.")
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="The image to compare with it.")],
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Measures, comma-separated: psnr, ms-ssim, ssimulacra2; by default all that are "
            "installed. PSNR is always measured."
        ),
    ] = None,
    difference: Annotated[
        Path | None,
        typer.Option(
            "--difference",
            metavar="FILE",
            help="Write a picture of 128 + 4 (B − A): equal parts are grey, and differences are "
            "amplified 4 times. The suffix selects the format.",
        ),
    ] = None,
    force: Force = False,
    reduce_depth: ReduceDepth = False,
    device: Device = "auto",
    quiet: Quiet = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Measure how much two images differ.

    Prints PSNR, the largest difference of two values, MS-SSIM, SSIMULACRA2 and the sizes of the
    files. Reads .calo and any format that Pillow reads. Both images are turned upright as their
    EXIF says; colours are compared as they are stored, without regard to ICC profiles; transparency
    is compared separately. PSNR and the largest difference count all bits of images with more than
    8 per channel, after scaling an image of fewer bits up; the other measures round to 8 bits.

    Example: calotype compare photo.png photo.calo --difference difference.png
    """
    from codec.options import check_device
    from codec.pictures.bands import bands_of
    from codec.pictures.save import format_of_suffix, save_bands
    from codec.rate_distortion.files.comparison import compare_pictures, difference_picture

    check_device(device)
    drawn_format = "" if difference is None else format_of_suffix(difference.suffix)
    jobs = [Job(source_of(name), difference) for name in (first, second) if difference]
    for problem in (check_targets([job], force=force)[0] for job in jobs):
        if problem is not None:
            raise problem
    if first == second == PIPE:
        raise UsageError("'-' was given twice, but there is only one standard input")
    wanted, missing = _choose(metrics)
    pictures, files = [], []
    for name in (first, second):
        picture, format_name, size_bytes = _read(name, reduce_depth, device)
        pictures.append(picture)
        files.append(
            ComparedFile(
                name,
                format_name,
                size_bytes,
                8 * size_bytes / (picture.width * picture.height),
                picture.channels,
                picture.bit_depth,
                picture.alpha is not None,
                picture.notices,
            )
        )
    found = compare_pictures(pictures[0], pictures[1], wanted)
    if difference is not None:
        drawn = bands_of(difference_picture(pictures[0], pictures[1]))
        write_output(jobs[0], lambda fo: save_bands(drawn, fo, drawn_format), force=force)
    if as_json:
        print_json(_record(files, found))
    elif not quiet:
        lines = _lines(files, found)
        if difference is not None:
            lines.append(f"difference   written to {difference}")
        typer.echo("\n".join(map(one_line, lines)))
    if quiet:
        return
    for file in files:
        notice(file.file, file.notices)
    for reason in missing:
        print_notice(reason)


def _choose(metrics: str | None) -> tuple[list[str], list[str]]:
    """Return the chosen measures, and why others of the default list are left out."""
    from codec.rate_distortion.metrics import METRICS

    if metrics is not None:
        wanted = [name.strip() for name in metrics.split(",") if name.strip()]
        unknown = [name for name in wanted if name not in METRICS]
        if unknown or not wanted:
            raise UsageError(f"metrics {metrics!r}: expected some of {', '.join(METRICS)}")
        return wanted, []
    missing = {name: metric.missing() for name, metric in METRICS.items()}
    installed = [name for name, error in missing.items() if error is None]
    return installed, in_few_words(error for error in missing.values() if error is not None)


class _Input(io.BytesIO):
    """The bytes of an input, read once because it may be a pipe.  Messages use its name."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def _read(name: str, reduce_depth: bool, device: str) -> tuple[Picture, str, int]:
    """Return the upright picture of a file, its format, and its size in bytes."""
    from PIL import Image

    from codec import api
    from codec.pictures.read import picture_from
    from codec.system.source import opened, read_all

    with opened(read_input(source_of(name))) as fo:
        data = read_all(fo)
    if data.startswith(SIGNATURE) or name.lower().endswith(".calo"):
        try:
            picture = api.decompress_to_picture(data, device=device)
        except StreamError as error:
            # The format does not know the file's name.
            raise type(error)(f"{name}: {error}") from error
        picture = picture_from(picture, reduce_depth=reduce_depth, apply_orientation=True)
        return picture, "CALO", len(data)
    allow_large_images()
    picture = picture_from(
        _Input(data, name), reduce_depth=reduce_depth, keep_depth=True, apply_orientation=True
    )
    with Image.open(io.BytesIO(data)) as image:
        return picture, str(image.format), len(data)


def _record(files: list[ComparedFile], found: Comparison) -> dict[str, object]:
    first, second = (dataclasses.asdict(file) for file in files)
    # JSON has no infinity: the PSNR of equal planes is null.
    measures = {
        key: None if isinstance(value, float) and math.isinf(value) else value
        for key, value in dataclasses.asdict(found).items()
    }
    return {"schema": SCHEMA, "a": first, "b": second, **measures}


def _lines(files: list[ComparedFile], found: Comparison) -> list[str]:
    from codec.pictures.depth import peak_of

    width = max(len(file.file) for file in files)
    lines = [
        f"{file.file:<{width}}  {file.format:<5}{found.width}×{found.height}  "
        f"{file.size_bytes:,} bytes  {file.rate_bpp:.3f} bpp"
        for file in files
    ]
    lines.append(f"PSNR         {_decibels(found.psnr_db)}")
    white = peak_of(max(file.bit_depth for file in files))
    lines.append(f"max error    {found.max_error} of {white}")
    if found.ms_ssim is not None:
        lines.append(f"MS-SSIM      {found.ms_ssim:.5f}")
    if found.ssimulacra2 is not None:
        lines.append(f"SSIMULACRA2  {found.ssimulacra2:.2f}")
    if found.alpha_psnr_db is not None:
        lines.append(f"alpha PSNR   {_decibels(found.alpha_psnr_db)}")
    return lines


def _decibels(value: float) -> str:
    return "infinite: equal" if math.isinf(value) else f"{value:.2f} dB"
