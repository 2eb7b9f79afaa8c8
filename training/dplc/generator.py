"""The generator around which the codec is trained, from a weights file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bitstream.errors import UsageError
from codec.models.dplc.networks import DplcConfig
from codec.models.generative.networks import Decoder
from codec.models.generative.weights_file import load_generative
from codec.priors import StandardNormal


def load_generator(path: Path, config: DplcConfig) -> Decoder:
    """G from a file that was written by the export of a generative model of any family.

    Raises `WeightsMismatchError` for another file, `UsageError` for a generator of other sizes, or
    with codes that are not distributed as N(0, I).
    """
    model = load_generative(path)
    family = "flow" if model.config.couplings else "gan"
    found = replace(model.config, family=family, likelihood=None)
    if found != config.generator:
        raise UsageError(
            f"{path} holds a generator of {found}; expected {config.generator}: train one of these "
            "sizes, or take the preset that fits it"
        )
    if not isinstance(model.prior, StandardNormal):
        raise UsageError(
            f"{path} holds a generator with the prior {model.prior!r}, expected a standard normal"
        )
    return model.decoder
