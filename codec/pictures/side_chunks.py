"""Density and colour outside ICC, EXIF and XMP: ancillary chunks with PNG's payloads.

    phys   pixels per unit in x and in y, uint32 each, and the unit: 0 none, 1 metre   pHYs
    gama   the exponent of the samples times 100,000, uint32                           gAMA
    chrm   white, red, green and blue: x and y of each times 100,000, uint32           cHRM
    cicp   primaries, transfer, matrix (0) and full range, a byte each (ITU-T H.273)   cICP

All numbers are big-endian.  As in PNG, an ICC profile takes precedence over ``gama`` and ``chrm``,
so these are left out if there is one.  Descriptions of sRGB are left out, too, because sRGB is the
default.  Reference: PNG specification, third edition (W3C 2025), clauses 11.3.2 and 11.3.4.
"""

from __future__ import annotations

import math
import re
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, BinaryIO

from codec.pictures.boxes import headers_of_avif

if TYPE_CHECKING:
    from PIL import Image

Chunks = tuple[tuple[bytes, bytes], ...]

_BYTES = {b"phys": 9, b"gama": 4, b"chrm": 32, b"cicp": 4}
_IN_PNG = {b"phys": b"pHYs", b"gama": b"gAMA", b"chrm": b"cHRM", b"cicp": b"cICP"}
_SRGB_GAMMA = 45455
_SRGB_CHROMATICITIES = (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
# BT.709 primaries or unspecified; BT.709 or sRGB transfer or unspecified.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2), (1, 2, 13)
_METRES_PER_INCH = 0.0254
# Values that software writes if nobody has chosen a density.
_USUAL_DPI = (72, 96)
_RESOLUTION_INFO = 1005
_TIFF_RESOLUTION, _WHITE_POINT, _PRIMARIES = (282, 283), 318, 319


def known_chunks(ancillary: Chunks) -> dict[bytes, bytes]:
    """Return the chunks with a known type: the first of the right length for each type."""
    found: dict[bytes, bytes] = {}
    for kind, payload in ancillary:
        if _BYTES.get(kind) == len(payload):
            found.setdefault(kind, payload)
    return found


def chunks_of(image: Image.Image, png: dict[bytes, bytes], file: BinaryIO | None) -> Chunks:
    """Return the chunks for an image that was read from a file.

    png    the chunks of a PNG (`png_chunks.chunks_before_pixels`), empty for other files
    file   seekable, if it is known; its position changes
    """
    found = _colour_of_png(png)
    if image.format == "AVIF" and file is not None:
        found = _colour_of_avif(file)
    if image.format == "TIFF":
        found = _colour_of_tiff(image)
    density = png.get(b"pHYs") or _density(image)
    if density is not None:
        found[b"phys"] = density
    return tuple(known_chunks(tuple(found.items())).items())


def info_of(ancillary: Chunks) -> dict[str, object]:
    """Return the chunks under Pillow's names in ``info``, and "cicp", for which Pillow has none."""
    info: dict[str, object] = {}
    for kind, payload in known_chunks(ancillary).items():
        if kind == b"phys":
            x, y, unit = struct.unpack(">IIB", payload)
            if unit == 1:
                info["dpi"] = (x * _METRES_PER_INCH, y * _METRES_PER_INCH)
            else:
                info["aspect"] = (x, y)
        elif kind == b"gama":
            info["gamma"] = struct.unpack(">I", payload)[0] / 100_000
        elif kind == b"chrm":
            info["chromaticity"] = tuple(v / 100_000 for v in struct.unpack(">8I", payload))
        else:
            info["cicp"] = tuple(payload)
    return info


def png_chunks_of(ancillary: Chunks) -> Chunks:
    """Return the chunks under PNG's names, in an order that PNG allows."""
    return tuple((_IN_PNG[kind], payload) for kind, payload in known_chunks(ancillary).items())


def dots_per_inch(ancillary: Chunks) -> tuple[float, float] | None:
    """Return the density in x and y, None if it is not known."""
    dpi = info_of(ancillary).get("dpi")
    return dpi if isinstance(dpi, tuple) and min(dpi) > 0 else None


def pixel_aspect(ancillary: Chunks) -> tuple[int, int] | None:
    """Return pixels per unit in x and y if the unit is unknown, otherwise None."""
    aspect = info_of(ancillary).get("aspect")
    return aspect if isinstance(aspect, tuple) and min(aspect) > 0 else None


def _colour_of_png(png: dict[bytes, bytes]) -> dict[bytes, bytes]:
    cicp = png.get(b"cICP", b"")
    if len(cicp) == 4:  # takes precedence over all others
        return {} if _is_srgb(cicp) else {b"cicp": cicp}
    if b"iCCP" in png or b"sRGB" in png:
        return {}
    gamma, chromaticities = png.get(b"gAMA", b"")[:4], png.get(b"cHRM", b"")[:32]
    found = {}
    if len(chromaticities) == 32 and struct.unpack(">8I", chromaticities) != _SRGB_CHROMATICITIES:
        found[b"chrm"] = chromaticities
    if len(gamma) == 4 and (found or struct.unpack(">I", gamma) != (_SRGB_GAMMA,)):
        found[b"gama"] = gamma
    return found


def _colour_of_tiff(image: Image.Image) -> dict[bytes, bytes]:
    """The white point and the primaries that a TIFF states (TIFF 6.0, section 20)."""
    tags = getattr(image, "tag_v2", {})
    try:
        values = [float(v) for tag in (_WHITE_POINT, _PRIMARIES) for v in tags.get(tag, ())]
        chromaticities = tuple(round(value * 100_000) for value in values)
    except (TypeError, ValueError, ArithmeticError):
        return {}
    is_whole = len(chromaticities) == 8 and all(0 <= one < 2**31 for one in chromaticities)
    if not is_whole or image.info.get("icc_profile") or chromaticities == _SRGB_CHROMATICITIES:
        return {}
    return {b"chrm": struct.pack(">8I", *chromaticities)}


def _colour_of_avif(file: BinaryIO) -> dict[bytes, bytes]:
    # nclx: ISO/IEC 23008-12, 6.5.5, and 14496-12, 12.1.5: three numbers of H.273, and the range.
    match = re.search(rb"colrnclx(.{7})", headers_of_avif(file), re.DOTALL)
    if match is None:
        return {}
    primaries, transfer, _, _ = struct.unpack(">HHHB", match[1])
    if max(primaries, transfer) > 255:
        return {}
    # Decoding has undone the matrix and expanded the samples to full range.
    cicp = bytes([primaries, transfer, 0, 1])
    return {} if _is_srgb(cicp) else {b"cicp": cicp}


def _is_srgb(cicp: bytes) -> bool:
    return cicp[0] in _SRGB_PRIMARIES and cicp[1] in _SRGB_TRANSFERS


def _aspect(image: Image.Image) -> tuple[int, int] | None:
    """Pixels per unit in x and y in a JPEG or TIFF without a unit; None if both are equal.

    For a TIFF, these are the smallest integers with this ratio.
    """
    info = image.info
    if image.format == "JPEG" and info.get("jfif_unit") == 0:
        x, y = info.get("jfif_density", (1, 1))
    elif image.format == "TIFF" and "resolution" in info and "dpi" not in info:
        try:
            ratio = Fraction(float(info["resolution"][0]) / float(info["resolution"][1]))
        except (TypeError, ValueError, ArithmeticError):
            return None
        x, y = ratio.limit_denominator(1000).as_integer_ratio()
    else:
        return None
    return (x, y) if x != y and 0 < x < 2**31 and 0 < y < 2**31 else None


def _dpi_of_psd(image: Image.Image) -> tuple[float, float] | None:
    """Two fixed-point numbers in a resource (Photoshop File Formats, "ResolutionInfo")."""
    for number, _, data in getattr(image, "resources", ()):
        if number == _RESOLUTION_INFO and len(data) >= 12:
            x, y = struct.unpack_from(">I4xI", data)
            return x / 65536, y / 65536
    return None


def _density(image: Image.Image) -> bytes | None:
    """The density in formats other than PNG."""
    aspect = _aspect(image)
    if aspect is not None:
        return struct.pack(">IIB", *aspect, 0)
    dpi = _dpi_of_psd(image) if image.format == "PSD" else image.info.get("dpi")
    if image.format == "JPEG" and not image.info.get("jfif_unit"):
        return None  # Pillow took it from EXIF, which is kept
    if not all(tag in getattr(image, "tag_v2", _TIFF_RESOLUTION) for tag in _TIFF_RESOLUTION):
        return None  # Pillow returns 1 if the TIFF does not state it
    payload = None if image.format in (None, "PNG") else density_payload(dpi)
    if payload is None:
        return None
    x, y = struct.unpack_from(">II", payload)
    return None if x == y and round(x * _METRES_PER_INCH) in _USUAL_DPI else payload


def density_payload(dpi: object) -> bytes | None:
    """The payload of ``phys`` for dots per inch in x and y, None for unusable values."""
    if not isinstance(dpi, (tuple, list)) or len(dpi) != 2:
        return None
    try:
        x, y = (float(value) for value in dpi)
    except (TypeError, ValueError, ArithmeticError):
        return None
    if not all(math.isfinite(v) and 0.1 < v < 1e6 for v in (x, y)):
        return None
    return struct.pack(">IIB", round(x / _METRES_PER_INCH), round(y / _METRES_PER_INCH), 1)
