"""The errors that measuring rate and distortion may raise.

CalotypeError
├── UsageError
│   ├── MissingExtraError       an optional library is not installed; names the extra to install
│   └── OverlapError            two curves overlap too little to be compared
├── InputError
│   └── ResultFileError         a result file cannot be read or has another schema
├── ModelError
│   └── UserCodeError           a user's own decoder, prior or distortion failed;
│                               see user_code/load_file.py
└── MeasurementError            a codec failed, or its file did not decode to the same size
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bitstream.errors import CalotypeError, InputError, UsageError
from codec.system.missing_extra import MissingExtraError as MissingExtraError


class OverlapError(UsageError):
    """Two rate-distortion curves share too small a range of distortion to be compared."""


class ResultFileError(InputError):
    """A file of measured curves cannot be read, or was written under another schema."""


class MeasurementError(CalotypeError):
    """A codec under measurement failed, or its file did not come back as the same picture."""


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn errors in reading the fields of parsed JSON into `ResultFileError`.

    what   the name of what is read, such as "the ladder"
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, UsageError) as error:
        raise ResultFileError(f"{what} is not complete: {type(error).__name__}: {error}") from error
