"""Predictions and network inputs of the next sample of every lane, before it is decoded.

A signal is cut into lanes of equal length, which are decoded in parallel: one step is one sample
of each. Lanes are independent of each other::

    signal   ────────────────────────────────────────────────
    lanes    ├─ 0 ────────┤├─ 1 ────────┤├─ 2 ────────┤
    step     ·  ·  ·  ×──────  ·  ·  ·  ×──────  ·  ·  ·  ×──     × decoded together

Everything here is integer arithmetic in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bitstream.arrays import Float64Array, Int32Array
from codec.coding.exact_logarithm import logarithm
from codec.models.signal.least_squares import (
    BLOCK,
    FEATURE_LIMIT,
    WEIGHT_BITS,
    Fit,
    Predictor,
)

STEPS = 16
"""Units of a prediction per unit of a sample value."""
FITS = (Fit(32, 5), Fit(16, 2))
"""The predictors. The first one is the reference for the others."""
INPUTS = 10

_HISTORY = max(fit.order for fit in FITS)
MEAN_BITS = 12
"""Fraction bits of the mean errors."""
_FAST, _SLOW = 4, 7
"""Mean errors are running means over about 2⁴ and 2⁷ samples."""
_START = 64 << MEAN_BITS
"""Initial value of the mean errors."""
_LEAST = 2**6
"""The smallest unit in which errors are expressed: a 64th of a step."""
_SIGNED_LIMIT = 2**13 - 1
_SHARE_BITS = 4
"""Fraction bits with which differences that are easy to predict enter the fit."""
_LARGEST = 2**22
"""Largest magnitude of predictions in sixteenths."""


@dataclass(frozen=True)
class Step:
    """What is known about the next sample of every lane.

    inputs        network inputs: integers (INPUTS, lanes) in float64, in units of 2⁻¹⁰
    predictions   predictions of `FITS` in sixteenths: integers (fits, lanes) in float64
    scales        units in which errors are expressed, in 2⁻¹²: integers (lanes,) in float64
    octaves       `logarithm` of the scales
    """

    inputs: Float64Array
    predictions: Float64Array
    scales: Float64Array
    octaves: Float64Array


_AGES: Float64Array = logarithm(np.arange(2.0**12 + 1))
"""The network input for the number of samples seen in a lane, up to 4096."""


def sweep(lanes: int, steps: int, code: Callable[[Step], Int32Array]) -> None:
    """Visit all samples in decoding order.

    code   is called at every step, and returns its samples, int32 (lanes,)
    """
    state = _State(lanes)
    for step in range(steps):
        state.visit(step, code)


class _State:
    """The last samples of all lanes, and the predictors learned from them."""

    def __init__(self, lanes: int) -> None:
        self.predictors = [Predictor(fit, lanes) for fit in FITS]
        self.differences = np.zeros((_HISTORY + BLOCK, lanes))
        self.shares = np.zeros((BLOCK, lanes))
        self.samples = np.zeros(lanes)
        self.errors = np.zeros((len(FITS), lanes))
        self.wrong = np.zeros(lanes)
        self.fast = np.full(lanes, float(_START))
        self.slow = np.full(lanes, float(_START))

    def visit(self, step: int, code: Callable[[Step], Int32Array]) -> None:
        place = step % BLOCK
        row = _HISTORY + place
        scales = np.maximum(self.fast, _LEAST)
        predictions = np.empty((len(FITS), len(scales)))
        for number, predictor in enumerate(self.predictors):
            seen = self.differences[row - predictor.fit.order : row]
            predictions[number] = (predictor.weights * seen).sum(axis=0)
        predictions *= STEPS * 2.0**-WEIGHT_BITS
        np.floor(predictions, out=predictions)
        predictions += STEPS * self.samples
        np.clip(predictions, -_LARGEST, _LARGEST, out=predictions)

        octaves, *others = logarithm(np.stack([scales, self.wrong, self.slow]))
        inputs = self._inputs(step, row, predictions, scales)
        inputs[6:8] = others - octaves
        inputs[8] = octaves
        samples = code(Step(inputs, predictions, scales, octaves)).astype(np.float64)

        self.errors = STEPS * samples - predictions
        self.differences[row] = samples - self.samples if step else 0
        self.samples = samples
        self.wrong = wrong = np.abs(self.errors[0]) * (2.0**MEAN_BITS / STEPS)
        self.fast += np.floor((wrong - self.fast) * 2.0**-_FAST)
        self.slow += np.floor((wrong - self.slow) * 2.0**-_SLOW)
        # Samples that are hard to predict count less in the fit, and outliers least of all.
        hardness = np.maximum(self.fast, wrong * 2.0**-2)
        halvings = np.maximum(np.frexp(hardness)[1] - MEAN_BITS, 0)
        self.shares[place] = np.ldexp(1.0, _SHARE_BITS - halvings)
        if place == BLOCK - 1:
            self._learn(step)

    def _inputs(
        self, step: int, row: int, predictions: Float64Array, scales: Float64Array
    ) -> Float64Array:
        inputs = np.empty((INPUTS, len(scales)))
        first = predictions[0]
        signed = np.stack([
            self.errors[0],
            self.errors[1],
            predictions[1] - first,
            STEPS * self.differences[row - 1],
            first - STEPS * self.samples,
        ])  # fmt: skip
        signed *= 2.0 ** (10 + MEAN_BITS) / STEPS
        signed /= scales
        np.floor(signed, out=signed)
        np.clip(signed, -_SIGNED_LIMIT, _SIGNED_LIMIT, out=signed)
        inputs[0] = 2**10
        inputs[1:6] = signed
        inputs[9] = _AGES[min(step, len(_AGES) - 1)]
        return inputs

    def _learn(self, step: int) -> None:
        for predictor in self.predictors:
            order = predictor.fit.order
            window = self.differences[_HISTORY - order :]
            features = np.lib.stride_tricks.sliding_window_view(window, order + 1, axis=0)
            scaled = np.floor(features * self.shares[:, :, None] + 0.5)
            np.clip(scaled, -FEATURE_LIMIT, FEATURE_LIMIT, out=scaled)
            # There is nothing to learn from before the start of a lane.
            begin = max(0, order + 1 - (step + 1 - BLOCK))
            scaled[:begin] = 0
            predictor.learn(np.ascontiguousarray(scaled.transpose(1, 0, 2)))
        self.differences[:_HISTORY] = self.differences[-_HISTORY:]
