"""Damaged files: every intact chunk is found, and no other."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from bitstream import (
    ChecksumError,
    LimitError,
    StreamError,
    container_from_bytes,
    container_to_bytes,
    write_varint,
)
from bitstream.recovery import recover
from tests.bitstream.files import HEAD, RICH, SMALL, START, chunk, data_chunk, rich
from tests.limits import cpu_limit


def payloads() -> dict[int, tuple[bytes, ...]]:
    return {tile: tuple(layer[tile] for layer in rich().payloads) for tile in range(6)}


def place_of(layer: int, tile: int) -> int:
    """The place of a DATA chunk in the rich file."""
    return RICH.index(data_chunk(layer, tile, rich().payloads[layer][tile]))


def test_a_whole_file_is_found_whole() -> None:
    found = recover(RICH)
    assert found.tiles.payloads == payloads()
    whole = rich()
    assert (found.tiles.icc, found.tiles.xmp, found.tiles.alpha) == (
        whole.icc, whole.xmp, whole.alpha,
    )  # fmt: skip
    assert not found.lost_alpha


@pytest.mark.parametrize("damage", ["change", "insert", "remove"])
@pytest.mark.parametrize("tile", range(6))
def test_one_damaged_tile_leaves_the_others(tile: int, damage: str) -> None:
    at = place_of(0, tile) + 6
    new = {"change": bytes([RICH[at] ^ 64]), "insert": RICH[at : at + 1] + b"more", "remove": b""}
    data = RICH[:at] + new[damage] + RICH[at + 1 :]
    found = recover(data).tiles.payloads
    assert found == {n: parts for n, parts in payloads().items() if n != tile}


def test_a_damaged_second_layer_leaves_the_first() -> None:
    at = place_of(1, 2) + 7
    found = recover(RICH[:at] + b"?" + RICH[at + 1 :]).tiles.payloads
    assert found[2] == payloads()[2][:1]
    assert found[3] == payloads()[3]


def test_a_cut_file() -> None:
    found = recover(RICH[: place_of(1, 4)]).tiles.payloads
    assert [len(found[tile]) for tile in range(6)] == [2, 2, 2, 2, 1, 1]
    assert recover(RICH[: place_of(0, 0)]).tiles.payloads == {}


def test_damage_before_the_tiles() -> None:
    for kind in (b"iccp", b"INDX", b"xmp_"):
        at = RICH.index(kind) + 5
        found = recover(RICH[:at] + bytes([RICH[at] ^ 1]) + RICH[at + 1 :])
        assert found.tiles.payloads == payloads()
        assert (found.tiles.icc is None) == (kind == b"iccp")
    at = RICH.index(b"ALPH") + 4
    found = recover(RICH[:at] + b"?" + RICH[at + 1 :])
    assert found.tiles.alpha is None
    assert found.lost_alpha


def test_a_chunk_inside_another_is_none_of_the_file() -> None:
    hidden = data_chunk(0, 3, b"hidden")
    data = container_to_bytes(replace(rich(), icc=b"profile" + hidden))
    assert recover(data).tiles.payloads == payloads()


def test_tiles_that_the_header_does_not_announce() -> None:
    data = START + HEAD + data_chunk(0, 1) + data_chunk(7, 0) + chunk(b"DATA", b"\x80" * 9)
    assert recover(data).tiles.payloads == {}
    assert recover(START + HEAD + data_chunk(0, 0)).tiles.payloads == {0: (b"coded",)}


def test_the_header_has_to_be_whole() -> None:
    at = SMALL.index(b"HEAD") + 5
    with pytest.raises(ChecksumError):
        recover(SMALL[:at] + b"?" + SMALL[at + 1 :])
    with pytest.raises(StreamError):
        recover(b"")


def test_no_file_makes_the_search_long() -> None:
    # The CRC of each of these would be computed up to the end of the file.
    one = write_varint(2**20) + b"DATA"
    data = START + HEAD + one * 200_000
    with cpu_limit(5), pytest.raises(LimitError, match="more damaged chunks"):
        recover(data)


def test_random_damage() -> None:
    rng = random.Random(1)
    for _ in range(300):
        data = bytearray(RICH)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(START) + len(HEAD) + 12, len(data))
            data[at] ^= 1 << rng.randrange(8)
        found = recover(bytes(data)).tiles.payloads
        for tile, parts in found.items():
            assert parts == payloads()[tile][: len(parts)]
        with pytest.raises(StreamError):
            container_from_bytes(bytes(data))
