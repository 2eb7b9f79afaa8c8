"""From containers to pictures: decodes all or some tiles of a file with a loaded model."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
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
    JoinedLayersModel,
    LayeredModel,
    LoadedModel,
    PreviewingModel,
    ReducingModel,
    SeededModel,
    StochasticModel,
    TileDecoder,
    WholePictureModel,
    variant_of,
)
from codec.options import Region
from codec.pictures.alpha import AlphaReader
from codec.pictures.bands import Band, Bands
from codec.pictures.box_mean import box_mean, box_means
from codec.pictures.depth import rescale
from codec.pictures.picture import Picture
from codec.pipeline.stitch import ahead, draw_bands, tiles_under

LOST_ALPHA = "the transparency is damaged, and was left out"
_MAX_LISTED = 20  # tiles in a notice


def decode_bands(
    file: Container | TileSelection,
    model: LoadedModel,
    *,
    region: Region | None = None,
    seed: int | None = None,
    partial: bool = False,
    reduce: int = 1,
) -> Bands:
    """The picture of a file, which may lack its last layers, band by band.

    file      a container, or a selection of the tiles that `tiles_of_region` returns
    region    (x, y, width, height) in pixels, None for all
    seed      0 .. 2⁶³ − 1. Missing layers are sampled from the model's prior, with a separate
              generator per tile; None takes the prior's mean. A model that decodes with noise draws
              it from this seed; None takes the seed of the file, or a fresh one if it has none
    partial   allow a selection that lacks tiles, or whose payloads cannot be decoded: such tiles
              are grey, or coarser if some layers are intact, and a notice lists them. Every tile is
              decoded twice
    reduce    1, or 2, 4 or 8 for a picture that many times smaller in each direction. A region
              gets all reduced pixels that it touches. If the model is not a `ReducingModel`, they
              are means of its full-size pixels

    Raises `HeaderError` for tiles or noise that do not fit the model, `UsageError` for a region
    outside the image, or for missing layers if the model is not a `LayeredModel`; and
    `PayloadError` for damaged payloads when the bands are read.
    """

    def latents(tile: int) -> DecodedLatents:
        if isinstance(file, TileSelection):
            payloads: Sequence[bytes] = file.payloads[tile]
        else:
            payloads = [layer[tile] for layer in file.payloads]
        try:
            return _decode_tile(file.header, tile, payloads, model, seed)
        except PayloadError as error:
            if file.header.tile_count == 1:
                raise
            raise PayloadError(
                f"tile {tile}: {error}; get the file again, or decode the other tiles "
                "(--partial, partial=True)"
            ) from error

    model = _reduced(model, reduce)
    wanted = _window(file.header, region, reduce)
    if isinstance(file, TileSelection) and partial:
        return _draw_what_is_there(file, model, wanted, seed, reduce)
    return _draw(file, latents, model, wanted, seed, reduce)


def decompress_container(
    container: Container,
    model: LoadedModel,
    *,
    region: Region | None = None,
    seed: int | None = None,
    reduce: int = 1,
) -> Picture:
    """The picture of `decode_bands` as a whole; raises all of its errors."""
    return decode_bands(container, model, region=region, seed=seed, reduce=reduce).picture()


def tiles_of_region(
    header: Header, model: LoadedModel, region: Region, reduce: int = 1
) -> list[int]:
    """Numbers of the tiles that the pixels of a region depend on."""
    model = _reduced(model, reduce)
    grid = TileGrid(header, model.stride)
    rows = tiles_under(grid, _window(header, region, reduce), model.stride, model.context)
    return [number for numbers in rows for number in numbers]


class LayerDecoder:
    """Decodes a file whose layers arrive one after another, reading each payload once.

    In memory are the model's state of every tile between two layers, and one picture.
    Raises `PayloadError` if the file does not have the model's number of layers.
    """

    def __init__(self, header: Header, model: LoadedModel, *, seed: int | None = None) -> None:
        _check_header(header, model)
        self._header, self._model, self._seed = header, model, seed
        self._tiles: list[TileDecoder] = []
        self._layers_read = 0

    def decode(self, container: Container) -> Picture:
        """The picture of a container with the layers of the previous call, and more.

        Picture and errors are those of `decompress_container`; but without a seed, the picture of
        the first layer alone is the preview of a `PreviewingModel`.
        """
        for layer in container.payloads[self._layers_read :]:
            for number, payload in enumerate(layer):
                # Created one by one, so damage is found before memory for all tiles is allocated.
                if number == len(self._tiles):
                    self._tiles.append(_tile_decoder(self._header, number, self._model))
                self._tiles[number].read(payload)
            self._layers_read += 1
        model, wanted = self._model, _window(self._header, None)
        is_first = self._layers_read == 1 and not self._is_whole
        if is_first and self._seed is None and isinstance(model, PreviewingModel):
            model = model.with_preview()
        return _draw(container, self._latents, model, wanted, self._seed).picture()

    @property
    def _is_whole(self) -> bool:
        return self._layers_read == self._header.layers

    def _latents(self, tile: int) -> DecodedLatents:
        generator = None if self._is_whole else _tile_generator(self._seed, tile)
        return self._tiles[tile].latents(generator)


def _decode_tile(
    header: Header, tile: int, payloads: Sequence[bytes], model: LoadedModel, seed: int | None
) -> DecodedLatents:
    """Latents (C, h, w) of a tile from the layers that are present."""
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
    """The generator of one tile, whose samples depend neither on other tiles nor on a region."""
    if seed is None:
        return None
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, tile))))


def _stochastic(model: LoadedModel, quality: float) -> StochasticModel | None:
    """The model, if it decodes with noise at this quality."""
    if isinstance(model, StochasticModel) and model.draws_noise(quality):
        return model
    return None


def _check_header(header: Header, model: LoadedModel) -> None:
    layers = {model.layers}
    if isinstance(model, JoinedLayersModel):
        layers.add(1)
    if header.layers not in layers:
        raise PayloadError(
            f"the file has {header.layers} layers, expected "
            f"{' or '.join(map(str, sorted(layers)))} of {model.name}"
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
    wanted: Window,
    seed: int | None,
    reduce: int = 1,
) -> Bands:
    """A window of the picture; calls `latents_of` once for each tile."""
    header = file.header
    _check_header(header, model)
    stochastic = _stochastic(model, header.quality)
    noise_seed = header.noise_seed if seed is None else seed
    if noise_seed is None:
        noise_seed = secrets.randbelow(2**63)
    notices: tuple[str, ...] = ()
    is_random = stochastic is not None or isinstance(model, SeededModel)
    if seed is not None and not is_random and _is_whole(file):
        notices = (
            f"the seed {seed} was given, but a whole file of {model.name} decodes without one",
        )
    grid = TileGrid(header, model.stride)

    def with_noise(tile: int) -> DecodedLatents:
        latents = latents_of(tile)
        if stochastic is None:
            return latents
        return stochastic.add_noise(latents, header.quality, noise_seed)

    def synthesize(latents: DecodedLatents) -> SampleArray:
        if header.bit_depth > 8 and isinstance(model, DeepModel):
            return model.synthesize_deep(latents, header.quality)
        return model.synthesize(latents, header.quality)

    # The tiles that `draw_bands` requests, in this order.
    rows = tiles_under(grid, wanted, model.stride, model.context)
    by_model = reduce if isinstance(model, ReducingModel) else 1

    def drawn() -> Iterator[SampleArray]:
        with closing(ahead(with_noise, [tile for numbers in rows for tile in numbers])) as decoded:
            yield from draw_bands(
                grid,
                wanted.cover(by_model),
                stride=model.stride // by_model,
                context=model.context,
                latents_of=lambda tile: next(decoded),
                synthesize=synthesize,
            )

    colours = drawn()
    if by_model < reduce:
        colours = box_means(colours, reduce)
    shown = wanted.cover(reduce)
    return Bands(
        shown.width,
        shown.height,
        header.channels,
        file.alpha is not None,
        _with_alpha(colours, file.alpha, header, wanted, reduce),
        file.icc,
        file.exif,
        file.xmp,
        notices,
        bit_depth=header.bit_depth,
        ancillary=file.ancillary,
    )


def _is_whole(file: Container | TileSelection) -> bool:
    """Whether all layers are present."""
    if isinstance(file, Container):
        return len(file.payloads) == file.header.layers
    return all(len(layers) == file.header.layers for layers in file.payloads.values())


def _draw_what_is_there(
    file: TileSelection,
    model: LoadedModel,
    wanted: Window,
    seed: int | None,
    reduce: int,
) -> Bands:
    """As `_draw`, but with grey in place of tiles that are missing or cannot be decoded.

    Pixels near such a tile depend on its latents, which are taken as 0. Alpha that cannot be
    decoded is left out.
    """
    header = file.header
    _check_header(header, model)
    grid = TileGrid(header, model.stride)
    rows = tiles_under(grid, wanted, model.stride, model.context)
    needed = [tile for numbers in rows for tile in numbers]
    usable: dict[int, tuple[bytes, ...]] = {}
    empty: DecodedLatents | None = None
    for tile in needed:
        parts = file.payloads.get(tile, ())
        fewest = 1 if isinstance(model, LayeredModel) else header.layers
        for count in range(len(parts), fewest - 1, -1):
            with suppress(PayloadError):
                latents = _decode_tile(header, tile, parts[:count], model, seed)
                empty, usable[tile] = latents[:, :0, :0].copy(), parts[:count]
                break
    windows = {
        tile: grid.tile(tile).scale(model.stride).intersect(grid.pixels).intersect(wanted)
        for tile in needed
    }
    most = max(map(len, file.payloads.values()), default=0)
    shown = [(tile, w) for tile, w in windows.items() if tile not in usable and not w.empty]
    coarse = [
        (tile, w)
        for tile, w in windows.items()
        if 0 < len(usable.get(tile, ())) < most and not w.empty
    ]
    is_empty = sum(w.height * w.width for _, w in shown) == wanted.height * wanted.width
    if empty is None or is_empty:
        raise PayloadError("no requested tile is intact, so nothing can be decoded")
    channels, dtype = len(empty), empty.dtype

    def latents_of(tile: int) -> DecodedLatents:
        if tile in usable:
            return _decode_tile(header, tile, usable[tile], model, seed)
        own = grid.tile(tile)
        return np.zeros((channels, own.height, own.width), dtype)

    notices = []
    if file.alpha is not None and not _is_sound(file.alpha, header):
        file = replace(file, alpha=None)
        notices.append(LOST_ALPHA)
    if coarse:
        notices.append(
            f"{len(coarse)} of {header.tile_count} tiles are coarser, since layers of them are "
            f"damaged or missing: {_places(coarse)}"
        )
    bands = _draw(file, latents_of, model, wanted, seed, reduce)
    bands = replace(bands, notices=(*bands.notices, *notices))
    if not shown:
        return bands
    notice = (
        f"{len(shown)} of {header.tile_count} tiles are damaged or missing, and grey: "
        f"{_places(shown)}"
    )
    return replace(
        bands,
        bands=_with_gray(bands, [w.cover(reduce) for _, w in shown], wanted.cover(reduce)),
        notices=(*bands.notices, notice),
    )


def _places(tiles: Sequence[tuple[int, Window]]) -> str:
    places = ", ".join(f"{tile} at {w.left},{w.top}" for tile, w in tiles[:_MAX_LISTED])
    return places + ("" if len(tiles) <= _MAX_LISTED else f" and {len(tiles) - _MAX_LISTED} more")


def _is_sound(alpha: bytes, header: Header) -> bool:
    try:
        reader = AlphaReader(alpha, header.height, header.width, header.bit_depth)
        reader.skip(header.height)
        reader.finish()
    except PayloadError:
        return False
    return True


def _with_gray(bands: Bands, lost: Sequence[Window], wanted: Window) -> Iterator[Band]:
    """The bands with the windows `lost`, given in raster order, filled with grey."""
    top, first = wanted.top, 0
    grey = 1 << (bands.bit_depth - 1)
    for pixels, alpha in bands.bands:
        own = Window(top, wanted.left, top + len(pixels), wanted.right)
        while first < len(lost) and lost[first].bottom <= own.top:
            first += 1
        for window in itertools.islice(lost, first, None):
            if window.top >= own.bottom:
                break
            pixels[window.intersect(own).within(own)] = grey
        top = own.bottom
        yield pixels, alpha


def _with_alpha(
    colours: Iterator[SampleArray],
    alpha: bytes | None,
    header: Header,
    wanted: Window,
    reduce: int,
) -> Iterator[Band]:
    """Convert bands of colours (rows, width, 3) to the picture's channels, and add alpha.

    colours   as the model returns them: uint16 scaled to 16 bits for a depth above 8
    wanted    the window, before it is reduced
    """
    depth = header.bit_depth
    reader = None if alpha is None else AlphaReader(alpha, header.height, header.width, depth)
    if reader is not None:
        reader.skip(wanted.top)
    left = wanted.height
    for drawn in colours:
        pixels = _to_channels(drawn, header.channels)
        if depth > 8:
            pixels = rescale(pixels, 16, depth)
        if reader is None:
            yield pixels, None
        else:
            opacity = reader.read(min(reduce * len(pixels), left))[:, wanted.left : wanted.right]
            left -= len(opacity)
            yield pixels, opacity if reduce == 1 else box_mean(opacity, reduce)
    if reader is not None and wanted.bottom == header.height:
        reader.finish()


def _reduced(model: LoadedModel, reduce: int) -> LoadedModel:
    """The model for smaller pictures, if it is a `ReducingModel`; otherwise the model itself."""
    if reduce > 1 and isinstance(model, ReducingModel):
        return model.with_reduction(reduce)
    return model


def _window(header: Header, region: Region | None, reduce: int = 1) -> Window:
    """The window of a region, or of all, extended to whole squares of `reduce` pixels."""
    whole = Window(0, 0, header.height, header.width)
    if region is None:
        return whole
    x, y, width, height = region
    window = Window(y, x, y + height, x + width)
    if window.empty or window.intersect(whole) != window:
        raise UsageError(
            f"region {x},{y},{width},{height} is not inside the image of "
            f"{header.width}×{header.height} pixels; expected X,Y,WIDTH,HEIGHT within it"
        )
    return window.cover(reduce).scale(reduce).intersect(whole)


def _to_channels(pixels: SampleArray, channels: int) -> SampleArray:
    if channels == 3:
        return pixels
    mean = pixels.sum(axis=2, keepdims=True, dtype=np.uint32)
    grey: SampleArray = ((mean + 1) // 3).astype(pixels.dtype)
    return grey
