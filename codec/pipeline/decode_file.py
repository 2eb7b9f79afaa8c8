"""The picture of a .calo file in bands: reads no tile that is not asked for, holds few decoded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bitstream import read_container, read_tiles
from codec.options import DecompressOptions
from codec.system.source import Source, opened

if TYPE_CHECKING:
    from bitstream import Header
    from codec.models.base import LoadedModel
    from codec.pictures.bands import Bands


def read_bands(data: Source, options: DecompressOptions) -> Bands:
    """Read a .calo file, and return the bands of its picture, not yet decoded.

    Of a region in a seekable file only the tiles that it needs are read, and what stands before
    them.  Raises what ``codec.decompress`` raises, but PayloadError only once the bands are read.
    """
    from codec import loading
    from codec.pipeline import encode

    region, seed = options.region, options.seed

    def model_of(header: Header) -> LoadedModel:
        model = loading.load_model_of(header, device=options.device, checkpoint=options.checkpoint)
        return loading.with_realism(model, options.realism)

    with opened(data) as fo:
        if region is not None and not options.partial and fo.seekable():
            window = region

            def tiles_of(header: Header) -> Sequence[int]:
                return encode.tiles_of_region(header, model_of(header), window)

            selection = read_tiles(fo, tiles_of, layers=options.layers)
            model = model_of(selection.header)
            return encode.tiles_bands(selection, model, region=region, seed=seed)
        container = read_container(fo, partial=options.partial, layers=options.layers)
    header, decoded = container.header, len(container.payloads)
    bands = encode.container_bands(container, model_of(header), region=region, seed=seed)
    # Layers that were left out on request need no notice.
    if not container.complete and decoded != options.layers:
        notice = f"{decoded} of {header.layers} layers were decoded: the file is cut"
        bands = replace(bands, notices=(*bands.notices, notice))
    return bands
