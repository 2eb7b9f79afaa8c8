"""Type aliases for NumPy arrays, by dtype."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
BoolArray = npt.NDArray[np.bool_]
Uint8Array = npt.NDArray[np.uint8]
Uint16Array = npt.NDArray[np.uint16]
Uint32Array = npt.NDArray[np.uint32]
Uint64Array = npt.NDArray[np.uint64]
Int8Array = npt.NDArray[np.int8]
Int16Array = npt.NDArray[np.int16]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
SampleArray = npt.NDArray[Any]
"""Samples of pictures: uint8, or uint16 if they have more than 8 bits."""
