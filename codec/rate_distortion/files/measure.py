"""Rate and distortion of real codecs: pixels → bytes of a complete file → pixels.

      pixels ──encode(setting)──► bytes ──decode──► pixels'
                                    │                  │
                                 rate: length      distortion: squared error

Nothing here is estimated: each rate is the length of a file that was decoded again.  A codec is a
pair of functions and a list of settings (`OperationalCodec`); the ones that are known by name are
in `codecs.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Uint8Array
from bitstream.errors import CalotypeError, UsageError
from codec.datasets.pictures import SourceImage
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.files.curve import MeasuredImage, OperatingPoint, OperationalCurve
from codec.rate_distortion.metrics import METRICS, find_metrics, squared_error


# Named functions, not lambdas, because codecs are pickled for the processes of an executor.
def _nothing_required() -> None:
    return None


def _no_libraries() -> dict[str, str]:
    return {}


def _no_weights() -> str | None:
    return None


@dataclass(frozen=True)
class OperationalCodec:
    """A codec as the measurement sees it.

    `encode` takes uint8 (h, w, 3) pixels and a setting and returns a complete file; `decode` is its
    inverse in shape and dtype.  `settings` sweep from the lowest rate to the highest, about 0.05 to
    3 bpp.  `require` raises `MissingExtraError` if a library is missing; `libraries` returns the
    versions in use, `weights` the hash of a neural codec's weights.
    """

    name: str
    encoder: str
    setting_name: str
    settings: tuple[float, ...]
    encode: Callable[[Uint8Array, float], bytes]
    decode: Callable[[bytes], Uint8Array]
    require: Callable[[], None] = _nothing_required
    libraries: Callable[[], Mapping[str, str]] = _no_libraries
    weights: Callable[[], str | None] = _no_weights


@dataclass(frozen=True)
class ImageMeasurement:
    """One picture at one setting; `scores` has the metrics measured besides PSNR, by name."""

    image: MeasuredImage
    setting: float
    coded_bytes: int
    squared_error: int
    scores: Mapping[str, float | None]
    encode_seconds: float
    decode_seconds: float


def measure_image(
    codec: OperationalCodec,
    name: str,
    pixels: Uint8Array,
    settings: Sequence[float],
    metrics: Sequence[str] = ("psnr",),
) -> list[ImageMeasurement]:
    """Code uint8 (h, w, 3) pixels at every setting and decode each file again.

    metrics   names as in `measure_curve`

    Raises `MeasurementError` if the codec fails or returns another shape or dtype.
    """
    height, width = pixels.shape[:2]
    image = MeasuredImage(name, width, height)
    measured: list[ImageMeasurement] = []
    for setting in settings:
        where = f"{codec.name} at {codec.setting_name} {setting:g} on {name}"
        try:
            started = time.perf_counter()
            data = codec.encode(pixels, setting)
            encoded = time.perf_counter()
            decoded = codec.decode(data)
            finished = time.perf_counter()
        except CalotypeError:
            raise
        except Exception as error:  # a codec by somebody else may raise anything
            raise MeasurementError(f"{where}: {type(error).__name__}: {error}") from error
        if decoded.shape != pixels.shape or decoded.dtype != np.uint8:
            raise MeasurementError(
                f"{where}: decoded to {decoded.dtype} {decoded.shape}, "
                f"expected uint8 {pixels.shape}"
            )
        measured.append(
            ImageMeasurement(
                image=image,
                setting=float(setting),
                coded_bytes=len(data),
                squared_error=squared_error(pixels, decoded),
                scores={
                    name: METRICS[name].measure(pixels, decoded)
                    for name in metrics
                    if name != "psnr"
                },
                encode_seconds=encoded - started,
                decode_seconds=finished - encoded,
            )
        )
    return measured


def _measure_source(
    codec: OperationalCodec, source: SourceImage, settings: Sequence[float], metrics: Sequence[str]
) -> list[ImageMeasurement]:
    return measure_image(codec, source.name, source.pixels(), settings, metrics)


def measure_curve(
    codec: OperationalCodec,
    images: Sequence[SourceImage],
    *,
    data_set: str,
    settings: Sequence[float] | None = None,
    metrics: Sequence[str] = ("psnr",),
    executor: Executor | None = None,
    progress: Callable[[str], None] | None = None,
) -> OperationalCurve:
    """Measure `codec` on `images` at `settings` (the codec's own list by default).

    One task per picture goes to `executor` (anything with `submit(...).result()`: threads,
    processes, a cluster); without one the pictures are coded in turn.  The executor does not affect
    the result, except for the seconds.  `progress` is called with the name of each finished
    picture.  `metrics` may contain "ms-ssim" and "ssimulacra2"; "psnr" is always measured.

    Raises `UsageError` without pictures or settings, `MissingExtraError` if a library is missing,
    `InputError` for a picture that is not 8-bit RGB, `MeasurementError` if a codec fails.
    """
    swept = tuple(float(value) for value in (codec.settings if settings is None else settings))
    if not images or not swept:
        raise UsageError(f"{codec.name}: nothing to measure: give pictures and settings")
    codec.require()
    names = [metric.name for metric in find_metrics(metrics)]
    tasks = [
        executor.submit(_measure_source, codec, source, swept, names) if executor else None
        for source in images
    ]
    columns: list[list[ImageMeasurement]] = []
    for source, task in zip(images, tasks, strict=True):
        columns.append(task.result() if task else _measure_source(codec, source, swept, names))
        if progress:
            progress(source.name)
    measured_images = tuple(column[0].image for column in columns)
    points = tuple(
        _point([column[index] for column in columns], measured_images)
        for index in range(len(swept))
    )
    return OperationalCurve(
        codec=codec.name,
        encoder=codec.encoder,
        setting_name=codec.setting_name,
        data_set=data_set,
        images=measured_images,
        points=points,
        libraries=codec.libraries(),
        weights=codec.weights(),
    )


def _point(row: Sequence[ImageMeasurement], images: tuple[MeasuredImage, ...]) -> OperatingPoint:
    scores = {
        METRICS[name].key: tuple(entry.scores[name] for entry in row) for name in row[0].scores
    }
    return OperatingPoint(
        setting=row[0].setting,
        images=images,
        coded_bytes=tuple(entry.coded_bytes for entry in row),
        squared_error=tuple(entry.squared_error for entry in row),
        **scores,
        encode_seconds=tuple(entry.encode_seconds for entry in row),
        decode_seconds=tuple(entry.decode_seconds for entry in row),
    )
