"""Writes PNG files band by band, for pictures that are too large to hold in memory.

Reference: PNG specification, third edition (W3C 2025): chunks in clause 5, filters in clause 9,
ICC profile, text and EXIF in clause 11.3. It supports only what a `Picture` needs: 8 or 16 bits,
no interlacing.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from bitstream.arrays import BoolArray, SampleArray, Uint8Array
from codec.pictures.bands import Bands
from codec.pictures.depth import rescale
from codec.pictures.side_chunks import png_chunks_of

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {(1, False): 0, (3, False): 2, (1, True): 4, (3, True): 6}
_SLAB_SAMPLES = 2**18  # filtered at a time, so that the candidates stay in the processor's cache
_PIECE_BYTES = 2**16
_ZLIB_HEAD, _LAST_BLOCK = b"\x78\x01", b"\x03\x00"
_DRAWN = 4  # a slab that packs to less than a quarter may be a drawing, which has repetitions


def write_png(fo: BinaryIO, bands: Bands) -> None:
    """Write a picture with its metadata, density and colour, keeping one band in memory.

    Bit depths of 10 and 12 are scaled to 16 bits, and recorded in the chunk sBIT.

    Raises what reading the bands raises; by then, part of the file is written.
    """
    head = bands.width.to_bytes(4, "big") + bands.height.to_bytes(4, "big")
    fo.write(_SIGNATURE)
    depth = 8 if bands.bit_depth <= 8 else 16
    _write_chunk(
        fo, b"IHDR", head + bytes([depth, _COLOUR_TYPES[bands.channels, bands.has_alpha], 0, 0, 0])
    )
    if bands.bit_depth not in (8, 16):
        _write_chunk(fo, b"sBIT", bytes([bands.bit_depth] * (bands.channels + bands.has_alpha)))
    for kind, payload in png_chunks_of(bands.ancillary):
        _write_chunk(fo, kind, payload)
    if bands.icc is not None:
        _write_chunk(fo, b"iCCP", b"ICC Profile\0\0" + zlib.compress(bands.icc))
    if bands.xmp is not None:
        # Both formats require UTF-8; an invalid packet must not make the file invalid.
        text = bands.xmp.decode("utf-8", "replace").encode()
        _write_chunk(fo, b"iTXt", b"XML:com.adobe.xmp" + bytes(5) + text)
    if bands.exif is not None:
        _write_chunk(fo, b"eXIf", bands.exif)
    for piece in _deflated(_filtered(bands)):
        _write_chunk(fo, b"IDAT", piece)
    _write_chunk(fo, b"IEND", b"")


def _write_chunk(fo: BinaryIO, kind: bytes, payload: bytes) -> None:
    fo.write(len(payload).to_bytes(4, "big") + kind)
    fo.write(payload)
    fo.write(zlib.crc32(payload, zlib.crc32(kind)).to_bytes(4, "big"))


def _deflated(slabs: Iterator[Uint8Array]) -> Iterator[bytes]:
    """One zlib stream (RFC 1950) in pieces."""
    kept, checksum = _ZLIB_HEAD, 1
    for slab in slabs:
        checksum = zlib.adler32(slab.data, checksum)
        kept += _blocks(slab)
        if len(kept) >= _PIECE_BYTES:
            yield kept
            kept = b""
    yield kept + _LAST_BLOCK + checksum.to_bytes(4, "big")


def _blocks(slab: Uint8Array) -> bytes:
    """A slab as blocks of deflate (RFC 1951) that refer to nothing before it."""

    def packed(level: int, strategy: int) -> bytes:
        deflater = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS, 9, strategy)
        return deflater.compress(slab.data) + deflater.flush(zlib.Z_FULL_FLUSH)

    # Filtered rows of photographs hardly ever repeat: searching only for runs takes a third of the
    # time, and gives files as small.
    runs = packed(1, zlib.Z_RLE)
    if _DRAWN * len(runs) > slab.size:
        return runs
    return min(runs, packed(4, zlib.Z_FILTERED), key=len)


def _filtered(bands: Bands) -> Iterator[Uint8Array]:
    """Slabs of filtered rows, each row preceded by the number of its filter: (rows, 1 + bytes)."""
    samples = bands.channels + bands.has_alpha
    pixel_bytes = samples if bands.bit_depth <= 8 else 2 * samples
    above = np.zeros((1, pixel_bytes * bands.width), np.uint8)
    step = max(1, _SLAB_SAMPLES // above.size)
    for pixels, alpha in bands.bands:
        for top in range(0, len(pixels), step):
            slab = pixels[top : top + step]
            if alpha is not None:
                slab = np.concatenate([slab, alpha[top : top + step, :, None]], axis=2)
            raw = np.concatenate([above, _bytes_of(slab, bands.bit_depth)])
            yield _filter(raw, pixel_bytes)
            above = raw[-1:]


def _bytes_of(slab: SampleArray, bit_depth: int) -> Uint8Array:
    """Rows of samples as bytes: (n, bytes)."""
    if bit_depth > 8:
        slab = rescale(slab, bit_depth, 16).astype(">u2").view(np.uint8)
    return slab.reshape(len(slab), -1)


def _filter(raw: Uint8Array, pixel_bytes: int) -> Uint8Array:
    """Filter rows (n + 1, bytes), of which the first is the row above: (n, 1 + bytes).

    Each row gets the filter with the least sum of absolute values, read as signed bytes: the
    heuristic that the specification recommends (clause 12.7).
    """
    rows, above = raw[1:], raw[:-1]
    left, corner = np.zeros_like(rows), np.zeros_like(rows)
    left[:, pixel_bytes:] = rows[:, :-pixel_bytes]
    corner[:, pixel_bytes:] = above[:, :-pixel_bytes]
    candidates = np.stack(
        [
            rows,
            rows - left,
            rows - above,
            # The mean rounded down, without a ninth bit.
            rows - ((left & above) + ((left ^ above) >> 1)),
            rows - _paeth(left, above, corner),
        ]
    )
    costs = np.minimum(candidates, -candidates).sum(axis=2, dtype=np.uint64)
    kinds = costs.argmin(axis=0)
    filtered = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = kinds
    filtered[:, 1:] = candidates[kinds, np.arange(len(rows))]
    return filtered


def _paeth(left: Uint8Array, above: Uint8Array, corner: Uint8Array) -> Uint8Array:
    """The neighbour that is nearest to left + above − corner; clause 9.4."""
    across, down = _distance(above, corner), _distance(left, corner)  # estimate to left, to above
    # If both differences have the same sign, the corner is their sum away, so never the nearest.
    to_corner = _distance(across, down) | _mask((above >= corner) == (left >= corner))
    nearest = corner ^ ((above ^ corner) & _mask(down <= to_corner))
    chosen: Uint8Array = nearest ^ (
        (left ^ nearest) & _mask((across <= down) & (across <= to_corner))
    )
    return chosen


def _distance(one: Uint8Array, other: Uint8Array) -> Uint8Array:
    distance: Uint8Array = np.maximum(one, other) - np.minimum(one, other)
    return distance


def _mask(chosen: BoolArray) -> Uint8Array:
    """255 where chosen, otherwise 0: several times as fast as `np.where` for bytes."""
    mask: Uint8Array = -chosen.view(np.uint8)
    return mask
