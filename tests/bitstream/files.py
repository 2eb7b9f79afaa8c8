"""Small valid files, and the parts to build damaged ones from."""

import zlib

from bitstream import SIGNATURE, VERSION, Container, Header, container_to_bytes, write_varint

HASH = bytes.fromhex("0123456789abcdef")
HEADER = Header(40, 30, 3, 8, 75, 2, HASH, 64)
START = SIGNATURE + bytes([VERSION])


def small() -> Container:
    """One tile, one layer, nothing else."""
    return Container(HEADER, ((b"coded",),))


def rich() -> Container:
    """Two layers of six tiles with every kind of chunk, and an ancillary one from the future."""
    header = Header(150, 100, 1, 8, 33.33, 65535, HASH, 64, layers=2)
    payloads = tuple(
        tuple(bytes([65 + layer, 97 + tile]) * (tile + layer) for tile in range(6))
        for layer in range(2)
    )
    return Container(
        header,
        payloads,
        icc=b"profile",
        exif=b"",
        xmp=b"<x/>",
        alpha=b"\x00\xff",
        ancillary=((b"fuTR", b"later"), (b"fuTR", b"again")),
    )


def chunk(kind: bytes, payload: bytes = b"", length: bytes | None = None) -> bytes:
    """Build a chunk with a correct CRC and any content; ``length`` replaces the true length."""
    head = (write_varint(len(payload)) if length is None else length) + kind
    return head + payload + zlib.crc32(head + payload).to_bytes(4, "little")


def data_chunk(layer: int, tile: int, coded: bytes = b"coded") -> bytes:
    return chunk(b"DATA", write_varint(layer) + write_varint(tile) + coded)


HEAD = chunk(b"HEAD", HEADER.pack())
DATA = data_chunk(0, 0)
DONE = chunk(b"DONE")

SMALL = container_to_bytes(small())
RICH = container_to_bytes(rich())
