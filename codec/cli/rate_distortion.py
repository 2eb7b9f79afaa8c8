"""`calotype rd`: rate-distortion curves of real codecs on your pictures."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitstream.errors import InputError, UsageError
from codec.cli.progress import progress
from codec.cli.terminal import print_notice
from codec.cli.values import parse_names
from codec.system.write_file import refuse_existing

if TYPE_CHECKING:
    from codec.rate_distortion import BdRate, OperationalCodec, OperationalCurve, SourceImage

DEFAULT_CODECS = "photo,jpeg,webp,jpeg2000,avif,jxl"
_SUFFIXES = (".json", ".csv", ".svg", ".png", ".html")


def rd(
    images: Annotated[
        list[Path], typer.Argument(help="Pictures, folders, or .tar archives of pictures.")
    ],
    codecs: Annotated[
        str | None,
        typer.Option(help=f"Codecs to measure, comma-separated; by default {DEFAULT_CODECS}."),
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for rd.json, rd.csv, rd.svg and rd.png.")
    ] = Path("calotype-rd"),
    reference: Annotated[
        str, typer.Option(help="Codec that the BD-rates are relative to; always measured.")
    ] = "jpeg",
    rate_range: Annotated[
        str | None,
        typer.Option(metavar="LOW,HIGH", help="Restrict the BD-rates to these bits per pixel."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the set of pictures; by default the first path's.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Pictures at a time.")] = 1,
    metric: Annotated[
        str,
        typer.Option(
            help="What to measure and to compare at, comma-separated: psnr, ssimulacra2, ms-ssim. "
            "PSNR is always measured; the others are slow and need the extra metrics."
        ),
    ] = "psnr",
    ms_ssim: Annotated[
        bool, typer.Option("--ms-ssim", help="Measure MS-SSIM too, as --metric psnr,ms-ssim does.")
    ] = False,
    html: Annotated[
        bool,
        typer.Option(
            "--html",
            help="Write rd.html too: curves, pictures before and after, and decoded files after "
            "each layer and at each realism.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing results.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print means and BD-rates as JSON.")
    ] = False,
) -> None:
    """Compare codecs by the sizes of their files.

    Codes the pictures with every codec at many settings. Every rate is the size of a file that was
    decoded again. Writes JSON, CSV and plots of the curves, and prints how many more or fewer bits
    each codec needs for the same PSNR, and for the same score of every other metric that was asked
    for. These are averages over the range in the next column, which both codecs reach.

    Example: calotype rd pictures --codecs photo,jpeg,webp -o curves
    """
    from codec.rate_distortion.files.bd_rate import bd_rate_available, bd_rate_missing
    from codec.rate_distortion.metrics import find_metrics
    from codec.rate_distortion.report.figure import plot_available, plot_missing

    range_bpp = None if rate_range is None else parse_rate_range(rate_range)
    asked = parse_names("--metric", metric)
    metrics = [one.name for one in find_metrics([*asked, "ms-ssim"] if ms_ssim else asked)]
    drawings = {
        output / f"rd{'' if name == 'psnr' else f'-{name}'}{suffix}": name
        for name in (metrics if plot_available() else ())
        for suffix in (".svg", ".png")
    }
    written = [output / "rd.json", output / "rd.csv", *drawings]
    written += [output / "rd.html"] if html else []
    for path in written:
        refuse_existing(path, force=force)
    notices: list[str] = []
    chosen = _choose_codecs(codecs, reference, notices)
    notices += [] if plot_available() else [f"no pictures of the curves: {plot_missing()}"]
    notices += [] if bd_rate_available() or len(chosen) == 1 else [str(bd_rate_missing())]
    for notice in notices:
        print_notice(notice)
    earlier = [path for path in sorted(output.glob("rd*")) if path.suffix in _SUFFIXES]
    usable, failed, notices = _readable(images, earlier)
    notices += [f"left out: {reason}" for reason in failed]
    data_set = name or (images[0].resolve().stem if len(images) == 1 else "pictures")
    curves = _measure(chosen, usable, data_set, jobs=jobs, metrics=metrics)
    deltas = _bd_rates(curves, reference, metrics, range_bpp, notices)
    left_out = _write(output, curves, deltas, drawings, notices)
    written = [path for path in written if path not in left_out]
    if html:
        _write_page(output / "rd.html", chosen, usable, curves, deltas, reference, metrics)
    if as_json:
        summary = _summary(curves, deltas, metrics, written, failed)
        print(json.dumps(summary, indent=2, allow_nan=False))
    else:
        _print_table(curves, deltas, reference, metrics, written)
    for notice in dict.fromkeys(notices):
        print_notice(notice)
    kept = [str(path) for path in earlier if path not in written]
    if kept:
        print_notice(f"left unchanged, from an earlier run: {', '.join(kept)}")
    if failed:
        raise typer.Exit(1)


def parse_rate_range(text: str) -> tuple[float, float]:
    """Read "LOW,HIGH" in bits per pixel; raises `UsageError` unless 0 ≤ LOW < HIGH."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low, high = 0.0, 0.0
    if not 0 <= low < high:
        raise UsageError(f"rate range {text!r}: expected two rates in bpp, such as 0.15,1.2")
    return low, high


