"""Containers to bytes and back: completely, partially, and tile by tile."""

import dataclasses
import io
import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

import pytest

from bitstream import (
    ChunkIndexError,
    Container,
    Header,
    HeaderError,
    LimitError,
    OutputError,
    StreamError,
    SymbolEncoder,
    TruncatedError,
    UsageError,
    container_from_bytes,
    container_to_bytes,
    limits,
    read_container,
    read_tiles,
    scan,
    write_container,
)
from tests.bitstream import files
from tests.bitstream.round_trip import int32
from tests.bitstream.test_symbols import SMALL as SMALL_TABLES


class Pipe(io.BytesIO):
    """A stream that cannot seek and gives three bytes at a time."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise io.UnsupportedOperation("seek")

    def read(self, size: int | None = -1) -> bytes:
        return super().read(3 if size is None else min(size, 3))


class Short(io.RawIOBase):
    """Takes three bytes at a time, until it has no room."""

    def __init__(self, room: int) -> None:
        self.taken, self.room = b"", room

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int | None:
        piece = bytes(data)[: min(3, self.room - len(self.taken))]
        self.taken += piece
        return len(piece) if piece or not data else None


class Counting(io.BytesIO):
    """Counts the bytes that are read."""

    count = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.count += len(data)
        return data


def check_round_trip(container: Container) -> bytes:
    data = container_to_bytes(container)
    assert container_from_bytes(data) == container
    assert read_container(Pipe(data)) == container
    fo = io.BytesIO()
    write_container(fo, container)
    assert fo.getvalue() == data
    return data


def test_short_writes_are_continued() -> None:
    short: Any = Short(len(files.RICH))
    write_container(short, files.rich())
    assert short.taken == files.RICH
    full: Any = Short(len(files.RICH) - 1)
    with pytest.raises(OutputError, match="takes no bytes now"):
        write_container(full, files.rich())


@pytest.mark.parametrize("container", [files.small(), files.rich()], ids=["small", "rich"])
def test_containers_survive(container: Container) -> None:
    check_round_trip(container)


def test_exact_bytes_are_those_of_the_format_document() -> None:
    text = (resources.files("bitstream") / "FORMAT.md").read_text(encoding="utf-8")
    example = text[text.index("## Example") :]
    documented = bytes.fromhex("".join(re.findall(r"^    ((?:[0-9a-f]{2} )+) ", example, re.M)))
    encoder = SymbolEncoder()
    encoder.put(int32(0, 1, 5, -1, 0, 0, 5), int32(0, 0, 1, 0, 0, 0, 1), SMALL_TABLES)
    assert check_round_trip(Container(files.HEADER, ((encoder.finish(),),))) == documented
    assert documented.hex() == (
        "c3414c4f0d0a1a0a01134845414"
        "4281e03084c1d02000123456789abcdef060100282b83d1"
        "05444154410000a32aab5672258500444f4e451e25dec1"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"width": 1, "height": 1},
        {"width": 2**20, "height": 2**8},
        {"channels": 1, "quality": 1.0, "model_id": 0},
        {"quality": 100.0, "model_id": 65535, "tile_size": 2**12, "layers": 64},
        {"quality": 33.33},
        {"noise_seed": 0},
        {"noise_seed": 2**63 - 1},
        {"free_noise": True},
        {"machine_bound": True},
        {"variant": 0},
        {"variant": 65535, "machine_bound": True, "noise_seed": 2**63 - 1},
    ],
)
def test_headers_survive(changes: dict[str, Any]) -> None:
    header = dataclasses.replace(files.HEADER, **changes)
    assert type(header).unpack(header.pack()) == header


def test_a_noise_seed_is_a_flag_and_a_number() -> None:
    plain = files.HEADER.pack()
    assert plain[-1:] == b"\0"
    for seed, coded in ((0, b"\0"), (127, b"\x7f"), (300, b"\xac\x02")):
        header = dataclasses.replace(files.HEADER, noise_seed=seed)
        assert header.pack() == plain[:-1] + b"\1" + coded
    assert dataclasses.replace(files.HEADER, free_noise=True).pack() == plain[:-1] + b"\2"


def test_a_variant_is_a_flag_and_a_number_after_the_seed() -> None:
    plain = files.HEADER.pack()
    bound = dataclasses.replace(files.HEADER, machine_bound=True)
    assert bound.pack() == plain[:-1] + b"\4"
    assert dataclasses.replace(files.HEADER, variant=6).pack() == plain[:-1] + b"\x08\6"
    assert dataclasses.replace(bound, variant=300).pack() == plain[:-1] + b"\x0c\xac\x02"
    everything = dataclasses.replace(bound, variant=6, noise_seed=5)
    assert everything.pack() == plain[:-1] + b"\x0d\5\6"


@pytest.mark.parametrize("bit_depth", [8, 10, 12, 16])
def test_headers_with_every_bit_depth(bit_depth: int) -> None:
    header = dataclasses.replace(files.HEADER, bit_depth=bit_depth)
    plain, packed = files.HEADER.pack(), header.pack()
    assert Header.unpack(packed) == header
    assert packed == plain[:3] + bytes([bit_depth]) + plain[4:]


def test_header_geometry() -> None:
    header = files.rich().header
    assert (header.tiles_x, header.tiles_y, header.tile_count) == (3, 2, 6)
    assert header.payload_count == 12


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"width": 0}, HeaderError),
        ({"height": -1}, HeaderError),
        ({"width": 2**20 + 1}, LimitError),
        ({"width": 2**15, "height": 2**14}, LimitError),
        ({"channels": 4}, HeaderError),
        ({"bit_depth": 0}, HeaderError),
        ({"bit_depth": 7}, HeaderError),
        ({"bit_depth": 9}, HeaderError),
        ({"bit_depth": 14}, HeaderError),
        ({"bit_depth": 32}, HeaderError),
        ({"quality": 0.99}, HeaderError),
        ({"quality": 100.01}, HeaderError),
        ({"quality": float("nan")}, HeaderError),
        ({"model_id": 65536}, HeaderError),
        ({"weights_hash": b"short"}, HeaderError),
        ({"tile_size": 32}, HeaderError),
        ({"tile_size": 96}, HeaderError),
        ({"tile_size": 0}, HeaderError),
        ({"tile_size": 2**21}, HeaderError),
        ({"layers": 0}, HeaderError),
        ({"layers": 65}, LimitError),
        ({"width": 2**14, "height": 2**14, "layers": 5}, LimitError),
        ({"noise_seed": -1}, HeaderError),
        ({"noise_seed": 2**63}, HeaderError),
        ({"noise_seed": 1, "free_noise": True}, HeaderError),
        ({"variant": -1}, HeaderError),
        ({"variant": 2**16}, HeaderError),
    ],
)
def test_headers_are_checked(changes: dict[str, Any], error: type[StreamError]) -> None:
    with pytest.raises(error):
        dataclasses.replace(files.HEADER, **changes)


def test_partial_reading_gives_every_complete_layer() -> None:
    container, data = files.rich(), files.RICH
    chunks = [info for info in scan(io.BytesIO(data)).chunks if info.type == b"DATA"]
    # A layer is complete once its last chunk is, which is where the next chunk begins.
    ends = [chunks[6].offset, len(data) - len(files.DONE)]
    for length in range(1, len(data)):
        layers = sum(length >= end for end in ends)
        if layers == 0:
            with pytest.raises(TruncatedError):
                container_from_bytes(data[:length], partial=True)
        else:
            part = container_from_bytes(data[:length], partial=True)
            assert part == dataclasses.replace(
                container, payloads=container.payloads[:layers], complete=False
            )
    assert container_from_bytes(data, partial=True) == container


def test_scan_lists_the_chunks() -> None:
    result = scan(Pipe(files.RICH))
    assert result.header == files.rich().header
    assert result.version == 1
    kinds = b"HEAD iccp exif xmp_ fuTR fuTR ALPH INDX".split() + [b"DATA"] * 12 + [b"DONE"]
    assert [info.type for info in result.chunks] == kinds
    for info in result.chunks:
        assert files.RICH[info.offset :][1:5] == info.type
        assert files.RICH[info.offset] == info.length
        assert info.critical == info.type.isupper()


@pytest.mark.parametrize("tiles", [[], [0], [5], [4, 1, 1], range(6)])
def test_tiles_are_read_without_the_others(tiles: Sequence[int]) -> None:
    container = files.rich()
    # A file may begin anywhere in its stream.
    fo = io.BytesIO(b"before" + files.RICH)
    fo.seek(6)
    selection = read_tiles(fo, tiles)
    assert selection.payloads == {
        tile: tuple(layer[tile] for layer in container.payloads) for tile in tiles
    }
    assert (selection.header, selection.icc, selection.alpha) == (
        container.header,
        container.icc,
        container.alpha,
    )


def test_one_tile_of_many_costs_little_to_read() -> None:
    header = dataclasses.replace(files.HEADER, width=6400, height=64)
    data = container_to_bytes(Container(header, (tuple(bytes(10_000) for _ in range(100)),)))
    fo = Counting(data)
    assert read_tiles(fo, [99]).payloads == {99: (bytes(10_000),)}
    assert fo.count < 11_000


def test_the_tile_of_a_file_with_one_tile_is_read() -> None:
    assert read_tiles(io.BytesIO(files.SMALL), [0]).payloads == {0: (b"coded",)}


@pytest.mark.parametrize("tiles", [[6], [-1]])
def test_unknown_tiles_are_usage_errors(tiles: Sequence[int]) -> None:
    with pytest.raises(UsageError):
        read_tiles(io.BytesIO(files.RICH), tiles)


def test_an_index_that_points_elsewhere_is_an_error() -> None:
    header = dataclasses.replace(files.HEADER, width=128)
    first, second = files.data_chunk(0, 0), files.data_chunk(0, 1)
    index = files.chunk(b"INDX", bytes([7, 7]))
    assert len(first) == len(second) == 7 + 9
    data = files.START + files.chunk(b"HEAD", header.pack()) + index
    # DONE is at the place where, by the index, the second DATA chunk should be.
    with pytest.raises(ChunkIndexError):
        read_tiles(io.BytesIO(data + first + files.DONE), [1])


@pytest.mark.parametrize(
    "changes",
    [
        {"payloads": ()},
        {"payloads": ((b"", b""),)},
        {"payloads": ((b"",), (b"",))},
        {"complete": False},
        {"ancillary": ((b"HEAD", b""),)},
        {"ancillary": ((b"toolong", b""),)},
        {"ancillary": ((b"iccp", b""),)},
    ],
)
def test_containers_that_cannot_be_written_are_usage_errors(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        container_to_bytes(dataclasses.replace(files.small(), **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"icc": bytes(limits.MAX_METADATA_BYTES + 1)},
        {"icc": bytes(limits.MAX_METADATA_BYTES), "exif": b"1"},
        {"ancillary": ((b"many", b""),) * (limits.MAX_ANCILLARY_CHUNKS + 1)},
    ],
    ids=["one", "sum", "count"],
)
def test_the_writer_keeps_the_limits_of_the_reader(changes: dict[str, Any]) -> None:
    with pytest.raises(LimitError):
        container_to_bytes(dataclasses.replace(files.small(), **changes))
