"""Signature and chunks, the outermost layer of a file.  Nothing here interprets a chunk.

    file:   | signature, 8 bytes | version, 1 byte | chunk | chunk | ...
    chunk:  | length, varint | type, 4 bytes | payload, ``length`` bytes | CRC-32, 4 bytes |

FORMAT.md has the details.  `grammar.py` has the kinds of chunks and their order, and lists those of
metadata as `METADATA`.
"""

import zlib
from dataclasses import dataclass
from typing import BinaryIO

from bitstream import limits
from bitstream.errors import (
    ChecksumError,
    EmptyFileError,
    LimitError,
    NotACaloFileError,
    PayloadError,
    TextModeDamageError,
    TruncatedError,
    UnsupportedVersionError,
)
from bitstream.varint import MAX_VARINT_BYTES, read_varint, write_varint

# "CALO" with the high bit of the C set, then the line ends and the end-of-file character that
# text-mode transfers change: the idea is PNG's.
SIGNATURE = b"\xc3ALO\r\n\x1a\n"
VERSION = 1

# How the signature begins after the high bit was cleared, CR LF became LF, LF became CR LF, CR LF
# became CR, Latin-1 became UTF-8, or the first byte became U+FFFD.
_DAMAGED = (
    b"CALO\r\n",
    b"CALO\n",
    b"\xc3ALO\n",
    b"\xc3ALO\r\r\n",
    b"\xc3ALO\r\n\x1a\r",
    b"\xc3ALO\r\x1a",
    b"\xc3\x83ALO",
    b"\xef\xbf\xbdALO",
)

# Payloads are read in pieces, so memory grows with the bytes that exist, not with those announced.
_PIECE_BYTES = 2**20


@dataclass(frozen=True)
class ChunkInfo:
    """The type of one chunk, and where it lies in the file.

    type      4 bytes, such as b"HEAD"
    offset    the position of its first byte, counted from the start of the file
    length    the size of its payload in bytes
    critical  whether a decoder has to understand it
    """

    type: bytes
    offset: int
    length: int
    critical: bool


def is_critical(kind: bytes) -> bool:
    """Whether a chunk type is critical: one that does not begin with a lower-case letter."""
    return not b"a" <= kind[:1] <= b"z"


def shown_type(kind: bytes) -> str:
    """A chunk type for messages: as text if it is alphanumeric, else its bytes in hexadecimal."""
    return kind.decode("ascii") if kind.isalnum() else f"of the type {kind.hex(' ')}"


def chunk_bytes(length: int) -> int:
    """Return the size of a whole chunk whose payload has ``length`` bytes."""
    return len(write_varint(length)) + 4 + length + 4


def write_chunk(fo: BinaryIO, kind: bytes, payload: bytes) -> None:
    """Write one chunk.  Raises LimitError if no reader would accept its length."""
    _check_length(kind, len(payload))
    head = write_varint(len(payload)) + kind
    fo.write(head)
    fo.write(payload)
    fo.write(zlib.crc32(payload, zlib.crc32(head)).to_bytes(4, "little"))


class ChunkReader:
    """Read chunks from a stream that need not be seekable."""

    def __init__(self, fo: BinaryIO) -> None:
        """Read signature and version.

        Raises EmptyFileError, NotACaloFileError, TextModeDamageError, TruncatedError,
        UnsupportedVersionError.
        """
        self._fo = fo
        self.offset = 0
        self._has_header = False  # nothing can be decoded before the first chunk, the header
        self._read_signature()

    def read(self) -> tuple[ChunkInfo, bytes]:
        """Return the next chunk, checked against its CRC.

        Raises TruncatedError, LimitError, ChecksumError, PayloadError.
        """
        offset = self.offset
        head = self._read_length() + self._read_exactly(4, "a chunk type")
        length, kind = read_varint(head)[0], head[-4:]
        _check_length(kind, length)
        payload = self._read_exactly(length, f"the payload of chunk {shown_type(kind)}")
        stored = int.from_bytes(
            self._read_exactly(4, f"the CRC of chunk {shown_type(kind)}"), "little"
        )
        computed = zlib.crc32(payload, zlib.crc32(head))
        if stored != computed:
            raise ChecksumError(
                f"chunk {shown_type(kind)} at byte {offset}: CRC-32 {stored:08x} read, "
                f"{computed:08x} computed; the file is damaged: get it again from its source"
                f"{self._or('decode the tiles that are whole')}"
            )
        self._has_header = True
        return ChunkInfo(kind, offset, length, is_critical(kind)), payload

    def skip_to(self, offset: int) -> None:
        """Move forward in a seekable stream, to an offset counted like ``ChunkInfo.offset``."""
        self._fo.seek(offset - self.offset, 1)
        self.offset = offset

    def at_end(self) -> bool:
        """Whether no byte follows.  Reads one byte."""
        return not self._fo.read(1)

    def _read_signature(self) -> None:
        found = self._read_up_to(len(SIGNATURE))
        if not found:
            raise EmptyFileError("the file is empty, expected a .calo file")
        if found != SIGNATURE:
            if found.startswith(_DAMAGED):
                raise TextModeDamageError(
                    f"a transfer in text mode changed the file, which begins with the bytes "
                    f"{found.hex(' ')}, expected {SIGNATURE.hex(' ')}: transfer it again in binary "
                    "mode"
                )
            if SIGNATURE.startswith(found):
                raise TruncatedError(f"the file ends after {len(found)} bytes of its signature")
            raise NotACaloFileError(
                f"it is not a .calo file: it begins with the bytes {found.hex(' ')}, expected "
                f"{SIGNATURE.hex(' ')}"
            )
        version = self._read_exactly(1, "the version")[0]
        if version != VERSION:
            raise UnsupportedVersionError(
                f"the file has format version {version}, but this decoder knows only {VERSION}: "
                "update calotype"
            )

    def _read_length(self) -> bytes:
        """Return the bytes of a varint; only their number is checked."""
        data = b""
        while True:
            data += self._read_exactly(1, "a chunk length")
            if data[-1] < 0x80:
                return data
            if len(data) == MAX_VARINT_BYTES:
                raise PayloadError(
                    f"the chunk length at byte {self.offset - len(data)} has more than 63 bits: "
                    "the file is damaged"
                )

    def _read_exactly(self, count: int, what: str) -> bytes:
        data = self._read_up_to(count)
        if len(data) != count:
            missing = count - len(data)
            raise TruncatedError(
                f"the file ends at byte {self.offset}, inside or before {what}: expected "
                f"{missing} more {'byte' if missing == 1 else 'bytes'}; get the file again"
                f"{self._or('decode what arrived whole')}"
            )
        return data

    def _or(self, advice: str) -> str:
        """Advice to decode a part of the file, if its header is intact."""
        return f", or {advice} (--partial, partial=True)" if self._has_header else ""

    def _read_up_to(self, count: int) -> bytes:
        # A read may return less than it was asked for: pipes and sockets do.
        pieces = []
        while count:
            piece = self._fo.read(min(count, _PIECE_BYTES))
            if not piece:
                break
            pieces.append(piece)
            count -= len(piece)
            self.offset += len(piece)
        return b"".join(pieces)


def _check_length(kind: bytes, length: int) -> None:
    cap = limits.MAX_CHUNK_BYTES if is_critical(kind) else limits.MAX_METADATA_BYTES
    if length > cap:
        raise LimitError(f"chunk {shown_type(kind)} has {length} bytes, but the limit is {cap}")
