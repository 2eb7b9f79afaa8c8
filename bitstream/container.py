"""The container: header, metadata, alpha, and one coded payload for each tile of each layer.

    HEAD  iccp exif xmp_ ...  ALPH  INDX  DATA DATA ... DATA  DONE
          `-- any order ---'              layer by layer, tiles in raster order

FORMAT.md has the bytes.  ``write_container`` and ``read_container`` are inverses;
``container_to_bytes`` and ``container_from_bytes`` wrap them.
"""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from bitstream.chunks import (
    SIGNATURE,
    VERSION,
    ChunkInfo,
    chunk_bytes,
    is_critical,
    shown_type,
    write_chunk,
)
from bitstream.errors import StreamError, TruncatedError, UsageError
from bitstream.grammar import METADATA, ChunkWalk, check_metadata
from bitstream.header import Header
from bitstream.sink import whole_writes
from bitstream.varint import write_varint


@dataclass(frozen=True)
class Container:
    """Everything that a file holds.

    payloads    coded bytes, ``payloads[layer][tile]``, tiles in raster order
    icc, exif, xmp, alpha    opaque bytes, or None if the file has none
    complete    False if the file was not read to its end, so that later layers may be missing
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
    """Some tiles of a file, with all of its layers or the first ones: ``payloads[tile][layer]``.

    The other fields hold the chunks before the tiles.
    """

    header: Header
    payloads: Mapping[int, tuple[bytes, ...]]
    icc: bytes | None
    exif: bytes | None
    xmp: bytes | None
    alpha: bytes | None
    ancillary: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True)
class Scan:
    """The structure of a file, without its contents.

    damage   what is wrong with the file after the last of these chunks; None if nothing is
    """

    version: int
    header: Header
    chunks: tuple[ChunkInfo, ...]
    damage: StreamError | None = None


def write_container(fo: BinaryIO, container: Container) -> None:
    """Write a file.

    fo   a binary file object, which may take fewer bytes at a time than it is given

    Raises UsageError if the payloads do not match the header, LimitError for oversized chunks,
    OutputError if not all bytes can be written.
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
        (write_varint(layer) + write_varint(tile), payload)
        for layer, tiles in enumerate(payloads)
        for tile, payload in enumerate(tiles)
    ]
    fo = whole_writes(fo)
    fo.write(SIGNATURE + bytes([VERSION]))
    write_chunk(fo, b"HEAD", header.pack())
    for kind, payload in ancillary:
        write_chunk(fo, kind, payload)
    if container.alpha is not None:
        write_chunk(fo, b"ALPH", container.alpha)
    if len(data) > 1:
        lengths = (len(place) + len(payload) for place, payload in data)
        write_chunk(fo, b"INDX", b"".join(map(write_varint, lengths)))
    for place, payload in data:
        write_chunk(fo, b"DATA", place + payload)
    write_chunk(fo, b"DONE", b"")


def read_container(fo: BinaryIO, *, partial: bool = False, layers: int | None = None) -> Container:
    """Read a file, from a stream that need not be seekable.

    partial  if the file ends too early, return the layers that are complete, provided that at
             least the first is
    layers   read only this many layers, 1 .. the number that the file has

    Raises a StreamError for any fault in the bytes that are read, UsageError for more layers than
    the file has.
    """
    walk = ChunkWalk(fo)
    try:
        walk.step()
        header = walk.known_header()
        wanted = None if layers is None else _readable(layers, header) * header.tile_count
        while not walk.done and len(walk.data) != wanted:
            walk.step()
    except TruncatedError as error:
        if not partial:
            raise
        if walk.header is None or len(walk.data) < walk.header.tile_count:
            where = str(error).partition(";")[0]
            raise TruncatedError(
                f"{where}; no layer is complete, so nothing can be decoded"
            ) from error
    return _container(walk)


def read_layers(fo: BinaryIO) -> Iterator[Container]:
    """Read a file as it arrives: yield what has been read at the end of each layer.

    Each container has one layer more than the one before, and none is ``complete``: the end of
    the file is read and checked after the last one.  Reads no byte beyond what it yields.  Raises
    what ``read_container`` raises.
    """
    walk = ChunkWalk(fo)
    for chunk in walk:
        if chunk.type == b"DATA" and len(walk.data) % walk.known_header().tile_count == 0:
            yield _container(walk)


