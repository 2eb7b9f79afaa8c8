"""Noise of a training step that does not depend on how a batch is divided."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


class SampleNoise:
    """Noise in [0, 1) that every sample of a batch has from a generator of its own.

    It depends on the seed, the step, the sample's place in the whole batch and the number of the
    call: not on the other samples that a process has. The costs are those of one draw of the
    whole, and some microseconds a sample.

    samples   places of the samples in the whole batch, in the order of the first dimension
    """

    def __init__(self, seed: int, step: int, samples: Sequence[int]) -> None:
        self.seed, self.step, self.samples = seed, step, samples
        self.draws = 0

    def __call__(self, values: Tensor) -> Tensor:
        """Uniform noise, (samples, …) as `values`; other noise at every call."""
        self.draws += 1
        generator = torch.Generator(values.device)
        noise = torch.empty_like(values)
        for row, sample in zip(noise, self.samples, strict=True):
            key = np.random.SeedSequence((self.seed, self.step, sample, self.draws))
            generator.manual_seed(int(key.generate_state(1, np.uint64)[0]))
            # Drawn in a layout of its own: that of a batch may depend on its size.
            row.copy_(
                torch.rand(row.shape, generator=generator, dtype=values.dtype, device=values.device)
            )
        return noise
