"""A small VAE as a codec of 28×28 greyscale blocks (catalogue ids 4 to 7).

An image of any size up to 4096×4096 is padded by repeating its last rows and columns, cut into
blocks of 28×28, and coded as one tile; a sheet of handwritten digits is one file with one header::

    ┌────┬────┬────┐      block ─ encoder ─► N(μ, σ²) ─ one of four coders ─► symbols ─► bytes
    │ 28 │    │    │
    ├────┼────┼────┤      bytes ─► symbols ─► z ─ decoder ─► block
    │    │    │    │
    └────┴────┴────┘

The four models share one weights file and differ only in `codec.models.vae.sample_coders`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from bitstream.arrays import Array, Float32Array, Int32Array, Uint8Array
from bitstream.errors import UsageError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from codec.coding.prior_tables import symbol_bits
from codec.models.generative.networks import Decoder, Encoder, GenerativeConfig
from codec.models.generative.weights_file import LATER_FIELDS
from codec.models.layers import fill
from codec.models.sheets import BLOCK, blocks_of, check_grey_blocks, only_payload, sheet_of
from codec.models.vae import LOSSY
from codec.models.vae.sample_coders import (
    ClassCoder,
    Message,
    MixtureCoder,
    Posterior,
    SampleCoder,
    coder_from_arrays,
    inverse_temperature,
    posterior_from_network,
)
from codec.models.weights_files import read_config, stored
from codec.priors import GaussianMixture, LatentPrior, StandardNormal

_BLOCKS_AT_ONCE = 1024  # blocks per network call: a sheet may have 21,609
_POINT = -20.0
"""The smallest log-variance of a posterior, which stands for the single code of a rae's encoder."""

_MODEL_IDS = {family.name: family.model_id for family in LOSSY}


