"""The grammar of a file: where each chunk may stand, and which contents have to agree.

``ChunkWalk`` is the only reader of chunk contents.  ``container.py`` decides what to keep.
"""

from collections.abc import Iterator
from typing import BinaryIO

from bitstream import limits
from bitstream.chunks import ChunkInfo, ChunkReader, shown_type
from bitstream.errors import (
    ChunkIndexError,
    ChunkOrderError,
    DuplicateChunkError,
    LimitError,
    MissingChunkError,
    PayloadError,
    TrailingDataError,
    UnknownCriticalChunkError,
)
from bitstream.header import Header
from bitstream.varint import read_varint

# A chunk may not stand before one of lower rank.  Ancillary chunks have rank 1.
_RANKS = {b"HEAD": 0, b"ALPH": 2, b"INDX": 3, b"DATA": 4, b"DONE": 5}
_ANCILLARY_RANK = 1

SIGNAL_CHUNK = b"SIGN"
"""The only chunk of a file that holds a signal; see `codec.signals`."""

# The ancillary chunks that become fields of Container, with the names of these fields.
METADATA = {b"iccp": "icc", b"exif": "exif", b"xmp_": "xmp"}


class ChunkWalk:
    """Read a file chunk by chunk, check it, and collect what the chunks hold."""

    def __init__(self, fo: BinaryIO, *, keep: bool = True) -> None:
        self.reader = ChunkReader(fo)
        self.header: Header | None = None
        self.index: tuple[int, ...] | None = None  # bytes of each DATA chunk
        self.opaque: dict[bytes, bytes] = {}
        self.others: list[tuple[bytes, bytes]] = []
        self.data: list[bytes] = []
        self._keep = keep
        self._data_count = 0
        self._ancillary_count = 0
        self._metadata_bytes = 0
        self._last = b""
        self._seen: set[bytes] = set()

    def __iter__(self) -> Iterator[ChunkInfo]:
        while not self.done:
            yield self.step()

    @property
    def done(self) -> bool:
        """Whether the file was read to its end."""
        return self._last == b"DONE"

    def known_header(self) -> Header:
        """Return the header, which is known once the first chunk was read."""
        if self.header is None:
            raise MissingChunkError("the file has no HEAD chunk")
        return self.header

    def step(self) -> ChunkInfo:
        """Read one chunk."""
        info, payload = self.reader.read()
        self._check_place(info)
        self._last = info.type
        self._seen.add(info.type)
        if info.type == b"HEAD":
            self.header = Header.unpack(payload)
        elif info.type == b"INDX":
            self.index = self._unpack_index(payload)
        elif info.type == b"DATA":
            coded = self._unpack_data(self._data_count, payload)
            self._data_count += 1
            if self._keep:
                self.data.append(coded)
        elif info.type == b"DONE":
            self._finish(payload)
        else:
            self._store(info, payload)
        return info

    def read_payload(self, number: int) -> bytes:
        """Read the next chunk, which has to be DATA chunk ``number`` of the file."""
        info, payload = self.reader.read()
        if info.type != b"DATA":
            raise ChunkIndexError(
                f"the index points to byte {info.offset}, where chunk {shown_type(info.type)} was "
                "read, not DATA"
            )
        return self._unpack_data(number, payload)

    def _check_place(self, info: ChunkInfo) -> None:
        kind = info.type
        if kind == SIGNAL_CHUNK:
            raise UnknownCriticalChunkError(
                f"chunk {shown_type(kind)} at byte {info.offset}: the file holds a signal and no "
                "picture; codec.signals.decompress_signal reads it"
            )
        if info.critical and kind not in _RANKS:
            raise UnknownCriticalChunkError(
                f"chunk {shown_type(kind)} at byte {info.offset} is critical and unknown to this "
                "decoder: update calotype"
            )
        if self.header is None and kind != b"HEAD":
            raise ChunkOrderError(f"the first chunk is {shown_type(kind)}, expected HEAD")
        once = kind != b"DATA" and (kind in _RANKS or kind in METADATA)
        if once and kind in self._seen:
            raise DuplicateChunkError(
                f"a second chunk {shown_type(kind)} at byte {info.offset}, expected one at most"
            )
        last_rank = _RANKS.get(self._last, _ANCILLARY_RANK if self._last else 0)
        if _RANKS.get(kind, _ANCILLARY_RANK) < last_rank:
            raise ChunkOrderError(
                f"chunk {shown_type(kind)} at byte {info.offset} stands after "
                f"{shown_type(self._last)}, expected it before"
            )

    def _store(self, info: ChunkInfo, payload: bytes) -> None:
        if not info.critical:
            self._ancillary_count += 1
            self._metadata_bytes += len(payload)
            check_metadata(self._ancillary_count, self._metadata_bytes)
        if not self._keep:
            return
        if info.critical or info.type in METADATA:
            self.opaque[info.type] = payload
        else:
            self.others.append((info.type, payload))

    def _unpack_index(self, payload: bytes) -> tuple[int, ...]:
        count = self.known_header().payload_count
        if count == 1:
            raise ChunkIndexError("an INDX chunk in a file with one DATA chunk, expected none")
        lengths: list[int] = []
        offset = 0
        # Each length takes a byte or more, so this loop is bounded by the payload as well.
        while offset < len(payload) and len(lengths) < count:
            length, offset = read_varint(payload, offset)
            if length > limits.MAX_CHUNK_BYTES:
                raise LimitError(
                    f"the index announces {length} bytes, but the limit is {limits.MAX_CHUNK_BYTES}"
                )
            lengths.append(length)
        if offset != len(payload) or len(lengths) != count:
            raise ChunkIndexError(
                f"the index has {len(payload)} bytes and does not hold exactly {count} lengths, "
                "as the header requires"
            )
        return tuple(lengths)

    def _unpack_data(self, number: int, payload: bytes) -> bytes:
        header = self.known_header()
        if number >= header.payload_count:
            raise ChunkOrderError(
                f"more than {header.payload_count} DATA chunks, which the header announces"
            )
        if header.payload_count > 1 and self.index is None:
            raise MissingChunkError("no INDX chunk before several DATA chunks")
        if self.index is not None and self.index[number] != len(payload):
            raise ChunkIndexError(
                f"DATA chunk {number} has {len(payload)} bytes, but the index announces "
                f"{self.index[number]}"
            )
        layer, offset = read_varint(payload)
        tile, offset = read_varint(payload, offset)
        expected = divmod(number, header.tile_count)
        if (layer, tile) != expected:
            raise ChunkOrderError(
                f"DATA chunk {number} holds layer {layer}, tile {tile}, expected "
                f"layer {expected[0]}, tile {expected[1]}"
            )
        return payload[offset:]

    def _finish(self, payload: bytes) -> None:
        expected = self.known_header().payload_count
        if self._data_count != expected:
            raise MissingChunkError(
                f"{self._data_count} DATA chunks before DONE, expected {expected}"
            )
        if payload:
            raise PayloadError(f"the DONE chunk has {len(payload)} bytes, expected none")
        if not self.reader.at_end():
            raise TrailingDataError(
                f"bytes after the end of the file, at byte {self.reader.offset}: "
                "two files were joined, or a transfer padded this one"
            )


def check_metadata(count: int, size: int) -> None:
    """Raise LimitError if ``count`` ancillary chunks of ``size`` bytes together are too many."""
    if count > limits.MAX_ANCILLARY_CHUNKS or size > limits.MAX_METADATA_BYTES:
        raise LimitError(
            f"{count} ancillary chunks with {size} bytes, but the limits are "
            f"{limits.MAX_ANCILLARY_CHUNKS} chunks and {limits.MAX_METADATA_BYTES} bytes"
        )
