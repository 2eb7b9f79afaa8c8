"""Everything that this package uses of constriction, in one place.

constriction (https://bamler-lab.github.io/constriction) codes with 24-bit probabilities, 32-bit
words and a 64-bit state, which is what FORMAT.md prescribes.  The tests compare it, byte for
byte, with a slow coder written from the published algorithms.
"""

from typing import Any

import constriction
import numpy as np
import numpy.typing as npt

from bitstream.errors import PayloadError

# constriction has no type information.
Model = Any  # constriction.stream.model.Categorical
queue: Any = constriction.stream.queue  # range coder
stack: Any = constriction.stream.stack  # ANS coder


def model_from_frequencies(frequencies: npt.NDArray[np.int32]) -> Model:
    """Return a model whose fixed-point probabilities are exactly ``frequencies`` / 2**24.

    frequencies: int32[entries], entries >= 2, each >= 1, sum 2**24.

    With ``perfect=False`` the cumulative probability of entry i becomes
    floor(cumsum[i] * (2**24 - entries) / sum) + i: every entry has one unit for free.  Passing
    f - 1, which sums to 2**24 - entries, makes the factor 1 and every number an integer that
    float64 holds exactly.
    """
    return constriction.stream.model.Categorical(
        frequencies.astype(np.float64) - 1.0, perfect=False, lazy=False
    )


# A Categorical without probabilities takes a matrix, and each row is one such model.
model_of_each_row: Any = constriction.stream.model.Categorical(perfect=False)


class payload_errors:  # noqa: N801 - a context manager, named like those of contextlib
    """Turn whatever constriction raises on damaged bytes into PayloadError."""

    # Not a generator, which takes several times as long: every run of symbols enters this once.
    def __enter__(self) -> None:
        return

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        if error is None:
            return
        # A Rust panic arrives as PanicException, which derives from BaseException alone.
        panic = type(error).__module__ == "pyo3_runtime"
        if panic or isinstance(error, (AssertionError, ValueError)):
            raise PayloadError(
                "the coded symbols do not fit the probability tables: "
                "the payload is damaged, or it was written with another model"
            ) from error
