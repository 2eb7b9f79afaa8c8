"""Unsigned LEB128: seven bits a byte, least significant first, the high bit says "more follows".

    0 -> 00        127 -> 7f        128 -> 80 01        300 -> ac 02

One number has one encoding: a final zero byte after others ("overlong") is refused, and so is a
number of more than 63 bits.
"""

from bitstream.errors import PayloadError, TruncatedError, UsageError

MAX_VARINT = 2**63 - 1
MAX_VARINT_BYTES = 9


def write_varint(value: int) -> bytes:
    """Return the 1 to 9 bytes of ``value``, 0 .. 2**63 - 1.  Raises UsageError outside that."""
    if not 0 <= value <= MAX_VARINT:
        raise UsageError(f"cannot write {value} as a varint: expected 0 .. 2**63 - 1")
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, offset: int = 0) -> tuple[int, int]:
    """Return the number at ``data[offset:]`` and the offset after it.

    Raises TruncatedError if the bytes end inside the number and PayloadError if it is overlong
    or has more than 63 bits.
    """
    value = 0
    for position in range(MAX_VARINT_BYTES):
        if offset + position >= len(data):
            raise TruncatedError(
                f"the bytes end inside a varint at offset {offset}: the file is incomplete"
            )
        byte = data[offset + position]
        value |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            if byte == 0 and position > 0:
                raise PayloadError(
                    f"varint at offset {offset} is overlong: its last byte is zero; "
                    "the file was not written by a conforming encoder"
                )
            return value, offset + position + 1
    raise PayloadError(f"varint at offset {offset} has more than 63 bits: the file is damaged")
