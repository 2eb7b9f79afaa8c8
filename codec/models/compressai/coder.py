"""The coder of a CompressAI checkpoint: its networks and tables, our range coder and container.

Symbols are the integers that CompressAI codes: latents rounded around their means, hyper-latents
around the medians of their channels.  Tables are CompressAI's, and selected as it does::

    pixels ─ g_a ─► y ─ h_a ─► z ─ round ─► ẑ ─ h_s ─► scales (tables), means
                    └───────── round around the means ─► symbols ─► ŷ ─ g_s ─► pixels

Networks in floating point select tables, so another machine may misread what one machine wrote.
Therefore they run on the CPU in float64 from ẑ on, where this happens only if a scale is within
some 10⁻¹⁵ of the bound between two tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from bitstream.arrays import Float32Array, Int32Array, Uint8Array
from bitstream.errors import PayloadError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.models.compressai import ARCHITECTURES, COMPRESSAI
from codec.models.compressai.context import ContextModel

STRIDE = 16
HYPER_STRIDE = 4
_SYMBOL_LIMIT = 2**30
# How far the convolutions of g_s reach along their longest path, in latents; g_a reaches less.
_CONTEXT = (2, 2, 2, 2, 2, 7, 11)


@dataclass(frozen=True)
class FactorizedTables:
    """The prior of channels that are coded without a network, with table c for channel c.

    medians   float32 (C, 1, 1)
    """

    tables: TableSet
    medians: torch.Tensor

    def symbols(self, values: torch.Tensor) -> torch.Tensor:
        """Values float32 (C, h, w) to symbols int32 (C, h, w)."""
        return round_to_symbols(values - self.medians)

    def values(self, symbols: torch.Tensor) -> torch.Tensor:
        """Symbols (C, h, w) to values float32 (C, h, w)."""
        return symbols.float() + self.medians

    def indexes(self, height: int, width: int) -> Int32Array:
        """The table of each symbol of (C, height, width), in row-major order."""
        return np.repeat(np.arange(len(self.tables), dtype=np.int32), height * width)


@dataclass(frozen=True)
class HyperPrior:
    """Gaussians whose scales, and perhaps means, come from hyper-latents.

    analysis      h_a, float32; its input is the magnitudes of the latents if `of_magnitudes`
    synthesis     h_s, float64: gives scales (M), or scales and means (2M), or the input of
                  `context`
    has_means     whether latents are coded around means
    rounding      h_s in float32: if given, the encoder rounds around its means, so that halves are
                  rounded as in CompressAI
    scale_bound   the smallest scale
    scale_table   float64 (T,), ascending: the scale of each table in `tables`
    """

    analysis: nn.Module
    synthesis: nn.Module
    of_magnitudes: bool
    has_means: bool
    scale_bound: float
    scale_table: torch.Tensor
    tables: TableSet
    context: ContextModel | None = None
    rounding: nn.Module | None = None

    def indexes(self, scales: torch.Tensor) -> Int32Array:
        """The table of each scale, flat: that of the next scale not below it, or the last table.

        NaN gets the last table as well.
        """
        bounds = self.scale_table[:-1]
        found = torch.bucketize(scales.clamp(min=self.scale_bound).contiguous(), bounds)
        return found.flatten().to(torch.int32).numpy()


@dataclass(frozen=True)
class ZooNetwork:
    """The parts of a checkpoint.

    analysis, synthesis   g_a and g_s: pixels (1, 3, H, W) in [0, 1], latents (1, M, H/16, W/16)
    factorized            prior of the latents, or of the hyper-latents if there is a `hyper`
    """

    analysis: nn.Module
    synthesis: nn.Module
    factorized: FactorizedTables
    hyper: HyperPrior | None = None


class ZooCoder:
    """A network of CompressAI, loaded. See `codec.models.base` for the methods.

    Latents are (M, h, w).  The quality has no effect, because a checkpoint has one rate.
    """

    model_id = COMPRESSAI.model_id
    layers = 1
    stride = STRIDE

    def __init__(
        self,
        variant: int,
        network: ZooNetwork,
        weights_hash: bytes,
        *,
        device: torch.device | None = None,
    ) -> None:
        self.variant, self.weights_hash, self.network = variant, weights_hash, network
        self.name = f"{COMPRESSAI.name}:{ARCHITECTURES[variant]}"
        self.context = _CONTEXT[variant]
        self.device = device or torch.device("cpu")
        self._analysis = network.analysis.to(self.device)
        self._synthesis = network.synthesis.to(self.device)

    @torch.inference_mode()
    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (H, W, 3), multiples of 16, to latents (M, H/16, W/16)."""
        # A copy, because torch warns about read-only arrays, which Pillow returns.
        images = torch.from_numpy(np.array(pixels)).to(self.device).permute(2, 0, 1)[None]
        latents: Float32Array = self._analysis(images.float().div(255))[0].cpu().numpy()
        return latents

    @torch.inference_mode()
    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """Latents (M, h, w) to pixels uint8 (16·h, 16·w, 3)."""
        tensor = torch.from_numpy(np.ascontiguousarray(latents)).to(self.device)
        images = self._synthesis(tensor[None])
        # nan_to_num: a hostile but well-formed file may overflow; its pixels stay defined.
        return to_levels(images.nan_to_num(0, 1, 0).clamp(0, 1))

    @torch.inference_mode()
    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code latents (M, h, w), after the hyper-latents if there are any."""
        values = torch.from_numpy(np.ascontiguousarray(latents)).nan_to_num(0)
        encoder = SymbolEncoder()
        hyper = self.network.hyper
        if hyper is None:
            self._put(encoder, values)
            return (encoder.finish(),)
        features = hyper.analysis((values.abs() if hyper.of_magnitudes else values)[None])[0]
        hyper_latents = self._put(encoder, features)
        parameters = self._parameters(hyper_latents, *values.shape[1:])
        if hyper.context is None:
            scales, means = _split(parameters, hyper.has_means)
            if hyper.rounding is not None:
                rough = hyper.rounding(hyper_latents[None])[0, len(values) :]
                means = rough[:, : values.shape[1], : values.shape[2]]
            symbols = round_to_symbols(values - means)
            encoder.put(symbols.flatten().numpy(), hyper.indexes(scales), hyper.tables)
            return (encoder.finish(),)

        def put_wave(
            scales: torch.Tensor, means: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
        ) -> torch.Tensor:
            symbols = round_to_symbols(values[:, rows, columns] - means)
            encoder.put(symbols.flatten().numpy(), hyper.indexes(scales), hyper.tables)
            return symbols

        hyper.context.scan(parameters, put_wave)
        return (encoder.finish(),)

    @torch.inference_mode()
    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        """Decode latents (M, height, width). Raises `PayloadError`."""
        if len(payloads) != 1:
            raise PayloadError(f"{len(payloads)} layers in the file, expected 1 of {self.name}")
        decoder = SymbolDecoder(payloads[0])
        values = self._get(decoder, height, width)
        decoder.finish()
        return values.float().contiguous().numpy()

    def _get(self, decoder: SymbolDecoder, height: int, width: int) -> torch.Tensor:
        factorized, hyper = self.network.factorized, self.network.hyper
        if hyper is not None:
            shape = (-(-height // HYPER_STRIDE), -(-width // HYPER_STRIDE))
        else:
            shape = (height, width)
        read = decoder.get(factorized.indexes(*shape), factorized.tables)
        values = factorized.values(torch.from_numpy(read).reshape(-1, *shape))
        if hyper is None:
            return values
        parameters = self._parameters(values, height, width)
        if hyper.context is None:
            scales, means = _split(parameters, hyper.has_means)
            symbols = decoder.get(hyper.indexes(scales), hyper.tables)
            return torch.from_numpy(symbols).reshape(scales.shape) + means

        def get_wave(
            scales: torch.Tensor, means: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
        ) -> torch.Tensor:
            symbols = decoder.get(hyper.indexes(scales), hyper.tables)
            return torch.from_numpy(symbols).reshape(scales.shape)

        return hyper.context.scan(parameters, get_wave)

    def _put(self, encoder: SymbolEncoder, values: torch.Tensor) -> torch.Tensor:
        """Code values (C, h, w) with the factorised prior; return the decoded values."""
        factorized = self.network.factorized
        symbols = factorized.symbols(values)
        encoder.put(
            symbols.flatten().numpy(), factorized.indexes(*values.shape[1:]), factorized.tables
        )
        return factorized.values(symbols)

    def _parameters(self, hyper_latents: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """The output of h_s for latents of `height` × `width`, float64 (M or 2M, height, width)."""
        assert self.network.hyper is not None
        found: torch.Tensor = self.network.hyper.synthesis(hyper_latents.double()[None])[0]
        return found[:, :height, :width]


def round_to_symbols(values: torch.Tensor) -> torch.Tensor:
    """The nearest integers, int32, clipped to ±2³⁰, so any input has symbols."""
    bounded = values.nan_to_num(0).clamp(-_SYMBOL_LIMIT, _SYMBOL_LIMIT)
    return bounded.round().to(torch.int32)


def _split(parameters: torch.Tensor, has_means: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Scales and means (M, h, w); without means they are zero."""
    if not has_means:
        return parameters, torch.zeros((), dtype=parameters.dtype)
    scales, means = parameters.chunk(2)
    return scales, means


@torch.inference_mode()
def to_levels(images: torch.Tensor) -> Uint8Array:
    """Pixels float (1, 3, H, W) in [0, 1], rounded to uint8 (H, W, 3)."""
    levels = images.mul(255).round_()
    return levels[0].permute(1, 2, 0).to(torch.uint8).cpu().numpy()