def container_to_bytes(container: Container) -> bytes:
    """Return the file as bytes; see ``write_container``."""
    fo = io.BytesIO()
    write_container(fo, container)
    return fo.getvalue()


def container_from_bytes(data: bytes, *, partial: bool = False) -> Container:
    """Read a file from bytes; see ``read_container``."""
    return read_container(io.BytesIO(data), partial=partial)


def scan(fo: BinaryIO, *, partial: bool = False) -> Scan:
    """Check a whole file as ``read_container`` does, but keep one chunk at a time in memory.

    partial  if the file is cut or damaged, return the chunks before that and the error, provided
             that the header is among them
    """
    walk = ChunkWalk(fo, keep=False)
    chunks: list[ChunkInfo] = []
    damage: StreamError | None = None
    try:
        while not walk.done:
            chunks.append(walk.step())
    except StreamError as error:
        if not (partial and chunks):
            raise
        damage = error
    return Scan(VERSION, walk.known_header(), tuple(chunks), damage)


def read_tiles(
    fo: BinaryIO,
    tiles: Sequence[int] | Callable[[Header], Sequence[int]],
    *,
    layers: int | None = None,
) -> TileSelection:
    """Read some tiles without reading the others.

    fo      a seekable stream
    tiles   numbers in raster order, 0 .. tile_count - 1; or a function of the header
    layers  read only this many layers, 1 .. the number that the file has; None for all

    Raises UsageError for a wrong tile or number of layers, and a StreamError for any fault in the
    chunks that are read.
    """
    walk = ChunkWalk(fo)
    while walk.index is None and not walk.data:
        walk.step()
    header = walk.known_header()
    layer_count = header.layers if layers is None else _readable(layers, header)
    chosen = tiles(header) if callable(tiles) else tiles
    for tile in chosen:
        if not 0 <= tile < header.tile_count:
            raise UsageError(f"tile {tile} was asked for, expected 0 .. {header.tile_count - 1}")
    # In the order of the file, so that the stream only moves forward.
    wanted = sorted(set(chosen))
    found: dict[int, list[bytes]] = {tile: list(walk.data) for tile in wanted}
    if walk.index is not None:
        offsets = [walk.reader.offset]
        for length in walk.index:
            offsets.append(offsets[-1] + chunk_bytes(length))
        for layer in range(layer_count):
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
        ancillary=tuple(walk.others),
    )


def _container(walk: ChunkWalk) -> Container:
    """Return the complete layers that were read; there is at least one."""
    header = walk.known_header()
    tiles = header.tile_count
    return Container(
        header=header,
        payloads=tuple(
            tuple(walk.data[end - tiles : end]) for end in range(tiles, len(walk.data) + 1, tiles)
        ),
        icc=walk.opaque.get(b"iccp"),
        exif=walk.opaque.get(b"exif"),
        xmp=walk.opaque.get(b"xmp_"),
        alpha=walk.opaque.get(b"ALPH"),
        complete=walk.done,
        ancillary=tuple(walk.others),
    )


def _readable(layers: int, header: Header) -> int:
    """Return ``layers`` if the file has that many.  Raises UsageError."""
    if not 1 <= layers <= header.layers:
        raise UsageError(
            f"layers {layers} was given, expected 1 .. {header.layers}: the file has no more"
        )
    return layers


def _ancillary_chunks(container: Container) -> list[tuple[bytes, bytes]]:
    """Return the ancillary chunks to write, checked as a reader checks them."""
    for kind, _ in container.ancillary:
        if len(kind) != 4 or is_critical(kind) or kind in METADATA:
            raise UsageError(
                f"a further ancillary chunk {shown_type(kind)} was given, expected a type of 4 "
                "bytes, the first a lower-case letter, and none of "
                f"{', '.join(map(shown_type, sorted(METADATA)))}"
            )
    own = [(kind, getattr(container, name)) for kind, name in METADATA.items()]
    chunks = [(kind, payload) for kind, payload in own if payload is not None]
    chunks.extend(container.ancillary)
    check_metadata(len(chunks), sum(len(payload) for _, payload in chunks))
    return chunks
