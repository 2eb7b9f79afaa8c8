"""``calotype inspect``: what a file says about itself, without decoding it."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from .batch import print_json
from .files import Job, read_input

if TYPE_CHECKING:
    from codec import FileInfo


def inspect(
    file: Annotated[str, typer.Argument(metavar="FILE", help=".calo file, or - for a pipe.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show size, quality, model, layers and chunks of a .calo file."""
    from pathlib import Path

    from codec import api

    info = api.inspect(read_input(Job(None if file == "-" else Path(file), None)))
    if as_json:
        print_json({"file": file, **dataclasses.asdict(info)})
    else:
        typer.echo("\n".join(_lines(file, info)))


def _lines(file: str, info: "FileInfo") -> list[str]:
    kind = {1: "gray", 3: "RGB"}[info.channels] + (" with alpha" if info.has_alpha else "")
    model = info.model_name or "unknown to this version"
    rows = {
        "file": f"{file}, {info.size_bytes:,} bytes, format version {info.format_version}",
        "image": f"{info.width}×{info.height}, {kind}, {info.bit_depth} bits",
        "rate": f"{info.rate_bpp:.4f} bits per pixel, all of the file counted",
        "quality": f"{info.quality:g}",
        "model": f"{model} (number {info.model_id}), weights {info.weights_hash}",
        "tiles": f"{info.tiles_x}×{info.tiles_y} of {info.tile_size} pixels",
        "layers": str(info.layers),
        "metadata": f"ICC {info.icc_bytes}, EXIF {info.exif_bytes}, XMP {info.xmp_bytes} bytes",
        "payload": f"{info.payload_bytes:,} bytes, alpha {info.alpha_bytes:,} bytes",
    }
    lines = [f"{title:<9} {text}" for title, text in rows.items()]
    lines.append(f"{'chunks':<9} {'type':<4} {'offset':>10} {'length':>10}")
    for chunk in info.chunks:
        kind = chunk.type.decode("latin-1")
        lines.append(f"{'':<9} {kind:<4} {chunk.offset:>10} {chunk.length:>10}")
    return lines
