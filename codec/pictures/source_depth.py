"""Bits per channel of a source file, which Pillow does not report.

Pillow opens 16-bit colour in PNG, TIFF, PPM, SGI, JPEG 2000 and AVIF as 8-bit modes, without a
warning; for PNG and TIFF it keeps the upper bits.  So the depth is read from the file itself.
`convert.py` reduces deep arrays and grey images to 8 bits; `deep_files.py` reads colour files at
full depth.
"""

import re
from collections.abc import Iterable
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from codec.pictures.boxes import boxes, headers_of_avif

# Raw modes such as "RGB;16B", which unpackers cut to 8 bits.  "RGB;16" itself is 5 + 6 + 5 bits.
_DEEP_RAW_MODE = re.compile(r";16[BLN]|^L;16$")
_PIECE_BYTES = 2**20  # searched at a time
_PLANAR, _SAMPLE_FORMAT, _SIGNED = 284, 339, 2  # TIFF tags, and a value of the second
_BC6H = 6  # DDS with half-precision colours
_CUT_FORMATS = frozenset({"PNG", "PPM", "SGI", "JPEG2000", "AVIF", "HEIF", "DDS"})


def source_bit_depth(image: Image.Image, file: BinaryIO | None) -> int:
    """Return the bits per channel of the source of ``image``; 8 unless something says more.

    image   as ``PIL.Image.open`` returned it; a loaded image has less information
    file    its file, seekable, if it is known; its position does not change
    """
    place = 0 if file is None else file.tell()
    try:
        return _source_bit_depth(image, file)
    finally:
        if file is not None:
            file.seek(place)


def _source_bit_depth(image: Image.Image, file: BinaryIO | None) -> int:
    depth = max((_tile_depth(tile) for tile in _tiles(image, file)), default=8)
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        depth = max([depth, *_integers(tags.get(258))])  # BitsPerSample
    # Set by third-party plug-ins, pillow-heif among them.
    depth = max([depth, *_integers(image.info.get("bit_depth"))])
    reader = _READERS.get(image.format or "")
    if file is not None and reader is not None:
        file.seek(0)
        depth = max(depth, reader(file))
    return depth


def _tiles(image: Image.Image, file: BinaryIO | None) -> Iterable[Any]:
    tiles: list[Any] = getattr(image, "tile", [])
    if not tiles and file is not None:
        # Loading empties the list; opening the file again fills it without decoding.
        try:
            with Image.open(file) as again:
                tiles = list(getattr(again, "tile", []))
        except (OSError, SyntaxError, ValueError):
            return []
    return tiles


def _tile_depth(tile: Any) -> int:
    codec, args = tile[0], tile[3]
    if codec == "SGI16":
        return 16
    if codec == "bcn" and isinstance(args, tuple) and args[0] == _BC6H:
        return 16
    values = args if isinstance(args, tuple) else (args,)
    if codec == "dds_rgb":  # bits per pixel, and a bit mask for each channel
        masks = [mask for mask in _integers(values[1]) if mask > 0]
        return min(16, max(((mask // (mask & -mask)).bit_length() for mask in masks), default=8))
    if codec.startswith("ppm"):  # the mode and the largest value
        return max((v.bit_length() for v in _integers(values)), default=8)
    deep = any(isinstance(v, str) and _DEEP_RAW_MODE.search(v) for v in values)
    return 16 if deep else 8


def may_be_deep(image: Image.Image) -> bool:
    """Whether an image came from a format that Pillow silently cuts to 8 bits."""
    return isinstance(image, ImageFile.ImageFile) and image.format in _CUT_FORMATS


def misread_by_pillow(image: Image.Image, bits: int) -> str | None:
    """Say what is wrong with the values that Pillow reads from a TIFF file; None if nothing is.

    image   not loaded
    bits    bits per sample
    """
    tags: Any = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return None
    if image.mode in ("L", "RGB", "RGBA") and _SIGNED in _integers(tags.get(_SAMPLE_FORMAT)):
        return "signed samples of 8 bits, which Pillow reads as unsigned ones"
    tiles: list[Any] = getattr(image, "tile", [])
    is_planar = _integers(tags.get(_PLANAR)) == [2]
    if bits > 8 and is_planar and any(tile[0] == "raw" for tile in tiles):
        return f"planes of {bits} bits without compression, which Pillow reads as 8 bits"
    return None


def _integers(value: object) -> list[int]:
    values = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    return [v for v in values if isinstance(v, int)]


def _png_depth(file: BinaryIO) -> int:
    head = file.read(25)
    return head[24] if head[12:16] == b"IHDR" and len(head) > 24 else 8


def _jpeg2000_depth(file: BinaryIO) -> int:
    # SOC and SIZ: ITU-T T.800, A.5.1.  Ssiz of component i is at Csiz + 2 + 3 i.
    mark, start, kept = b"\xff\x4f\xff\x51", 0, b""
    if file.read(8)[4:] == b"jP  ":
        # Boxes before the pixels may contain the same bytes.
        streams = (place for kind, place, _ in boxes(file, 0, file.seek(0, 2)) if kind == b"jp2c")
        start = next(streams, 0)
    file.seek(start)
    while piece := file.read(_PIECE_BYTES):
        data = kept + piece
        found = data.find(mark)
        if found >= 0:
            file.seek(start + found + 40)
            components = int.from_bytes(file.read(2), "big")
            precisions = file.read(3 * components)[::3]
            return max(((p & 0x7F) + 1 for p in precisions), default=8)
        kept = data[1 - len(mark) :]
        start += len(data) - len(kept)
    return 8


def _avif_depth(file: BinaryIO) -> int:
    # av1C: AV1-ISOBMFF 1.2, section 2.3.3.  Bits 6 and 5 of the third byte: 10 and 12 bits.
    depth = 8
    for match in re.finditer(rb"av1C..(.)", headers_of_avif(file), re.DOTALL):
        flags = match[1][0]
        if flags & 0x40:
            depth = max(depth, 12 if flags & 0x20 else 10)
    return depth


_READERS = {"PNG": _png_depth, "JPEG2000": _jpeg2000_depth, "AVIF": _avif_depth}
