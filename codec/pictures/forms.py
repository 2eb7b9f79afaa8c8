"""The forms in which the library returns an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from bitstream import UsageError
from codec.system.missing_extra import extra_needed_by

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from PIL import Image

    from codec.pictures.picture import Picture

ReturnType = Literal["pil", "numpy", "torch"]


def check_return_type(as_: object) -> None:
    """Raise UsageError unless ``as_`` is a form that ``in_form`` knows and can make here."""
    if as_ not in ("pil", "numpy", "torch"):
        raise UsageError(f"as_={as_!r} was given, expected 'pil', 'numpy' or 'torch'")
    if as_ == "torch":
        with extra_needed_by("as_='torch'"):
            import torch  # noqa: F401 - before anything is decoded


def in_form(
    picture: Picture, as_: ReturnType
) -> Image.Image | npt.NDArray[np.uint8] | torch.Tensor:
    """Return a picture as ``decompress`` does."""
    from codec.pictures import picture as images

    if as_ == "numpy":
        return images.to_numpy(picture)
    if as_ == "torch":
        return images.to_torch(picture)
    return images.to_pil(picture)
