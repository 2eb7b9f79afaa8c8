"""What describes a photo model besides its weights. Imports nothing but the standard library."""

from __future__ import annotations

from dataclasses import dataclass

LATENT_STRIDE = 16

# Channels of the hyper-synthesis at 1/32 and 1/16.
HIDDEN = 96

CONTEXT_SIZES = ("first_group", "second_group", "context_width")


@dataclass(frozen=True)
class PhotoConfig:
    """Sizes of the photo model; travels in the weights file.

    context_width  channels within the context (`codec.models.photo.context`); 0: no context, and
                   no groups of channels
    """

    latent_channels: int = 384
    hyper_channels: int = 128
    hyper_width: int = 192
    width_16: int = 256
    blocks_16: int = 3
    width_8: int = 96
    blocks_8: int = 2
    width_4: int = 48
    blocks_4: int = 2
    knots: int = 12
    first_group: int = 32
    second_group: int = 96
    context_width: int = 96


def quality_position(quality: float) -> float:
    """Map a quality in [1, 100] to the position in [0, 1] that every table of knots reads."""
    return (quality - 1) / 99
