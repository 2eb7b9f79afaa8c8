"""The generator around which the codec is trained, from a weights file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bitstream.errors import UsageError, WeightsMismatchError
from codec.models.dplc.coder import load_dplc
from codec.models.generative.networks import Decoder, GenerativeConfig
from codec.models.generative.weights_file import FORMAT, load_generative
from codec.models.weights_files import WeightsFile, cached_hash, read_metadata, read_weights
from codec.priors import StandardNormal


def load_generator(path: Path, config: GenerativeConfig) -> Decoder:
    """G from the export of a generative model of any family, or from weights of the codec itself.

    Raises `WeightsMismatchError` for another file, `UsageError` for a generator of other sizes, or
    with codes that are not distributed as N(0, I).
    """
    decoder, found = _generator(path)
    _check_sizes(path, found, config)
    return decoder


def load_decoder(path: Path, config: GenerativeConfig) -> Decoder:
    """G of such a file as `load_generator` reads, whose flow may be of other sizes, or missing.

    Raises as `load_generator` does.
    """
    decoder, found = _generator(path)
    _check_sizes(path, _without_flow(found), _without_flow(config))
    return decoder


def _generator(path: Path) -> tuple[Decoder, GenerativeConfig]:
    is_generative = read_metadata(path).get("format") == FORMAT
    return (_of_generative_model if is_generative else _of_codec)(path)


def _without_flow(config: GenerativeConfig) -> GenerativeConfig:
    return replace(config, family="gan", flow_blocks=0, flow_width=0, flow_steps=0)


def _check_sizes(path: Path, found: GenerativeConfig, expected: GenerativeConfig) -> None:
    if found != expected:
        raise UsageError(
            f"{path} holds a generator of {found}; expected {expected}: train one of these sizes, "
            "or take the preset that fits it"
        )


def _of_generative_model(path: Path) -> tuple[Decoder, GenerativeConfig]:
    model = load_generative(path)
    if not isinstance(model.prior, StandardNormal):
        raise UsageError(
            f"{path} holds a generator with the prior {model.prior!r}, expected a standard normal"
        )
    family = "flow" if model.config.flow_blocks else "gan"
    return model.decoder, replace(model.config, family=family, likelihood=None)


def _of_codec(path: Path) -> tuple[Decoder, GenerativeConfig]:
    file = WeightsFile(path, cached_hash(path).hex())
    try:
        networks = load_dplc(*read_weights(file), b"", device="cpu").networks
    except WeightsMismatchError as error:
        raise WeightsMismatchError(
            f"{path} holds neither a generative model nor weights of dplc: {error}"
        ) from error
    if not networks.config.noise:
        raise UsageError(
            f"{path} holds a plain autoencoder, whose decoder is not a generator; give weights of "
            "dplc that were trained around one, or the generator's own file"
        )
    return networks.generator, networks.config.generator
