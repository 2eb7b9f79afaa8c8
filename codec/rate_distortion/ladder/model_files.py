"""Real files of a catalogue model, for comparison with the R_p(D) of its decoder.

Every rate is the size of a file that was decoded again, header included.  If the model codes
blocks of the images' own size, all images form one sheet and share one file; otherwise each has a
file of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from bitstream.arrays import Float64Array, Uint8Array
from bitstream.errors import UsageError
from codec import api
from codec.models.catalog import all_models, split_name
from codec.models.sheets import MAX_SIDE, blocks_of, sheet_of
from codec.rate_distortion.distortions import Distortion
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.model_curve import NATS_PER_BIT, RDCurve
from codec.rate_distortion.tensor_checks import target_tensor
from codec.rate_distortion.user_code.adapters import generative_codec

QUALITIES = (30.0, 45.0, 60.0, 75.0, 90.0)
NOISE_SEED = 0


@dataclass(frozen=True)
class FilePoint:
    """The files of one model at one quality; bits are means over the images.

    distortion    between each image and its decoded pixels in 0..1, float64 (n,)
    payload_bits  bits of the coded symbols; the rest of `file_bits` is the header
    """

    model: str
    quality: float
    file_bits: float
    payload_bits: float
    distortion: Float64Array


def check_decoders(names: Sequence[str], measured: str) -> None:
    """Raise `UsageError` unless all these models have the decoder of the measured model."""
    if split_name(measured)[0] not in {model.name for model in all_models()}:
        raise UsageError(
            f"{measured!r} writes no files; those of {', '.join(names)} stand beside the curve of "
            "a model of the catalogue, such as vae-round"
        )
    own = generative_codec(measured).weights_hash
    for name in names:
        if generative_codec(name).weights_hash != own:
            raise UsageError(
                f"{name!r} has another decoder than {measured!r}: measure it by itself"
            )


def measure_files(
    name: str, images: Uint8Array, distortion: Distortion, qualities: Sequence[float] = QUALITIES
) -> list[FilePoint]:
    """Write images (n, 1 or 3, H, W), decode them again, and compare; one point per quality.

    Raises `UsageError` for images that the model cannot code.
    """
    model: Any = generative_codec(name)
    return [_point(name, model.stride, images, distortion, quality) for quality in qualities]


def _point(
    name: str, stride: int, images: Uint8Array, distortion: Distortion, quality: float
) -> FilePoint:
    count, channels, height, width = images.shape
    if height == width == stride:
        most = MAX_SIDE // height
        columns = min(most, math.isqrt(count - 1) + 1)
        groups = [images[at : at + columns * most] for at in range(0, count, columns * most)]
    else:
        columns, groups = 1, [image[None] for image in images]
    decoded, file_bytes, payload_bytes = [], 0, 0
    for group in groups:
        rows = -(-len(group) // columns)
        missing = rows * columns - len(group)
        # Black blocks fill the last row; their cost is counted.
        filled = np.concatenate([group, np.zeros((missing, *group.shape[1:]), np.uint8)])
        sheet = _sheet(filled, rows, columns)
        pixels = sheet[:, :, 0] if channels == 1 else sheet
        data = api.compress(pixels, model=name, quality=quality, noise_seed=NOISE_SEED)
        again = np.atleast_3d(api.decompress(data, as_="numpy", device="cpu"))
        again = np.repeat(again, 3, axis=2) if again.shape[2] == 1 else again
        decoded.append(_blocks(again, rows, columns, channels)[: len(group)])
        file_bytes += len(data)
        payload_bytes += api.inspect(data).payload_bytes
    with torch.inference_mode():
        x, y = (
            torch.from_numpy(pixels.astype(np.float32) / 255)
            for pixels in (images, np.concatenate(decoded))
        )
        errors = distortion(target_tensor(distortion, x), y).double().numpy()
    bits = (8 * file_bytes / count, 8 * payload_bytes / count)
    return FilePoint(name, quality, *bits, errors)


def _sheet(images: Uint8Array, rows: int, columns: int) -> Uint8Array:
    if images.shape[2] == images.shape[3]:
        return sheet_of(images, rows, columns)
    pixels = images[0].transpose(1, 2, 0)
    return np.repeat(pixels, 3, axis=2) if len(images[0]) == 1 else np.ascontiguousarray(pixels)


def _blocks(pixels: Uint8Array, rows: int, columns: int, channels: int) -> Uint8Array:
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    if height == width:
        return blocks_of(pixels, height, channels)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None, :channels])


def rung_of_files(points: Sequence[FilePoint], distortion: Distortion) -> Rung:
    """The files of one model as a rung, by rising distortion."""
    ordered = sorted(points, key=lambda point: float(point.distortion.mean()))
    rungs = [
        Rung.of_images(
            np.full(len(point.distortion), NATS_PER_BIT * point.file_bits),
            point.distortion,
            name=f"{point.model}: bytes",
            kind="bytes",
            distortion_name=distortion.name,
            convention=distortion.convention,
        )
        for point in ordered
    ]
    columns: dict[str, Any] = {
        name: tuple(getattr(rung, name)[0] for rung in rungs)
        for name in ("distortion", "rate_nats", "rate_low_nats", "rate_high_nats", "certified",
                     "distortion_high")
    }  # fmt: skip
    return replace(rungs[0], **columns)


def gap_rows(curve: RDCurve, points: Sequence[FilePoint]) -> list[dict[str, Any]]:
    """For each point the bits of its files, R_p at their distortion, and the difference.

    R_p is None below the smallest distortion of the curve, where it would be an extrapolation.
    """
    rows = []
    for point in points:
        mean = float(point.distortion.mean())
        rate = None
        if mean >= min(curve.distortion):
            rate = curve.rate_at(mean) / NATS_PER_BIT
        rows.append(
            {
                "model": point.model,
                "quality": point.quality,
                "distortion": mean,
                "file_bits": point.file_bits,
                "header_bits": point.file_bits - point.payload_bits,
                "payload_bits": point.payload_bits,
                "rate_bits": rate,
                "gap_bits": None if rate is None else point.file_bits - rate,
            }
        )
    return rows
