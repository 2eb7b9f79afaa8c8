"""One picture for each layer, from a stream that may still be arriving."""

from __future__ import annotations

import dataclasses
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

import codec
from bitstream import (
    PayloadError,
    TruncatedError,
    UsageError,
    container_from_bytes,
    container_to_bytes,
)
from codec.loading import load_model
from codec.pictures.read import picture_from
from tests.codec.tiny_layers import (
    DATA,
    ENDS,
    LAYERS,
    TILES,
    Blocks,
    has_alpha,
    pixels_of,
    until_error,
)

pytestmark = pytest.mark.usefixtures("blocks")

Pixels = npt.NDArray[np.uint8]


@pytest.mark.parametrize("seed", [None, 5])
def test_progressive_pictures_are_those_of_the_first_layers(
    blocks: Blocks, seed: int | None
) -> None:
    images = list(codec.decompress_progressive(DATA, as_="numpy", seed=seed))
    # The cost is linear: nothing is decoded twice.
    assert blocks.payloads_read == blocks.latents_asked == LAYERS * TILES
    assert len(images) == LAYERS
    for layers, image in enumerate(images, 1):
        assert np.array_equal(image, pixels_of(DATA, layers=layers, seed=seed))
    assert np.array_equal(images[-1], pixels_of(DATA))


def test_every_progressive_picture_has_alpha_and_metadata() -> None:
    for image in codec.decompress_progressive(DATA):
        assert isinstance(image, Image.Image)
        again = picture_from(image)
        assert has_alpha(again)
        assert (again.icc, again.exif, again.xmp) == (b"icc", b"II*\0exif", b"<x/>")
    shapes = [tensor.shape for tensor in codec.decompress_progressive(DATA, as_="torch")]
    assert shapes == [torch.Size((4, 100, 150))] * LAYERS


class OneWay(io.RawIOBase):
    """A stream that cannot seek, gives few bytes at a time, and counts them."""

    def __init__(self, data: bytes) -> None:
        self.rest, self.count = io.BytesIO(data), 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        piece = self.rest.read(min(size, 7) if size >= 0 else -1)
        self.count += len(piece)
        return piece


def progressive(fo: Any, **options: Any) -> Iterator[Pixels]:
    yield from codec.decompress_progressive(fo, as_="numpy", **options)


def test_no_byte_beyond_a_layer_is_read_before_its_picture() -> None:
    fo = OneWay(DATA)
    assert [fo.count for _ in progressive(fo)] == ENDS
    assert fo.count == len(DATA)


def test_pictures_come_through_a_pipe_before_the_rest_was_sent() -> None:
    arrived = [threading.Event() for _ in ENDS]
    reading, writing = os.pipe()

    def send() -> None:
        with os.fdopen(writing, "wb", buffering=0) as fo:
            begin = 0
            for end, event in zip(ENDS, arrived, strict=True):
                fo.write(DATA[begin:end])
                begin = end
                # If the picture does not come, nothing more is sent, and the file ends too early.
                if not event.wait(20):
                    return
            fo.write(DATA[begin:])

    sender = threading.Thread(target=send)
    sender.start()
    with os.fdopen(reading, "rb") as fo:
        images = []
        for event, image in zip(arrived, progressive(fo), strict=True):
            images.append(image)
            event.set()
    sender.join()
    assert len(images) == LAYERS


@pytest.mark.parametrize("length", [0, 30, ENDS[0] - 1, ENDS[0], ENDS[1] + 2, ENDS[2], -1])
def test_a_stream_that_ends_early_gives_its_layers_and_an_error(length: int) -> None:
    cut = DATA[:length]
    images, error = until_error(progressive(OneWay(cut)))
    assert isinstance(error, TruncatedError) or not cut
    assert len(images) == sum(len(cut) >= end for end in ENDS)


def test_damage_after_a_layer_is_found_after_its_picture() -> None:
    container = container_from_bytes(DATA)
    first, (payload, *others), last = container.payloads
    damaged = container_to_bytes(
        dataclasses.replace(container, payloads=(first, (payload + b"x", *others), last))
    )
    images = progressive(damaged)
    assert np.array_equal(next(images), pixels_of(DATA, layers=1))
    with pytest.raises(PayloadError):
        next(images)
    assert np.array_equal(pixels_of(damaged, layers=1), pixels_of(DATA, layers=1))
    for use in (codec.decompress, codec.verify):
        with pytest.raises(PayloadError):
            use(damaged)


def test_progressive_arguments_are_checked_at_the_call() -> None:
    for options in ({"as_": "jax"}, {"seed": -1}, {"seed": 1.5}, {"device": "tpu"}):
        with pytest.raises(UsageError):
            codec.decompress_progressive("/does/not/exist.calo", **options)
    images = codec.decompress_progressive("/does/not/exist.calo")
    with pytest.raises(codec.InputError):
        next(images)


def test_a_path_is_closed_when_the_pictures_are_left(tmp_path: Path) -> None:
    path = tmp_path / "whole.calo"
    path.write_bytes(DATA)
    # A file that is left open gives a ResourceWarning, and so a failure.
    images = progressive(path)
    next(images)
    del images
    with path.open("rb") as file:
        assert len(list(progressive(file))) == LAYERS
        assert not file.closed


@pytest.mark.usefixtures("tiny_weights")
def test_a_model_without_layers_gives_one_picture(
    photograph: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codec.loading.load_model", load_model)
    data = codec.compress(photograph)
    (image,) = progressive(data, seed=3)
    assert np.array_equal(image, codec.decompress(data, as_="numpy"))
    assert len(until_error(progressive(data[:-1]))[0]) == 1
