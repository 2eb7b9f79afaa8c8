"""Pictures to containers and back: the tiles of an image through a loaded model."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bitstream.container import Container, TileSelection
from bitstream.errors import HeaderError, PayloadError, UsageError
from bitstream.header import Header
from bitstream.limits import MAX_TILE_LOG2, MIN_TILE_LOG2
from codec.coding.tiling import TileGrid, Window
from codec.models.base import (
    ForeignModel,
    LayeredModel,
    LoadedModel,
    StochasticModel,
    TileDecoder,
    WholePictureModel,
)
from codec.models.photo.coder import PhotoCoder
from codec.pictures.alpha import AlphaReader, encode_alpha
from codec.pictures.bands import Band, Bands
from codec.pictures.picture import Picture
from codec.pipeline.lookahead import ahead
from codec.pipeline.stitch import draw_bands, tiles_under
from codec.system.missing_extra import extra_needed_by

Region = tuple[int, int, int, int]
Uint8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]

DEFAULT_TILE_SIZE = 1024
AMORTISED_EFFORT = 2
"""The last effort that is one pass through the networks."""


def compress_picture(
    picture: Picture,
    model: LoadedModel,
    *,
    quality: float,
    tile_size: int | None = None,
    effort: int = 1,
    noise_seed: int | None = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Container:
    """Code a picture at a quality in [1, 100], tile by tile.

    tile_size   pixels, a power of two, 64 .. 4096; None takes what the model is best at
    effort      1..9; 1 and 2 are one pass, further levels search the symbols of photo for cheaper
                ones (`codec.models.photo.effort`); other models have one level
    noise_seed  0 .. 2⁶³ − 1, kept in the file where the model draws noise; None leaves it free
    progress    told the share of the search that is done, up to 1

    Raises `LimitError` for a picture larger than the format allows, `UsageError` for one that
    the model does not code. A model for whole pictures takes one tile of its own size.
    """
    height, width, channels = picture.pixels.shape
    if isinstance(model, WholePictureModel):
        model.check_picture(picture.pixels)
        tile_size = _covering(height, width)
    elif tile_size is None:
        tile_size = DEFAULT_TILE_SIZE
        if isinstance(model, ForeignModel):
            tile_size = min(_covering(height, width), 1 << MAX_TILE_LOG2)
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
        machine_bound=isinstance(model, ForeignModel),
        variant=_variant(model),
    )
    if _stochastic(model, header.quality) is not None:
        header = replace(header, noise_seed=noise_seed, free_noise=noise_seed is None)
    grid = TileGrid(header, model.stride)

    def analyze(number: int, at: float) -> Float32Array:
        own = grid.tile(number)
        window = own.grow(model.context).intersect(grid.latents)
        latents = model.analyze(_padded(picture.pixels, window, model.stride), at)
        rows, columns = own.within(window)
        return latents[:, rows, columns]

    def encode_once(number: int) -> tuple[bytes, ...]:
        return model.encode_tile(analyze(number, header.quality), header.quality)

    if isinstance(model, PhotoCoder) and searches(model, effort):
        with extra_needed_by(f"Effort {effort}"):
            from codec.models.photo.effort_tiles import EffortEncoder

        encoder = EffortEncoder(
            model,
            grid,
            picture.pixels,
            header.quality,
            effort,
            analyze=analyze,
            progress=progress,
        )
        tiles = [encoder.encode(number) for number in range(grid.count)]
    else:
        tiles = list(ahead(encode_once, range(grid.count)))
    return Container(
        header=header,
        payloads=tuple(zip(*tiles, strict=True)),
        icc=picture.icc,
        exif=picture.exif,
        xmp=picture.xmp,
        alpha=None if picture.alpha is None else encode_alpha(picture.alpha),
    )


def searches(model: LoadedModel, effort: int) -> bool:
    """Whether an effort takes longer than one pass with this model."""
    return effort > AMORTISED_EFFORT and isinstance(model, PhotoCoder)


def container_bands(
    container: Container,
    model: LoadedModel,
    *,
    region: Region | None = None,
    seed: int | None = None,
) -> Bands:
    """The picture of a container, which may lack the last layers of its file, band by band.

    region  (x, y, width, height) in pixels, None for all
    seed    0 .. 2⁶³ − 1. Draw what the missing layers would say from the model's prior, each tile
            with a generator of its own; None takes the prior's mean. Of a model that draws noise,
            that of this seed; None takes the seed of the file, or a fresh one if it has none

    Raises `HeaderError` for tiles or noise that the model has not, `UsageError` for a region
    outside the image, or missing layers of a model that is no `LayeredModel`; and `PayloadError`
    for damaged payloads, once the bands are read.
    """

    def latents(tile: int) -> Float32Array:
        payloads = [layer[tile] for layer in container.payloads]
        return _decode_tile(container.header, tile, payloads, model, seed)

    return _draw(container, latents, model, region, seed)


def tiles_bands(
    selection: TileSelection, model: LoadedModel, *, region: Region, seed: int | None = None
) -> Bands:
    """A region from the tiles that `tiles_of_region` names, and no others.

    Otherwise as `container_bands`.
    """

    def latents(tile: int) -> Float32Array:
        return _decode_tile(selection.header, tile, selection.payloads[tile], model, seed)

    return _draw(selection, latents, model, region, seed)


def decompress_container(
    container: Container,
    model: LoadedModel,
    *,
    region: Region | None = None,
    seed: int | None = None,
) -> Picture:
    """The whole picture that `container_bands` gives in bands, and all of its errors."""
    return container_bands(container, model, region=region, seed=seed).picture()


def decompress_tiles(
    selection: TileSelection, model: LoadedModel, *, region: Region, seed: int | None = None
) -> Picture:
    """The whole region that `tiles_bands` gives in bands, and all of its errors."""
    return tiles_bands(selection, model, region=region, seed=seed).picture()


def tiles_of_region(header: Header, model: LoadedModel, region: Region) -> list[int]:
    """Numbers of the tiles that the pixels of a region depend on."""
    grid = TileGrid(header, model.stride)
    rows = tiles_under(grid, _window(header, region), model.stride, model.context)
    return [number for numbers in rows for number in numbers]


class LayerDecoder:
    """Decodes a file whose layers arrive one after another, each payload once.

    Memory: what the model keeps of every tile between two layers, and one picture.
    Raises `PayloadError` for a file that has not the model's number of layers.
    """

    def __init__(self, header: Header, model: LoadedModel, *, seed: int | None = None) -> None:
        _check_header(header, model)
        self._header, self._model, self._seed = header, model, seed
        self._tiles: list[TileDecoder] = []
        self._layers_read = 0

    def decode(self, container: Container) -> Picture:
        """The picture of a container that holds the layers of the call before, and more.

        The same as `decompress_container` gives, and the same errors.
        """
        for layer in container.payloads[self._layers_read :]:
            for number, payload in enumerate(layer):
                # Made here, so that damage shows before there is memory for all of the image.
                if number == len(self._tiles):
                    self._tiles.append(_tile_decoder(self._header, number, self._model))
                self._tiles[number].read(payload)
            self._layers_read += 1
        return _draw(container, self._latents, self._model, None, self._seed).picture()

    def _latents(self, tile: int) -> Float32Array:
        is_whole = self._layers_read == self._header.layers
        return self._tiles[tile].latents(None if is_whole else _tile_generator(self._seed, tile))


def _decode_tile(
    header: Header, tile: int, payloads: Sequence[bytes], model: LoadedModel, seed: int | None
) -> Float32Array:
    """Latents (C, h, w) of a tile from the layers that are there."""
    if len(payloads) == header.layers:
        window = TileGrid(header, model.stride).tile(tile)
        return model.decode_tile(payloads, window.height, window.width, header.quality)
    decoder = _tile_decoder(header, tile, model)
    for payload in payloads:
        decoder.read(payload)
    return decoder.latents(_tile_generator(seed, tile))


def _tile_decoder(header: Header, tile: int, model: LoadedModel) -> TileDecoder:
    if not isinstance(model, LayeredModel):
        raise UsageError(
            f"not all of the file's {header.layers} layers are to be decoded, but the model "
            f"{model.name} needs them all: give the whole file, and no number of layers"
        )
    window = TileGrid(header, model.stride).tile(tile)
    return model.tile_decoder(window.height, window.width, header.quality)


def _tile_generator(seed: int | None, tile: int) -> np.random.Generator | None:
    """The generator of one tile: what is drawn depends on no other tile, nor on a region."""
    if seed is None:
        return None
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, tile))))


def _stochastic(model: LoadedModel, quality: float) -> StochasticModel | None:
    """The model, if it draws noise at this quality."""
    if isinstance(model, StochasticModel) and model.draws_noise(quality):
        return model
    return None


def _covering(height: int, width: int) -> int:
    """The smallest tile that holds a picture, if the format had it."""
    return 1 << max(MIN_TILE_LOG2, (max(height, width) - 1).bit_length())


def _variant(model: LoadedModel) -> int | None:
    return model.variant if isinstance(model, ForeignModel) else None


def _check_header(header: Header, model: LoadedModel) -> None:
    if header.layers != model.layers:
        raise PayloadError(
            f"the file has {header.layers} layers, expected {model.layers} of {model.name}"
        )
    if isinstance(model, WholePictureModel) and header.tile_count > 1:
        raise HeaderError(
            f"the file has {header.tile_count} tiles, expected one tile of {model.name}: the file "
            "was not written by a conforming encoder"
        )
    expected = (isinstance(model, ForeignModel), _variant(model))
    if (header.machine_bound, header.variant) != expected:
        raise HeaderError(
            f"machine-bound {header.machine_bound} and variant {header.variant} in the header, "
            f"expected {expected[0]} and {expected[1]} of the model {model.name}: the file was "
            "not written by a conforming encoder"
        )
    noise = "no noise"
    if header.free_noise:
        noise = "free noise"
    elif header.noise_seed is not None:
        noise = f"noise seed {header.noise_seed}"
    draws = _stochastic(model, header.quality) is not None
    if draws == (noise == "no noise"):
        raise HeaderError(
            f"{noise} in the header, expected {'some' if draws else 'none'} of the model "
            f"{model.name} at quality {header.quality:g}: the file was not written by a "
            "conforming encoder"
        )


def _draw(
    file: Container | TileSelection,
    latents_of: Callable[[int], Float32Array],
    model: LoadedModel,
    region: Region | None,
    seed: int | None,
) -> Bands:
    """The picture, or a region of it, from the latents of the tiles: asked for once each."""
    header = file.header
    _check_header(header, model)
    stochastic = _stochastic(model, header.quality)
    noise_seed = header.noise_seed if seed is None else seed
    if noise_seed is None:
        noise_seed = secrets.randbelow(2**63)
    grid = TileGrid(header, model.stride)
    wanted = grid.pixels if region is None else _window(header, region)

    def with_noise(tile: int) -> Float32Array:
        latents = latents_of(tile)
        if stochastic is None:
            return latents
        return stochastic.add_noise(latents, header.quality, noise_seed)

    # `draw_bands` asks for these, in this order.
    rows = tiles_under(grid, wanted, model.stride, model.context)
    decoded = ahead(with_noise, [tile for numbers in rows for tile in numbers])
    colours = draw_bands(
        grid,
        wanted,
        stride=model.stride,
        context=model.context,
        latents_of=lambda tile: next(decoded),
        synthesize=lambda latents: model.synthesize(latents, header.quality),
    )
    return Bands(
        wanted.width,
        wanted.height,
        header.channels,
        file.alpha is not None,
        _with_alpha(colours, file.alpha, header, wanted),
        file.icc,
        file.exif,
        file.xmp,
    )


def _with_alpha(
    colours: Iterator[Uint8Array], alpha: bytes | None, header: Header, wanted: Window
) -> Iterator[Band]:
    """Bands of colours (rows, width, 3) in the picture's channels, and with their alpha."""
    reader = None if alpha is None else AlphaReader(alpha, header.height, header.width)
    if reader is not None:
        reader.skip(wanted.top)
    for drawn in colours:
        pixels = _to_channels(drawn, header.channels)
        if reader is None:
            yield pixels, None
        else:
            yield pixels, reader.read(len(pixels))[:, wanted.left : wanted.right]
    if reader is not None and wanted.bottom == header.height:
        reader.finish()


def _window(header: Header, region: Region) -> Window:
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
