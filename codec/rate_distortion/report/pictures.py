"""The pictures of a report: originals, and what each codec makes of them at about one rate.

Only the middle of a large picture is shown, at its own scale: the page stays small, and nothing is
smoothed away by scaling.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from bitstream.arrays import Uint8Array
from codec.datasets.pictures import SourceImage
from codec.rate_distortion.files.curve import OperationalCurve
from codec.rate_distortion.files.measure import OperationalCodec

MOST_PICTURES = 8
LARGEST_SIDE = 384
RATE_BPP = 0.3
"""At this rate the differences between codecs can be seen on most photographs."""

_DISPLAY_QUALITY = 95


@dataclass(frozen=True)
class ShownVersion:
    """One picture to look at: a short name, what it cost, and its file as a data URI."""

    label: str
    caption: str
    uri: str


@dataclass(frozen=True)
class ShownPicture:
    """A picture by name, the size of the part that is shown, and its versions, original first."""

    name: str
    width: int
    height: int
    versions: tuple[ShownVersion, ...]


def show_pictures(
    codecs: Sequence[OperationalCodec],
    images: Sequence[SourceImage],
    curves: Sequence[OperationalCurve],
    *,
    rate_bpp: float = RATE_BPP,
    most: int = MOST_PICTURES,
) -> tuple[ShownPicture, ...]:
    """Code pictures again, each codec at the setting whose file was nearest to a rate.

    images     that `curves` were measured on, in the same order; `most` of them, evenly spaced,
               are shown
    curves     one for each of `codecs`, in the same order
    rate_bpp   bits per pixel to come near to, on a logarithmic scale

    Raises what the codecs raise, and `InputError` for a picture that cannot be read any more.
    """
    count = min(most, len(images))
    chosen = [number * len(images) // count for number in range(count)]
    return tuple(_show(codecs, images[one], curves, one, rate_bpp) for one in chosen)


def _show(
    codecs: Sequence[OperationalCodec],
    image: SourceImage,
    curves: Sequence[OperationalCurve],
    number: int,
    rate_bpp: float,
) -> ShownPicture:
    pixels = image.pixels()
    shown = _middle(pixels)
    versions = [ShownVersion("original", "original", _data_uri(shown))]
    for codec, curve in zip(codecs, curves, strict=True):
        point = min(curve.points, key=lambda point: abs(math.log(point.bpp[number] / rate_bpp)))
        decoded = codec.decode(codec.encode(pixels, point.setting))
        caption = (
            f"{codec.name}, {curve.setting_name} {point.setting:g}: "
            f"{point.coded_bytes[number]:,} bytes, {point.bpp[number]:.3f} bpp, "
            f"{point.psnr_db[number]:.2f} dB"
        )
        versions.append(ShownVersion(codec.name, caption, _data_uri(_middle(decoded))))
    return ShownPicture(image.name, shown.shape[1], shown.shape[0], tuple(versions))


def _middle(pixels: Uint8Array) -> Uint8Array:
    height, width = (min(side, LARGEST_SIDE) for side in pixels.shape[:2])
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


def _data_uri(pixels: Uint8Array) -> str:
    """A file for display: PNG where it is the smaller one, else JPEG of high quality."""
    files = {}
    for kind, options in (
        ("png", {"optimize": True}),
        ("jpeg", {"quality": _DISPLAY_QUALITY, "subsampling": 0}),
    ):
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, kind.upper(), **options)
        files[kind] = data.getvalue()
    kind = min(files, key=lambda one: len(files[one]))
    return f"data:image/{kind};base64,{base64.b64encode(files[kind]).decode('ascii')}"
