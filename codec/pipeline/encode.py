"""From pictures to containers: codes the tiles of an image with a loaded model."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import numpy as np

from bitstream.arrays import Float32Array, SampleArray
from bitstream.container import Container
from bitstream.errors import InputError
from bitstream.header import Header
from bitstream.limits import MAX_TILE_LOG2, MIN_TILE_LOG2
from codec.coding.tiling import TileGrid, Window
from codec.models.base import (
    DeepModel,
    ForeignModel,
    JoinedLayersModel,
    LoadedModel,
    NarrowAnalysisModel,
    SearchingModel,
    StochasticModel,
    WholePictureModel,
    variant_of,
)
from codec.models.catalog import all_models, split_name
from codec.pictures.alpha import encode_alpha
from codec.pictures.depth import rescale
from codec.pictures.picture import Picture
from codec.pipeline.stitch import ahead
from codec.system.missing_extra import extra_needed_by

DEFAULT_TILE_SIZE = 1024
LAYERS_SHARE = 0.01
"""The largest share of a file that the overhead of layers may take."""
_CHUNK_BYTES = 14
"""Approximate overhead of a `DATA` chunk, including its entry in the index."""


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

    tile_size   pixels, a power of two, 64 .. 4096; None takes what is best for the model
    effort      1..9: how long a `SearchingModel` searches for cheaper symbols; others ignore it
    noise_seed  0 .. 2⁶³ − 1, stored in the file if the model decodes with noise; None stores none
    progress    called with the share of the search, or else of the tiles, that is done, up to 1

    A `WholePictureModel` always gets one tile that covers the picture. Raises `LimitError` for a
    picture larger than the format allows, `UsageError` for one that the model cannot code,
    `InputError` for one with more bits than the model codes.
    """
    height, width, channels = picture.pixels.shape
    deep = _deep(model, picture.bit_depth)
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
        bit_depth=picture.bit_depth,
        quality=quality,
        model_id=model.model_id,
        weights_hash=model.weights_hash,
        tile_size=tile_size,
        layers=model.layers,
        machine_bound=isinstance(model, ForeignModel),
        variant=variant_of(model),
    )
    if isinstance(model, StochasticModel) and model.draws_noise(header.quality):
        header = replace(header, noise_seed=noise_seed, free_noise=noise_seed is None)
    grid = TileGrid(header, model.stride)
    margin = model.context
    if isinstance(model, NarrowAnalysisModel):
        margin = model.analysis_context

    def analyze(number: int, at: float) -> Float32Array:
        own = grid.tile(number)
        window = own.grow(margin).intersect(grid.latents)
        pixels = _padded(picture.pixels, window, model.stride)
        if deep is not None:
            latents = deep.analyze_deep(rescale(pixels, picture.bit_depth, 16), at)
        else:
            latents = model.analyze(pixels.astype(np.uint8, copy=False), at)
        rows, columns = own.within(window)
        return latents[:, rows, columns]

    def encode_once(number: int) -> tuple[bytes, ...]:
        return model.encode_tile(analyze(number, header.quality), header.quality)

    if isinstance(model, SearchingModel) and model.searches(effort):
        with extra_needed_by(f"effort {effort}"):
            encode = model.tile_encoder(
                grid,
                picture.pixels if deep is None else rescale(picture.pixels, picture.bit_depth, 16),
                header.quality,
                effort,
                analyze=analyze,
                progress=progress,
            )
        tiles = [encode(number) for number in range(grid.count)]
    else:
        tiles = []
        with closing(ahead(encode_once, range(grid.count))) as coded:
            for number, tile in enumerate(coded, 1):
                tiles.append(tile)
                progress(number / grid.count)
    if isinstance(model, JoinedLayersModel) and not _worth_layers(tiles):
        tiles = [(b"".join(tile),) for tile in tiles]
        header = replace(header, layers=1)
    return Container(
        header=header,
        payloads=tuple(zip(*tiles, strict=True)),
        icc=picture.icc,
        exif=picture.exif,
        xmp=picture.xmp,
        ancillary=picture.ancillary,
        alpha=None if picture.alpha is None else encode_alpha(picture.alpha, picture.bit_depth),
    )


def _worth_layers(tiles: Sequence[Sequence[bytes]]) -> bool:
    """Whether the chunks of additional layers cost at most `LAYERS_SHARE` of the file."""
    further = sum(len(layers) - 1 for layers in tiles)
    return further * _CHUNK_BYTES <= LAYERS_SHARE * sum(map(len, itertools.chain(*tiles)))


def searches(model: LoadedModel, effort: int) -> bool:
    """Whether an effort needs more than one pass with this model."""
    return isinstance(model, SearchingModel) and model.searches(effort)


def _deep(model: LoadedModel, bit_depth: int) -> DeepModel | None:
    """The model as a `DeepModel` for more than 8 bits; None for 8 bits. Raises `InputError`."""
    if bit_depth <= 8:
        return None
    if not isinstance(model, DeepModel):
        names = [spec.name for spec in all_models() if spec.deep]
        exact = [spec.name for spec in all_models() if spec.lossless or spec.bounded]
        but, keeping = "", "a model that keeps the depth"
        if split_name(model.name)[0] in exact:
            but = ", as all lossless and nearly lossless models do"
            keeping = "a lossy model that keeps the depth"
        raise InputError(
            f"the image has {bit_depth} bits per channel, and the model {model.name} codes 8{but}: "
            f"pass --reduce-depth (reduce_depth=True) to round it to 8 bits, or choose {keeping}: "
            f"{' or '.join(f'-m {name} (model={name!r})' for name in names)}"
        )
    return model


def _covering(height: int, width: int) -> int:
    """The smallest tile size that covers a picture, even if the format does not allow it."""
    return 1 << max(MIN_TILE_LOG2, (max(height, width) - 1).bit_length())


def _padded(pixels: SampleArray, window: Window, stride: int) -> SampleArray:
    """Pixels under a window of latents as RGB, padded by repeating the last rows and columns."""
    area = window.scale(stride)
    block = pixels[area.top : area.bottom, area.left : area.right]
    rows, columns = area.height - block.shape[0], area.width - block.shape[1]
    if rows or columns:
        block = np.pad(block, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return np.repeat(block, 3, axis=2) if pixels.shape[2] == 1 else block
