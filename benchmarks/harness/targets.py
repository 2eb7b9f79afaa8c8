"""Targets that one module measures and `benchmarks.readme` prints, each written once.

Other targets stand beside what measures them and in its result file, from which the tables take
them: `TARGETS_PERCENT` of `benchmarks/photo/rate_distortion.py` and `benchmarks/photo/effort.py`,
and `TARGETS` or `TARGET_…` of the modules of `benchmarks/speed`.
"""

from __future__ import annotations

TARGETS: dict[str, tuple[str, float]] = {
    "encode symbol": ("≤ {:g}", 15),  # nanoseconds
    "decode symbol": ("≤ {:g}", 40),
    "peak memory": ("≤ {:g} MiB", 800),
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
"""By name: the text, in which the limit stands at the braces, and the limit."""

CODED_SIZE_PERCENT, CODED_SIZE_BYTES = 0.1, 8.0
"""What the entropy coder may need more than the ideal code length."""

DRAW_FILE_PERCENT, DRAW_FILE_BYTES = 1.0, 16.0
"""What a payload of DRAW may have more than the ideal code length."""

DPLC_FRECHET_SPREAD = 0.2
"""Largest deviation of the Fréchet distance from its mean over the rates, as a share of it."""

DPLC_FRECHET_OVER_PLAIN = 0.5
"""Fréchet distance over that of the plain autoencoder, at the two lowest rates."""

DPLC_MSE_OVER_PLAIN = 1.15
"""Squared error over that of the plain autoencoder, at the highest rate."""

DPLC_CLOSED_FORM_SHARE = 0.05
"""Largest distance of the squared error from the closed form, as a share of it."""


def target_text(name: str) -> str:
    """The target of that name in words: "≤ 15"."""
    text, limit = TARGETS[name]
    return text.format(limit)
