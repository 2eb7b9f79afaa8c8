"""Measured rate-distortion curves: what was coded, into how many bytes, and with what error.

    OperationalCurve                 one codec on one set of pictures
    ├── images: MeasuredImage …      name, width, height
    └── points: OperatingPoint …     one setting: bytes and squared error of every picture

Only integers are stored as measurements (bytes, sums of squared errors); bits per pixel and dB
follow from them, so a result read from a file equals the one in memory.

Conventions, the same in every file this package writes:

* rate: length of the whole file in bits, header included, divided by the number of pixels;
  the mean over a set is the mean of the pictures' own rates;
* distortion: *mean* squared error over all R, G and B samples of 8-bit pixels (0..255);
* two means over a set, never mixed: `mean_psnr_db` averages the pictures' dB (what most papers
  plot), `psnr_of_mean_mse_db` takes the PSNR of the pictures' mean MSE.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from codec.pictures.similarity import PEAK
from codec.rate_distortion.errors import reading
from codec.rate_distortion.metrics import METRICS, psnr_from_mse_db

DISTORTION = "mean squared error over the R, G and B samples of 8-bit pixels"
RATE = "bits of the whole file per pixel; each file was decoded again"
CHANNELS = 3
NUMBER_LIMIT = 1e300
"""Numbers of JSON files are smaller, so that their sums in other units are finite, too."""

LONGEST_SIDE = 2**31
LARGEST_COUNT = 2**63


@dataclass(frozen=True)
class MeasuredImage:
    """A picture that was coded: its name in the set, width and height in pixels."""

    name: str
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


@dataclass(frozen=True)
class OperatingPoint:
    """One setting of a codec on every picture; each tuple has one entry per picture.

    `coded_bytes` are lengths of real files, `squared_error` sums over the 3 · w · h samples.
    `ms_ssim` (0..1) and `ssimulacra2` (100 for an unchanged picture) are None if they were not
    measured, and hold None for pictures that are too small.  The seconds are the wall time of one
    call on a machine that may have been busy: informative only, and ignored when comparing points.
    """

    setting: float
    images: tuple[MeasuredImage, ...]
    coded_bytes: tuple[int, ...]
    squared_error: tuple[int, ...]
    ms_ssim: tuple[float | None, ...] | None = None
    ssimulacra2: tuple[float | None, ...] | None = None
    encode_seconds: tuple[float, ...] | None = field(default=None, compare=False)
    decode_seconds: tuple[float, ...] | None = field(default=None, compare=False)

    @property
    def bpp(self) -> tuple[float, ...]:
        """Bits per pixel of each picture."""
        return tuple(
            8 * size / image.pixels
            for size, image in zip(self.coded_bytes, self.images, strict=True)
        )

    @property
    def mse(self) -> tuple[float, ...]:
        """Mean squared error of each picture, in squared 8-bit steps."""
        return tuple(
            error / (CHANNELS * image.pixels)
            for error, image in zip(self.squared_error, self.images, strict=True)
        )

    @property
    def psnr_db(self) -> tuple[float, ...]:
        """PSNR of each picture in dB; infinite for unchanged pictures."""
        return tuple(psnr_from_mse_db(value) for value in self.mse)

    @property
    def mean_bpp(self) -> float:
        """Mean of the pictures' rates."""
        return _mean(self.bpp)

    @property
    def mean_psnr_db(self) -> float:
        """Mean of the pictures' PSNR values (mean of dB)."""
        return _mean(self.psnr_db)

    @property
    def psnr_of_mean_mse_db(self) -> float:
        """PSNR of the mean of the pictures' MSE; never above `mean_psnr_db`."""
        return psnr_from_mse_db(_mean(self.mse))

    def scores(self, metric: str) -> tuple[float | None, ...]:
        """The score of each picture by a metric of `METRICS`; None if it was not measured."""
        values: tuple[float | None, ...] | None
        values = self.psnr_db if metric == "psnr" else getattr(self, METRICS[metric].key)
        return (None,) * len(self.images) if values is None else values

    def mean_score(self, metric: str) -> float | None:
        """Mean of a metric over the pictures where it was measured, or None."""
        values = [value for value in self.scores(metric) if value is not None]
        return _mean(values) if values else None

    @property
    def mean_ms_ssim(self) -> float | None:
        """Mean MS-SSIM over the pictures where it exists, or None."""
        return self.mean_score("ms-ssim")


