"""`calotype demo`: a photograph becomes a small file and comes back, beside JPEG and WebP."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitstream.errors import UsageError
from codec.system.write_file import refuse_existing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from codec.rate_distortion import OperationalCodec

QUALITIES = (75, 50, 25, 10)
PICTURES = ("coffee", "astronaut", "chelsea")
FOLDER = Path(__file__).parents[1] / "photographs"

PEERS = {"jpeg": ".jpg", "webp": ".webp"}


@dataclass(frozen=True)
class DemoFile:
    """One coded file of the demonstration: its bytes, and what it decodes to (uint8, h w 3)."""

    codec: str
    setting: str
    data: bytes
    pixels: NDArray[np.uint8]


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.")] = Path(
        "calotype-demo"
    ),
    picture: Annotated[
        str, typer.Option(help=f"Photograph to use: {', '.join(PICTURES)}.")
    ] = PICTURES[0],
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace pictures of an earlier run.")
    ] = False,
) -> None:
    """Compress a photograph and show what it costs.

    It is compressed at four qualities and decoded again. Each file is compared with the JPEG and
    the WebP of the nearest size, by PSNR, and by SSIMULACRA2 if the extra metrics is installed. The
    photograph comes with the package, so this works offline; it writes only to the output folder.

    Example: calotype demo
    """
    from codec.rate_distortion import find_codec
    from codec.rate_distortion.files.result_file import write_bytes
    from codec.rate_distortion.metrics import METRICS

    pixels = load_picture(picture)
    original = output / f"{picture}.png"
    refuse_existing(original, force=force)
    photo = find_codec("photo")
    groups: list[list[DemoFile]] = []
    for quality in QUALITIES:
        data = photo.encode(pixels, quality)
        ours = DemoFile("calotype", f"q {quality}", data, photo.decode(data))
        peers = [nearest_in_size(find_codec(name), pixels, len(data)) for name in PEERS]
        groups.append([ours, *peers])
    write_bytes(original, _png(pixels))
    for quality, (ours, *peers) in zip(QUALITIES, groups, strict=True):
        stem = f"{picture}-q{quality}"
        write_bytes(output / f"{stem}.calo", ours.data)
        write_bytes(output / f"{stem}.png", _png(ours.pixels))
        for peer in peers:
            write_bytes(output / f"{stem}-nearest{PEERS[peer.codec]}", peer.data)
    _print_table(picture, pixels, groups)
    if METRICS["ssimulacra2"].missing() is not None:
        typer.echo("the extra metrics adds SSIMULACRA2 to the table")
    typer.echo(
        f"written to {output}: {original.name}, and for each quality the .calo file, the picture "
        "it decodes to (.png), and the JPEG and WebP of the nearest size"
    )
    typer.echo(
        f"next: calotype compress YOUR_PHOTO, or calotype inspect {output}/{picture}-q75.calo"
    )


def load_picture(name: str) -> NDArray[np.uint8]:
    """A photograph of the package: uint8 (h, w, 3); raises `UsageError` for another name."""
    import numpy as np
    from PIL import Image

    if name not in PICTURES:
        raise UsageError(f"unknown photograph {name!r}; choose one of {', '.join(PICTURES)}")
    with Image.open(FOLDER / f"{name}.webp") as image:
        return np.asarray(image.convert("RGB"))


def nearest_in_size(
    codec: OperationalCodec, pixels: NDArray[np.uint8], target_bytes: int
) -> DemoFile:
    """The file whose size is nearest to `target_bytes`, over all integer qualities of a codec."""
    low, high = int(codec.settings[0]), int(codec.settings[-1])
    files = {low: codec.encode(pixels, low), high: codec.encode(pixels, high)}
    # Sizes grow with quality: bisect, then take the nearer of the two that enclose the target.
    while high - low > 1:
        middle = (low + high) // 2
        files[middle] = codec.encode(pixels, middle)
        if len(files[middle]) > target_bytes:
            high = middle
        else:
            low = middle
    best = min(files, key=lambda setting: (abs(len(files[setting]) - target_bytes), setting))
    return DemoFile(codec.name, f"q {best}", files[best], codec.decode(files[best]))


def _png(pixels: NDArray[np.uint8]) -> bytes:

    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def _print_table(picture: str, original: NDArray[np.uint8], groups: list[list[DemoFile]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from codec.rate_distortion.metrics import METRICS

    # Without the extra metrics, SSIMULACRA2 is left out: the demonstration needs no extra.
    measures = [METRICS[name] for name in ("psnr", "ssimulacra2")]
    measures = [measure for measure in measures if measure.missing() is None]
    height, width = original.shape[:2]
    table = Table(title=f"{picture}, {width}×{height}, {original.size:,} bytes of pixels")
    table.add_column("codec")
    for heading in ("setting", "bytes", "bpp", *(measure.label for measure in measures)):
        table.add_column(heading, justify="right")
    for group in groups:
        for rank, file in enumerate(group):
            table.add_row(
                file.codec,
                file.setting,
                f"{len(file.data):,}",
                f"{8 * len(file.data) / (width * height):.3f}",
                *(f"{measure.measure(original, file.pixels):.2f}" for measure in measures),
                style="bold" if rank == 0 else None,
                end_section=rank == len(group) - 1,
            )
    Console().print(table)