def _choose_codecs(
    codecs: str | None, reference: str, notices: list[str]
) -> list[OperationalCodec]:
    from codec.rate_distortion import codec_names, find_codec

    names = parse_names("--codecs", DEFAULT_CODECS if codecs is None else codecs)
    names = list(dict.fromkeys([*names, reference]))
    chosen: list[OperationalCodec] = []
    for codec_name in names:
        found = find_codec(codec_name)
        try:
            found.require()
        except UsageError as error:
            # A codec of the default list may be left out, but not one that was asked for.
            if codecs is not None or codec_name == reference:
                raise
            notices.append(f"left out: {error}")
            continue
        chosen.append(found)
    order = (*codec_names(), *names)  # unregistered models come last, in the given order
    return sorted(chosen, key=lambda one: order.index(one.name))


def _readable(
    paths: list[Path], earlier: list[Path]
) -> tuple[list[SourceImage], list[str], list[str]]:
    """Pictures that can be measured, why others cannot be, and notices on those in `earlier`.

    earlier   outputs of another run, whose plots are not pictures to measure
    """
    from codec.rate_distortion import find_images

    usable: list[SourceImage] = []
    failed: list[str] = []
    notices: list[str] = []
    own = {path.resolve() for path in earlier}
    for source in find_images(paths):
        if source.path.resolve() in own:
            notices.append(f"left out: {source.name}: the result of an earlier run")
            continue
        try:
            source.pixels()
        except InputError as error:
            failed.append(str(error))
        else:
            usable.append(source)
    if not usable:
        raise InputError("none of the pictures can be measured: " + "; ".join([*failed, *notices]))
    return usable, failed, notices


def _measure(
    chosen: list[OperationalCodec],
    sources: list[SourceImage],
    data_set: str,
    *,
    jobs: int,
    metrics: list[str],
) -> list[OperationalCurve]:
    from codec.rate_distortion import measure_curve

    with (
        ThreadPoolExecutor(jobs) as executor,
        progress(len(chosen) * len(sources), "measuring") as advance,
    ):
        return [
            measure_curve(
                one,
                sources,
                data_set=data_set,
                metrics=metrics,
                executor=executor if jobs > 1 else None,
                progress=lambda _: advance(),
            )
            for one in chosen
        ]


def _bd_rates(
    curves: list[OperationalCurve],
    reference: str,
    metrics: list[str],
    range_bpp: tuple[float, float] | None,
    notices: list[str],
) -> list[BdRate]:
    """BD-rates of every other curve against the reference; a failure becomes a notice."""
    from codec.rate_distortion import bd_rate
    from codec.rate_distortion.files.bd_rate import bd_rate_available

    if not bd_rate_available():
        return []
    base = next(curve for curve in curves if curve.codec == reference)
    deltas: list[BdRate] = []
    for metric in metrics:
        for curve in curves:
            if curve is base:
                continue
            try:
                deltas.append(bd_rate(base, curve, metric=metric, rate_range_bpp=range_bpp))
            except UsageError as error:  # too little overlap, or pictures too small for a score
                notices.append(f"no BD-rate of {curve.codec}: {error}")
    return deltas


