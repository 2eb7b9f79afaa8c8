"""Sizes of the autoregressive models."""

from __future__ import annotations

from dataclasses import dataclass

from bitstream.errors import WeightsMismatchError
from codec.models.sheets import BLOCK

KINDS = ("fvsbn", "made", "pixelcnn")
PIXELS = BLOCK * BLOCK
MAX_HIDDEN = 2**14
MAX_LAYERS = 64


@dataclass(frozen=True)
class AutoregressiveConfig:
    """Sizes of a model of 28×28 black-and-white images.

    kind    "fvsbn", a logistic regression for every pixel (Frey et al. 1996; Neal 1992);
            "made", a masked autoencoder of one hidden layer (Germain et al. 2015);
            "pixelcnn", masked convolutions (van den Oord et al. 2016)
    hidden  units of the hidden layer, or channels of the convolutions; 0 for fvsbn
    layers  gated layers of pixelcnn; 0 for the others

    Raises `WeightsMismatchError` for other sizes.
    """

    kind: str
    hidden: int = 0
    layers: int = 0

    def __post_init__(self) -> None:
        hidden, layers = self.kind != "fvsbn", self.kind == "pixelcnn"
        if (
            self.kind not in KINDS
            or not hidden <= self.hidden <= MAX_HIDDEN * hidden
            or not layers <= self.layers <= MAX_LAYERS * layers
        ):
            raise WeightsMismatchError(
                f"weights file: {self}, expected one of {', '.join(KINDS)} with at most "
                f"{MAX_HIDDEN} hidden units and {MAX_LAYERS} layers"
            )
