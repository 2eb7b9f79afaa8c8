"""Configuration of the photo model: sizes, units, tunes.

Imports nothing but the standard library.
"""

from __future__ import annotations

from dataclasses import dataclass

LATENT_STRIDE = 16
COEFFICIENTS = 3 * LATENT_STRIDE**2
"""Channels of the latents, as many as a block has samples: the transform is complete."""

TUNES = ("psnr", "visual")
"""What a file can be optimised for, in the order of the tables."""

VISUAL_SHARE = 0.75
"""The weight of the visual error in the distortion of the tune "visual"."""


@dataclass(frozen=True)
class PhotoConfig:
    """Sizes of the model, stored in the weights file.

    corrected       channels of low frequencies with a predicted mean; in the others it is 0
    hidden          channels of the hyper-synthesis at 1/32 and 1/16
    groups          channels of the first four groups of the context; the fifth has the rest
    encoder_*       sizes of the analysis, which decoders do not need
    knots           knots of the tables along the quality
    far_passes      extra passes over the first group, 0 .. 3, before the usual ones, on coarser
                    grids
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
    """Map a quality in [1, 100] to the position in [0, 1] at which tables of knots are read."""
    return (quality - 1) / 99
