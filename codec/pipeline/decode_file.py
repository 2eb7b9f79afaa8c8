"""The picture of a .calo file in bands: reads no tile that is not asked for, holds few decoded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bitstream import limits, read_container, read_tiles
from codec.options import (
    check_device,
    check_integer,
    check_realism,
    check_region,
    check_seed,
)
from codec.system.source import Source, opened

if TYPE_CHECKING:
    from bitstream import Header
    from codec.models.base import LoadedModel
    from codec.pictures.bands import Bands

Region = tuple[int, int, int, int]


def read_bands(
    data: Source,
    *,
    region: Region | None = None,
    layers: int | None = None,
    partial: bool = False,
    seed: int | None = None,
    realism: float = 0.0,
    device: str = "auto",
    checkpoint: str | os.PathLike[str] | None = None,
) -> Bands:
    """Read a .calo file, and return the bands of its picture, not yet decoded.

    The arguments are those of ``codec.decompress``.  Of a region in a seekable file only the tiles
    that it needs are read, and what stands before them.  Raises what ``codec.decompress`` raises,
    but PayloadError only once the bands are read.
    """
    check_device(device)
    check_seed(seed)
    check_realism(realism)
    if layers is not None:
        check_integer("layers", layers, 1, limits.MAX_LAYERS)
    if region is not None:
        check_region(region)
    from codec import loading
    from codec.pipeline import encode

    def model_of(header: Header) -> LoadedModel:
        model = loading.load_model_of(header, device=device, checkpoint=checkpoint)
        return loading.with_realism(model, realism)

    with opened(data) as fo:
        if region is not None and not partial and fo.seekable():
            window = region

            def tiles_of(header: Header) -> Sequence[int]:
                return encode.tiles_of_region(header, model_of(header), window)

            selection = read_tiles(fo, tiles_of, layers=layers)
            model = model_of(selection.header)
            return encode.tiles_bands(selection, model, region=region, seed=seed)
        container = read_container(fo, partial=partial, layers=layers)
    header, decoded = container.header, len(container.payloads)
    bands = encode.container_bands(container, model_of(header), region=region, seed=seed)
    # Layers that were left out on request are no news.
    if not container.complete and decoded != layers:
        notice = f"{decoded} of {header.layers} layers were decoded: the file is cut"
        bands = replace(bands, notices=(*bands.notices, notice))
    return bands
