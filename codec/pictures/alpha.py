"""The alpha plane, lossless: rows predicted from above or from the left, then deflated.

    byte 0        method: 0 = deflate, 1 = every pixel has the value of byte 1; for pictures of more
                  than 8 bits 2 = deflate, 3 = every pixel has the value of bytes 1 and 2
    method 0      a zlib stream of rows: one byte for the prediction (0 none, 1 left, 2 above),
                  then ``width`` residuals modulo 256
    method 2      the same with residuals modulo 65536: first all upper bytes, then all lower bytes

Masks are mostly flat, and deflating residuals reduces a flat row to almost nothing.  The
predictions are PNG's first three (PNG specification, third edition, clause 9).
"""

import zlib

import numpy as np

from bitstream import LimitError, PayloadError, UsageError, limits
from bitstream.arrays import SampleArray, Uint8Array
from codec.pictures.picture import sample_type

_DEFLATE = 0
_CONSTANT = 1
_DEEP = 2  # added to the method for more than 8 bits
_LEFT, _ABOVE = 1, 2
_BAND_ROWS = 256  # bounds the memory of the predictions
_PIECE_BYTES = 2**16  # given to zlib at a time


def encode_alpha(alpha: SampleArray, bit_depth: int = 8) -> bytes:
    """Return the bytes of an alpha plane.

    alpha       uint8 (height, width), or uint16 if the bit depth is above 8; 0 transparent ..
                2^bit_depth − 1 opaque
    bit_depth   8, 10, 12 or 16

    Raises UsageError for another shape or type.  `AlphaReader` is the inverse.
    """
    kind = sample_type(bit_depth)
    if alpha.ndim != 2 or alpha.dtype != kind or alpha.size == 0:
        raise UsageError(
            f"an alpha plane of type {alpha.dtype} and shape {alpha.shape}, "
            f"expected {kind} (height, width)"
        )
    deep = 0 if bit_depth <= 8 else _DEEP
    bands = [alpha[top : top + _BAND_ROWS] for top in range(0, alpha.shape[0], _BAND_ROWS)]
    if all(bool((band == alpha[0, 0]).all()) for band in bands):
        value = int(alpha[0, 0])
        return bytes([_CONSTANT + deep]) + value.to_bytes(kind.itemsize, "little")
    deflater = zlib.compressobj(9)
    pieces = [bytes([_DEFLATE + deep])]
    for top in range(0, alpha.shape[0], _BAND_ROWS):
        pieces.append(deflater.compress(_predict(alpha, top).tobytes()))
    return b"".join(pieces) + deflater.flush()


