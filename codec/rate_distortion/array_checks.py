"""Checks that arguments of the measurements meet the assumptions of the formulas, in NumPy.

Each function returns its argument in float64, or raises `UsageError` that says what was read and
what was expected: a NaN must never pass through a log-sum-exp and come out as a number.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float64Array
from bitstream.errors import UsageError

SMALLEST_BETA, LARGEST_BETA = 1e-15, 1e15
"""Limits of β, far beyond any use. Their products and roots are numbers of float32."""


def finite_array(name: str, values: npt.ArrayLike, ndim: int) -> Float64Array:
    """`values` as a float64 array of `ndim` dimensions, not empty, every entry finite."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name}: not an array of numbers ({error})") from error
    if array.ndim != ndim:
        raise UsageError(f"{name} has shape {array.shape}, expected {ndim} dimension(s)")
    if array.size == 0:
        raise UsageError(f"{name} is empty: shape {array.shape}")
    if not np.isfinite(array).all():
        odd = int(np.count_nonzero(~np.isfinite(array)))
        raise UsageError(f"{name}: {odd} of {array.size} entries are NaN or infinite")
    return array


def finite_number(name: str, value: float, *, at_least: float | None = None) -> float:
    """`value` as a finite float, not below `at_least`."""
    number = float(finite_array(name, value, 0))
    if at_least is not None and number < at_least:
        raise UsageError(f"{name} is {number:g}, expected at least {at_least:g}")
    return number


def positive_number(name: str, value: float) -> float:
    """`value` as a finite float above zero."""
    number = finite_number(name, value)
    if number <= 0:
        raise UsageError(f"{name} is {number:g}, expected more than 0")
    return number


def rising_betas(betas: Iterable[float], *, above_zero: bool = False) -> tuple[float, ...]:
    """The multipliers β: at least one, strictly increasing, each 0 or between the limits.

    above_zero   the last one must be above 0
    """
    try:
        values = tuple(float(beta) for beta in betas)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"betas: not a sequence of numbers ({error})") from error
    fine = all(beta == 0 or SMALLEST_BETA <= beta <= LARGEST_BETA for beta in values)
    rising = all(low < high for low, high in pairwise(values))
    if not (values and fine and rising and (values[-1] > 0 or not above_zero)):
        raise UsageError(
            f"betas {reprlib.repr(list(values))}: expected rising numbers from 0 on, at least one"
            f"{' above 0' if above_zero else ''}, and none but 0 outside "
            f"{SMALLEST_BETA:g} … {LARGEST_BETA:g}"
        )
    return values


def whole_number(name: str, value: Any, *, at_least: int, at_most: int | None = None) -> int:
    """`value` as an int within the limits."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or value < at_least or (at_most is not None and value > at_most):
        limit = "" if at_most is None else f" and at most {at_most:,}"
        raise UsageError(
            f"{name} is {value!r}, expected a whole number of at least {at_least}{limit}"
        )
    return int(value)
