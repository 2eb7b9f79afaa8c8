"""The alpha plane, lossless: rows predicted from above or from the left, then deflated.

    byte 0        method: 0 = deflate, 1 = every pixel has the value of byte 1
    method 0      a zlib stream of rows: one byte for the prediction (0 none, 1 left, 2 above),
                  then ``width`` residuals modulo 256

Masks are mostly flat, and deflate on residuals brings a flat row to almost nothing.  The
predictions are PNG's first three (PNG specification, third edition, clause 9).
"""

import zlib

import numpy as np
import numpy.typing as npt

from bitstream import LimitError, PayloadError, UsageError, limits

_DEFLATE = 0
_CONSTANT = 1
_LEFT, _ABOVE = 1, 2
_BAND_ROWS = 256  # bounds the memory of the predictions


def encode_alpha(alpha: npt.NDArray[np.uint8]) -> bytes:
    """Return the bytes of an alpha plane.

    alpha   uint8 (height, width), 0 transparent .. 255 opaque

    Raises UsageError for another shape or type.  ``decode_alpha`` is the inverse.
    """
    if alpha.ndim != 2 or alpha.dtype != np.uint8 or alpha.size == 0:
        raise UsageError(
            f"an alpha plane of type {alpha.dtype} and shape {alpha.shape}, "
            "expected uint8 (height, width)"
        )
    if (alpha == alpha[0, 0]).all():
        return bytes([_CONSTANT, int(alpha[0, 0])])
    deflater = zlib.compressobj(9)
    pieces = [bytes([_DEFLATE])]
    for top in range(0, alpha.shape[0], _BAND_ROWS):
        pieces.append(deflater.compress(_predict(alpha, top).tobytes()))
    return b"".join(pieces) + deflater.flush()


def decode_alpha(data: bytes, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return the alpha plane, uint8 (height, width), that ``encode_alpha`` was given.

    Never inflates more than ``height * (width + 1)`` bytes, whatever ``data`` announces.  Raises
    PayloadError for bytes that no encoder writes, LimitError for a size above the caps.
    """
    if width < 1 or height < 1 or max(width, height) > limits.MAX_SIDE:
        raise LimitError(f"alpha of {width}×{height} pixels, expected 1 .. {limits.MAX_SIDE}")
    if width * height > limits.MAX_PIXELS:
        raise LimitError(f"alpha of {width}×{height} pixels, the limit is {limits.MAX_PIXELS}")
    method = data[0] if data else None
    if method == _CONSTANT:
        if len(data) != 2:
            raise PayloadError(f"constant alpha has {len(data)} bytes, expected 2: damaged file")
        return np.full((height, width), data[1], np.uint8)
    if method != _DEFLATE:
        raise PayloadError(f"alpha method {method} read, expected 0 or 1: damaged or newer file")
    rows = np.frombuffer(_inflate(data[1:], height * (width + 1)), np.uint8)
    return _reconstruct(rows.reshape(height, width + 1))


def _predict(alpha: npt.NDArray[np.uint8], top: int) -> npt.NDArray[np.uint8]:
    """Return the rows of one band as they are deflated: prediction, then residuals."""
    band = alpha[top : top + _BAND_ROWS]
    left, above = band.copy(), band.copy()
    left[:, 1:] -= band[:, :-1]
    above[1:] -= band[:-1]
    if top:
        above[0] -= alpha[top - 1]
    candidates = np.stack([band, left, above])
    # The sum of absolute residuals, as signed bytes: the heuristic that PNG recommends.
    costs = np.abs(candidates.view(np.int8).astype(np.int16)).sum(axis=2, dtype=np.int64)
    kinds = costs.argmin(axis=0)
    rows = np.empty((len(band), band.shape[1] + 1), np.uint8)
    rows[:, 0] = kinds
    rows[:, 1:] = candidates[kinds, np.arange(len(band))]
    return rows


def _inflate(data: bytes, expected: int) -> bytearray:
    inflater = zlib.decompressobj()
    # A bytearray that grows with what is there: a short stream costs little memory even when the
    # header announces a large image.
    out = bytearray()
    try:
        while len(out) < expected and not inflater.eof:
            piece = inflater.decompress(data, min(expected - len(out), 2**20))
            data = inflater.unconsumed_tail
            if not piece:
                break
            out += piece
        if not inflater.eof and len(out) == expected:
            # The stream's own checksum may stand after the last pixel.
            if inflater.decompress(data, 1):
                raise PayloadError(f"alpha holds more than {expected} bytes: damaged file")
            data = inflater.unconsumed_tail
    except zlib.error as error:
        raise PayloadError(f"alpha cannot be inflated ({error}): damaged file") from error
    if len(out) != expected or not inflater.eof or data or inflater.unused_data:
        raise PayloadError(
            f"alpha inflates to {len(out)} bytes, expected {expected} and nothing after: "
            "damaged file"
        )
    return out


def _reconstruct(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    kinds, residuals = rows[:, 0], rows[:, 1:]
    if kinds.max() > _ABOVE:
        raise PayloadError(f"alpha prediction {kinds.max()} read, expected 0 .. 2: damaged file")
    # uint8 sums wrap modulo 256, which is what inverts the residuals.
    alpha: npt.NDArray[np.uint8] = residuals.copy()
    is_left = kinds == _LEFT
    alpha[is_left] = np.add.accumulate(residuals[is_left], axis=1, dtype=np.uint8)
    # A run of rows predicted from above is one cumulative sum down from the row before it.
    starts = np.flatnonzero(kinds != _ABOVE)
    starts = np.union1d(starts, [0])
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        if end - start > 1:
            np.add.accumulate(alpha[start:end], axis=0, dtype=np.uint8, out=alpha[start:end])
    return alpha
