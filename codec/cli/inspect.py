"""``calotype inspect``: the properties of a file, without decoding it."""

import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from bitstream import StreamError, scan
from codec.cli.files import read_input, source_of
from codec.cli.run_jobs import print_json
from codec.models.catalog import model_numbered
from codec.system.source import opened, read_calo

if TYPE_CHECKING:
    from codec import FileInfo


def inspect(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help=".calo file, or - for standard input.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show the properties of a .calo file, without decoding it.

    If the file is cut or damaged, this shows what comes before the damage, and then the error.

    Example: calotype inspect photo.calo
    """
    from codec.results import file_info

    damage: StreamError | None
    try:
        with opened(read_input(source_of(file), read_calo)) as fo:
            found = scan(fo, partial=not as_json)
        damage = found.damage
    except StreamError as error:
        damage = error
    else:
        info = file_info(found)
        if as_json:
            print_json({"file": file, **dataclasses.asdict(info)})
        else:
            typer.echo("\n".join(_lines(file, info, is_whole=damage is None)))
    if damage is not None:
        # The format does not know the file's name.
        raise type(damage)(f"{file}: {damage}") from damage


def _lines(file: str, info: "FileInfo", *, is_whole: bool) -> list[str]:
    kind = {1: "grey", 3: "RGB"}[info.channels] + (" with alpha" if info.has_alpha else "")
    model = info.model_name or "unknown to this version"
    quality = f"{info.quality:g}"
    spec = model_numbered(info.model_id)
    if spec is not None and spec.variants:
        quality = "one rate, that of the checkpoint"
    elif spec is not None and spec.lossless:
        quality = "lossless"
    elif info.max_error is not None:
        quality = f"no pixel value changed by more than {info.max_error}"
    elif spec is None or spec.has_quality:
        quality += "; if --roi was used, lower outside the region"  # which the file does not tell
    rows = {
        "file": f"{file}, {info.size_bytes:,} bytes, format version {info.format_version}",
        "image": f"{info.width}×{info.height}, {kind}, {info.bit_depth} bits",
        "rate": f"{info.rate_bpp:.4f} bits per pixel, counting the whole file",
        "quality": quality,
        "model": f"{model} (number {info.model_id}), weights {info.weights_hash}",
        "tiles": f"{info.tiles_x}×{info.tiles_y} of {info.tile_size} pixels",
        "layers": f"{info.layers}: {', '.join(f'{size:,}' for size in info.layer_bytes)} bytes",
        "metadata": f"ICC {info.icc_bytes}, EXIF {info.exif_bytes}, XMP {info.xmp_bytes} bytes",
        "payload": f"{info.payload_bytes:,} bytes, alpha {info.alpha_bytes:,} bytes",
    }
    if not is_whole:
        version = f"format version {info.format_version}"
        rows["file"] = f"{file}, intact up to byte {info.size_bytes:,}, {version}"
        intact = sum(chunk.type == b"DATA" for chunk in info.chunks)
        whole = intact // (info.tiles_x * info.tiles_y)
        rows["layers"] = f"{whole} of {info.layers} before the damage"
        # These are not fully known.
        del rows["rate"], rows["metadata"], rows["payload"]
    if info.tune is not None:
        rows["tune"] = info.tune
    if info.noise != "none":
        drawn = "free: drawn afresh each time"
        if info.noise_seed is not None:
            drawn = f"seed {info.noise_seed}: the same each time"
        rows["noise"] = drawn
    if not info.portable:
        rows["portable"] = "no: a machine other than the one that wrote it may fail to decode it"
    lines = [f"{title:<9} {text}" for title, text in rows.items()]
    lines.append(f"{'chunks':<9} {'type':<4} {'offset':>10} {'length':>10}")
    for chunk in info.chunks:
        kind = chunk.type.decode("latin-1")
        lines.append(f"{'':<9} {kind:<4} {chunk.offset:>10} {chunk.length:>10}")
    return lines
