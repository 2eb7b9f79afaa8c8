"""`calotype bound`: the rate-distortion curve R_p(D) of a generative model on your data."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bitstream.errors import InputError, OutputError, UsageError
from codec.cli.bound_tables import print_curve, print_gaps
from codec.cli.plot import BOUND_SUMMARY
from codec.cli.progress import duration, phases
from codec.cli.terminal import print_notice
from codec.cli.unfinished import UnfinishedRun
from codec.rate_distortion.annealing.settings import Settings
from codec.system.missing_extra import extra_needed_by
from codec.system.write_file import refuse_existing

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import torch

    from codec.rate_distortion.distortions import Distortion
    from codec.rate_distortion.ladder.model_file import ModelResult
    from codec.rate_distortion.ladder.model_files import FilePoint
    from codec.rate_distortion.model_curve import RDCurve
    from codec.rate_distortion.user_code.adapters import DecoderAdapter


@dataclass(frozen=True)
class _Size:
    """The size of a run, for options that are not given."""

    images: int
    points: int
    temperatures: int
    chains: int
    simulations: int


FULL = _Size(1000, Settings.points, Settings.temperatures, Settings.chains, Settings.simulations)
QUICK = _Size(images=100, points=12, temperatures=250, chains=10, simulations=4)

_COMPARED = (
    "betas", "points", "reference", "temperatures", "bridge_steps", "modes", "chains",
    "simulations", "seed", "device", "certify",
)  # fmt: skip
"""Settings that have to be the same if a run is resumed."""

MOST_BETAS = 10_000


def bound(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|FILE.py:FACTORY",
            help="A .safetensors model, a .pt2 of torch.export, a TorchScript file, a function in "
            "a Python file that returns a decoder, (decoder, prior), or an object with both; or "
            "a name: vae-round and others like it, dplc, mnist-convgan, mnist-convgan-bre.",
        ),
    ],
    data: Annotated[
        Path,
        typer.Option(
            help="An IDX, .npy or .npz file, a folder with MNIST's files, or one of pictures."
        ),
    ],
    part: Annotated[str, typer.Option(help="test or train, if the data has both.")] = "test",
    images: Annotated[
        int | None,
        typer.Option(
            min=2, help="Images to measure, spread evenly over the data [1000; quick: 100]."
        ),
    ] = None,
    distortion: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.py:NAME",
            help="sse (sum of squared errors, pixels 0..1), mse, ms-ssim, nll, or your own.",
        ),
    ] = "sse",
    betas: Annotated[
        str | None,
        typer.Option(
            metavar="LOW:HIGH:COUNT",
            help="Slopes to report, in geometric steps; found automatically by default.",
        ),
    ] = None,
    reference: Annotated[
        str,
        typer.Option(
            metavar="auto|local|prior",
            help="Where the chains start: at the prior, at a Gaussian fitted to each image's "
            "posterior (local), or at the better of the two (auto).",
        ),
    ] = Settings.reference,
    temperatures: Annotated[
        int | None,
        typer.Option(min=1, help="Steps of the annealing from the prior [1000; quick: 250]."),
    ] = None,
    bridge_steps: Annotated[
        int, typer.Option(min=1, help="Maximum number of steps from a local reference.")
    ] = Settings.bridge_steps,
    modes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Gaussians in a local reference, for each component of the prior [1, or 2, 4 or 8 "
            "if the pilot finds posteriors with several modes].",
        ),
    ] = Settings.modes,
    chains: Annotated[
        int | None, typer.Option(min=2, help="Chains for each image [20; quick: 10].")
    ] = None,
    files: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,NAME",
            help="Models of the catalogue with the same decoder, such as vae-round,vae-dither, "
            "whose files of the images are compared with the curve.",
        ),
    ] = None,
    qualities: Annotated[
        str, typer.Option(metavar="Q,Q", help="Qualities of the files.")
    ] = "30,45,60,75,90",
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="A first look: fewer images, slopes, chains and temperatures."
        ),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the same command where it was interrupted before."),
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random numbers.")] = Settings.seed,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    prior_dim: Annotated[
        str | None,
        typer.Option(
            metavar="K|CxHxW",
            help="Dimensions of a code, or its shape such as 4x7x7, for a prior N(0, I) if the "
            "model has none.",
        ),
    ] = None,
    no_certify: Annotated[
        bool,
        typer.Option(
            "--no-certify", help="Skip the bidirectional check; points are marked as not certified."
        ),
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Processes to use.")] = 1,
    name: Annotated[str | None, typer.Option(help="Name of the model in tables and plots.")] = None,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for bound.json, .csv, .html, .svg and .png."),
    ] = Path("calotype-bound"),
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace existing results.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure R_p(D) of a generative model on your images.

    This is the lowest rate at which the model can describe them at each distortion. R_p(D) is the
    smallest E KL(q(z|x) ‖ p(z)) of any encoder q whose reconstructions have the distortion D,
    measured by annealing (Huang et al. 2020). It is an upper bound on the rate-distortion function
    of the data. Points whose accuracy could not be certified are marked.

    Example: calotype bound model.py:model --data digits.npz --images 100 -o result
    """

    with extra_needed_by("calotype bound"):
        import torch  # noqa: F401 - before anything is read
    from codec.datasets.arrays import has_part
    from codec.rate_distortion.errors import MeasurementError
    from codec.rate_distortion.ladder.model_file import ModelResult
    from codec.rate_distortion.report.figure import plot_available, plot_missing
    from codec.rate_distortion.user_code.adapters import usable_device

    early = [] if plot_available() else [f"no .svg and .png: {plot_missing()}"]
    values = None if betas is None else parse_betas(betas)
    code = None if prior_dim is None else parse_code_shape(prior_dim)
    drawings = [output / "bound.svg", output / "bound.png"] if plot_available() else []
    drawings.append(output / "bound.html")
    written = [output / "bound.json", output / "bound.csv", *drawings]
    names = [] if files is None else [part.strip() for part in files.split(",")]
    if names:
        written += [output / "ladder.json", *(path.with_stem("ladder") for path in drawings)]
    wanted = parse_qualities(qualities)
    _refuse_output(output)
    defaults = QUICK if quick else FULL
    settings = Settings(
        distortion="sse",
        betas=values,
        points=defaults.points,
        reference=reference,
        temperatures=temperatures or defaults.temperatures,
        bridge_steps=bridge_steps,
        modes=modes,
        chains=chains or defaults.chains,
        simulations=defaults.simulations,
        seed=seed,
        device=usable_device(device),
        certify=not no_certify,
    )
    same = {
        "model": model,
        "data": str(data),
        "part": part,
        "images": images or defaults.images,
        "distortion": distortion,
        "prior-dim": prior_dim,
        **{name: getattr(settings, name) for name in _COMPARED},
    }
    unfinished = UnfinishedRun(output, same, resume=resume, force=force)
    for path in written:
        # An interrupted run may have written some of them.
        refuse_existing(path, force=force or unfinished.found)
    if names:
        from codec.rate_distortion.ladder.model_files import check_decoders

        check_decoders(names, model)
    adapter, chosen, x, selection, notices = _prepare(
        model, data, part, images or defaults.images, distortion, device, code
    )
    notices = [*early, *notices]
    for notice in notices:
        print_notice(notice)
    points = _measure_files(names, x, chosen, wanted)
    settings = replace(settings, distortion=chosen, blocks=unfinished.folder)
    data_set = data.resolve().stem + (f" {part}" if has_part(data, part) else "")
    title = name or adapter.name
    _check_names(title, data_set, chosen)
    what = "the whole measurement" if unfinished.found else "this"
    print_notice(f"{what} may take {_expected(adapter, settings, x, jobs)}")
    unfinished.begin()
    with unfinished.told():
        curve, untrusted = _measure(adapter, x, settings, jobs, unfinished)
        extra: dict[str, Any] = {
            "prior": repr(adapter.prior),
            "code_dimensions": adapter.prior.dim,
            "image_shape": list(x.shape[1:]),
            "libraries": _libraries(),
            "notices": notices,
        }
        result = ModelResult(curve, title, data_set, selection, extra)
        _write(result, output, drawings)
        gaps = _write_ladder(result, points, chosen, output, drawings) if points else []
        unfinished.remove()
    later = []
    failed = sum(not one for one in curve.certified)
    if failed:
        reasons = sorted({reason for row in curve.failures for reason in row})
        later.append(
            f"{failed} of {len(curve.beta)} points are not certified: {'; '.join(reasons)}"
            + (f". {_advice(curve, settings)}" if _failed(curve) and not untrusted else "")
        )
    if curve.no_local_reference and reference == "auto":
        later.append(f"annealed from the prior alone: {curve.no_local_reference}")
    if as_json:
        summary = {
            "schema": BOUND_SUMMARY,
            "written": [str(path) for path in written],
            "notices": notices + later,
            "result": result.to_json(),
            **({"files": gaps} if gaps else {}),
        }
        print(json.dumps(summary, indent=2, allow_nan=False))
    else:
        print_curve(result, written)
        print_gaps(gaps)
    for notice in later:
        print_notice(notice)
    if untrusted:
        raise MeasurementError(
            f"no point passed its checks: the results in {output} may be far too high. "
            f"{_advice(curve, settings)}, or lower the largest beta of --betas (now "
            f"{curve.beta[-1]:.4g})"
        )


