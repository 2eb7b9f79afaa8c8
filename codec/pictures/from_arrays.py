"""From NumPy arrays and torch tensors to grey or RGB planes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream import InputError, UsageError, limits
from bitstream.arrays import Float64Array, SampleArray
from bitstream.foreign import has
from codec.pictures.convert import Planes, bands_of_rows, split_channels
from codec.pictures.depth import peak_of
from codec.pictures.picture import sample_type

_TYPES = "uint8, uint16 (65535 is white), or floats in 0 .. 1"


def as_array(image: object) -> npt.NDArray[Any] | None:
    """Return an array or a tensor as a NumPy array, None for other kinds of images.

    image   array; torch tensor (height, width) or (channels, height, width), on any device; or
            an object that NumPy can convert, such as a JAX array

    Raises UsageError for tensors of another shape, and for arrays that cannot be converted or have
    masked values.
    """
    if type(image).__module__.partition(".")[0] == "torch" and hasattr(image, "detach"):
        return _of_tensor(image)
    if isinstance(image, np.ndarray) or has(image, "__array__", "dtype"):
        return plain_array(image)
    return None


def plain_array(values: Any) -> npt.NDArray[Any]:
    """Return an array of a NumPy subclass or of another library as a plain NumPy array.

    Raises UsageError if it has masked values or NumPy cannot convert it.
    """
    is_masked = isinstance(values, np.ma.MaskedArray) and values.dtype.names is None
    if is_masked and (hidden := values.size - int(values.count())):
        raise UsageError(
            f"an array of which {hidden} of {values.size} values are masked, which no .calo file "
            "can hold: give array.filled(0), or array.data to code what is under the mask"
        )
    try:
        return np.asarray(values)
    except Exception as error:  # every library raises its own exceptions
        kind = type(values)
        raise UsageError(
            f"an array of type {kind.__module__}.{kind.__qualname__} that NumPy cannot take "
            f"({type(error).__name__}: {error}): give a NumPy array"
        ) from error


def _of_tensor(tensor: Any) -> npt.NDArray[Any]:
    shape = tuple(tensor.shape)
    if len(shape) not in (2, 3) or (len(shape) == 3 and not 1 <= shape[0] <= 4):
        hint = "of a batch, give one image: tensor[0]"
        if len(shape) == 3 and 1 <= shape[2] <= 4:
            hint = "turn it with tensor.permute(2, 0, 1)"
        raise UsageError(
            f"a tensor of shape {shape}, expected (channels, height, width) with 1 .. 4 channels, "
            f"or (height, width): {hint}"
        )
    try:
        values = tensor.detach().cpu().resolve_neg()  # for imaginary parts of conjugate tensors
        if values.dtype.is_floating_point:
            values = values.float() if values.element_size() < 4 else values  # NumPy: no bfloat16
        array: npt.NDArray[Any] = values.numpy()
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UsageError(
            f"a tensor of type {getattr(tensor, 'dtype', '?')} that NumPy cannot hold ({error}): "
            "convert it to uint8 first"
        ) from error
    return array if array.ndim == 2 else array.transpose(1, 2, 0)


def planes_from_array(
    array: npt.NDArray[Any],
    reduce_depth: bool = False,
    keep_depth: bool = False,
    bit_depth: int | None = None,
) -> Planes:
    """Return the planes of an array (height, width) or (height, width, 1 .. 4).

    array       uint8; uint16 over its full range, with ``keep_depth`` or ``reduce_depth``; floats
                in 0 .. 1, which are rounded; or with ``bit_depth``, integers of any type
    bit_depth   8, 10, 12 or 16: white is 2^bit_depth − 1.  None is 8 for uint8 and floats, and 16
                for uint16

    The planes keep a depth above 8, which needs ``keep_depth`` or ``reduce_depth``; with the
    latter the caller reduces them.  Raises InputError for values out of range, or if bits would be
    lost, UsageError for other shapes and types.
    """
    if array.ndim == 2:
        array = array[..., None]
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.ndim != 3 or not 1 <= array.shape[2] <= 4 or array.size == 0:
        hint = ""
        if array.size == 0:
            hint = "; this one has no pixels"
        elif array.ndim == 3 and array.shape[0] <= 4:
            hint = "; array.transpose(1, 2, 0) moves channels from the front to the end"
        raise UsageError(
            f"an array of shape {array.shape}, expected (height, width) or "
            f"(height, width, 1 .. 4): grey, grey and alpha, RGB, or RGBA{hint}"
        )
    kind = array.dtype
    depth = bit_depth or (16 if kind == np.uint16 else 8)
    if kind.kind == "f":
        samples = _from_floats(array, depth)
    elif kind.kind not in "ui":
        raise UsageError(f"the array has values of type {kind}, expected {_TYPES}")
    elif bit_depth is not None:
        samples = _from_integers(array, depth)
    elif kind in (np.uint8, np.uint16):
        samples = array
    else:
        problem = InputError if kind.itemsize > 1 else UsageError
        raise problem(
            f"the array has values of type {kind}, expected {_TYPES}: convert them, or say with "
            f"bit_depth={limits.BIT_DEPTHS[0]} (or {', '.join(map(str, limits.BIT_DEPTHS[1:]))}) "
            "what white is"
        )
    if depth > 8 and not (keep_depth or reduce_depth):
        raise InputError(
            f"the array has {depth} bits per channel, expected 8: pass --reduce-depth "
            "(reduce_depth=True) to code it at 8 bits"
        )
    planes = split_channels(samples)
    return replace(planes, bit_depth=depth)


def _from_floats(array: npt.NDArray[Any], depth: int) -> SampleArray:
    """Round floats in 0 .. 1 to the nearest of 2^depth levels."""
    samples = np.empty(array.shape, sample_type(depth))
    for rows in bands_of_rows(*array.shape[:2]):
        band = array[rows]
        # Written so that NaN fails as well.
        if not bool(((band >= 0) & (band <= 1)).all()):
            # fmin and fmax ignore NaN.
            low = float(np.fmin.reduce(array, axis=None))
            high = float(np.fmax.reduce(array, axis=None))
            hint = "scale them to that range first"
            if low >= 0 and 1 < high <= 255 and not np.isnan(array).any():
                hint = "divide them by 255, or convert them to uint8"
            raise InputError(
                f"the array has floats from {low:g} to {high:g}"
                f"{' and NaN' if np.isnan(array).any() else ''}, expected 0 .. 1: {hint}"
            )
        levels: Float64Array = band.astype(np.float64) * peak_of(depth) + 0.5
        samples[rows] = levels.astype(samples.dtype)  # rounds towards zero
    return samples


def _from_integers(array: npt.NDArray[Any], depth: int) -> SampleArray:
    """Integers as samples of a bit depth; raises InputError for values out of range."""
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > peak_of(depth):
        raise InputError(
            f"the array has values from {low} to {high}, expected 0 .. {peak_of(depth)} of "
            f"bit_depth={depth}: scale them, or give another bit_depth"
        )
    return array.astype(sample_type(depth), copy=False)
