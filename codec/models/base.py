"""The interface between the pipeline and a loaded model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Float32Array, SampleArray, Uint8Array, Uint16Array

if TYPE_CHECKING:
    import torch

    from codec.coding.tiling import TileGrid
    from codec.priors import LatentPrior

DecodedLatents = npt.NDArray[Any]
"""Latents (C, h, w) as a model decodes and synthesizes them, in a type of its own."""


class LoadedModel(Protocol):
    """A model with its weights. Latents are (C, h, w), one position per `stride` pixels.

    An encoder's latents are float32. A decoder's may differ, even in type and number of channels:
    `synthesize` takes what `decode_tile` returns, or a window of it.

    `context` is the number of latents beyond a tile, in each direction, on which its pixels
    depend: with that margin a tile is the same as if the whole image had been transformed.
    """

    model_id: int
    name: str
    weights_hash: bytes
    layers: int
    stride: int
    context: int

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (H, W, 3), multiples of `stride`, to latents in quantiser steps."""

    def synthesize(self, latents: DecodedLatents, quality: float) -> Uint8Array:
        """Latents of a decoder (C, h, w) to pixels uint8 (h·stride, w·stride, 3)."""

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code the latents of one tile, independently of other tiles: one payload per layer."""

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> DecodedLatents:
        """Decode a tile of `height` × `width` latents, dequantised.

        Raises `PayloadError` when a payload is not what an encoder writes.
        """


@runtime_checkable
class DeepModel(Protocol):
    """A model that codes more than 8 bits per channel.

    Optional for a `LoadedModel`; `deep` in its `ModelSpec`. Whatever the bit depth of a
    picture, the pipeline passes its samples scaled to 16 bits. The latents have the same
    format as for 8 bits.
    """

    def analyze_deep(self, pixels: Uint16Array, quality: float) -> Float32Array:
        """As `analyze`, but from pixels uint16 (H, W, 3) with white at 65535."""

    def synthesize_deep(self, latents: DecodedLatents, quality: float) -> Uint16Array:
        """As `synthesize`, but to pixels uint16 with white at 65535."""


@runtime_checkable
class NarrowAnalysisModel(Protocol):
    """A model whose analysis is run with a smaller margin around a tile than `context`.

    Optional for a `LoadedModel`. Decoders do not depend on it: latents at the borders of tiles
    merely differ a little from those of the whole image.
    """

    analysis_context: int


@runtime_checkable
class WholePictureModel(Protocol):
    """A model that codes a picture as one tile, and may refuse some pictures.

    Optional for a `LoadedModel`. The pipeline calls the check before it does any work.
    """

    def check_picture(self, pixels: SampleArray) -> None:
        """Raise `UsageError` for pixels (H, W, 1 or 3) that the model cannot code.

        No side may have more than 4096 pixels, the largest tile of the format.
        """


@runtime_checkable
class StochasticModel(Protocol):
    """A model that decodes with random noise: a file stands for a distribution of pictures.

    Optional for a `LoadedModel`. If `draws_noise`, `synthesize` takes latents that `add_noise`
    returned, or a window of them.
    """

    def draws_noise(self, quality: float) -> bool:
        """Whether pictures of this quality depend on noise."""

    def add_noise(self, latents: Float32Array, quality: float, seed: int) -> Float32Array:
        """Latents (C, h, w) of a whole tile to (C + k, h, w), with the noise of a seed.

        seed   0 .. 2⁶³ − 1. The noise at a position depends only on the seed and the position
        """


@runtime_checkable
class TunedModel(Protocol):
    """A model that can be tuned for different measures, such as visual quality or PSNR.

    Optional for a `LoadedModel`. A file's header stores the number of its tune as the variant.

    tunes   names, the same and in the same order as in its `ModelSpec`
    tune    the current one
    """

    tunes: tuple[str, ...]
    tune: str

    def with_tune(self, tune: str) -> LoadedModel:
        """The same model with another tune, one of `tunes`."""


@runtime_checkable
class BoundedModel(Protocol):
    """A model that keeps the error of every pixel value within a bound; `bounded` in `ModelSpec`.

    Optional for a `LoadedModel`. A file's header stores the bound as the variant.

    max_error   1 .. `codec.models.spec.MAX_ERROR`, how far a decoded value may be off
    """

    max_error: int

    def with_max_error(self, max_error: int) -> LoadedModel:
        """The same model with another bound."""

    def may_cost_more_than_no_error(self, pixels: SampleArray) -> bool:
        """Whether a lossless file might be smaller, for pixels (height, width, 1 or 3)."""


@runtime_checkable
class SearchingModel(Protocol):
    """A model whose encoder can search for cheaper symbols than those of a single pass.

    Optional for a `LoadedModel`.
    """

    def searches(self, effort: int) -> bool:
        """Whether an effort, 1 .. 9, needs more than one pass."""

    def tile_encoder(
        self,
        grid: TileGrid,
        pixels: SampleArray,
        quality: float,
        effort: int,
        *,
        analyze: Callable[[int, float], Float32Array],
        progress: Callable[[float], None],
    ) -> Callable[[int], tuple[bytes, ...]]:
        """A function from the number of a tile to its payloads, to be called in raster order.

        pixels     the picture, uint8 (height, width, 1 or 3); for a `DeepModel` also uint16 with
                   white at 65535
        effort     one for which `searches` is true
        analyze    returns latents float32 (C, h, w) from the number of a tile and a quality
        progress   is called with the share of the picture that is done, up to 1
        """


@runtime_checkable
class RealisticModel(Protocol):
    """A model with a second decoder, whose pictures look more like photographs.

    Optional for a `LoadedModel`.
    """

    def with_realism(self, realism: float, noise_seed: int = 0) -> LoadedModel:
        """The same model, blending (1 − realism) of its own picture with realism of the other.

        realism      in (0, 1]
        noise_seed   0 .. 2⁶³ − 1, the seed of the second decoder's input noise

        Raises `WeightsMissingError`, `WeightsMismatchError`.
        """


@runtime_checkable
class SeededModel(Protocol):
    """A model whose pixels depend on noise whose seed is not in the file.

    Optional for a `LoadedModel`.

    noise_seed   0 .. 2⁶³ − 1. The noise of a tile depends only on it and on the tile's payloads
    """

    noise_seed: int


@runtime_checkable
class ReducingModel(Protocol):
    """A model that decodes to smaller pictures with less work than at full size.

    Optional for a `LoadedModel`; for other models, the pixels of the full picture are averaged.
    """

    def with_reduction(self, reduce: int) -> LoadedModel:
        """The same model, whose pictures are `reduce` times smaller in each direction.

        reduce   2, 4 or 8. Latents (C, h, w) become (h·stride/reduce, w·stride/reduce, 3) pixels,
                 each close to the mean of reduce² pixels of the full picture
        """


@runtime_checkable
class PreviewingModel(Protocol):
    """A model that has a faster way to turn the first layer into a picture.

    Optional for a `LayeredModel`; used when better pictures follow while a file arrives.
    """

    def with_preview(self) -> LoadedModel:
        """The same model with a faster synthesis for the first layer.

        The picture has the same size, and about the same error as the model's own.
        """


@runtime_checkable
class GenerativeCodec(Protocol):
    """A model that generates images from codes z ~ p(z), so its R_p(D) can be measured.

    Optional for a `LoadedModel`, with which it shares `name` and `weights_hash`.
    """

    name: str
    weights_hash: bytes

    def decoder_of_codes(self) -> tuple[Callable[[torch.Tensor], torch.Tensor], LatentPrior]:
        """The decoder, float32 (n, k) to images (n, C, H, W) in 0..1, differentiable; and p(z)."""


@runtime_checkable
class ForeignModel(Protocol):
    """A model of another library, whose networks select probability tables in floating point.

    Optional for a `LoadedModel`. Its files are marked as bound to a machine, and the variant names
    the library's architecture. A picture is one tile, as in that library, or several tiles of the
    largest size if it is larger than that.
    """

    variant: int


def variant_of(model: LoadedModel) -> int | None:
    """The variant in the headers of a model's files; None if it has none."""
    if isinstance(model, ForeignModel):
        return model.variant
    if isinstance(model, TunedModel):
        return model.tunes.index(model.tune)
    if isinstance(model, BoundedModel):
        return model.max_error
    return None


class TileDecoder(Protocol):
    """Decodes the layers of one tile, one after another."""

    def read(self, payload: bytes) -> None:
        """Decode the next layer. Raises `PayloadError`."""

    def latents(self, generator: np.random.Generator | None = None) -> DecodedLatents:
        """Latents (C, h, w) of the layers read so far.

        Missing layers are replaced by the prior's mean, or by a sample of the prior if a generator
        is given. The call does not change the decoder, so it may come between two reads.
        After the last layer the latents are those that `decode_tile` returns.
        """


@runtime_checkable
class JoinedLayersModel(Protocol):
    """A `LayeredModel` that can also decode its payloads joined into one, as a file of one layer.

    Optional for a `LoadedModel`. Small files use it, since every layer costs a chunk per tile.
    """

    layers_can_be_joined: bool


@runtime_checkable
class LayeredModel(Protocol):
    """A model whose layers can be decoded before the later ones have arrived.

    Optional for a `LoadedModel`. Other models need all layers for any picture.
    """

    def tile_decoder(self, height: int, width: int, quality: float) -> TileDecoder:
        """Return a decoder for a tile of `height` × `width` latents."""
