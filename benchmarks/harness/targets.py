"""Targets that one module measures and `benchmarks.readme` prints, each defined once.

Other targets are defined in the module that measures them, and tables take them from its result
file: `TARGETS_PERCENT` in `benchmarks/photo/rate_distortion.py` and `benchmarks/photo/effort.py`,
and `TARGETS` or `TARGET_…` in the modules of `benchmarks/speed`.
"""

from __future__ import annotations

TARGETS: dict[str, tuple[str, float]] = {
    "encode symbol": ("≤ {:g}", 15),  # nanoseconds
    "decode symbol": ("≤ {:g}", 40),
    "peak memory": ("≤ {:g} MiB", 800),
    "better than AVIF": ("≥ {:g} against AVIF", 7),  # of 9 metrics and rates
    "draw-digits": ("≤ {:g}", 86.0),  # nats
    "draw-colour": ("≤ {:g}", 4.8),  # bits per dimension
    "archive": ("≤ {:g} %", 2.0),
    "digits-fvsbn": ("≤ {:g}", 98.0),  # nats
    "digits-made": ("≤ {:g}", 89.0),
    "digits-pixelcnn": ("≤ {:g}", 83.0),
    "digits-m2": ("≤ {:g} %", 12.0),
    "above likelihood": ("≤ {:g} %", 1.0),
    "flac": ("≤ {:g} % aimed at", 0.0),
    "gap, 10 dimensions, 1000 temperatures": ("≤ {:.2f}", 0.20),  # nats
    "gap": ("≤ {:g} aimed at", 0.5),
    "bridge": ("≤ {:g}", 0.02),  # nats
    "bridge cost": ("≤ {:g} % at 100 dimensions", 33.3),
    "reach": ("≥ {:g} %", 90),  # of the points of models of 100 dimensions
    "coverage": ("≥ {:g}", 90),  # of 100 intervals
    "fewer gradients": ("≥ {:g}×", 8),
    "vae-dither": ("≤ {:g} %", 3),
    "vae-rec": ("≤ {:g} %", 100),
}
"""By name: the text, with braces for the limit, and the limit."""

CODED_SIZE_PERCENT, CODED_SIZE_BYTES = 0.1, 8.0
"""How much more than the ideal code length the entropy coder may need."""

DRAW_FILE_PERCENT, DRAW_FILE_BYTES = 1.0, 16.0
"""How much more than the ideal code length a payload of DRAW may have."""

DPLC_FRECHET_SPREAD = 0.2
"""Largest deviation of the Fréchet distance from its mean over the rates, relative to the mean."""

DPLC_FRECHET_OVER_PLAIN = 0.5
"""Fréchet distance relative to that of the plain autoencoder, at the two lowest rates."""

DPLC_MSE_OVER_PLAIN = 1.15
"""Squared error relative to that of the plain autoencoder, at the highest rate."""

DPLC_CLOSED_FORM_SHARE = 0.05
"""Largest deviation of the squared error from the closed form, as a share of the latter."""


def target_text(name: str) -> str:
    """The target of that name in words: "≤ 15"."""
    text, limit = TARGETS[name]
    return text.format(limit)
