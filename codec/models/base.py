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
"""What a model decodes and synthesizes, (C, h, w): numbers of the model's own type."""


class LoadedModel(Protocol):
    """A model with its weights. Latents are (C, h, w), one column per `stride` pixels.

    An encoder's latents are float32. A decoder may have others, even of other types and numbers of
    channels: what `decode_tile` returns, `synthesize` takes, or a window of it.

    `context` is the number of latents beyond a tile on which its pixels depend, in either
    direction: with that margin a tile is the same as if the whole image had been transformed.
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
        """Code the latents of one tile, independently of others: one payload for each layer."""

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> DecodedLatents:
        """Read a tile of `height` × `width` latents back, dequantised.

        Raises `PayloadError` when a payload is not what an encoder writes.
        """


@runtime_checkable
class DeepModel(Protocol):
    """A model that codes and draws more than 8 bits per channel.

    An option of a `LoadedModel`, and `deep` of its `ModelSpec`. Whatever the bit depth of a
    picture, the pipeline hands its samples over at the scale of 16 bits. Latents are of the same
    kind as those of 8 bits.
    """

    def analyze_deep(self, pixels: Uint16Array, quality: float) -> Float32Array:
        """As `analyze`, of pixels uint16 (H, W, 3) of which 65535 is white."""

    def synthesize_deep(self, latents: DecodedLatents, quality: float) -> Uint16Array:
        """As `synthesize`, to pixels uint16 of which 65535 is white."""


@runtime_checkable
class NarrowAnalysisModel(Protocol):
    """A model whose encoder looks less far beyond a tile than `context` says.

    An option of a `LoadedModel`. No decoder depends on it: latents at the borders of tiles are a
    little different from those that the whole image would give, and are coded all the same.
    """

    analysis_context: int


@runtime_checkable
class WholePictureModel(Protocol):
    """A model that codes a picture as one tile, and perhaps not every picture.

    An option of a `LoadedModel`. The pipeline calls the check before it does any work.
    """

    def check_picture(self, pixels: SampleArray) -> None:
        """Raise `UsageError` for pixels (H, W, 1 or 3) that the model does not code.

        No side may have more than 4096 pixels, which is the largest tile of the format.
        """


@runtime_checkable
class StochasticModel(Protocol):
    """A model that draws noise to decode with: a file stands for a distribution of pictures.

    An option of a `LoadedModel`. Where noise is drawn, `synthesize` takes latents that `add_noise`
    returned, or a window of them.
    """

    def draws_noise(self, quality: float) -> bool:
        """Whether the picture of a quality depends on noise."""

    def add_noise(self, latents: Float32Array, quality: float, seed: int) -> Float32Array:
        """Latents (C, h, w) of a whole tile to (C + k, h, w), with the noise of a seed.

        seed   0 .. 2⁶³ − 1. The noise of a column depends on the seed and its place alone
        """


@runtime_checkable
class TunedModel(Protocol):
    """A model that can be tuned for one thing or another, such as for eyes or for PSNR.

    An option of a `LoadedModel`. The header of a file has the number of its tune, as the variant.

    tunes   names, the same and in the same order as those of its `ModelSpec`
    tune    the one that this model has
    """

    tunes: tuple[str, ...]
    tune: str

    def with_tune(self, tune: str) -> LoadedModel:
        """The same model with a tune, one of `tunes`."""


@runtime_checkable
class BoundedModel(Protocol):
    """A model that keeps every value of a pixel within a bound: `bounded` of its `ModelSpec`.

    An option of a `LoadedModel`. The header of a file has the bound, as the variant.

    max_error   1 .. `codec.models.spec.MAX_ERROR`, how far a decoded value may be off
    """

    max_error: int

    def with_max_error(self, max_error: int) -> LoadedModel:
        """The same model with another bound."""

    def may_cost_more_than_no_error(self, pixels: SampleArray) -> bool:
        """Whether a file without any error may be smaller, for pixels (height, width, 1 or 3)."""


@runtime_checkable
class SearchingModel(Protocol):
    """A model whose encoder can search for cheaper symbols than one pass through it gives.

    An option of a `LoadedModel`.
    """

    def searches(self, effort: int) -> bool:
        """Whether an effort, 1 .. 9, takes longer than one pass."""

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

        pixels     of the picture, uint8 (height, width, 1 or 3); of a `DeepModel` also uint16, of
                   which 65535 is white
        effort     one that `searches`
        analyze    latents float32 (C, h, w) of a tile, by its number, at a quality
        progress   is called with the share of the picture that is done, up to 1
        """


