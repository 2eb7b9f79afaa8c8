"""Decode a file that is still arriving: one image after each quality layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from bitstream import Container, read_layers
from codec.options import DecompressOptions
from codec.system.source import Source, opened

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch
    from PIL import Image

    from codec.pictures.picture import Picture, ReturnType


@overload
def decompress_progressive(
    data: Source, *, as_: Literal["pil"] = ..., seed: int | None = ..., device: str = ...
) -> Iterator[Image.Image]: ...
@overload
def decompress_progressive(
    data: Source, *, as_: Literal["numpy"], seed: int | None = ..., device: str = ...
) -> Iterator[npt.NDArray[Any]]: ...
@overload
def decompress_progressive(
    data: Source, *, as_: Literal["torch"], seed: int | None = ..., device: str = ...
) -> Iterator[torch.Tensor]: ...
def decompress_progressive(
    data: Source, *, as_: ReturnType = "pil", seed: int | None = None, device: str = "auto"
) -> Iterator[Image.Image | npt.NDArray[Any] | torch.Tensor]:
    """Yield the image of a .calo file after each of its layers; the last one is complete.

    data      bytes, path, or binary file object, which need not be seekable: the image of a
              layer is yielded before any byte after that layer is read
    as_, seed, device    as ``decompress`` takes them

    Image number k, from 1, is that of ``decompress(data, layers=k, seed=seed)``, with alpha and
    metadata; each layer is decoded once.  A model without layers gives one image.  The exception
    is the first image of a ``photo`` file without a seed: it is decoded at an eighth of the size
    and enlarged, which looks about as good and takes half the time or less.

    Raises UsageError for wrong arguments at once, and what ``decompress`` raises while the file
    is read.  If the file ends early, the images of its complete layers are yielded first.
    """
    from codec.pictures.picture import check_return_type, in_form

    check_return_type(as_)
    options = DecompressOptions(seed=seed, device=device)
    return (in_form(picture, as_) for picture in _pictures(data, options))


def _pictures(data: Source, options: DecompressOptions) -> Iterator[Picture]:
    from codec import loading
    from codec.pipeline.decode import LayerDecoder, decompress_container

    decode: Callable[[Container], Picture] | None = None
    with opened(data) as fo:
        for container in read_layers(fo):
            if decode is None:
                header = container.header
                model = loading.load_model_of(header, device=options.device)
                if header.layers == 1:
                    decode = partial(decompress_container, model=model, seed=options.seed)
                else:
                    decode = LayerDecoder(header, model, seed=options.seed).decode
            yield decode(container)
