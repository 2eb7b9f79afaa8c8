"""The picture of a .calo file in bands: reads no tile that is not asked for, holds few decoded."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bitstream import Container, TileSelection, read_container, read_tiles
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
    from codec.pipeline.decode import decode_bands, tiles_of_region

    def model_of(header: Header) -> LoadedModel:
        model = loading.load_model_of(header, device=options.device, checkpoint=options.checkpoint)
        return loading.with_realism(model, options.realism)

    region, layers = options.region, options.layers
    file: Container | TileSelection
    notices = []
    with opened(data) as fo:
        if region is not None and not options.partial and fo.seekable():
            window = region
            file = read_tiles(
                fo, lambda header: tiles_of_region(header, model_of(header), window), layers=layers
            )
        else:
            file = read_container(fo, partial=options.partial, layers=layers)
            decoded = len(file.payloads)
            # Layers that were left out on request need no notice.
            if not file.complete and decoded != layers:
                notices.append(
                    f"{decoded} of {file.header.layers} layers were decoded: the file is cut"
                )
    bands = decode_bands(file, model_of(file.header), region=region, seed=options.seed)
    return replace(bands, notices=(*bands.notices, *notices))