@runtime_checkable
class RealisticModel(Protocol):
    """A model with a second decoder, whose pictures look more like photographs.

    An option of a `LoadedModel`.
    """

    def with_realism(self, realism: float, noise_seed: int = 0) -> LoadedModel:
        """The same model, which draws (1 − realism) of its own picture and realism of the other.

        realism      in (0, 1]
        noise_seed   0 .. 2⁶³ − 1, of the noise that the second decoder sees

        Raises `WeightsMissingError`, `WeightsMismatchError`.
        """


@runtime_checkable
class SeededModel(Protocol):
    """A model whose pixels depend on noise of which the header of a file says nothing.

    An option of a `LoadedModel`.

    noise_seed   0 .. 2⁶³ − 1. The noise depends on it and on what a tile was decoded from alone
    """

    noise_seed: int


@runtime_checkable
class ReducingModel(Protocol):
    """A model that draws smaller pictures with less work than the whole picture takes.

    An option of a `LoadedModel`; smaller pictures of other models are means of their pixels.
    """

    def with_reduction(self, reduce: int) -> LoadedModel:
        """The same model, which draws pictures so many times smaller in each direction.

        reduce   2, 4 or 8. Latents (C, h, w) become (h·stride/reduce, w·stride/reduce, 3) pixels,
                 each near the mean of reduce² pixels of the whole picture
        """


@runtime_checkable
class PreviewingModel(Protocol):
    """A model that draws a first layer with less work than the picture of `decode_tile` takes.

    An option of a `LayeredModel`, for pictures that others follow while a file arrives.
    """

    def with_preview(self) -> LoadedModel:
        """The same model, which draws as many pixels of the first layer, about as near to the
        original as its own ones of that layer.
        """


@runtime_checkable
class GenerativeCodec(Protocol):
    """A model that draws images of codes z ~ p(z), so that its R_p(D) can be measured.

    An option of a `LoadedModel`, of which it has these two.
    """

    name: str
    weights_hash: bytes

    def decoder_of_codes(self) -> tuple[Callable[[torch.Tensor], torch.Tensor], LatentPrior]:
        """The decoder, float32 (n, k) to images (n, C, H, W) in 0..1, differentiable; and p(z)."""


@runtime_checkable
class ForeignModel(Protocol):
    """A model of another library, whose networks select probability tables in floating point.

    An option of a `LoadedModel`. Its files are marked as bound to a machine, and name the network
    of the library that the weights are for. A picture is one tile, as in that library, or several
    of the largest tiles if it is larger than these.
    """

    variant: int


def variant_of(model: LoadedModel) -> int | None:
    """The variant in the headers of a model's files; None for a model that has none."""
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
        is given. The call does not change the decoder, so that it may come between two reads.
        After the last layer the latents are those that `decode_tile` returns.
        """


@runtime_checkable
class JoinedLayersModel(Protocol):
    """A `LayeredModel` that also reads its payloads joined to one, in a file of one layer.

    An option of a `LoadedModel`. Small files are such: every layer costs a chunk of each tile.
    """

    layers_can_be_joined: bool


@runtime_checkable
class LayeredModel(Protocol):
    """A model whose payloads are layers that can be decoded before the later ones are there.

    An option of a `LoadedModel`. Other models need all layers for any picture.
    """

    def tile_decoder(self, height: int, width: int, quality: float) -> TileDecoder:
        """Begin to decode a tile of `height` × `width` latents."""
