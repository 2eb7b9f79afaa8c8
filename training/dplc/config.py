"""Presets of the distribution-preserving codec: all settings of a run besides its data."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from codec.models.dplc.networks import DplcConfig
from training.generative.config import FramedPreset

PLAIN_RATES = (2, 8, 32, 128)
_FLOW = (4, 512, 8, 32)
"""`flow_blocks` to `codes_from`: the last is 32 because in a pilot a B that gives codes matched the
flow's distribution badly at 8 symbols. Plain autoencoders have no flow: with one, the error stayed
that of the mean image.
"""


@dataclass(frozen=True)
class DplcPreset(FramedPreset):
    """A training run of E and B at all rates, or of a plain autoencoder (`model.noise` of 0).

    The losses are those of `training.dplc.learner`.

    mmd_weights  λ of each rate: the weight of the maximum mean discrepancy of B(E(X)) and N(0, I)
                 relative to the root mean squared error; empty for a plain autoencoder. The paper
                 has 300 at 8 symbols per position, and "adapt to rate" for other rates
    softness     σ of the quantiser's gradient
    """

    model: DplcConfig
    mmd_weights: tuple[float, ...] = ()
    _: KW_ONLY
    softness: float = 1.0
    batch: int = 256

    @property
    def is_plain(self) -> bool:
        """Whether the generator is trained together with E and B, on the squared error alone."""
        return self.model.noise == 0

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the networks' images."""
        return self.model.channels, self.model.side, self.model.side


def _digits(
    noise: int, rates: tuple[int, ...], weights: tuple[float, ...], *flow: int
) -> DplcPreset:
    sizes = (1, 32, 64, (32, 64, 128), (32, 64, 128, 128), 128)
    return DplcPreset(DplcConfig(*sizes, noise, rates, *flow), weights, pad=2)


def _small_natural(
    noise: int, rates: tuple[int, ...], weights: tuple[float, ...], *flow: int
) -> DplcPreset:
    sizes = (3, 32, 128, (64, 128, 256), (64, 128, 256, 256), 256)
    model = DplcConfig(*sizes, noise, rates, *flow)
    return DplcPreset(model, weights, crop=0, validation=1000, batch=128)


def _natural(noise: int, rates: tuple[int, ...], weights: tuple[float, ...]) -> DplcPreset:
    widths = (64, 128, 256, 512)
    model = DplcConfig(3, 64, 128, widths, widths, 512, noise, rates)
    return DplcPreset(model, weights, crop=0, validation=1000)


_RATES = (0, *PLAIN_RATES)
# The published weight is for tens of thousands of steps: the discrepancy of a batch is noisy, and
# this noise at first outweighs the error. For digits at 8 symbols, 300 steps lower the mean squared
# error from 0.083 to 0.074 with a weight of 300, and to 0.035 with 30 (MMD² 0.003 and 0.008).
_DIGITS_WEIGHTS = (0.0, 30.0, 30.0, 30.0, 30.0)
# Where B gives codes behind a flow, the error becomes so small that this noise would outweigh it.
_FLOW_WEIGHTS = (0.0, 30.0, 30.0, 3.0, 3.0)
_PUBLISHED_WEIGHTS = (0.0, 300.0, 300.0, 300.0, 300.0)

DPLC_PRESETS: dict[str, DplcPreset] = {
    "dplc-digits": _digits(8, _RATES, _FLOW_WEIGHTS, *_FLOW),
    "dplc-digits-wasserstein": _digits(8, _RATES, _DIGITS_WEIGHTS),
    **{f"dplc-digits-plain-{n}": _digits(0, (n,), ()) for n in PLAIN_RATES},
    "dplc-32": _small_natural(8, _RATES, _FLOW_WEIGHTS, *_FLOW),
    **{f"dplc-32-plain-{n}": _small_natural(0, (n,), ()) for n in PLAIN_RATES},
    "dplc-64": _natural(8, _RATES, _PUBLISHED_WEIGHTS),
    **{f"dplc-64-plain-{n}": _natural(0, (n,), ()) for n in PLAIN_RATES},
    # Small enough for a test: seconds on one core.
    "dplc-tiny": DplcPreset(
        DplcConfig(1, 32, 4, (4, 8, 8), (4, 8, 8, 8), 8, 2, (0, 1, 4)),
        (0.0, 1.0, 1.0),
        pad=2,
        batch=64,
        learning_rate=1e-2,
        warmup_steps=5,
        validation=32,
    ),
}
