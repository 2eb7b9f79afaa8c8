"""Files that must be refused: literal bytes, and the error that each must give.

``HEAD``, ``DATA`` and ``DONE`` are correct chunks of a small file; ``chunk`` makes a chunk with a
correct CRC from any bytes, so that a case fails only for the reason that its name says.
"""

from bitstream import errors, write_varint
from tests.bitstream.files import DATA, DONE, HEAD, HEADER, SMALL, START, chunk, data_chunk

HUGE = b"\xff" * 8 + b"\x7f"  # 2**63 - 1
TOO_LONG = b"\x80" * 9 + b"\x01"  # 2**63


def head(**fields: bytes) -> bytes:
    """A HEAD chunk with some fields replaced by other bytes."""
    layout = {
        "width": b"\x28",
        "height": b"\x1e",
        "channels": b"\x03",
        "depth": b"\x08",
        "quality": b"\x4c\x1d",
        "model": b"\x02\x00",
        "hash": bytes.fromhex("0123456789abcdef"),
        "tile": b"\x06",
        "layers": b"\x01",
        "flags": b"\x00",
    }
    assert chunk(b"HEAD", b"".join(layout.values())) == HEAD
    return chunk(b"HEAD", b"".join({**layout, **fields}.values()))


BILLION = write_varint(10**9)
TWO_TILES = head(width=b"\x80\x01")
INDEX = chunk(b"INDX", b"\x07\x07")
FIRST, SECOND = data_chunk(0, 0), data_chunk(0, 1)

