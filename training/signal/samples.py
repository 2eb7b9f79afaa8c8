"""Training data of the signal model's network: the predictors' results on stretches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Float32Array, Int16Array, Int32Array
from bitstream.errors import InputError
from codec.models.signal.lanes import FITS, INPUTS, MEAN_BITS, STEPS, Step, sweep

_TOGETHER = 64
"""Number of stretches on which the predictors run at once."""
_MOST_HALVINGS = 8


@dataclass(frozen=True)
class Samples:
    """The predictors' results for all samples of stretches.

    inputs    int16 (n, INPUTS, length), in units of 2⁻¹⁰
    errors    float32 (n, 2, length): the sample minus the first prediction, and the second
              prediction minus the first
    scales    float32 (n, length): the units of errors; both are in steps of a sample
    """

    inputs: Tensor
    errors: Tensor
    scales: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Some stretches, in real units."""
        return self.inputs[places].float() * 2.0**-10, self.errors[places], self.scales[places]


def draw_samples(
    sets: Sequence[Sequence[Int16Array]],
    stretches: int,
    length: int,
    *,
    seed: int,
    quiet_probability: float = 0.0,
) -> Samples:
    """Stretches from random places of signals (n,); the sets take turns.

    Raises `InputError` for a set without a signal of the length.
    """
    rng = np.random.default_rng(seed)
    long = [[signal for signal in signals if len(signal) >= length] for signals in sets]
    if not all(long):
        raise InputError(f"training data: a folder has no signal of {length} samples or more")
    shares = [np.array([len(s) for s in signals], np.float64) for signals in long]
    drawn = []
    for number in range(stretches):
        signals, share = long[number % len(sets)], shares[number % len(sets)]
        signal = signals[rng.choice(len(signals), p=share / share.sum())]
        begin = rng.integers(len(signal) - length + 1)
        halvings = rng.integers(1, _MOST_HALVINGS + 1) * (rng.random() < quiet_probability)
        drawn.append(signal[begin : begin + length].astype(np.int32) >> halvings)
    parts = [
        known_of(np.stack(drawn[begin : begin + _TOGETHER], 1))
        for begin in range(0, stretches, _TOGETHER)
    ]
    return Samples(*(torch.from_numpy(np.concatenate(part)) for part in zip(*parts, strict=True)))


def known_of(samples: Int32Array) -> tuple[Int16Array, Float32Array, Float32Array]:
    """The arrays of `Samples` for samples (length, n)."""
    length, count = samples.shape
    inputs = np.empty((length, INPUTS, count), np.int16)
    errors = np.empty((length, len(FITS), count), np.float32)
    scales = np.empty((length, count), np.float32)
    steps = iter(range(length))

    def code(step: Step) -> Int32Array:
        number = next(steps)
        row: Int32Array = samples[number]
        first, second = step.predictions
        inputs[number] = step.inputs
        errors[number] = (STEPS * row - first) / STEPS, (second - first) / STEPS
        scales[number] = step.scales * 2.0**-MEAN_BITS
        return row

    sweep(count, length, code)
    return (
        np.ascontiguousarray(inputs.transpose(2, 1, 0)),
        np.ascontiguousarray(errors.transpose(2, 1, 0)),
        np.ascontiguousarray(scales.T),
    )
