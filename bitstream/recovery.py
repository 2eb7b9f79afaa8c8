"""The intact chunks of a damaged file, found by their types and CRCs wherever they lie.

Every chunk whose CRC matches is used, in any order and with anything in between: bytes may be
changed, missing or added anywhere but in the header, which must be intact and in its place.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from bitstream import limits
from bitstream.chunks import ChunkReader, shown_type
from bitstream.container import TileSelection
from bitstream.errors import ChunkOrderError, LimitError, PayloadError, TruncatedError
from bitstream.grammar import METADATA
from bitstream.header import Header
from bitstream.varint import read_varint

_KINDS = (*METADATA, b"phys", b"gama", b"chrm", b"cicp", b"ALPH", b"DATA")
_TYPE = re.compile(b"|".join(_KINDS))
_LENGTH_BYTES = 5  # of a varint up to 2**30
_CHECKED_BYTES = 8  # at most, for each byte of the file, so that no file makes the search long


@dataclass(frozen=True)
class Recovered:
    """What is left of a damaged file.

    tiles        the tiles whose first layer is intact, each with all layers before a damaged one
    lost_alpha   whether the file had an alpha plane that is damaged
    """

    tiles: TileSelection
    lost_alpha: bool


def recover(data: bytes) -> Recovered:
    """Find what is intact in a file.

    Raises what reading the first chunk raises, and ChunkOrderError if that is not the header.
    """
    reader = ChunkReader(io.BytesIO(data))
    info, payload = reader.read()
    if info.type != b"HEAD":
        raise ChunkOrderError(f"the first chunk is {shown_type(info.type)}, expected HEAD")
    header = Header.unpack(payload)
    found: dict[bytes, bytes] = {}
    ancillary: list[tuple[bytes, bytes]] = []
    layers: dict[int, dict[int, bytes]] = {}
    for kind, payload in _chunks(data, reader.offset):
        if kind == b"DATA":
            _keep(payload, header, layers)
        elif kind in METADATA or kind == b"ALPH":
            found.setdefault(kind, payload)
        else:
            ancillary.append((kind, payload))
    tiles = {}
    for tile in sorted(layers):
        parts = layers[tile]
        whole = [parts[layer] for layer in range(header.layers) if layer in parts]
        count = next((n for n in range(header.layers) if n not in parts), header.layers)
        if count:
            tiles[tile] = tuple(whole[:count])
    selection = TileSelection(
        header=header,
        payloads=tiles,
        icc=found.get(b"iccp"),
        exif=found.get(b"exif"),
        xmp=found.get(b"xmp_"),
        alpha=found.get(b"ALPH"),
        ancillary=tuple(ancillary),
    )
    first_tile = data.find(b"DATA", reader.offset)
    traces = data.count(b"ALPH", reader.offset, None if first_tile < 0 else first_tile)
    return Recovered(selection, lost_alpha=b"ALPH" not in found and traces > 0)


def _keep(payload: bytes, header: Header, layers: dict[int, dict[int, bytes]]) -> None:
    try:
        layer, offset = read_varint(payload)
        tile, offset = read_varint(payload, offset)
    except (TruncatedError, PayloadError):
        return
    if layer < header.layers and tile < header.tile_count:
        layers.setdefault(tile, {}).setdefault(layer, payload[offset:])


def _chunks(data: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield type and payload of each chunk whose CRC matches; none lies inside another."""
    view = memoryview(data)
    budget = _CHECKED_BYTES * len(data)
    while (match := _TYPE.search(data, start)) is not None:
        place, start = match.start(), match.start() + 1
        for first in range(place - 1, place - 1 - _LENGTH_BYTES, -1):
            if first < 0 or (first < place - 1 and data[first] < 0x80):
                break
            try:
                length, end = read_varint(data, first)
            except (TruncatedError, PayloadError):
                break
            stop = place + 4 + length
            if end != place or length > limits.MAX_CHUNK_BYTES or stop + 4 > len(data):
                continue
            budget -= length
            if budget < 0:
                raise LimitError(
                    "the file has more damaged chunks than can be searched: get it again from "
                    "its source"
                )
            if zlib.crc32(view[first:stop]) == int.from_bytes(view[stop : stop + 4], "little"):
                yield match[0], data[place + 4 : stop]
                start = stop + 4
                break