CASES: dict[str, tuple[bytes, type[errors.StreamError]]] = {
    "empty": (b"", errors.EmptyFileError),
    "PNG": (b"\x89PNG\r\n\x1a\n" + bytes(30), errors.NotACaloFileError),
    "one foreign byte": (b"G", errors.NotACaloFileError),
    "high bit cleared": (bytes(b & 0x7F for b in SMALL), errors.TextModeDamageError),
    "CR LF became LF": (SMALL.replace(b"\r\n", b"\n"), errors.TextModeDamageError),
    "LF became CR LF": (SMALL.replace(b"\n", b"\r\n"), errors.TextModeDamageError),
    "LF removed": (SMALL.replace(b"\n", b""), errors.TextModeDamageError),
    "Latin-1 became UTF-8": (SMALL.decode("latin-1").encode(), errors.TextModeDamageError),
    "replaced by U+FFFD": (SMALL.decode("utf-8", "replace").encode(), errors.TextModeDamageError),
    "signature alone": (START[:8], errors.TruncatedError),
    "signature and version alone": (START, errors.TruncatedError),
    "version 0": (START[:8] + b"\x00" + HEAD + DATA + DONE, errors.UnsupportedVersionError),
    "version 2": (START[:8] + b"\x02" + HEAD + DATA + DONE, errors.UnsupportedVersionError),
    "version 255": (START[:8] + b"\xff" + HEAD + DATA + DONE, errors.UnsupportedVersionError),
    # chunks
    "unknown critical chunk": (
        START + HEAD + chunk(b"NEWS") + DATA + DONE,
        errors.UnknownCriticalChunkError,
    ),
    "critical chunk of control characters": (
        START + HEAD + chunk(b"\0\0\0\0") + DATA + DONE,
        errors.UnknownCriticalChunkError,
    ),
    "length of 2**63 - 1": (START + HUGE + b"HEAD", errors.LimitError),
    "length of 2**63": (START + TOO_LONG + b"HEAD", errors.PayloadError),
    "length of 2**70": (START + b"\xff" * 10 + b"\x01HEAD", errors.PayloadError),
    "overlong length": (START + chunk(b"HEAD", HEADER.pack(), b"\x93\x00"), errors.PayloadError),
    "one gigabyte announced": (
        START + HEAD + write_varint(2**30) + b"DATA\0\0",
        errors.TruncatedError,
    ),
    "more than a gigabyte announced": (
        START + HEAD + write_varint(2**30 + 1) + b"DATA\0\0",
        errors.LimitError,
    ),
    "metadata of 17 megabytes announced": (
        START + HEAD + write_varint(2**24 + 1) + b"iccp",
        errors.LimitError,
    ),
    "endless metadata chunks": (START + HEAD + chunk(b"many") * 100_000, errors.LimitError),
    "two headers": (START + HEAD + HEAD + DATA + DONE, errors.DuplicateChunkError),
    "two profiles": (
        START + HEAD + chunk(b"iccp") + chunk(b"iccp") + DATA + DONE,
        errors.DuplicateChunkError,
    ),
    "two alphas": (
        START + HEAD + chunk(b"ALPH") * 2 + DATA + DONE,
        errors.DuplicateChunkError,
    ),
    "no header": (START + DATA + DONE, errors.ChunkOrderError),
    "metadata before the header": (
        START + chunk(b"iccp") + HEAD + DATA + DONE,
        errors.ChunkOrderError,
    ),
    "metadata after the data": (
        START + HEAD + DATA + chunk(b"iccp") + DONE,
        errors.ChunkOrderError,
    ),
    "alpha after the data": (START + HEAD + DATA + chunk(b"ALPH") + DONE, errors.ChunkOrderError),
    "unknown metadata after alpha": (
        START + HEAD + chunk(b"ALPH") + chunk(b"news") + DATA + DONE,
        errors.ChunkOrderError,
    ),
    "no data": (START + HEAD + DONE, errors.MissingChunkError),
    "one of two tiles missing": (
        START + TWO_TILES + INDEX + FIRST + DONE,
        errors.MissingChunkError,
    ),
    "one tile too many": (START + HEAD + DATA + DATA + DONE, errors.ChunkOrderError),
    "tiles swapped": (START + TWO_TILES + INDEX + SECOND + FIRST + DONE, errors.ChunkOrderError),
    "tile of another layer": (START + HEAD + data_chunk(1, 0) + DONE, errors.ChunkOrderError),
    "data without its numbers": (START + HEAD + chunk(b"DATA") + DONE, errors.TruncatedError),
    "overlong tile number": (
        START + HEAD + chunk(b"DATA", b"\0\x80\0") + DONE,
        errors.PayloadError,
    ),
    "no end": (START + HEAD + DATA, errors.TruncatedError),
    "an end with a payload": (START + HEAD + DATA + chunk(b"DONE", b"x"), errors.PayloadError),
    "a byte after the end": (SMALL + b"\0", errors.TrailingDataError),
    "two files": (SMALL + SMALL, errors.TrailingDataError),
    # index
    "no index": (START + TWO_TILES + FIRST + SECOND + DONE, errors.MissingChunkError),
    "an index that no one needs": (
        START + HEAD + chunk(b"INDX", b"\x07") + DATA + DONE,
        errors.ChunkIndexError,
    ),
    "index disagrees with the data": (
        START + TWO_TILES + chunk(b"INDX", b"\x07\x08") + FIRST + SECOND + DONE,
        errors.ChunkIndexError,
    ),
    "index too short": (START + TWO_TILES + chunk(b"INDX", b"\x07"), errors.ChunkIndexError),
    "index too long": (START + TWO_TILES + chunk(b"INDX", b"\7\7\7"), errors.ChunkIndexError),
    "index cut inside a number": (
        START + TWO_TILES + chunk(b"INDX", b"\x07\x87"),
        errors.TruncatedError,
    ),
    "index with an overlong number": (
        START + TWO_TILES + chunk(b"INDX", b"\x07\x87\x00"),
        errors.PayloadError,
    ),
    "index with a huge number": (
        START + TWO_TILES + chunk(b"INDX", b"\x07" + HUGE),
        errors.LimitError,
    ),
    "index announced for 2**17 tiles": (
        START + head(width=write_varint(2**16), height=write_varint(2**12), layers=b"\x03") + INDEX,
        errors.ChunkIndexError,
    ),
    # header
    "header empty": (START + chunk(b"HEAD"), errors.TruncatedError),
    "header cut": (START + chunk(b"HEAD", HEADER.pack()[:9]), errors.HeaderError),
    "header with bytes left over": (
        START + chunk(b"HEAD", HEADER.pack() + b"x"),
        errors.HeaderError,
    ),
    "10**9 by 10**9 pixels": (START + head(width=BILLION, height=BILLION), errors.LimitError),
    "10**6 by 10**6 pixels": (
        START + head(width=write_varint(10**6), height=write_varint(10**6)),
        errors.LimitError,
    ),
    "2**63 pixels wide": (START + head(width=TOO_LONG), errors.PayloadError),
    "no width": (START + head(width=b"\x00"), errors.HeaderError),
    "no height": (START + head(height=b"\x00"), errors.HeaderError),
    "overlong width": (START + head(width=b"\xa8\x00"), errors.PayloadError),
    "two channels": (START + head(channels=b"\x02"), errors.HeaderError),
    "no bits": (START + head(depth=b"\x00"), errors.HeaderError),
    "nine bits": (START + head(depth=b"\x09"), errors.HeaderError),
    "fourteen bits": (START + head(depth=b"\x0e"), errors.HeaderError),
    "seventeen bits": (START + head(depth=b"\x11"), errors.HeaderError),
    "255 bits": (START + head(depth=b"\xff"), errors.HeaderError),
    "quality 0": (START + head(quality=b"\0\0"), errors.HeaderError),
    "quality 655.35": (START + head(quality=b"\xff\xff"), errors.HeaderError),
    "tiles of one pixel": (START + head(tile=b"\x00"), errors.HeaderError),
    "tiles of 2**255 pixels": (START + head(tile=b"\xff"), errors.HeaderError),
    "no layers": (START + head(layers=b"\x00"), errors.HeaderError),
    "65 layers": (START + head(layers=b"\x41"), errors.LimitError),
    "2**63 - 1 layers": (START + head(layers=HUGE), errors.LimitError),
    "unknown flag": (START + head(flags=b"\x10"), errors.HeaderError),
    "unknown flag beside a seed": (START + head(flags=b"\x11\x05"), errors.HeaderError),
    "a byte after machine-bound": (START + head(flags=b"\x04\x05"), errors.HeaderError),
    "no variant after its flag": (START + head(flags=b"\x0c"), errors.TruncatedError),
    "no variant after a seed": (START + head(flags=b"\x09\x05"), errors.TruncatedError),
    "overlong variant": (START + head(flags=b"\x08\x83\x00"), errors.PayloadError),
    "a variant of 2**16": (START + head(flags=b"\x08\x80\x80\x04"), errors.HeaderError),
    "a byte after the variant": (START + head(flags=b"\x0c\x05x"), errors.HeaderError),
    "a seed of free noise": (START + head(flags=b"\x03\x05"), errors.HeaderError),
    "a seed after free noise": (START + head(flags=b"\x02\x05"), errors.HeaderError),
    "a seed without its flag": (START + head(flags=b"\x00\x05"), errors.HeaderError),
    "no seed after its flag": (START + head(flags=b"\x01"), errors.TruncatedError),
    "a seed that is cut": (START + head(flags=b"\x01\x85"), errors.TruncatedError),
    "overlong seed": (START + head(flags=b"\x01\x85\x00"), errors.PayloadError),
    "a seed of 2**63": (START + head(flags=b"\x01" + TOO_LONG), errors.PayloadError),
    "a byte after the seed": (START + head(flags=b"\x01\x05x"), errors.HeaderError),
    "all flags": (START + head(flags=HUGE), errors.HeaderError),
}
