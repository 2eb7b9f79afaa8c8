"""Latents to symbols and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from codec.exact import ACTIVATION_BITS

SYMBOL_LIMIT = 2**30

Int32Array = npt.NDArray[np.int32]
Float32Array = npt.NDArray[np.float32]

_UNIT = np.float32(2.0**-ACTIVATION_BITS)


def quantize(latents: Float32Array, means: Int32Array) -> Int32Array:
    """round(y − μ): latents in quantiser steps, means in units of 2⁻¹⁰ steps, equal shapes.

    Values that are not finite, or beyond ±2³⁰, are brought inside: any input has symbols.
    """
    residual = np.nan_to_num(latents - means.astype(np.float32) * _UNIT, nan=0.0)
    symbols: Int32Array = np.rint(np.clip(residual, -SYMBOL_LIMIT, SYMBOL_LIMIT)).astype(np.int32)
    return symbols


def dequantize(symbols: Int32Array, means: Int32Array) -> Float32Array:
    """ŷ = symbol + μ; a last-bit difference here moves a pixel, never the parse."""
    latents: Float32Array = symbols.astype(np.float32) + means.astype(np.float32) * _UNIT
    return latents


def round_hyper_latents(hyper_latents: Float32Array) -> Int32Array:
    """Round to integers within the range of the exact path."""
    bounded = np.clip(np.nan_to_num(hyper_latents, nan=0.0), -4096, 4096)
    integers: Int32Array = np.rint(bounded).astype(np.int32)
    return integers
