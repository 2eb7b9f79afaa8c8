"""`calotype plot`: draw the curves of result files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def plot(
    results: Annotated[list[Path], typer.Argument(help="JSON files written by `calotype rd`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Picture to write: .svg, .png or .pdf.")
    ] = Path("curve.svg"),
    anchors: Annotated[
        Path | None,
        typer.Option(help='Published curves, drawn dashed: JSON {name: {"bpp": [], "psnr": []}}.'),
    ] = None,
    anchor: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=LABEL]", help="Choose published curves by name; repeatable."),
    ] = None,
    codecs: Annotated[
        str | None, typer.Option(help="Draw only these codecs, comma-separated.")
    ] = None,
    rate_range: Annotated[
        str, typer.Option(metavar="LOW,HIGH", help="Bits per pixel to show.")
    ] = "0,2",
    title: Annotated[str, typer.Option(help="Title above the plot.")] = "",
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing picture.")
    ] = False,
) -> None:
    """Draw rate-distortion curves from result files, beside published ones if given."""
    from bitstream.errors import UsageError
    from codec.cli.rd import parse_rate_range
    from codec.rate_distortion import read_result
    from codec.rate_distortion.plot import draw, lines_of_anchors, lines_of_curves
    from codec.write_file import refuse_existing

    if anchor and anchors is None:
        raise UsageError("--anchor chooses from a file of published curves: give --anchors FILE")
    refuse_existing(output, force=force)
    curves = [curve for path in results for curve in read_result(path).curves]
    if codecs is not None:
        wanted = [part.strip() for part in codecs.split(",")]
        missing = [one for one in wanted if all(curve.codec != one for curve in curves)]
        if missing:
            measured = ", ".join(sorted({curve.codec for curve in curves}))
            raise UsageError(f"no curve of {', '.join(missing)} in the files; there are {measured}")
        curves = [curve for curve in curves if curve.codec in wanted]
    lines = lines_of_curves(curves)
    if anchors is not None:
        lines += lines_of_anchors(anchors, anchor)
    draw(lines, output, title=title, rate_range_bpp=parse_rate_range(rate_range))
    typer.echo(f"{output}: {len(lines)} curves")
