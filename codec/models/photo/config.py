"""What describes the photo model besides its weights: sizes, units, tunes.

Imports nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass

LATENT_STRIDE = 16
COEFFICIENTS = 3 * LATENT_STRIDE**2
"""Channels of the latents: the transform is complete."""

TUNES = ("psnr", "visual")
"""What a file was optimised for, in the order of the tables."""

VISUAL_SHARE = 0.75
"""How much of the distortion the visual error is where the tune is "visual"."""


@dataclass(frozen=True)
class PhotoConfig:
    """Sizes of the model; travels in the weights file.

    corrected       low frequencies whose mean the hyper-synthesis predicts; the others have none
    hidden          channels of the hyper-synthesis at 1/32 and 1/16
    groups          channels of the first four groups of the context; the fifth has the rest
    encoder_*       of the analysis, which no decoder needs
    knots           of the tables along the quality
    far_passes      how many passes over the first group, 0 .. 3, come before the usual ones, for
                    which known blocks are further apart
    """

    corrected: int = 384
    hyper_channels: int = 128
    hyper_width: int = 192
    hidden: int = 96
    groups: tuple[int, int, int, int] = (9, 23, 96, 256)
    context_width: int = 96
    encoder_width_16: int = 256
    encoder_blocks_16: int = 4
    encoder_width_8: int = 96
    encoder_blocks_8: int = 3
    width_16: int = 256
    blocks_16: int = 3
    width_8: int = 96
    blocks_8: int = 2
    width_4: int = 48
    blocks_4: int = 2
    knots: int = 12
    far_passes: int = 0


def quality_position(quality: float) -> float:
    """Map a quality in [1, 100] to the position in [0, 1] that every table of knots reads."""
    return (quality - 1) / 99