def _measure(
    adapter: DecoderAdapter,
    images: torch.Tensor,
    settings: Settings,
    jobs: int,
    unfinished: UnfinishedRun,
) -> tuple[RDCurve, bool]:
    """The curve, and whether no point of it can be trusted."""
    from codec.rate_distortion.annealing.rd_curve import rd_curve
    from codec.rate_distortion.model_curve import UntrustedCurveError

    with _executor(jobs) as executor, phases() as tell:
        settings = replace(settings, executor=executor, progress=unfinished.telling(tell))
        try:
            return rd_curve(adapter.decode, adapter.prior, images, settings), False
        except UntrustedCurveError as error:
            return error.curve, True


def _failed(curve: RDCurve) -> list[int]:
    """The points that failed a check that was made."""
    from codec.rate_distortion.model_curve import failed_checks

    return [index for index, reasons in enumerate(curve.failures) if failed_checks(reasons)]


def _advice(curve: RDCurve, settings: Settings) -> str:
    """What may help the points that failed."""
    starts = {curve.reference[index] for index in _failed(curve)}
    options = [f"--chains (now {settings.chains})"]
    if "local" in starts:
        options = [f"--bridge-steps (now {settings.bridge_steps})", "--modes", *options]
    if "prior" in starts:
        options = [f"--temperatures (now {settings.temperatures})", *options]
    return f"Raise {', '.join(options[:-1])} or {options[-1]}"


