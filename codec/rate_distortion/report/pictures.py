"""The pictures of a report: originals, and each codec's version of them at about the same rate.

Only the middle of a large picture is shown, at its own scale, so that the page stays small and
scaling does not smooth anything away.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from bitstream import SIGNATURE, ModelError
from bitstream.arrays import Uint8Array
from codec.api import decompress, inspect
from codec.datasets.pictures import SourceImage
from codec.rate_distortion.files.curve import OperatingPoint, OperationalCurve
from codec.rate_distortion.files.measure import OperationalCodec

MOST_PICTURES = 8
MOST_FILES = 2
"""Number of files of which all decodings are shown: twenty if a realistic decoder is installed."""
REALISMS = (0.0, 0.25, 0.5, 0.75, 1.0)
LARGEST_SIDE = 384
RATE_BPP = 0.3
"""At this rate the differences between codecs are visible on most photographs."""

_DISPLAY_QUALITY = 95


@dataclass(frozen=True)
class ShownVersion:
    """One picture to show: a short name, a caption, and its file as a data URI."""

    label: str
    caption: str
    uri: str


@dataclass(frozen=True)
class ShownPicture:
    """A picture's name, the size of the part that is shown, and its versions, original first."""

    name: str
    width: int
    height: int
    versions: tuple[ShownVersion, ...]


@dataclass(frozen=True)
class ShownFile:
    """The decodings of one .calo file after each of its layers, at each realism.

    name     names of the picture and the codec, and the file's cost
    size     (width, height) of the part that is shown
    layers   what is drawn after each number of layers, in words
    realisms ascending from 0; only 0 if no realistic decoder is installed
    uris     files as data URIs, by number of layers and then by realism
    """

    name: str
    size: tuple[int, int]
    layers: tuple[str, ...]
    realisms: tuple[float, ...]
    uris: tuple[tuple[str, ...], ...]


def show_pictures(
    codecs: Sequence[OperationalCodec],
    images: Sequence[SourceImage],
    curves: Sequence[OperationalCurve],
    *,
    rate_bpp: float = RATE_BPP,
    most: int = MOST_PICTURES,
) -> tuple[ShownPicture, ...]:
    """Code pictures again, each codec at the setting whose file was nearest to a rate.

    images     the images on which `curves` were measured, in the same order; `most` of them, evenly
               spaced, are shown
    curves     one for each of `codecs`, in the same order
    rate_bpp   target in bits per pixel; nearness is on a logarithmic scale

    Raises what the codecs raise, and `InputError` for a picture that can no longer be read.
    """
    return tuple(
        _show(codecs, images[one], curves, one, rate_bpp) for one in _chosen(len(images), most)
    )


def show_files(
    codecs: Sequence[OperationalCodec],
    images: Sequence[SourceImage],
    curves: Sequence[OperationalCurve],
    *,
    rate_bpp: float = RATE_BPP,
    most: int = MOST_FILES,
) -> tuple[ShownFile, ...]:
    """The layered .calo files that codecs write for pictures, chosen as in `show_pictures`.

    Codecs that write other files have none.  Raises what `show_pictures` raises.
    """
    found = []
    for one in _chosen(len(images), most):
        for codec, curve in zip(codecs, curves, strict=True):
            point = nearest_point(curve, one, rate_bpp)
            data = codec.encode(images[one].pixels(), point.setting)
            if data.startswith(SIGNATURE) and (info := inspect(data)).layers > 1:
                name = f"{images[one].name}: {codec.name}, {curve.setting_name} {point.setting:g}"
                found.append(_show_file(f"{name}, {len(data):,} bytes", data, info.layer_bytes))
    return tuple(found)


def nearest_point(curve: OperationalCurve, image: int, rate_bpp: float) -> OperatingPoint:
    """The point of a curve at which the file of picture number `image` is nearest to a rate."""
    return min(curve.points, key=lambda point: abs(math.log(point.bpp[image] / rate_bpp)))


def _chosen(count: int, most: int) -> list[int]:
    """`most` numbers below `count`, evenly spaced, or all."""
    most = min(most, count)
    return [number * count // most for number in range(most)]


def _show_file(name: str, data: bytes, layer_bytes: Sequence[int]) -> ShownFile:
    realisms: tuple[float, ...] = REALISMS
    try:
        decompress(data, realism=REALISMS[-1], reduce=8)
    except ModelError:  # no realistic decoder is installed
        realisms = REALISMS[:1]
    count = len(layer_bytes)
    sizes = [sum(layer_bytes[:layers]) for layers in range(1, count + 1)]
    size, rows = (0, 0), []
    for layers in range(1, count + 1):
        row = []
        for realism in realisms:
            pixels = decompress(data, as_="numpy", layers=layers, realism=realism)
            shown = _middle(pixels[:, :, :3] if pixels.ndim == 3 else pixels)
            size = (shown.shape[1], shown.shape[0])
            row.append(_data_uri(shown))
        rows.append(tuple(row))
    words = [f"{n} of {count}, {bytes_:,} bytes" for n, bytes_ in enumerate(sizes, 1)]
    return ShownFile(name, size, tuple(words), realisms, tuple(rows))


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
        point = nearest_point(curve, number, rate_bpp)
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
    """A file for display: PNG if it is smaller, else JPEG of high quality."""
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
