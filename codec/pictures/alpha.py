"""The alpha plane, lossless: rows predicted from above or from the left, then deflated.

    byte 0        method: 0 = deflate, 1 = every pixel has the value of byte 1
    method 0      a zlib stream of rows: one byte for the prediction (0 none, 1 left, 2 above),
                  then ``width`` residuals modulo 256

Masks are mostly flat, and deflate on residuals brings a flat row to almost nothing.  The
predictions are PNG's first three (PNG specification, third edition, clause 9).
"""

import zlib

import numpy as np

from bitstream import LimitError, PayloadError, UsageError, limits
from bitstream.arrays import Uint8Array

_DEFLATE = 0
_CONSTANT = 1
_LEFT, _ABOVE = 1, 2
_BAND_ROWS = 256  # bounds the memory of the predictions
_PIECE_BYTES = 2**16  # given to zlib at a time


def encode_alpha(alpha: Uint8Array) -> bytes:
    """Return the bytes of an alpha plane.

    alpha   uint8 (height, width), 0 transparent .. 255 opaque

    Raises UsageError for another shape or type.  `AlphaReader` is the inverse.
    """
    if alpha.ndim != 2 or alpha.dtype != np.uint8 or alpha.size == 0:
        raise UsageError(
            f"an alpha plane of type {alpha.dtype} and shape {alpha.shape}, "
            "expected uint8 (height, width)"
        )
    bands = [alpha[top : top + _BAND_ROWS] for top in range(0, alpha.shape[0], _BAND_ROWS)]
    if all(bool((band == alpha[0, 0]).all()) for band in bands):
        return bytes([_CONSTANT, int(alpha[0, 0])])
    deflater = zlib.compressobj(9)
    pieces = [bytes([_DEFLATE])]
    for top in range(0, alpha.shape[0], _BAND_ROWS):
        pieces.append(deflater.compress(_predict(alpha, top).tobytes()))
    return b"".join(pieces) + deflater.flush()


class AlphaReader:
    """Reads the alpha plane that ``encode_alpha`` was given from the top, some rows at a time.

    Never inflates more than ``height * (width + 1)`` bytes, whatever ``data`` announces.  Raises
    PayloadError for bytes that no encoder writes, LimitError for a size above the caps.
    """

    def __init__(self, data: bytes, height: int, width: int) -> None:
        if width < 1 or height < 1 or max(width, height) > limits.MAX_SIDE:
            raise LimitError(f"alpha of {width}×{height} pixels, expected 1 .. {limits.MAX_SIDE}")
        if width * height > limits.MAX_PIXELS:
            raise LimitError(f"alpha of {width}×{height} pixels, the limit is {limits.MAX_PIXELS}")
        method = data[0] if data else None
        if method not in (_DEFLATE, _CONSTANT):
            raise PayloadError(
                f"alpha method {method} read, expected 0 or 1: damaged or newer file"
            )
        if method == _CONSTANT and len(data) != 2:
            raise PayloadError(f"constant alpha has {len(data)} bytes, expected 2: damaged file")
        self._width = width
        self._constant = data[1] if method == _CONSTANT else None
        self._rest = memoryview(data)[1:]
        self._inflater = zlib.decompressobj()
        self._previous = np.zeros(width, np.uint8)

    def read(self, rows: int) -> Uint8Array:
        """Return the next rows, uint8 (rows, width); rows that are left, 1 or more of them."""
        if self._constant is not None:
            return np.full((rows, self._width), self._constant, np.uint8)
        coded = np.frombuffer(self._inflate(rows * (self._width + 1)), np.uint8)
        alpha = _reconstruct(coded.reshape(rows, self._width + 1), self._previous)
        self._previous = alpha[-1].copy()
        return alpha

    def skip(self, rows: int) -> None:
        """Read rows, and forget them."""
        if self._constant is None:
            for top in range(0, rows, _BAND_ROWS):
                self.read(min(_BAND_ROWS, rows - top))

    def finish(self) -> None:
        """Raise PayloadError unless the data end here.  Call it after the last row."""
        if self._constant is not None:
            return
        # The stream's own checksum may stand after the last pixel.
        more = self._decompress(1) if not self._inflater.eof else b""
        if more or not self._inflater.eof or self._rest or self._inflater.unused_data:
            raise PayloadError("alpha inflates beyond its last row, or ends late: damaged file")

    def _inflate(self, expected: int) -> bytearray:
        # A bytearray that grows with what is there, and not with what the header announces.
        out = bytearray()
        while len(out) < expected:
            piece = self._decompress(min(expected - len(out), 2**20))
            if not piece:
                raise PayloadError(
                    f"alpha inflates to {len(out)} bytes where {expected} were expected: "
                    "damaged file"
                )
            out += piece
        return out

    def _decompress(self, most: int) -> bytes:
        """Return 1 .. ``most`` bytes, or b"" where there are no more."""
        try:
            while not self._inflater.eof:
                given = self._inflater.unconsumed_tail or self._rest[:_PIECE_BYTES]
                if not self._inflater.unconsumed_tail:
                    self._rest = self._rest[_PIECE_BYTES:]
                piece = self._inflater.decompress(given, most)
                if piece or not len(given):
                    return piece
        except zlib.error as error:
            raise PayloadError(f"alpha cannot be inflated ({error}): damaged file") from error
        return b""


def _predict(alpha: Uint8Array, top: int) -> Uint8Array:
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


def _reconstruct(rows: Uint8Array, previous: Uint8Array) -> Uint8Array:
    """Return the alpha of rows as ``_predict`` gives them, below a row ``previous`` (width,)."""
    kinds, residuals = rows[:, 0], rows[:, 1:]
    if kinds.max() > _ABOVE:
        raise PayloadError(f"alpha prediction {kinds.max()} read, expected 0 .. 2: damaged file")
    # uint8 sums wrap modulo 256, which is what inverts the residuals.
    alpha: Uint8Array = residuals.copy()
    is_left = kinds == _LEFT
    alpha[is_left] = np.add.accumulate(residuals[is_left], axis=1, dtype=np.uint8)
    if kinds[0] == _ABOVE:
        alpha[0] += previous
    # A run of rows predicted from above is one cumulative sum down from the row before it.
    starts = np.flatnonzero(kinds != _ABOVE)
    starts = np.union1d(starts, [0])
    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        if end - start > 1:
            np.add.accumulate(alpha[start:end], axis=0, dtype=np.uint8, out=alpha[start:end])
    return alpha
