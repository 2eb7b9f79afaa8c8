"""Pictures to containers and back: the tiles of an image through a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from bitstream.container import Container, TileSelection
from bitstream.errors import PayloadError, UsageError
from bitstream.header import Header
from bitstream.limits import MIN_TILE_LOG2
from codec.alpha import decode_alpha, encode_alpha
from codec.image import Picture
from codec.models.base import LoadedModel, WholePictureModel
from codec.tiling import TileGrid, Window

Uint8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

DEFAULT_TILE_SIZE = 1024


def compress_picture(
    picture: Picture,
    model: LoadedModel,
    *,
    quality: float,
    tile_size: int = DEFAULT_TILE_SIZE,
    effort: int = 1,
) -> Container:
    """Code a picture at a quality in [1, 100], tile by tile.

    effort  1..9; every level is the same one pass for the models of this version
    Raises `LimitError` for a picture larger than the format allows, `UsageError` for one that
    the model does not code. A model for whole pictures takes one tile of its own size.
    """
    height, width, channels = picture.pixels.shape
    if isinstance(model, WholePictureModel):
        model.check_picture(picture.pixels)
        tile_size = 1 << max(MIN_TILE_LOG2, (max(height, width) - 1).bit_length())
    header = Header(
        width=width,
        height=height,
        channels=channels,
        bit_depth=8,
        quality=quality,
        model_id=model.model_id,
        weights_hash=model.weights_hash,
        tile_size=tile_size,
        layers=model.layers,
    )
    grid = TileGrid(header, model.stride)
    tiles = []
    for number in range(grid.count):
        own = grid.tile(number)
        window = own.grow(model.context).intersect(grid.latents)
        latents = model.analyze(_padded(picture.pixels, window, model.stride), header.quality)
        rows, columns = own.within(window)
        tiles.append(model.encode_tile(latents[:, rows, columns], header.quality))
    return Container(
        header=header,
        payloads=tuple(zip(*tiles, strict=True)),
        icc=picture.icc,
        exif=picture.exif,
        xmp=picture.xmp,
        alpha=None if picture.alpha is None else encode_alpha(picture.alpha),
    )


def decompress_container(
    container: Container, model: LoadedModel, *, region: tuple[int, int, int, int] | None = None
) -> Picture:
    """Decode a container; region is (x, y, width, height) in pixels, None for all.

    Raises `PayloadError` for damaged payloads, `UsageError` for a region outside the image.
    """

    def payloads(tile: int) -> Sequence[bytes]:
        return [layer[tile] for layer in container.payloads]

    return _decode(container, payloads, model, region)


def decompress_tiles(
    selection: TileSelection, model: LoadedModel, *, region: tuple[int, int, int, int]
) -> Picture:
    """Decode a region from the tiles that `tiles_of_region` names, and no others."""
    return _decode(selection, selection.payloads.__getitem__, model, region)


def tiles_of_region(
    header: Header, model: LoadedModel, region: tuple[int, int, int, int]
) -> list[int]:
    """Numbers of the tiles that the pixels of a region depend on."""
    grid = TileGrid(header, model.stride)
    pixels = _window(header, region)
    return list(grid.overlapping(pixels.cover(model.stride).grow(model.context)))


def _decode(
    file: Container | TileSelection,
    payloads: Callable[[int], Sequence[bytes]],
    model: LoadedModel,
    region: tuple[int, int, int, int] | None,
) -> Picture:
    header = file.header
    if header.layers != model.layers:
        raise PayloadError(
            f"the file has {header.layers} layers, expected {model.layers} of {model.name}"
        )
    grid = TileGrid(header, model.stride)
    wanted = grid.pixels if region is None else _window(header, region)
    pixels = np.empty((wanted.height, wanted.width, header.channels), dtype=np.uint8)
    decoded: dict[int, Float32Array] = {}
    for number in grid.overlapping(wanted.cover(model.stride)):
        # Latents above the tiles that touch this one are not needed again.
        for done in [n for n in decoded if n < number - 2 * grid.columns]:
            del decoded[done]
        target = grid.tile(number).intersect(wanted.cover(model.stride))
        source = target.grow(model.context).intersect(grid.latents)
        latents: Float32Array | None = None
        for neighbour in grid.overlapping(source):
            tile = grid.tile(neighbour)
            if neighbour not in decoded:
                decoded[neighbour] = model.decode_tile(
                    payloads(neighbour), tile.height, tile.width, header.quality
                )
            if latents is None:
                channels = decoded[neighbour].shape[0]
                latents = np.empty((channels, source.height, source.width), dtype=np.float32)
            shared = tile.intersect(source)
            rows, columns = shared.within(source)
            own_rows, own_columns = shared.within(tile)
            latents[:, rows, columns] = decoded[neighbour][:, own_rows, own_columns]
        assert latents is not None  # a target is never empty
        drawn = model.synthesize(latents, header.quality)
        visible = target.scale(model.stride).intersect(wanted)
        rows, columns = visible.within(source.scale(model.stride))
        into_rows, into_columns = visible.within(wanted)
        pixels[into_rows, into_columns] = _to_channels(drawn[rows, columns], header.channels)
    alpha = None
    if file.alpha is not None:
        rows, columns = wanted.within(grid.pixels)
        alpha = decode_alpha(file.alpha, header.height, header.width)[rows, columns]
    return Picture(pixels, alpha, file.icc, file.exif, file.xmp)


def _window(header: Header, region: tuple[int, int, int, int]) -> Window:
    x, y, width, height = region
    window = Window(y, x, y + height, x + width)
    whole = Window(0, 0, header.height, header.width)
    if window.empty or window.intersect(whole) != window:
        raise UsageError(
            f"region {x},{y},{width},{height} is not inside the image of "
            f"{header.width}×{header.height} pixels; expected X,Y,WIDTH,HEIGHT within it"
        )
    return window


def _padded(pixels: Uint8Array, window: Window, stride: int) -> Uint8Array:
    """Pixels under a window of latents as RGB, the image's last rows and columns repeated."""
    area = window.scale(stride)
    block = pixels[area.top : area.bottom, area.left : area.right]
    rows, columns = area.height - block.shape[0], area.width - block.shape[1]
    if rows or columns:
        block = np.pad(block, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return np.repeat(block, 3, axis=2) if pixels.shape[2] == 1 else block


def _to_channels(pixels: Uint8Array, channels: int) -> Uint8Array:
    if channels == 3:
        return pixels
    mean = pixels.astype(np.uint16).sum(axis=2, keepdims=True)
    gray: Uint8Array = ((mean + 1) // 3).astype(np.uint8)
    return gray