class AlphaReader:
    """Decodes the alpha plane of ``encode_alpha`` from the top, some rows at a time.

    Never inflates more than ``height * (width + 1)`` bytes, or twice as many if the bit depth is
    above 8, whatever ``data`` contains.  Raises PayloadError for bytes that no encoder writes,
    LimitError for a size above the limits.
    """

    def __init__(self, data: bytes, height: int, width: int, bit_depth: int = 8) -> None:
        if width < 1 or height < 1 or max(width, height) > limits.MAX_SIDE:
            raise LimitError(f"alpha of {width}×{height} pixels, expected 1 .. {limits.MAX_SIDE}")
        if width * height > limits.MAX_PIXELS:
            raise LimitError(f"alpha of {width}×{height} pixels, the limit is {limits.MAX_PIXELS}")
        self._kind, self._peak = sample_type(bit_depth), (1 << bit_depth) - 1
        method = data[0] if data else None
        deflate = _DEFLATE if bit_depth <= 8 else _DEFLATE + _DEEP
        constant = _CONSTANT if bit_depth <= 8 else _CONSTANT + _DEEP
        if method not in (deflate, constant):
            raise PayloadError(
                f"alpha method {method} read, expected {deflate} or {constant} of {bit_depth} "
                "bits: damaged or newer file"
            )
        size = 1 + self._kind.itemsize
        if method == constant and len(data) != size:
            raise PayloadError(
                f"constant alpha has {len(data)} bytes, expected {size}: damaged file"
            )
        self._width = width
        self._row_bytes = 1 + self._kind.itemsize * width
        self._constant: int | None = None
        if method == constant:
            self._constant = int.from_bytes(data[1:], "little")
            self._check(self._constant)
        self._rest = memoryview(data)[1:]
        self._inflater = zlib.decompressobj()
        self._previous: SampleArray = np.zeros(width, self._kind)

    def read(self, rows: int) -> SampleArray:
        """Return the next rows, (rows, width), as `encode_alpha` takes them.

        rows   1 .. the number of remaining rows
        """
        if self._constant is not None:
            return np.full((rows, self._width), self._constant, self._kind)
        coded = np.frombuffer(self._inflate(rows * self._row_bytes), np.uint8)
        coded = coded.reshape(rows, self._row_bytes)
        alpha = _reconstruct(coded[:, 0], self._residuals(coded[:, 1:]), self._previous)
        self._check(int(alpha.max()))
        self._previous = alpha[-1].copy()
        return alpha

    def _residuals(self, rows: Uint8Array) -> SampleArray:
        if self._kind.itemsize == 1:
            return rows
        upper, lower = rows[:, : self._width], rows[:, self._width :]
        return upper.astype(np.uint16) << 8 | lower

    def _check(self, value: int) -> None:
        if value > self._peak:
            raise PayloadError(f"alpha {value} read, expected 0 .. {self._peak}: damaged file")

    def skip(self, rows: int) -> None:
        """Read rows and discard them."""
        if self._constant is None:
            for top in range(0, rows, _BAND_ROWS):
                self.read(min(_BAND_ROWS, rows - top))

    def finish(self) -> None:
        """Raise PayloadError unless the data end here.  Call it after the last row."""
        if self._constant is not None:
            return
        # The stream's own checksum may still be unread after the last pixel.
        more = self._decompress(1) if not self._inflater.eof else b""
        if more or not self._inflater.eof or self._rest or self._inflater.unused_data:
            raise PayloadError("alpha inflates beyond its last row, or ends late: damaged file")

    def _inflate(self, expected: int) -> bytearray:
        # The bytearray grows with the actual data, not to the size that the header announces.
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
        """Return 1 .. ``most`` bytes, or b"" if there are no more."""
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


def _predict(alpha: SampleArray, top: int) -> Uint8Array:
    """Return the rows of one band, ready to be deflated: prediction byte, then residuals."""
    band = alpha[top : top + _BAND_ROWS]
    left, above = band.copy(), band.copy()
    left[:, 1:] -= band[:, :-1]
    above[1:] -= band[:-1]
    if top:
        above[0] -= alpha[top - 1]
    candidates = np.stack([band, left, above])
    # PNG's heuristic: the least sum of absolute residuals, read as signed numbers.
    signed = candidates.view(f"i{band.itemsize}").astype(np.int32)
    costs = np.abs(signed).sum(axis=2, dtype=np.int64)
    kinds = costs.argmin(axis=0)
    rows = np.empty((len(band), band[0].nbytes + 1), np.uint8)
    rows[:, 0] = kinds
    residuals = candidates[kinds, np.arange(len(band))]
    if band.itemsize == 1:
        rows[:, 1:] = residuals
    else:
        width = band.shape[1]
        rows[:, 1 : 1 + width] = residuals >> 8
        rows[:, 1 + width :] = residuals & 255
    return rows


def _reconstruct(kinds: Uint8Array, residuals: SampleArray, previous: SampleArray) -> SampleArray:
    """Return the alpha (rows, width) from residuals; ``previous`` (width,) is the row above.

    kinds   prediction of each row, (rows,)
    """
    if kinds.max() > _ABOVE:
        raise PayloadError(f"alpha prediction {kinds.max()} read, expected 0 .. 2: damaged file")
    # Sums must wrap modulo 256 or 65536, as the residuals do.
    alpha: SampleArray = residuals.copy()
    wrapping = residuals.dtype
    is_left = kinds == _LEFT
    alpha[is_left] = np.add.accumulate(residuals[is_left], axis=1, dtype=wrapping)
    if kinds[0] == _ABOVE:
        alpha[0] += previous
    # A run of rows predicted from above is one cumulative sum, starting at the row before it.
    starts = np.flatnonzero(kinds != _ABOVE)
    starts = np.union1d(starts, [0])
    for start, end in zip(starts, [*starts[1:], len(kinds)], strict=True):
        if end - start > 1:
            np.add.accumulate(alpha[start:end], axis=0, dtype=wrapping, out=alpha[start:end])
    return alpha
