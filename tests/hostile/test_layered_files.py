"""Damaged files of several layers: a typed error, or the layers before the damage."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import codec
from bitstream import (
    PayloadError,
    StreamError,
    container_from_bytes,
    container_to_bytes,
    read_layers,
)
from codec.api import decompress_to_picture
from codec.pipeline.decode import LayerDecoder, decompress_container
from tests.bitstream.files import RICH
from tests.codec.tiny_layers import DATA, ENDS, LAYERS, TILES, Blocks, layer_ends, until_error

PICTURES = [
    decompress_container(layers, Blocks()).pixels for layers in read_layers(io.BytesIO(DATA))
]


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codec.loading.load_model", lambda *_, **__: Blocks())


def flipped() -> Iterator[tuple[int, bytes]]:
    for bit in range(8 * len(DATA)):
        damaged = bytearray(DATA)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bit // 8, bytes(damaged)


def test_a_flipped_bit_is_an_error() -> None:
    for _, damaged in flipped():
        with pytest.raises(StreamError):
            codec.decompress(damaged)


def test_a_flipped_bit_in_what_is_decoded_partly_is_told() -> None:
    known = np.stack([*PICTURES, np.full_like(PICTURES[0], 128)])
    decoded = 0
    for _, damaged in list(flipped())[::7]:
        try:
            found = decompress_to_picture(damaged, partial=True)
        except StreamError:
            continue
        assert found.notices
        # Every tile shows some of its layers, or is gray; pixels beside gray tiles differ.
        assert (known == found.pixels).all(axis=3).any(axis=0).mean() > 0.5
        decoded += 1
    assert decoded > len(DATA) / 2


@pytest.mark.parametrize("layer", [1, 2])
def test_a_wrong_checksum_costs_one_layer_of_one_tile(layer: int) -> None:
    damaged = bytearray(DATA)
    damaged[ENDS[layer] - 1] ^= 1  # the CRC of the layer's last chunk
    for data in (bytes(damaged), bytes(damaged[: ENDS[layer]])):
        with pytest.raises(StreamError):
            codec.decompress(data)
        found = decompress_to_picture(data, partial=True)
        assert "the file is damaged" in found.notices[0]
        # Layers that were not requested are not read.
        found = decompress_to_picture(data, layers=layer)
        assert np.array_equal(found.pixels, PICTURES[layer - 1])


def test_damage_ends_the_pictures_where_it_is() -> None:
    for place, damaged in list(flipped())[::21]:
        images, _ = until_error(codec.decompress_progressive(damaged, as_="numpy"))
        assert len(images) == sum(place >= end for end in ENDS)
        for image, expected in zip(images, PICTURES, strict=False):
            assert np.array_equal(image[..., :3], expected)


def test_layers_are_read_from_a_file_cut_anywhere() -> None:
    for data in (DATA, RICH):
        ends = layer_ends(data)
        for length in range(len(data)):
            found, _ = until_error(read_layers(io.BytesIO(data[:length])))
            assert len(found) == sum(length >= end for end in ends)
        whole = container_from_bytes(data)
        for layers, container in enumerate(read_layers(io.BytesIO(data)), 1):
            assert container == dataclasses.replace(
                whole, payloads=whole.payloads[:layers], complete=False
            )


@settings(derandomize=True, max_examples=60, deadline=None)
@given(st.integers(0, LAYERS - 1), st.integers(0, TILES - 1), st.binary(max_size=80))
def test_any_payload_is_refused_or_decodes_to_pixels(layer: int, tile: int, data: bytes) -> None:
    container = container_from_bytes(DATA)
    payloads = [list(tiles) for tiles in container.payloads]
    payloads[layer][tile] = data
    changed = container_to_bytes(
        dataclasses.replace(container, payloads=tuple(map(tuple, payloads)))
    )
    model = Blocks()
    decoder = LayerDecoder(container.header, model)
    for number, part in enumerate(read_layers(io.BytesIO(changed))):
        try:
            found = decoder.decode(part)
        except PayloadError:
            assert number >= layer
            # Later tiles take no memory before the damage is found.
            assert model.decoders_made == (tile + 1 if number == 0 else TILES)
            with pytest.raises(PayloadError):
                decompress_container(part, Blocks())
            return
        assert np.array_equal(found.pixels, decompress_container(part, Blocks()).pixels)
