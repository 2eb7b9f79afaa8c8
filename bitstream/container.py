"""The container: header, metadata, alpha, and one coded payload for each tile of each layer.

    HEAD  iccp exif xmp_ ...  ALPH  INDX  DATA DATA ... DATA  DONE
          `-- any order ---'              layer by layer, tiles in raster order

FORMAT.md has the bytes.  ``write_container`` and ``read_container`` are inverses;
``container_to_bytes`` and ``container_from_bytes`` wrap them.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from .chunks import SIGNATURE, VERSION, ChunkInfo, chunk_bytes, is_critical, write_chunk
from .errors import TruncatedError, UsageError
from .header import Header
from .varint import write_varint
from .walk import METADATA, ChunkWalk, check_metadata


@dataclass(frozen=True)
class Container:
    """All that a file holds.

    payloads    coded bytes, ``payloads[layer][tile]``, tiles in raster order
    icc, exif, xmp, alpha    opaque bytes, or None where the file has none
    complete    False if the file was cut and only its complete layers are here
    ancillary   further ancillary chunks, ``(type, payload)``, kept but not interpreted
    """

    header: Header
    payloads: tuple[tuple[bytes, ...], ...]
    icc: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    alpha: bytes | None = None
    complete: bool = True
    ancillary: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True)
class TileSelection:
    """Some tiles of a file: ``payloads[tile][layer]``, and what stands before the tiles."""

    header: Header
    payloads: Mapping[int, tuple[bytes, ...]]
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    alpha: bytes | None


@dataclass(frozen=True)
class Scan:
    """The structure of a file, without its contents."""

    version: int
    header: Header
    chunks: tuple[ChunkInfo, ...]


def write_container(fo: BinaryIO, container: Container) -> None:
    """Write a file.

    Raises UsageError if the payloads do not match the header, LimitError for oversized chunks.
    """
    header, payloads = container.header, container.payloads
    counts = [len(tiles) for tiles in payloads]
    if not container.complete or counts != [header.tile_count] * header.layers:
        raise UsageError(
            f"payloads for {counts} tiles in the layers, expected {header.tile_count} tiles in "
            f"each of {header.layers} layers, all of them complete"
        )
    ancillary = _ancillary_chunks(container)
    data = [
        write_varint(layer) + write_varint(tile) + payload
        for layer, tiles in enumerate(payloads)
        for tile, payload in enumerate(tiles)
    ]
    fo.write(SIGNATURE + bytes([VERSION]))
    write_chunk(fo, b"HEAD", header.pack())
    for kind, payload in ancillary:
        write_chunk(fo, kind, payload)
    if container.alpha is not None:
        write_chunk(fo, b"ALPH", container.alpha)
    if len(data) > 1:
        write_chunk(fo, b"INDX", b"".join(write_varint(len(payload)) for payload in data))
    for payload in data:
        write_chunk(fo, b"DATA", payload)
    write_chunk(fo, b"DONE", b"")


def read_container(fo: BinaryIO, *, partial: bool = False) -> Container:
    """Read a file, from a stream that need not be seekable.

    With ``partial`` a file that ends too early gives the layers that are complete, provided that
    at least the first is.  Raises a StreamError for everything that is wrong with the bytes.
    """
    walk = ChunkWalk(fo)
    complete = True
    try:
        for _ in walk:
            pass
    except TruncatedError:
        if not partial or walk.header is None or len(walk.data) < walk.header.tile_count:
            raise
        complete = False
    header = walk.known_header()
    tiles = header.tile_count
    layers = len(walk.data) // tiles
    return Container(
        header=header,
        payloads=tuple(tuple(walk.data[k * tiles : (k + 1) * tiles]) for k in range(layers)),
        icc=walk.opaque.get(b"iccp"),
        exif=walk.opaque.get(b"exif"),
        xmp=walk.opaque.get(b"xmp_"),
        alpha=walk.opaque.get(b"ALPH"),
        complete=complete,
        ancillary=tuple(walk.others),
    )


def container_to_bytes(container: Container) -> bytes:
    """Return the file as bytes; see ``write_container``."""
    fo = io.BytesIO()
    write_container(fo, container)
    return fo.getvalue()


def container_from_bytes(data: bytes, *, partial: bool = False) -> Container:
    """Read a file from bytes; see ``read_container``."""
    return read_container(io.BytesIO(data), partial=partial)


def scan(fo: BinaryIO) -> Scan:
    """Check a whole file as ``read_container`` does, but keep one chunk at a time in memory."""
    walk = ChunkWalk(fo, keep=False)
    chunks = tuple(walk)
    return Scan(VERSION, walk.known_header(), chunks)


def read_tiles(fo: BinaryIO, tiles: Sequence[int]) -> TileSelection:
    """Read some tiles, in all layers, without reading the others.

    fo     a seekable stream
    tiles  numbers in raster order, 0 .. tile_count - 1

    Raises UsageError for a wrong tile number, and StreamErrors for the chunks that are read.
    """
    walk = ChunkWalk(fo)
    while walk.index is None and not walk.data:
        walk.step()
    header = walk.known_header()
    for tile in tiles:
        if not 0 <= tile < header.tile_count:
            raise UsageError(f"tile {tile} was asked for, expected 0 .. {header.tile_count - 1}")
    # In the order of the file, so that the stream is only moved forward.
    wanted = sorted(set(tiles))
    found: dict[int, list[bytes]] = {tile: list(walk.data) for tile in wanted}
    if walk.index is not None:
        offsets = [walk.reader.offset]
        for length in walk.index:
            offsets.append(offsets[-1] + chunk_bytes(length))
        for layer in range(header.layers):
            for tile in wanted:
                number = layer * header.tile_count + tile
                walk.reader.skip_to(offsets[number])
                found[tile].append(walk.read_payload(number))
    return TileSelection(
        header=header,
        payloads={tile: tuple(layers) for tile, layers in found.items()},
        icc=walk.opaque.get(b"iccp"),
        exif=walk.opaque.get(b"exif"),
        xmp=walk.opaque.get(b"xmp_"),
        alpha=walk.opaque.get(b"ALPH"),
    )


def _ancillary_chunks(container: Container) -> list[tuple[bytes, bytes]]:
    """Return the ancillary chunks to write, checked as a reader checks them."""
    for kind, _ in container.ancillary:
        if len(kind) != 4 or is_critical(kind) or kind in METADATA:
            raise UsageError(
                f"{kind!r} cannot be the type of a further ancillary chunk: expected 4 bytes, "
                f"the first a lower-case letter, and none of {sorted(METADATA)}"
            )
    own = [(kind, getattr(container, name)) for kind, name in METADATA.items()]
    chunks = [(kind, payload) for kind, payload in own if payload is not None]
    chunks.extend(container.ancillary)
    check_metadata(len(chunks), sum(len(payload) for _, payload in chunks))
    return chunks
