"""Similarity of the decoded colours of two pictures, without alpha.

Both scores are larger the more alike the pictures are.  They are used by the search for a target
and by the measurement of other codecs (`codec.rate_distortion.metrics`).
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from bitstream.arrays import SampleArray, Uint8Array
from codec.pictures.depth import to_eight_bits
from codec.system.missing_extra import extra_needed_by

PEAK = 255
"""Largest 8-bit sample value: the peak in PSNR."""

SSIMULACRA2_SMALLEST_SIDE = 8
"""Smaller pictures do not even have the first of its scales."""

_SAMPLES_AT_ONCE = 2**22  # samples for which the error is computed at once


def squared_error(original: SampleArray, decoded: SampleArray) -> int:
    """Sum of squared differences over all samples of two (h, w, c): an exact integer.

    Both must have the same shape, which is not checked.
    """
    # The square of a 16-bit difference does not fit int32.
    wide = np.int32 if original.dtype == decoded.dtype == np.uint8 else np.int64
    total, rows = 0, max(1, _SAMPLES_AT_ONCE // original[0].size)
    for top in range(0, len(original), rows):
        difference = original[top : top + rows].astype(wide) - decoded[top : top + rows]
        total += int(np.square(difference, out=difference).sum(dtype=np.int64))
    return total


def psnr_db(original: SampleArray, decoded: SampleArray, bit_depth: int = 8) -> float:
    """PSNR over all samples of two (h, w, c), peak 2^bit_depth − 1, in dB; infinite if equal.

    Both must have the same shape and bit depth, which is not checked.
    """
    error, peak = squared_error(original, decoded), (1 << bit_depth) - 1
    return 10 * math.log10(peak**2 * original.size / error) if error else math.inf


def ssimulacra2(original: SampleArray, decoded: SampleArray, bit_depth: int = 8) -> float:
    """SSIMULACRA2 of two (h, w, 1 or 3) in sRGB, grey as equal R, G and B: at most 100.

    Equal pictures have 100.  The library ssimulacra2 computes it, in seconds per megapixel.
    Samples of more than 8 bits are rounded to 8 first, because the library takes no more.  Both
    must have the same shape, with at least 8 pixels on each side, which is not checked.  Raises
    MissingExtraError without the library.
    """
    with extra_needed_by("SSIMULACRA2"):
        from ssimulacra2 import compute_ssimulacra2

    files = (_as_file(to_eight_bits(pixels, bit_depth)) for pixels in (original, decoded))
    return float(compute_ssimulacra2(*files))


def _as_file(pixels: Uint8Array) -> io.BytesIO:
    # The library opens files with Pillow, and repeats grey itself; PPM needs no compression.
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PPM")
    file.seek(0)
    return file
