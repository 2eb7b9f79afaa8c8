"""The coder of the distribution-preserving networks `codec.models.dplc.networks` (model 3).

An image of any size up to 4096×4096 is padded by repeating its last rows and columns, cut into
blocks of side × side pixels, and coded as one tile::

    block ─ E ─► signs ─► bits ─ learned prior ─► bytes             at 0 symbols: no bytes
    bytes ─► bits ±½ ─┬─ B ─► z ─ G ─► block
       seed ─► noise ─┘                                             at 0 symbols: noise is z

The quality selects one of the rates. Decoding uses random noise: if the file holds its seed,
every decoding gives the same picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from bitstream.arrays import Array, BoolArray, Float32Array, Uint8Array
from bitstream.errors import UsageError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.coding.bits_back_tables import bit_tables
from codec.coding.channel_simulation import open_unit, raw_numbers
from codec.coding.prior_tables import normal_quantile
from codec.models.dplc import DPLC
from codec.models.dplc.networks import DplcConfig, DplcNetworks
from codec.models.dplc.prior import ExactBitPrior
from codec.models.generative.networks import Decoder
from codec.models.layers import fill
from codec.models.sheets import (
    blocks_of,
    check_grey_blocks,
    check_sheet_size,
    only_payload,
    sheet_of,
)
from codec.models.weights_files import read_config
from codec.priors import StandardNormal

TABLE_PREFIX = "bit_tables."
NOISE_SEED = 0xCA14
SEED_DISTANCE = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""Distance between the streams of two seeds in raw numbers, modulo 2¹²⁸: the step of NumPy's
`jumped`. Streams a power of two apart would share the lower bits of their states."""
_PIXELS_AT_ONCE = 2**19  # pixels per network call


