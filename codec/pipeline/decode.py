"""Containers to pictures: all tiles of a file, or some of them, through a loaded model."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from bitstream.arrays import SampleArray
from bitstream.container import Container, TileSelection
from bitstream.errors import HeaderError, PayloadError, UsageError
from bitstream.header import Header
from codec.coding.tiling import TileGrid, Window
from codec.models.base import (
    DecodedLatents,
    DeepModel,
    ForeignModel,
    LayeredModel,
    LoadedModel,
    StochasticModel,
    TileDecoder,
    WholePictureModel,
    variant_of,
)
from codec.options import Region
from codec.pictures.alpha import AlphaReader
from codec.pictures.bands import Band, Bands
from codec.pictures.depth import rescale
from codec.pictures.picture import Picture
from codec.pipeline.stitch import ahead, draw_bands, tiles_under

_MAX_LISTED = 20  # tiles in a notice


def decode_bands(
    file: Container | TileSelection,
    model: LoadedModel,
    *,
    region: Region | None = None,
    seed: int | None = None,
    partial: bool = False,
) -> Bands:
    """The picture of a file, which may lack its last layers, band by band.

    file    a container, or a selection of the tiles that `tiles_of_region` names
    partial allow a selection that lacks tiles: they are gray, and a notice lists them
    region  (x, y, width, height) in pixels, None for all
    seed    0 .. 2⁶³ − 1. Draw what the missing layers would say from the model's prior, each tile
            with a generator of its own; None takes the prior's mean. Of a model that draws noise,
            that of this seed; None takes the seed of the file, or a fresh one if it has none

    Raises `HeaderError` for tiles or noise that the model has not, `UsageError` for a region
    outside the image, or missing layers of a model that is no `LayeredModel`; and `PayloadError`
    for damaged payloads, once the bands are read.
    """

    def latents(tile: int) -> DecodedLatents:
        if isinstance(file, TileSelection):
            payloads: Sequence[bytes] = file.payloads[tile]
        else:
            payloads = [layer[tile] for layer in file.payloads]
        return _decode_tile(file.header, tile, payloads, model, seed)

    if isinstance(file, TileSelection) and partial:
        return _draw_what_is_there(file, latents, model, region, seed)
    return _draw(file, latents, model, region, seed)


def decompress_container(
    container: Container,
    model: LoadedModel,
    *,
    region: Region | None = None,
    seed: int | None = None,
) -> Picture:
    """The whole picture that `decode_bands` gives in bands, and all of its errors."""
    return decode_bands(container, model, region=region, seed=seed).picture()


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

    def _latents(self, tile: int) -> DecodedLatents:
        is_whole = self._layers_read == self._header.layers
        return self._tiles[tile].latents(None if is_whole else _tile_generator(self._seed, tile))


def _decode_tile(
    header: Header, tile: int, payloads: Sequence[bytes], model: LoadedModel, seed: int | None
) -> DecodedLatents:
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
    expected = (isinstance(model, ForeignModel), variant_of(model))
    if (header.machine_bound, header.variant) != expected:
        raise HeaderError(
            f"machine-bound {header.machine_bound} and variant {header.variant} in the header, "
            f"expected {expected[0]} and {expected[1]} of the model {model.name}: the file was "
            "not written by a conforming encoder"
        )
    if header.bit_depth > 8 and not isinstance(model, DeepModel):
        raise HeaderError(
            f"bit depth {header.bit_depth} in the header, expected 8 of the model {model.name}: "
            "the file was not written by a conforming encoder"
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
    latents_of: Callable[[int], DecodedLatents],
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
    notices: tuple[str, ...] = ()
    if seed is not None and stochastic is None and _is_whole(file):
        notices = (f"the seed {seed} was given, but nothing of a file of {model.name} is random",)
    grid = TileGrid(header, model.stride)
    wanted = grid.pixels if region is None else _window(header, region)

    def with_noise(tile: int) -> DecodedLatents:
        latents = latents_of(tile)
        if stochastic is None:
            return latents
        return stochastic.add_noise(latents, header.quality, noise_seed)

    def synthesize(latents: DecodedLatents) -> SampleArray:
        if header.bit_depth > 8 and isinstance(model, DeepModel):
            return model.synthesize_deep(latents, header.quality)
        return model.synthesize(latents, header.quality)

    # `draw_bands` asks for these, in this order.
    rows = tiles_under(grid, wanted, model.stride, model.context)
    decoded = ahead(with_noise, [tile for numbers in rows for tile in numbers])
    colours = draw_bands(
        grid,
        wanted,
        stride=model.stride,
        context=model.context,
        latents_of=lambda tile: next(decoded),
        synthesize=synthesize,
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
        notices,
        bit_depth=header.bit_depth,
        ancillary=file.ancillary,
    )


def _is_whole(file: Container | TileSelection) -> bool:
    """Whether all layers are there."""
    if isinstance(file, Container):
        return len(file.payloads) == file.header.layers
    return all(len(layers) == file.header.layers for layers in file.payloads.values())


def _draw_what_is_there(
    file: TileSelection,
    latents_of: Callable[[int], DecodedLatents],
    model: LoadedModel,
    region: Region | None,
    seed: int | None,
) -> Bands:
    """As `_draw`, with gray in place of the tiles that are not there.

    The pixels beside such a tile depend on its latents, and are drawn as if those were 0.
    """
    header = file.header
    grid = TileGrid(header, model.stride)
    wanted = grid.pixels if region is None else _window(header, region)
    rows = tiles_under(grid, wanted, model.stride, model.context)
    # A number beyond the first layers says that these are all that a tile of this model has.
    usable = {tile for tile, parts in file.payloads.items() if len(parts) == header.layers}
    if isinstance(model, LayeredModel):
        usable = set(file.payloads)
    lost = [tile for numbers in rows for tile in numbers if tile not in usable]
    windows = [grid.tile(tile).scale(model.stride).intersect(grid.pixels) for tile in lost]
    windows = [window.intersect(wanted) for window in windows]
    shown = [(tile, w) for tile, w in zip(lost, windows, strict=True) if not w.empty]
    if not usable or sum(w.height * w.width for _, w in shown) == wanted.height * wanted.width:
        raise PayloadError("no tile of what is asked for is intact, so nothing can be decoded")
    example = latents_of(min(usable))

    def latents(tile: int) -> DecodedLatents:
        if tile in usable:
            return latents_of(tile)
        own = grid.tile(tile)
        return np.zeros((len(example), own.height, own.width), example.dtype)

    bands = _draw(file, latents, model, region, seed)
    if not shown:
        return bands
    places = ", ".join(f"{tile} at {w.left},{w.top}" for tile, w in shown[:_MAX_LISTED])
    more = "" if len(shown) <= _MAX_LISTED else f" and {len(shown) - _MAX_LISTED} more"
    notice = (
        f"{len(shown)} of {header.tile_count} tiles are damaged or missing, and gray: "
        f"{places}{more}"
    )
    return replace(
        bands,
        bands=_with_gray(bands, [window for _, window in shown], wanted),
        notices=(*bands.notices, notice),
    )


def _with_gray(bands: Bands, lost: Sequence[Window], wanted: Window) -> Iterator[Band]:
    """The bands with gray in windows that are given in raster order."""
    top, first = wanted.top, 0
    gray = 1 << (bands.bit_depth - 1)
    for pixels, alpha in bands.bands:
        own = Window(top, wanted.left, top + len(pixels), wanted.right)
        while first < len(lost) and lost[first].bottom <= own.top:
            first += 1
        for window in itertools.islice(lost, first, None):
            if window.top >= own.bottom:
                break
            pixels[window.intersect(own).within(own)] = gray
        top = own.bottom
        yield pixels, alpha


def _with_alpha(
    colours: Iterator[SampleArray], alpha: bytes | None, header: Header, wanted: Window
) -> Iterator[Band]:
    """Bands of colours (rows, width, 3) in the picture's channels, and with their alpha.

    colours   as the model draws them: uint16 at the scale of 16 bits for a depth above 8
    """
    depth = header.bit_depth
    reader = None if alpha is None else AlphaReader(alpha, header.height, header.width, depth)
    if reader is not None:
        reader.skip(wanted.top)
    for drawn in colours:
        pixels = _to_channels(drawn, header.channels)
        if depth > 8:
            pixels = rescale(pixels, 16, depth)
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


def _to_channels(pixels: SampleArray, channels: int) -> SampleArray:
    if channels == 3:
        return pixels
    mean = pixels.sum(axis=2, keepdims=True, dtype=np.uint32)
    gray: SampleArray = ((mean + 1) // 3).astype(pixels.dtype)
    return gray
