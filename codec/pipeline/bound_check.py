"""Checks that a file keeps its bound on the error, by decoding it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitstream import CalotypeError, container_from_bytes
from codec.models.base import LoadedModel
from codec.pictures.picture import Picture
from codec.pipeline.decode import decode_bands


class BrokenBoundError(CalotypeError):
    """A new file does not keep its bound: a bug in the encoder, not an error of the caller."""


def check_bound(
    data: bytes,
    picture: Picture,
    model: LoadedModel,
    max_error: int,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Decode a file and compare every value with the picture that it was made from.

    max_error   how far a pixel's value may be off; alpha must be the same
    progress    called with the share that has been compared, up to 1

    Raises BrokenBoundError.
    """
    top = 0
    for pixels, alpha in decode_bands(container_from_bytes(data), model).bands:
        rows = slice(top, top + len(pixels))
        found = int(np.abs(pixels.astype(np.int32) - picture.pixels[rows]).max())
        same_alpha = (alpha is None) == (picture.alpha is None)
        if alpha is not None and picture.alpha is not None:
            same_alpha = np.array_equal(alpha, picture.alpha[rows])
        if found > max_error or not same_alpha:
            what = f"a value of a pixel {found} off" if same_alpha else "another alpha"
            raise BrokenBoundError(
                f"the file decodes to {what}, expected at most {max_error} and the same alpha: "
                "this is a defect of calotype, please report it with the picture; nothing was "
                "written"
            )
        top += len(pixels)
        progress(top / picture.height)
