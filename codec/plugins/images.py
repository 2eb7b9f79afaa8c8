"""Chunks of arrays as images: what the codecs of zarr and numcodecs have in common."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from bitstream import UsageError
from bitstream.arrays import SampleArray
from codec.pictures.from_arrays import plain_array

CHANNELS = (1, 3, 4)


def image_of_chunk(chunk: Any, types: Sequence[type[np.generic]] = (np.uint8,)) -> SampleArray:
    """Return a chunk as an image (height, width[, channels]) that shares its memory.

    types   element types that are allowed

    Raises UsageError for other types and shapes.
    """
    array = plain_array(chunk)
    if array.dtype.newbyteorder("=") not in types:
        expected = " or ".join(np.dtype(kind).name for kind in types)
        raise UsageError(f"a chunk of type {array.dtype}, expected {expected}")
    image_axes = 3 if array.ndim >= 3 and array.shape[-1] in CHANNELS else 2
    leading = array.shape[:-image_axes]
    if array.ndim < 2 or array.size == 0 or math.prod(leading) != 1:
        raise UsageError(
            f"a chunk of shape {array.shape}, expected one image: (height, width) or "
            "(height, width, 1 | 3 | 4), before it only axes of length 1: choose other chunks"
        )
    return array.reshape(array.shape[-image_axes:])
