"""Small pictures and curves whose BD-rates are known, and a codec that needs no weights."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from bitstream.arrays import Uint8Array
from codec.rate_distortion.files.curve import MeasuredImage, OperatingPoint, OperationalCurve

SIZE = 48
CURVE_IMAGES = (MeasuredImage("a.png", 1000, 1000), MeasuredImage("b.png", 500, 800))


def photo_like(seed: int = 0, height: int = SIZE, width: int = SIZE) -> Uint8Array:
    """Smooth waves with a little noise, which compress like a photograph and are cheap to make."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    waves = np.stack([np.sin(x + seed) + np.cos(y), np.sin(x * y / 3), np.cos(x - y)], axis=-1)
    noisy = 128 + 45 * waves + rng.normal(0, 4, waves.shape)
    pixels: Uint8Array = np.clip(noisy, 0, 255).astype(np.uint8)
    return pixels


def curve(
    rate_factor: float = 1.0,
    *,
    codec: str = "jpeg",
    steps: tuple[int, ...] = tuple(range(12)),
    images: tuple[MeasuredImage, ...] = CURVE_IMAGES,
) -> OperationalCurve:
    """A curve with 3 dB per doubling of the rate from 0.05 bpp on, all rates times a factor."""
    points = []
    for step in steps:
        # Divisible rates keep the bytes integers after the factors that the tests use.
        sizes = [round(5000 * 1.5**step * image.pixels / 1_000_000) * 10 for image in images]
        points.append(
            OperatingPoint(
                setting=float(step),
                images=images,
                coded_bytes=tuple(round(size * rate_factor) for size in sizes),
                squared_error=tuple(round(3 * image.pixels * 600 / 1.5**step) for image in images),
            )
        )
    return OperationalCurve(
        codec=codec,
        encoder="made up",
        setting_name="step",
        data_set="synthetic",
        images=images,
        points=tuple(points),
        libraries={"numpy": np.__version__},
    )


def encode_jpeg(pixels: Uint8Array, setting: float) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=int(setting), subsampling="4:4:4")
    return data.getvalue()


def decode_jpeg(data: bytes) -> Uint8Array:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)