class DplcCoder:
    """The model, loaded. See `codec.models.base` for the methods, `StochasticModel` among them.

    Latents are (n, h, w) for h × w blocks, where n is the number of symbols of a block at the rate
    of the quality, in row-major order of (symbols per position, m, m). In the encoder they are E's
    values before their signs, in the decoder ±½, and `add_noise` appends the noise.

    networks  as loaded, of the sizes `networks.config`
    priors    one for each rate; None for the rate without symbols
    """

    model_id, name = DPLC.model_id, DPLC.name
    layers = 1
    context = 0

    def __init__(
        self,
        networks: DplcNetworks,
        priors: Sequence[ExactBitPrior | None],
        weights_hash: bytes,
        *,
        device: torch.device | None = None,
    ) -> None:
        self.config = config = networks.config
        self.device = device or torch.device("cpu")
        self.networks, self.weights_hash = networks.to(self.device), weights_hash
        self.priors, self.stride = tuple(priors), config.side
        found = [0 if prior is None else prior.size for prior in priors]
        expected = [config.symbols(rate) for rate in range(len(config.rates))]
        if found != expected:
            raise WeightsMismatchError(
                f"weights file: priors of {found} bits, expected {expected}, the symbols of a "
                "block at each rate"
            )

    def check_picture(self, pixels: Uint8Array) -> None:
        """Raise `UsageError` for a picture (H, W, C) that is too large, or coloured for grey."""
        check = check_grey_blocks if self.config.channels == 1 else check_sheet_size
        check(pixels, self.name)

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (side · h, side · w, 3) to E's values before their signs, (n, h, w)."""
        blocks, rate = blocks_of(pixels, self.stride, self.config.channels), self._rate(quality)
        found = np.empty((self.config.symbols(rate), len(blocks)), dtype=np.float32)
        for part in self._parts(len(blocks)):
            with torch.inference_mode():
                images = torch.from_numpy(blocks[part]).to(self.device, torch.float32).div_(255)
                values = self.networks.analyze(images, rate)
                found[:, part] = values.flatten(1).t().cpu().numpy()
        height, width = pixels.shape[0] // self.stride, pixels.shape[1] // self.stride
        return found.reshape(-1, height, width)

    def decoder_of_codes(self) -> tuple[Decoder, StandardNormal]:
        """The generator, z (n, k) to images (n, C, side, side), and the prior of z."""
        return self.networks.generator, StandardNormal(self.config.code)

    def draws_noise(self, quality: float) -> bool:
        """Whether pictures of this quality depend on noise; those of a plain autoencoder do not."""
        return bool(self._noise_size(self._rate(quality)))

    def add_noise(self, latents: Float32Array, quality: float, seed: int) -> Float32Array:
        """Latents (n, h, w) of a whole tile with the noise of a seed appended: (n + k, h, w).

        k is noise · m², or the dimensions of z at the rate without symbols. Block j uses the raw
        numbers j k .. (j + 1) k − 1 of the seed's stream. With x the upper 52 bits of a raw number
        and u = (x + ½) / 2⁵², the noise is u − ½ for B, or z = Φ⁻¹(u).
        """
        rate, (height, width) = self._rate(quality), latents.shape[1:]
        size = self._noise_size(rate)
        raw = raw_numbers(NOISE_SEED, seed * SEED_DISTANCE, height * width * size)
        unit = open_unit(raw).reshape(height * width, size)
        noise = unit - 0.5 if self.config.rates[rate] else normal_quantile(unit)
        columns = np.ascontiguousarray(noise.T, dtype=np.float32).reshape(size, height, width)
        return np.concatenate([latents, columns])

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """The result of `add_noise`, or a window of it, to pixels uint8 (side · h, side · w, 3)."""
        config, rate = self.config, self._rate(quality)
        symbols, size = config.symbols(rate), self._noise_size(rate)
        if len(latents) != symbols + size:
            raise UsageError(
                f"latents of {len(latents)} channels, expected {symbols} symbols and {size} of "
                "noise, which add_noise appends"
            )
        height, width = latents.shape[1:]
        columns = latents.reshape(len(latents), -1)
        shape = (config.channels, config.side, config.side)
        levels = np.empty((height * width, *shape), dtype=np.uint8)
        for part in self._parts(height * width):
            rows = torch.from_numpy(np.ascontiguousarray(columns[:, part].T)).to(self.device)
            positions = (len(rows), -1, config.grid, config.grid)
            bits, noise = rows[:, :symbols], rows[:, symbols:]
            if symbols:
                bits, noise = bits.reshape(positions), noise.reshape(positions)
            with torch.inference_mode():
                images = self.networks.synthesize(bits, noise, rate).nan_to_num_(0, 1, 0)
                drawn = images.clamp_(0, 1).mul_(255).round_().to(torch.uint8)
            levels[part] = drawn.cpu().numpy()
        return sheet_of(levels, height, width)

    def bits(self, latents: Float32Array) -> BoolArray:
        """Latents (n, h, w) to bits (h · w, n): True for values ≥ 0, that is, the symbol +½."""
        return np.ascontiguousarray(latents.reshape(len(latents), -1).T >= 0)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code the signs of latents (n, h, w): one payload, which is empty if n is 0."""
        encoder, prior = SymbolEncoder(), self.priors[self._rate(quality)]
        if prior is not None:
            prior.encode(self.bits(latents), encoder)
        return (encoder.finish(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        """Decode symbols ±½ (n, height, width). Raises `PayloadError`."""
        decoder, prior = SymbolDecoder(only_payload(payloads)), self.priors[self._rate(quality)]
        symbols = np.empty((0, height * width), dtype=np.float32)
        if prior is not None:
            bits = prior.decode(height * width, decoder)
            symbols = bits.T.astype(np.float32)
            symbols -= np.float32(0.5)
        decoder.finish()
        return np.ascontiguousarray(symbols).reshape(-1, height, width)

    def _rate(self, quality: float) -> int:
        return self.config.rate_at(round(quality * 100))

    def _noise_size(self, rate: int) -> int:
        """The number of random numbers per block."""
        config = self.config
        return config.noise * config.positions if config.rates[rate] else config.code

    def _parts(self, count: int) -> Iterator[slice]:
        size = max(1, _PIXELS_AT_ONCE // self.stride**2)
        return (slice(at, at + size) for at in range(0, count, size))


def load_dplc(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: torch.device | str,
) -> DplcCoder:
    """Build the model from the contents of a weights file.

    Arrays: `generator.…`, `encoders.{rate}.…`, `maps.{rate}.…`, floating point, for `DplcNetworks`;
    `prior.{rate}.…` and `bit_tables.…`, integers, for `ExactBitPrior`. The metadata contain
    "config". Raises `WeightsMismatchError` or `TableError` for anything else.
    """
    config = read_config(
        metadata, DplcConfig, flow_blocks=0, flow_width=0, flow_steps=0, codes_from=0
    )
    tables = TableSet.from_arrays(arrays, TABLE_PREFIX)
    priors = [
        ExactBitPrior.from_arrays(arrays, f"prior.{rate}.", tables) if symbols else None
        for rate, symbols in enumerate(config.rates)
    ]
    networks = _networks(config, arrays)
    unknown = arrays.keys() - dplc_arrays(networks, priors).keys()
    if unknown:
        raise WeightsMismatchError(
            f"weights file: {min(unknown)} is no array of a model with the rates {config.rates}"
        )
    return DplcCoder(networks, priors, weights_hash, device=torch.device(device))


def dplc_arrays(networks: DplcNetworks, priors: Sequence[ExactBitPrior | None]) -> dict[str, Array]:
    """All arrays of a weights file; the networks in float16. See `load_dplc`."""
    arrays: dict[str, Array] = {
        name: value.detach().cpu().to(torch.float16).numpy()
        for name, value in networks.state_dict().items()
    }
    for rate, prior in enumerate(priors):
        arrays.update({} if prior is None else prior.to_arrays(f"prior.{rate}."))
    tables = bit_tables().to_arrays()
    return {**arrays, **{TABLE_PREFIX + name: array for name, array in tables.items()}}


def _networks(config: DplcConfig, arrays: Mapping[str, Array]) -> DplcNetworks:
    # On the meta device, so that sizes are compared before memory is allocated.
    with torch.device("meta"):
        networks = DplcNetworks(config)
    fill(networks, arrays)
    return networks
