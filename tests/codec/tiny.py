"""Scenes small enough for tests."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def photographs(count: int = 6, side: int = 128, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """Smooth random scenes with edges, uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(0, 1, side)
    images = []
    for _ in range(count):
        phase = rng.uniform(0, 6, (3, 2))
        waves = (
            np.sin(phase[:, :1] + 9 * ramp)[:, :, None] * np.cos(phase[:, 1:] + 7 * ramp)[:, None]
        )
        top, left = rng.integers(0, side // 2, 2)
        waves[:, top : top + side // 3, left : left + side // 3] += rng.uniform(-1, 1, (3, 1, 1))
        noisy = 127 + 70 * waves.transpose(1, 2, 0) + rng.normal(0, 4, (side, side, 3))
        images.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return images