def _expected(adapter: DecoderAdapter, settings: Settings, images: torch.Tensor, jobs: int) -> str:
    """How long the run will take, in words."""
    from codec.rate_distortion.annealing.bridge_passes import LocalModel
    from codec.rate_distortion.annealing.cost import estimated_seconds, measured_pace
    from codec.rate_distortion.distortions import find_distortion

    distortion = find_distortion(settings.distortion)
    model = LocalModel(adapter.decode, adapter.prior, distortion, (), 1)
    pace = measured_pace(model, images.to(settings.device), settings.chains)
    times = estimated_seconds(settings, len(images), adapter.prior.dim, pace)
    least, most = (duration(seconds / jobs) for seconds in times)
    likely = least if least == most else f"between {least} and {most}"
    longer = settings.reference == "auto" and pace.fit is not None
    also = ", longer if the chains have to start at the prior" if longer else ""
    return f"{likely}{also}; each phase shows how much of it is left"


def parse_betas(text: str) -> tuple[float, ...]:
    """Read "LOW:HIGH:COUNT" as slopes in geometric steps, both ends included.

    Raises `UsageError` unless 0 < LOW < HIGH and 2 ≤ COUNT ≤ 10,000.
    """
    from codec.rate_distortion.array_checks import LARGEST_BETA, SMALLEST_BETA  # needs NumPy

    try:
        low_text, high_text, count_text = text.split(":")
        low, high, count = float(low_text), float(high_text), int(count_text)
    except ValueError:
        low, high, count = math.nan, math.nan, 0
    if low == 0:
        raise UsageError(
            f"betas {text!r}: geometric steps cannot start at 0; there the rate is 0 by "
            "definition. Give a small LOW such as 0.01"
        )
    if not (SMALLEST_BETA <= low < high <= LARGEST_BETA and 2 <= count <= MOST_BETAS):
        raise UsageError(
            f"betas {text!r}: expected LOW:HIGH:COUNT with {SMALLEST_BETA:g} ≤ LOW < HIGH ≤ "
            f"{LARGEST_BETA:g} and a COUNT from 2 to {MOST_BETAS}, such as 0.1:1000:40"
        )
    ratio = math.log(high / low) / (count - 1)
    return (*(low * math.exp(ratio * index) for index in range(count - 1)), high)