def _write(
    output: Path,
    curves: list[OperationalCurve],
    deltas: list[BdRate],
    drawings: dict[Path, str],
    notices: list[str],
) -> list[Path]:
    """Write all results but the page; return the plots that would be empty, and add notices."""
    from codec.rate_distortion import curves_to_csv, write_result
    from codec.rate_distortion.files.result_file import write_text
    from codec.rate_distortion.metrics import METRICS
    from codec.rate_distortion.report.figure import draw_picture
    from codec.rate_distortion.report.lines import picture_of_curves

    write_result(output / "rd.json", curves, {"bd_rates": [one.to_json() for one in deltas]})
    write_text(output / "rd.csv", curves_to_csv(curves))
    left_out: list[Path] = []
    for path, metric in drawings.items():
        picture = picture_of_curves(curves, metric=metric, title=_title(curves))
        if picture.lines:
            draw_picture(picture, path)
            continue
        left_out.append(path)
        low, high = picture.x_limits
        notices.append(f"no {path.name}: no {METRICS[metric].title} within {low:g}–{high:g} bpp")
    return left_out


def _write_page(
    path: Path,
    chosen: list[OperationalCodec],
    sources: list[SourceImage],
    curves: list[OperationalCurve],
    deltas: list[BdRate],
    reference: str,
    metrics: list[str],
) -> None:
    from codec.rate_distortion.files.result_file import write_text
    from codec.rate_distortion.report.page import report_page
    from codec.rate_distortion.report.pictures import show_files, show_pictures

    pictures = show_pictures(chosen, sources, curves)
    files = show_files(chosen, sources, curves)
    title = _title(curves)
    write_text(path, report_page(title, curves, pictures, deltas, reference, metrics, files))


def _title(curves: list[OperationalCurve]) -> str:
    count = len(curves[0].images)
    return f"{curves[0].data_set} ({_pictures(count)})"


def _pictures(count: int) -> str:
    return f"{count} picture{'s' if count > 1 else ''}"


def _summary(
    curves: list[OperationalCurve],
    deltas: list[BdRate],
    metrics: list[str],
    written: list[Path],
    failed: list[str],
) -> dict[str, Any]:
    means = ["setting", "mean_bpp", "mean_psnr_db", "psnr_of_mean_mse_db", "mean_ms_ssim"]
    means += ["mean_ssimulacra2"] if "ssimulacra2" in metrics else []
    contents = [curve.to_json() for curve in curves]
    return {
        "schema": "calotype.rd_summary/1",
        "data_set": curves[0].data_set,
        "images": len(curves[0].images),
        "written": [str(path) for path in written],
        "failed": failed,
        "curves": [
            {
                "codec": content["codec"],
                "encoder": content["encoder"],
                "setting_name": content["setting_name"],
                "points": [{key: point[key] for key in means} for point in content["points"]],
            }
            for content in contents
        ],
        "bd_rates": [delta.to_json() for delta in deltas],
    }


def _print_table(
    curves: list[OperationalCurve],
    deltas: list[BdRate],
    reference: str,
    metrics: list[str],
    written: list[Path],
) -> None:
    from rich.console import Console
    from rich.table import Table

    from codec.rate_distortion.metrics import METRICS

    by_metric = {(delta.metric, delta.test): delta for delta in deltas}
    for metric in metrics:
        measure = METRICS[metric]
        count = _pictures(len(curves[0].images))
        table = Table(title=f"{curves[0].data_set}: {count}, real files")
        table.add_column("codec")
        headings = ["rates in bpp", measure.label]
        if deltas:
            headings += [f"BD-rate against {reference}", f"over {measure.unit or measure.title}"]
        for heading in headings:
            table.add_column(heading, justify="right")
        for curve in curves:
            rates = sorted(point.mean_bpp for point in curve.points)
            scores = [point.mean_score(metric) for point in curve.points]
            levels = sorted(score for score in scores if score is not None)
            delta = by_metric.get((metric, curve.codec))
            cells = [
                curve.codec,
                f"{rates[0]:.3f}–{rates[-1]:.3f}",
                f"{levels[0]:.{measure.digits - 2}f}–{levels[-1]:.{measure.digits - 2}f}"
                if levels
                else "—",
                "—" if delta is None else f"{delta.bd_rate_percent:+.1f} %",
                "—"
                if delta is None
                else f"{delta.low:.{measure.digits - 2}f}–{delta.high:.{measure.digits - 2}f}",
            ]
            table.add_row(*cells[: 1 + len(headings)])
        Console().print(table)
    Console().print("written: " + ", ".join(map(str, written)), highlight=False, soft_wrap=True)