class VaeCoder:
    """A VAE, loaded, with one way to code its posterior. See `codec.models.base` for the methods.

    The encoder's latents are mean and log-variance, (2k, h, w), the decoder's (k, h, w). With
    classes, k includes the label's values.
    """

    layers = 1
    stride = BLOCK
    context = 0

    def __init__(
        self,
        name: str,
        encoder: Encoder,
        decoder: Decoder,
        coder: SampleCoder,
        weights_hash: bytes,
        *,
        device: torch.device | None = None,
    ) -> None:
        self.name, self.model_id, self.weights_hash = name, _MODEL_IDS[name], weights_hash
        self.device = device or torch.device("cpu")
        self.encoder, self.decoder = encoder.to(self.device), decoder.to(self.device)
        self.coder = coder

    def check_picture(self, pixels: Uint8Array) -> None:
        """Raise `UsageError` for a picture (H, W, C) that is not grey, or too large."""
        check_grey_blocks(pixels, self.name)

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Grey pixels uint8 (28h, 28w, 3) to mean and log-variance, (2k, h, w)."""
        found = np.concatenate(
            [self._analyze_blocks(blocks, quality) for blocks in _parts(blocks_of(pixels))]
        )
        height, width = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
        return np.ascontiguousarray(found.T).reshape(-1, height, width)

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """Codes (k, h, w) to grey pixels uint8 (28h, 28w, 3)."""
        height, width = latents.shape[1:]
        codes = np.ascontiguousarray(_rows(latents))
        levels = np.concatenate([self._synthesize_blocks(part) for part in _parts(codes)])
        return sheet_of(levels, height, width)

    def _analyze_blocks(self, blocks: Array, quality: float) -> Float32Array:
        with torch.inference_mode():
            images = torch.from_numpy(blocks).to(self.device, torch.float32).div_(255)
            mean, log_variance = self.encoder(images)
            if log_variance is None:
                log_variance = torch.full_like(mean, _POINT)
            found: Float32Array = torch.cat([mean, log_variance], dim=1).cpu().numpy()
        return found

    def _synthesize_blocks(self, codes: Array) -> Uint8Array:
        with torch.inference_mode():
            images = self.decoder(torch.from_numpy(codes).to(self.device)).nan_to_num_(0, 1, 0)
            levels = images.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
        drawn: Uint8Array = levels.cpu().numpy()
        return drawn

    def decoder_of_codes(self) -> tuple[Decoder, LatentPrior]:
        """The decoder, from codes (n, k) to images (n, 1, 28, 28), and the coding prior."""
        if isinstance(self.coder, ClassCoder):
            raise UsageError(
                f"{self.name}: the decoder sees a label besides the code; measure the decoders of "
                "its classes, as codec.models.generative.networks.Decoder.given makes them"
            )
        if not isinstance(self.coder, MixtureCoder):
            return self.decoder, StandardNormal(self.decoder.config.code)
        weights = torch.from_numpy(self.coder.labels.frequencies[:-1].astype(np.float64))
        turns = torch.from_numpy(self.coder.turns).double()
        means = torch.from_numpy(self.coder.means).double()
        return self.decoder, GaussianMixture(weights, means, turns @ turns.mT)

    def posterior(self, latents: Float32Array) -> Posterior:
        """The posterior of each block from what `analyze` returned, blocks in raster order."""
        mean, log_variance = np.split(_rows(latents), 2, axis=1)
        return posterior_from_network(mean, log_variance)

    def messages(self, latents: Float32Array, quality: float) -> Sequence[Message]:
        """The messages that `encode_tile` writes."""
        return self.coder.messages(self.posterior(latents), round(quality * 100))

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code a posterior (2k, h, w): one payload."""
        encoder = SymbolEncoder()
        for message in self.messages(latents, quality):
            encoder.put(message.symbols, message.indexes, message.tables)
        return (encoder.finish(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        """Decode codes (k, height, width). Raises `PayloadError`."""
        decoder = SymbolDecoder(only_payload(payloads))
        codes = self.coder.codes(decoder, height * width, round(quality * 100))
        decoder.finish()
        return np.ascontiguousarray(codes.T).reshape(-1, height, width)


class ClassVaeCoder(VaeCoder):
    """A VAE whose networks also see a label. The encoder chooses the label with the least cost:
    bits, plus squared error weighted by the quality.

    pixel_variance   variance of the likelihood in training: at quality 75 the cost is
                     −log p(x|z, y) p(z), up to a constant
    """

    coder: ClassCoder

    def __init__(self, *networks_and_coder: Any, pixel_variance: float, **options: Any) -> None:
        super().__init__(*networks_and_coder, **options)
        self.pixel_variance = pixel_variance

    def choose_labels(self, blocks: Array, quality: float) -> Int32Array:
        """The label of each block uint8 (n, 1, 28, 28): int32 (n,)."""
        hundredths = round(quality * 100)
        exchange = inverse_temperature(hundredths) / (2 * self.pixel_variance)
        costs = np.zeros((self.coder.classes, len(blocks)))
        for label, cost in enumerate(costs):
            found = self.given_labels(blocks, np.full(len(blocks), label, dtype=np.int32))
            mean, log_variance = np.split(found, 2, axis=1)
            posterior = posterior_from_network(mean, log_variance)
            messages = self.coder.messages(posterior, hundredths)
            for message in messages:
                bits = symbol_bits(message.symbols, message.indexes, message.tables)
                cost += math.log(2) * bits.reshape(len(blocks), -1).sum(axis=1)
            drawn = self._synthesize_blocks(self.coder.decoded(messages, hundredths))
            difference = (drawn.astype(np.float64) - blocks.astype(np.float64)) / 255
            cost += exchange * np.square(difference).sum(axis=(1, 2, 3))
        cheapest: Int32Array = costs.argmin(axis=0).astype(np.int32)
        return cheapest

    def given_labels(self, blocks: Array, labels: Int32Array) -> Float32Array:
        """Blocks uint8 (n, 1, 28, 28) and their labels (n,) to latents (n, 2k)."""
        values = torch.eye(self.coder.classes, device=self.device)[torch.from_numpy(labels).long()]
        with torch.inference_mode():
            images = torch.from_numpy(blocks).to(self.device, torch.float32).div_(255)
            mean, log_variance = self.encoder(images, values)
            assert log_variance is not None  # of a vae
            joined = [mean, values, log_variance, torch.full_like(values, _POINT)]
            found: Float32Array = torch.cat(joined, dim=1).cpu().numpy()
        return found

    def _analyze_blocks(self, blocks: Array, quality: float) -> Float32Array:
        return self.given_labels(blocks, self.choose_labels(blocks, quality))


def _parts(rows: Array) -> list[Array]:
    return [rows[at : at + _BLOCKS_AT_ONCE] for at in range(0, len(rows), _BLOCKS_AT_ONCE)]


def _rows(latents: Float32Array) -> Float32Array:
    rows: Float32Array = latents.reshape(len(latents), -1).T
    return rows


def read_vae_config(
    metadata: Mapping[str, str], likelihood: str, *, or_rae: bool = False
) -> GenerativeConfig:
    """Sizes of the VAE, or of the regularised autoencoder, in a weights file.

    Raises `WeightsMismatchError` unless it is for 28×28 blocks and this likelihood.
    """
    config = read_config(metadata, GenerativeConfig, **LATER_FIELDS)
    expected = ("vae", likelihood, (1, BLOCK, BLOCK))
    found = (config.family, config.likelihood, config.image_shape)
    if found != expected and not (or_rae and found == ("rae", None, (1, BLOCK, BLOCK))):
        raise WeightsMismatchError(f"weights file: it holds {found}, expected {expected}")
    return config


def vae_loader(name: str) -> Callable[..., VaeCoder]:
    """The function that builds the model `name` from the contents of a weights file."""

    def load_vae(
        arrays: Mapping[str, Array],
        metadata: Mapping[str, str],
        weights_hash: bytes,
        *,
        device: torch.device | str,
    ) -> VaeCoder:
        config = read_vae_config(metadata, "gaussian", or_rae="mixture.offsets" in arrays)
        encoder, decoder = Encoder(config), Decoder(config)
        fill(encoder, arrays, "encoder.")
        fill(decoder, arrays, "decoder.")
        coder = coder_from_arrays(name, arrays, config.code, config.classes)
        parts, at = (name, encoder, decoder, coder, weights_hash), torch.device(device)
        if not config.classes:
            return VaeCoder(*parts, device=at)
        variance = float(stored(arrays, "pixel_variance", "float64"))
        if not 0 < variance < math.inf:
            raise WeightsMismatchError(
                f"weights file: a pixel_variance of {variance}, expected a finite one above 0"
            )
        return ClassVaeCoder(*parts, device=at, pixel_variance=variance)

    return load_vae


load_vae_round, load_vae_dither, load_vae_rec, load_vae_vbq = (vae_loader(f.name) for f in LOSSY)