def parse_code_shape(text: str) -> tuple[int, ...]:
    """Read "10" or "4x7x7"; raises `UsageError` for anything else."""
    try:
        shape = tuple(int(part) for part in text.lower().replace("×", "x").split("x"))
    except ValueError:
        shape = ()
    if not shape or min(shape) < 1:
        raise UsageError(
            f"prior-dim {text!r}: expected the dimensions of a code, such as 10, or its shape, "
            "such as 4x7x7"
        )
    return shape


def parse_qualities(text: str) -> tuple[float, ...]:
    """Read "30,75"; raises `UsageError` unless all are numbers in 1..100."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(1 <= quality <= 100 for quality in found):
        raise UsageError(f"qualities {text!r}: expected numbers in 1..100, such as 30,75")
    return found


def _measure_files(
    names: list[str],
    x: torch.Tensor,
    distortion: Distortion,
    qualities: tuple[float, ...],
) -> list[list[FilePoint]]:
    """The files of each model, written before the long measurement so that nothing fails after."""
    import numpy as np

    from codec.rate_distortion.ladder.model_files import measure_files

    if not names:
        return []
    levels = (255 * x).round()
    if x.ndim != 4 or float((levels / 255 - x).abs().max()) > 1e-6:
        raise UsageError("files hold pictures of 8 bits, but the data has other values")
    images = levels.numpy().astype(np.uint8)
    return [measure_files(name, images, distortion, qualities) for name in names]


def _prepare(
    model: str,
    data: Path,
    part: str,
    count: int,
    distortion: str,
    device: str,
    prior_dim: tuple[int, ...] | None,
) -> tuple[DecoderAdapter, Distortion, torch.Tensor, str, list[str]]:
    """Load everything and try it out, so that nothing fails after an hour."""
    import torch

    from codec.rate_distortion.user_code.adapters import load_decoder, usable_device
    from codec.rate_distortion.user_code.distortion import load_distortion
    from codec.rate_distortion.user_code.probe import probe_distortion

    device = usable_device(device)
    adapter = load_decoder(model, device=device, prior_dim=prior_dim)
    chosen = load_distortion(distortion, variance=adapter.variance)
    _check_convention(chosen)
    notices = list(adapter.notices)
    x, total = read_data(data, part, count, adapter.image_shape)
    selection = f"all {total} images" if len(x) == total else f"{len(x)} of {total}, evenly spaced"
    if total < count:
        notices.append(f"{data} has {total} images: all of them are measured")
    first = x[:2].to(device)
    generator = torch.Generator(device=device).manual_seed(0)
    with torch.no_grad():
        decoded = adapter.decode(adapter.prior.sample(2, generator).float().to(device))
        prepare: Callable[[torch.Tensor], torch.Tensor] | None = getattr(chosen, "prepare", None)
        targets = first if prepare is None else prepare(first)
    probe_distortion(chosen, targets, decoded.float())
    return adapter, chosen, x, selection, notices


def read_data(
    path: Path, part: str, count: int, shape: tuple[int, ...] | None
) -> tuple[torch.Tensor, int]:
    """Up to `count` images float32 (n, *shape) in 0..1, evenly spaced over the data; its size.

    shape   of the decoder's images: (C, H, W), or any other arrangement of as many values, in the
            order channel, row, column

    Raises `InputError` for data that cannot be read or does not fit, `UsageError` for fewer than
    two images, which give no interval.
    """
    import numpy as np
    import torch

    from codec.datasets.arrays import read_samples

    wanted = (shape[0], shape[1], shape[2]) if shape is not None and len(shape) == 3 else None
    found = read_samples(path, shape=wanted, part=part)
    if shape is not None and math.prod(found.shape[1:]) != math.prod(shape):
        raise InputError(
            f"{path}: its images have the shape {found.shape[1:]}, but the decoder's have {shape}"
        )
    if len(found) < 2:
        raise UsageError(f"{path}: one image; an interval over images needs at least 2")
    chosen = np.linspace(0, len(found) - 1, min(count, len(found))).round().astype(int)
    x = torch.from_numpy(found[chosen].astype(np.float32))
    if found.dtype == np.uint8:
        x /= 255
    return x.reshape(len(x), *(shape or x.shape[1:])), len(found)


def _refuse_output(folder: Path) -> None:
    """Raise `OutputError` if a folder cannot be made: better now than after the measurement."""

    nearest = next((one for one in (folder, *folder.parents) if one.exists()), Path())
    if not nearest.is_dir():
        raise OutputError(f"cannot write to {folder}: {nearest} is not a folder")
    if not os.access(nearest, os.W_OK):
        raise OutputError(f"cannot write to {folder}: no permission to write in {nearest}")


def _check_names(model: str, data_set: str, distortion: Distortion) -> None:
    """Raise `UsageError` for names with which no result file can be written."""
    from codec.rate_distortion.errors import ResultFileError
    from codec.rate_distortion.ladder.model_file import ModelResult
    from codec.rate_distortion.ladder.result_schema import check_content
    from codec.rate_distortion.model_curve import RDCurve

    zero = (0.0,)
    curve = RDCurve(
        zero, zero, zero, zero, zero, zero, zero, zero, zero, zero, (False,), ((),),
        distortion.name, str(distortion.convention), images=1, chains=1, temperatures=1, seed=0,
        gradients=1,
    )  # fmt: skip
    try:
        content = ModelResult(curve, model, data_set).to_json()
        check_content(content)
        json.dumps(content, ensure_ascii=False).encode()
    except (ResultFileError, UnicodeEncodeError) as error:
        raise UsageError(
            f"the names of the model ({model!r}), of the data ({data_set!r}) and of the distortion "
            f"({distortion.name!r}, {distortion.convention!r}) cannot be written: {error}; --name "
            "gives the model another one"
        ) from error


def _check_convention(distortion: Distortion) -> None:
    from codec.rate_distortion.ladder.result_schema import pixel_range_of, reduction_of

    convention = str(distortion.convention)
    if reduction_of(convention) is None or pixel_range_of(convention) is None:
        raise UsageError(
            f"the distortion {distortion.name!r} has the convention {convention!r}: it has to say "
            '"sum" or "mean" (or "nats", "dimensionless") and the range of pixel values, such as '
            '"sum over all samples of an image, pixels 0..1"'
        )


@contextmanager
def _executor(jobs: int) -> Iterator[Executor | None]:
    if jobs == 1:
        yield None
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    import torch

    threads = max(1, (os.cpu_count() or 1) // jobs)
    # Not by fork: torch's threads do not survive it.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        jobs, mp_context=context, initializer=torch.set_num_threads, initargs=(threads,)
    ) as pool:
        yield pool


def _libraries() -> dict[str, str]:
    import numpy as np
    import torch

    from codec import __version__

    return {"calotype": __version__, "torch": str(torch.__version__), "numpy": np.__version__}


def _write(result: ModelResult, output: Path, drawings: list[Path]) -> None:
    from codec.rate_distortion.files.result_file import write_text
    from codec.rate_distortion.ladder.model_file import write_model_result
    from codec.rate_distortion.report.figure import draw_picture
    from codec.rate_distortion.report.lines import picture_of_results

    write_model_result(output / "bound.json", result)
    write_text(output / "bound.csv", result.curve.to_csv())
    picture = picture_of_results([result])
    for path in drawings:
        draw_picture(picture, path)


def _write_ladder(
    result: ModelResult,
    points: list[list[FilePoint]],
    distortion: Distortion,
    output: Path,
    drawings: list[Path],
) -> list[dict[str, Any]]:
    from codec.rate_distortion.files.result_file import format_json, write_text
    from codec.rate_distortion.ladder.ladder import Ladder
    from codec.rate_distortion.ladder.model_files import gap_rows, rung_of_files
    from codec.rate_distortion.ladder.rung import Rung
    from codec.rate_distortion.report.figure import draw_picture
    from codec.rate_distortion.report.lines import picture_of_results

    curve = result.curve
    rungs = (Rung.of_curve(curve), *(rung_of_files(one, distortion) for one in points))
    shape = tuple(int(size) for size in result.extra["image_shape"])
    ladder = Ladder(result.model, result.data_set, curve.images, rungs, shape)
    gaps = [row for one in points for row in gap_rows(curve, one)]
    content = {**ladder.to_json(), "files": gaps}
    write_text(output / "ladder.json", format_json(content) + "\n")
    picture = picture_of_results([ladder])
    for path in drawings:
        draw_picture(picture, path.with_stem("ladder"))
    return gaps
