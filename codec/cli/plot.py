"""`calotype plot`: draw the curves of result files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitstream.errors import UsageError
from codec.system.write_file import refuse_existing

if TYPE_CHECKING:
    from codec.rate_distortion.ladder.model_file import AnyModelResult

DEFAULT_RATE_RANGE = "0,2"
DEFAULT_SIZE = "8.4x5.4"
BOUND_SUMMARY = "calotype.bound_summary/1"
DRAWABLE = (
    "give rd.json of `calotype rd`, bound.json or ladder.json of `calotype bound`, another ladder, "
    "or what `calotype bound --json` printed"
)


def plot(
    results: Annotated[
        list[Path],
        typer.Argument(help="JSON files of `calotype rd`, or of `calotype bound` and ladders."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Picture: .svg, .png, .pdf or .html."),
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
        str | None,
        typer.Option(
            metavar="LOW,HIGH",
            help=f"Bits per pixel to show, for codecs; by default {DEFAULT_RATE_RANGE}.",
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(help="What to draw, for codecs: psnr, ssimulacra2 or ms-ssim."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name of a curve; give one for each, in order."),
    ] = None,
    title: Annotated[str, typer.Option(help="Title above the plot.")] = "",
    size: Annotated[
        str, typer.Option(metavar="WIDTHxHEIGHT", help="Size of the picture in inches.")
    ] = DEFAULT_SIZE,
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="bits|nats|bpp",
            help="Unit of rates, for generative models: bits (default) or nats per image, or bits "
            "per pixel.",
        ),
    ] = None,
    log_x: Annotated[
        bool | None,
        typer.Option(
            "--log-x/--linear-x",
            help="Scale of the distortion axis, for generative models; chosen by the range by "
            "default.",
        ),
    ] = None,
    log_y: Annotated[
        bool | None,
        typer.Option(
            "--log-y/--linear-y", help="Scale of the rate axis, for generative models [linear]."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", "-f", help="Replace an existing picture.")
    ] = False,
) -> None:
    """Draw rate-distortion curves from result files.

    The files hold either curves of codecs, or curves of generative models. Published curves and a
    range of rates are for codecs only.

    Example: calotype plot curves/rd.json -o curve.svg
    """
    if anchor and anchors is None:
        raise UsageError("--anchor chooses from a file of published curves: give --anchors FILE")
    refuse_existing(output, force=force)
    size_inches = parse_size(size)
    of_models = [path for path in results if _is_of_model(path, _content(path))]
    if len(of_models) == len(results):
        codec_options = {
            "--anchors": anchors, "--codecs": codecs, "--rate-range": rate_range,
            "--metric": metric,
        }  # fmt: skip
        for option, value in codec_options.items():
            if value is not None:
                raise UsageError(f"{option} is for curves of codecs, not of generative models")
        count = _plot_models(
            results, output, labels=label or [], title=title, unit=unit or "bits", log_x=log_x,
            log_y=bool(log_y), size_inches=size_inches,
        )  # fmt: skip
    elif of_models:
        others = ", ".join(str(path) for path in results if path not in of_models)
        raise UsageError(
            f"{of_models[0]} is of a generative model (bits per image), {others} of codecs "
            "(bits per pixel): draw them separately"
        )
    else:
        model_options = {"--unit": unit, "--log-x": log_x, "--log-y": log_y}
        for option, given in model_options.items():
            if given is not None:
                raise UsageError(f"{option} is for curves of generative models, not of codecs")
        count = _plot_codecs(
            results, output, anchors, anchor, codecs, rate_range or DEFAULT_RATE_RANGE,
            metric or "psnr", title, size_inches, label or [],
        )  # fmt: skip
    typer.echo(f"{output}: {count} curve{'s' if count > 1 else ''}")


def parse_size(text: str) -> tuple[float, float]:
    """Read "8x5" as inches; raises `UsageError` unless both are in 2..40."""
    try:
        width, height = (float(part) for part in text.lower().replace("×", "x").split("x"))
    except ValueError:
        width, height = 0.0, 0.0
    if not (2 <= width <= 40 and 2 <= height <= 40):
        raise UsageError(f"size {text!r}: expected WIDTHxHEIGHT in inches, 2 to 40, such as 8x5")
    return width, height


def _content(path: Path) -> dict[str, Any]:
    from codec.rate_distortion.errors import ResultFileError
    from codec.rate_distortion.files.result_file import read_json

    try:
        return read_json(path)
    except ResultFileError as error:
        if path.is_file():
            raise ResultFileError(f"{error}; {DRAWABLE}") from error
        raise


def _is_of_model(path: Path, content: dict[str, Any]) -> bool:
    """Whether a file is of a generative model; raises `ResultFileError` if it is not of codecs."""
    from codec.rate_distortion.errors import ResultFileError
    from codec.rate_distortion.files.result_file import SCHEMA
    from codec.rate_distortion.ladder.model_file import is_model_result

    schema = content.get("schema")
    if schema == BOUND_SUMMARY or is_model_result(content):
        return True
    if schema != SCHEMA:
        kind = "a file without a schema" if schema is None else f"schema {schema!r}"
        raise ResultFileError(f"{path}: {kind} cannot be drawn; {DRAWABLE}")
    return False


def _results_of(path: Path) -> list[AnyModelResult]:
    from codec.rate_distortion.errors import ResultFileError
    from codec.rate_distortion.files.result_file import read_json
    from codec.rate_distortion.ladder.model_file import ModelResult, read_model_results

    content = read_json(path)
    if content.get("schema") != BOUND_SUMMARY:
        return read_model_results(path)
    try:
        return [ModelResult.from_json(content.get("result"))]  # type: ignore[arg-type]
    except ResultFileError as error:
        raise ResultFileError(f"{path}: {error}") from error


def _plot_models(results: list[Path], output: Path, **options: Any) -> int:
    from codec.rate_distortion.report.figure import draw_picture
    from codec.rate_distortion.report.lines import picture_of_results

    found = [result for path in results for result in _results_of(path)]
    picture = picture_of_results(found, **options)
    draw_picture(picture, output)
    return len(picture.lines)


def _plot_codecs(
    results: list[Path],
    output: Path,
    anchors: Path | None,
    anchor: list[str] | None,
    codecs: str | None,
    rate_range: str,
    metric: str,
    title: str,
    size_inches: tuple[float, float],
    labels: list[str],
) -> int:
    from codec.cli.rate_distortion import parse_rate_range
    from codec.rate_distortion import read_result
    from codec.rate_distortion.metrics import METRICS
    from codec.rate_distortion.report.figure import draw_picture
    from codec.rate_distortion.report.lines import lines_of_anchors, picture_of_curves

    if metric not in METRICS:
        raise UsageError(f"metric {metric!r} is unknown; known are {', '.join(METRICS)}")
    curves = [curve for path in results for curve in read_result(path).curves]
    if codecs is not None:
        wanted = [part.strip() for part in codecs.split(",")]
        missing = [one for one in wanted if all(curve.codec != one for curve in curves)]
        if missing:
            measured = ", ".join(sorted({curve.codec for curve in curves}))
            raise UsageError(f"no curve of {', '.join(missing)} in the files; there are {measured}")
        curves = [curve for curve in curves if curve.codec in wanted]
    if all(point.mean_score(metric) is None for curve in curves for point in curve.points):
        raise UsageError(
            f"no curve was measured with {metric}: measure again by calotype rd --metric {metric}"
        )
    published = [] if anchors is None else lines_of_anchors(anchors, anchor, metric=metric)
    picture = picture_of_curves(
        curves,
        metric=metric,
        anchors=published,
        labels=labels,
        title=title,
        rate_range_bpp=parse_rate_range(rate_range),
        size_inches=size_inches,
    )
    draw_picture(picture, output)
    return len(curves) + len(published)
