"""Whether a file keeps the bound that was asked for: decoded, and compared with its picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bitstream import CalotypeError, container_from_bytes
from codec.models.base import LoadedModel
from codec.pictures.picture import Picture
from codec.pipeline.decode import decode_bands


class BrokenBoundError(CalotypeError):
    """A file that was written does not keep its bound: the encoder is wrong, not the caller."""


def check_bound(
    data: bytes,
    picture: Picture,
    model: LoadedModel,
    max_error: int,
    progress: Callable[[float], None] = lambda share: None,
) -> None:
    """Decode a file, and compare every value with those of the picture that it was made of.

    max_error   that a value of a pixel may be off; alpha has to be the same
    progress    called with the share that is compared, up to 1

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
