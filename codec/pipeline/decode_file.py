"""Decodes a .calo file in bands: reads only the tiles it needs, and keeps few in memory."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

from bitstream import (
    Container,
    StreamError,
    TileSelection,
    TruncatedError,
    read_container,
    read_tiles,
)
from bitstream.recovery import recover
from codec.options import DecompressOptions
from codec.system.source import Source, opened, read_calo

if TYPE_CHECKING:
    from bitstream import Header
    from codec.models.base import LoadedModel
    from codec.pictures.bands import Bands


def read_bands(data: Source, options: DecompressOptions) -> Bands:
    """Read a .calo file, and return the bands of its picture, not yet decoded.

    For a region in a seekable file, only the tiles that it needs are read, and what comes before
    them.  Raises what ``codec.decompress`` raises, but PayloadError only when the bands are read.
    """
    from codec import loading
    from codec.pictures.bands import eight_bit_bands
    from codec.pipeline.decode import decode_bands, tiles_of_region

    def model_of(header: Header) -> LoadedModel:
        model = loading.load_model_of(header, device=options.device, checkpoint=options.checkpoint)
        return loading.with_realism(model, options.realism, options.seed or 0)

    region, layers = options.region, options.layers
    file: Container | TileSelection
    notices: list[str] = []
    with opened(data) as fo:
        if region is not None and not options.partial and fo.seekable():
            window = region
            file = read_tiles(
                fo,
                lambda header: tiles_of_region(header, model_of(header), window, options.reduce),
                layers=layers,
            )
        elif not options.partial:
            file = read_container(fo, layers=layers)
        else:
            file, notices = _read_what_is_there(read_calo(fo), layers)
    bands = decode_bands(
        file,
        model_of(file.header),
        region=region,
        seed=options.seed,
        partial=options.partial,
        reduce=options.reduce,
    )
    if options.realism > 0 and options.reduce > 1:
        notices.append(
            f"realism {options.realism:g} was given, but a preview is drawn without it: decode the "
            "whole picture and make that smaller"
        )
    if options.reduce_depth:
        bands = eight_bit_bands(bands)
    return replace(bands, notices=(*notices, *bands.notices))


def _read_what_is_there(data: bytes, layers: int | None) -> tuple[TileSelection, list[str]]:
    """Read a file that may be truncated or damaged, and return it with notices.

    Returns the complete layers of a truncated file, or the intact tiles of an otherwise damaged
    one.  Raises the StreamError of reading the whole file if no tile is intact.
    """
    try:
        file = read_container(io.BytesIO(data), partial=True, layers=layers)
    except StreamError as error:
        recovered = recover(data)
        reason = str(error).partition(";")[0]
        if not recovered.tiles.payloads:
            if isinstance(error, TruncatedError):  # its message says that no layer is complete
                raise
            raise type(error)(
                f"{reason}; no tile is intact, so nothing can be decoded: get the file again from "
                "its source"
            ) from error
        header = recovered.tiles.header
        payloads = {tile: parts[:layers] for tile, parts in recovered.tiles.payloads.items()}
        notice = (
            f"the file is damaged ({reason}): its tiles were searched for, and {len(payloads)} of "
            f"{header.tile_count} found"
        )
        decoded = max(map(len, payloads.values()))
        if decoded < (layers or header.layers):
            notice += f", with {decoded} of {header.layers} layers"
        notices = [notice]
        if recovered.lost_alpha:
            from codec.pipeline.decode import LOST_ALPHA

            notices.append(LOST_ALPHA)
        return replace(recovered.tiles, payloads=payloads), notices
    found = TileSelection(
        file.header,
        dict(enumerate(zip(*file.payloads, strict=True))),
        file.icc,
        file.exif,
        file.xmp,
        file.alpha,
        file.ancillary,
    )
    decoded = len(file.payloads)
    # Layers that were left out on request need no notice.
    if file.complete or decoded == layers:
        return found, []
    return found, [f"{decoded} of {file.header.layers} layers were decoded: the file is cut"]
