"""Known codecs within a limit of bytes: the best file of a picture that fits.

Every file is complete, with all of its headers.  If even the smallest file is too large, there is
no result, and this is reported.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from benchmarks.harness.results import Report
from benchmarks.harness.small_images import cut, features_of
from bitstream.arrays import Float64Array, Uint8Array
from codec.datasets.arrays import Images
from codec.rate_distortion import find_codec
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.files.measure import OperationalCodec
from codec.rate_distortion.metrics import frechet_distance, psnr_from_mse_db
from training.features.train import FeatureNetwork

RATE_STEP = 1.005
SETTINGS: dict[str, tuple[float, ...]] = {
    "jpeg": tuple(range(1, 101)),
    "jpeg2000": tuple(float(v) for v in 0.01 * RATE_STEP ** np.arange(1500)),
    "avif": tuple(range(101)),
    "draw": (1, 3, 6, 12, 25, 50, 100),
    "dplc": (10, 30, 50, 70, 90),
}
"""Settings of each peer, from the smallest files to the largest: all of its settings, except for
`draw`, which is slow. The weights of `dplc` that ship have five rates.
"""

MODEL_SETTINGS = tuple(float(quality) for quality in range(1, 101))
"""The same for Calotype's own models."""

Sheets = TypeVar("Sheets", bound="DecodedSheets")

LOOK_BEYOND = 2
"""How many settings beyond the last one that fits are tried: a finer one may take fewer bytes."""


@dataclass
class PeerFiles:
    """One codec's files of one picture, each made once."""

    codec: OperationalCodec
    pixels: Uint8Array
    settings: Sequence[float]
    made: dict[int, bytes] = field(default_factory=dict)

    def file(self, index: int) -> bytes:
        if index not in self.made:
            self.made[index] = self.codec.encode(self.pixels, self.settings[index])
        return self.made[index]

    def smallest_bytes(self) -> int:
        return len(self.file(0))

    def within(self, limit_bytes: int) -> bytes | None:
        """The file of the finest setting found that has at most the limit of bytes, or None."""
        low, high = -1, len(self.settings)  # `low` fits, `high` does not
        while high - low > 1:
            middle = (low + high) // 2
            if len(self.file(middle)) <= limit_bytes:
                low = middle
            else:
                high = middle
        for index in range(min(high + LOOK_BEYOND, len(self.settings) - 1), low, -1):
            if len(self.file(index)) <= limit_bytes:
                return self.file(index)
        return self.file(low) if low >= 0 else None

    def decoded_within(self, limit_bytes: int) -> tuple[int, Uint8Array] | None:
        """Bytes and pixels (h, w, 3) of that file."""
        data = self.within(limit_bytes)
        if data is None:
            return None
        pixels = self.codec.decode(data)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[..., None], 3, axis=2)
        if len(data) > limit_bytes or pixels.shape != self.pixels.shape:
            raise MeasurementError(f"{self.codec.name}: {len(data)} bytes, shape {pixels.shape}")
        return len(data), pixels


def peer_files(name: str, sheet: Uint8Array) -> PeerFiles:
    """A codec's files of a sheet (h, w, 1 or 3). Raises `UsageError` if the codec is missing."""
    codec = find_codec(name)
    codec.require()
    if sheet.shape[2] == 1:
        codec = replace(codec, encode=_grey(codec.encode))
    return PeerFiles(
        codec, np.broadcast_to(sheet, (*sheet.shape[:2], 3)), SETTINGS.get(name, MODEL_SETTINGS)
    )


def _grey(encode: Callable[[Uint8Array, float], bytes]) -> Callable[[Uint8Array, float], bytes]:
    """The encoder on one channel, because three equal channels would cost more bytes."""

    def of_one_channel(pixels: Uint8Array, setting: float) -> bytes:
        return encode(np.ascontiguousarray(pixels[..., 0]), setting)

    return of_one_channel


@dataclass
class DecodedSheets:
    """Decoded images from sheets, file by file; arrays have one row for each image.

    side        side of an image on the sheets
    network     classifier whose features give the Fréchet distance; None leaves it out
    """

    side: int
    network: FeatureNetwork | None
    file_bytes: list[int] = field(default_factory=list)
    errors: list[Float64Array] = field(default_factory=list)
    features: list[Float64Array] = field(default_factory=list)

    def add(self, file_bytes: int, sheet: Uint8Array, again: Uint8Array) -> None:
        """Add a file: its size, its sheet (h, w, 1 or 3), and the decoded sheet."""
        original, decoded = cut(sheet, self.side), cut(again, self.side)
        self.file_bytes.append(file_bytes)
        self.errors.append(squared_errors(original, decoded))
        if self.network is not None:
            self.features.append(features_of(self.network, decoded))

    def row(self, original: Float64Array | None, files: int | None = None) -> Report:
        """Means over the images of the first files.

        original   features of the source images, None without a network
        """
        errors = np.concatenate(self.errors[:files])
        found: Report = {"images": len(errors), **error_figures(errors)}
        if original is not None:
            together = np.concatenate(self.features[:files])
            found["frechet_distance"] = frechet_distance(original, together)
        return found


def squared_errors(original: Images, again: Images) -> Float64Array:
    """Mean squared error of each image, in levels 0..255: (n,)."""
    found: Float64Array = ((original.astype(np.float64) - again) ** 2).mean((1, 2, 3))
    return found


def error_figures(errors: Float64Array) -> dict[str, float]:
    """Figures for the squared error of a set, from those of its images (n,)."""
    mse = float(errors.mean())
    return {
        "mse": mse,
        "mse_standard_error": float(errors.std(ddof=1)) / math.sqrt(len(errors)),
        "psnr_db": psnr_from_mse_db(mse),
    }


class PeerSheets:
    """Files of some codecs of sheets uint8 (h, w, 1 or 3), each file made once."""

    def __init__(self, names: Sequence[str], pictures: Sequence[Uint8Array]) -> None:
        self.pictures = list(pictures)
        self._files = {name: [peer_files(name, sheet) for sheet in pictures] for name in names}

    @property
    def encoders(self) -> dict[str, str]:
        return {name: find_codec(name).encoder for name in self._files}

    @property
    def weights(self) -> dict[str, str]:
        """The beginning of the SHA-256 of the weights of each peer that has some."""
        known = {name: find_codec(name).weights() for name in self._files}
        return {name: found for name, found in known.items() if found is not None}

    def within(
        self, limits_bytes: Sequence[int], empty: Callable[[], Sheets]
    ) -> dict[str, Sheets | None]:
        """The sheets as decoded by each codec within these limits; None without a file.

        empty   makes the object to which the sheets are added
        """
        found: dict[str, Sheets | None] = {}
        for name, files in self._files.items():
            decoded = empty()
            for file, limit, sheet in zip(files, limits_bytes, self.pictures, strict=False):
                fitting = file.decoded_within(limit)
                if fitting is None:
                    break
                decoded.add(fitting[0], sheet, fitting[1][..., : sheet.shape[2]])
            found[name] = decoded if len(decoded.errors) == len(files) else None
        return found