@dataclass(frozen=True)
class OperationalCurve:
    """Measured operating points of one codec on one set of pictures, in the order of `settings`.

    `codec` is the short name, `encoder` says which settings were held fixed, `setting_name` what
    was swept; `libraries` maps library names to versions; `weights` is the hash of a neural codec's
    weights, and None for other codecs.
    """

    codec: str
    encoder: str
    setting_name: str
    data_set: str
    images: tuple[MeasuredImage, ...]
    points: tuple[OperatingPoint, ...]
    libraries: Mapping[str, str] = field(default_factory=dict)
    weights: str | None = None
    pixel_range: tuple[int, int] = (0, PEAK)

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`; means and per-picture dB are added for human readers."""
        return {
            "codec": self.codec,
            "encoder": self.encoder,
            "setting_name": self.setting_name,
            "data_set": self.data_set,
            "rate": RATE,
            "distortion": DISTORTION,
            "pixel_range": list(self.pixel_range),
            "libraries": dict(self.libraries),
            "weights": self.weights,
            "images": [[image.name, image.width, image.height] for image in self.images],
            "points": [_point_to_json(point) for point in self.points],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> OperationalCurve:
        """Rebuild a curve from `to_json`; raises `ResultFileError` for unusable fields."""
        with reading("a curve in the result file"):
            images = tuple(
                MeasuredImage(str(name), _side(width), _side(height))
                for name, width, height in content["images"]
            )
            if not images:
                raise ValueError("no images")
            low, high = content["pixel_range"]
            if not is_number(low) or not is_number(high) or low >= high:
                raise ValueError("pixel_range is not a range of numbers")
            return cls(
                codec=str(content["codec"]),
                encoder=str(content["encoder"]),
                setting_name=str(content["setting_name"]),
                data_set=str(content["data_set"]),
                images=images,
                points=tuple(_point_from_json(point, images) for point in content["points"]),
                libraries={str(k): str(v) for k, v in content["libraries"].items()},
                weights=content.get("weights"),
                pixel_range=(int(low), int(high)),
            )


def _finite(value: float, digits: int) -> float | None:
    # JSON has no infinity; an unchanged picture is written as null.
    return round(value, digits) if math.isfinite(value) else None


def _point_to_json(point: OperatingPoint) -> dict[str, Any]:
    mean_ms_ssim, mean_ssimulacra2 = point.mean_ms_ssim, point.mean_score("ssimulacra2")
    content: dict[str, Any] = {
        "setting": point.setting,
        "mean_bpp": round(point.mean_bpp, 6),
        "mean_psnr_db": _finite(point.mean_psnr_db, 5),
        "psnr_of_mean_mse_db": _finite(point.psnr_of_mean_mse_db, 5),
        "mean_ms_ssim": None if mean_ms_ssim is None else round(mean_ms_ssim, 6),
        "bytes": list(point.coded_bytes),
        "squared_error": list(point.squared_error),
        "psnr_db": [_finite(value, 4) for value in point.psnr_db],
    }
    if point.ms_ssim is not None:
        content["ms_ssim"] = list(point.ms_ssim)
    if point.ssimulacra2 is not None:
        content["mean_ssimulacra2"] = (
            None if mean_ssimulacra2 is None else round(mean_ssimulacra2, 4)
        )
        content["ssimulacra2"] = list(point.ssimulacra2)
    if point.encode_seconds is not None and point.decode_seconds is not None:
        content["encode_seconds"] = [round(value, 4) for value in point.encode_seconds]
        content["decode_seconds"] = [round(value, 4) for value in point.decode_seconds]
    return content


def is_number(value: object) -> bool:
    """Whether a value of parsed JSON is a number below `NUMBER_LIMIT`."""
    return isinstance(value, (int, float)) and abs(value) < NUMBER_LIMIT


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < LARGEST_COUNT


def _side(value: object) -> int:
    if type(value) is not int or not 0 < value < LONGEST_SIDE:
        raise ValueError("width or height of an image is not a number of pixels")
    return value


def _point_from_json(
    content: Mapping[str, Any], images: tuple[MeasuredImage, ...]
) -> OperatingPoint:
    def column(
        name: str, is_usable: Callable[[object], bool] = is_number, *, gaps: bool = False
    ) -> tuple[Any, ...] | None:
        values = content.get(name)
        if values is None:
            return None
        if len(values) != len(images):
            raise ValueError(f"{name} has {len(values)} entries for {len(images)} images")
        if not all(is_usable(value) or (gaps and value is None) for value in values):
            raise ValueError(f"{name} has an unusable entry")
        return tuple(values)

    sizes, errors = column("bytes", _is_count), column("squared_error", _is_count)
    if sizes is None or errors is None:
        raise KeyError("bytes or squared_error")
    if not is_number(content["setting"]):
        raise ValueError("setting is not a number")
    return OperatingPoint(
        setting=float(content["setting"]),
        images=images,
        coded_bytes=sizes,
        squared_error=errors,
        ms_ssim=column("ms_ssim", gaps=True),
        ssimulacra2=column("ssimulacra2", gaps=True),
        encode_seconds=column("encode_seconds"),
        decode_seconds=column("decode_seconds"),
    )


MEAN_COLUMNS = (
    "codec", "data_set", "images", "setting_name", "setting", "mean_bpp", "mean_psnr_db",
    "psnr_of_mean_mse_db", "mean_ms_ssim", "total_bytes",
)  # fmt: skip
IMAGE_COLUMNS = (
    "codec", "data_set", "image", "width", "height", "setting_name", "setting", "bytes", "bpp",
    "psnr_db", "ms_ssim",
)  # fmt: skip


def curves_to_csv(curves: Iterable[OperationalCurve], *, per_image: bool = False) -> str:
    """CSV text with a header line: one row per setting, or per setting and picture.

    Units are in the column names; what was not measured is an empty cell, an unchanged picture
    `inf`.  A column for SSIMULACRA2 is added where a curve has it.
    """
    curves = list(curves)
    header: tuple[str, ...] = IMAGE_COLUMNS if per_image else MEAN_COLUMNS
    if any(point.ssimulacra2 is not None for curve in curves for point in curve.points):
        header += ("ssimulacra2",) if per_image else ("mean_ssimulacra2",)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for curve in curves:
        for point in curve.points:
            for row in _image_rows(curve, point) if per_image else [_mean_row(curve, point)]:
                writer.writerow(row[: len(header)])
    return text.getvalue()


def _cell(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _mean_row(curve: OperationalCurve, point: OperatingPoint) -> list[str]:
    return [
        curve.codec, curve.data_set, str(len(curve.images)), curve.setting_name,
        f"{point.setting:g}", f"{point.mean_bpp:.6f}", f"{point.mean_psnr_db:.5f}",
        f"{point.psnr_of_mean_mse_db:.5f}", _cell(point.mean_ms_ssim, 6),
        str(sum(point.coded_bytes)), _cell(point.mean_score("ssimulacra2"), 4),
    ]  # fmt: skip


def _image_rows(curve: OperationalCurve, point: OperatingPoint) -> list[list[str]]:
    return [
        [
            curve.codec, curve.data_set, image.name, str(image.width), str(image.height),
            curve.setting_name, f"{point.setting:g}", str(size), f"{bpp:.6f}", f"{db:.5f}",
            _cell(similarity, 6), _cell(score, 4),
        ]
        for image, size, bpp, db, similarity, score in zip(
            curve.images, point.coded_bytes, point.bpp, point.psnr_db, point.scores("ms-ssim"),
            point.scores("ssimulacra2"), strict=True,
        )
    ]  # fmt: skip
