"""Weights files of generative models: safetensors, with the sizes in the metadata.

    format     "calotype-generative-1"
    config     JSON object: the fields of `GenerativeConfig`
    prior      JSON object: {"kind": "standard-normal"} or {"kind": "gaussian-mixture"}
    variance   JSON number or null
    card       JSON object of strings

Arrays: `decoder.layers.{i}.weight|bias`, `encoder.layers.{i}.weight|bias` and, if there is one,
`classifier.layers.{i}.weight|bias`, float16 or float32; with a flow
`decoder.flow.*`; for a mixture also `prior.weights` (m,), `prior.means` (m, k) and
`prior.covariances` (m, k, k), float64, because a component may be nearly singular.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bitstream.arrays import Array
from bitstream.errors import UsageError, WeightsMismatchError
from codec.models.generative.networks import (
    Classifier,
    Decoder,
    Encoder,
    GenerativeConfig,
    GenerativeModel,
)
from codec.models.layers import fill
from codec.models.weights_files import read_config
from codec.priors import GaussianMixture, LatentPrior, StandardNormal
from codec.system.write_file import write_atomically

FORMAT = "calotype-generative-1"
LATER_FIELDS = {"classes": 0, "flow_blocks": 0, "flow_width": 0, "flow_steps": 0}
"""Fields of the configuration that older files do not have."""
_NETWORKS = ("decoder", "encoder", "classifier")
_MIXTURE_ARRAYS = ("prior.weights", "prior.means", "prior.covariances")


def save_generative(path: Path, model: GenerativeModel, *, half: bool = True) -> None:
    """Write `model` to `path`, completely or not at all; an existing file is replaced.

    half   store the networks in float16 instead of float32

    Raises `UsageError` for weights that are not finite (or too large for float16), for a prior
    that is neither `StandardNormal` nor `GaussianMixture`; `OutputError` if `path` cannot be
    written.
    """
    arrays: dict[str, Tensor] = {}
    for name in _NETWORKS:
        network: nn.Module | None = getattr(model, name)
        for key, value in network.state_dict().items() if network is not None else ():
            stored = value.detach().cpu().to(torch.float16 if half else torch.float32)
            if not torch.isfinite(stored).all():
                raise UsageError(f"{name}.{key} has values that {stored.dtype} cannot hold")
            arrays[f"{name}.{key}"] = stored.contiguous()
    kind = "standard-normal"
    if isinstance(model.prior, GaussianMixture):
        kind = "gaussian-mixture"
        values = (model.prior.weights, model.prior.means, model.prior.covariances)
        for key, value in zip(_MIXTURE_ARRAYS, values, strict=True):
            arrays[key] = value.cpu().double().contiguous()
    elif not isinstance(model.prior, StandardNormal):
        raise UsageError(
            f"a prior of type {type(model.prior).__name__} has no place in a weights file; "
            "expected StandardNormal or GaussianMixture"
        )
    metadata = {
        "format": FORMAT,
        "config": json.dumps(asdict(model.config)),
        "prior": json.dumps({"kind": kind}),
        "variance": json.dumps(model.variance),
        "card": json.dumps(model.card, ensure_ascii=False),
    }
    data = metadata_in_order(save(arrays, metadata))
    write_atomically(Path(path), lambda fo: fo.write(data), force=True)


def metadata_in_order(data: bytes) -> bytes:
    """The same file with its metadata sorted, because safetensors writes them in random order."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load_generative(path: Path) -> GenerativeModel:
    """Read a weights file: float32 networks in evaluation mode, on the CPU.

    Raises `WeightsMismatchError` if the file does not exist, is not a weights file, or has arrays
    that do not fit its sizes.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return _model(arrays, file.metadata() or {})
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsMismatchError(
            f"{path} is not a weights file of a generative model: {error}"
        ) from error
    except WeightsMismatchError as error:
        raise WeightsMismatchError(f"{path}: {error}") from error


def _model(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> GenerativeModel:
    if metadata.get("format") != FORMAT:
        raise ValueError(f"its format is {metadata.get('format')!r}, expected {FORMAT!r}")
    config = read_config(metadata, GenerativeConfig, **LATER_FIELDS)
    variance = json.loads(metadata["variance"])
    card = json.loads(metadata["card"])
    if not isinstance(card, dict) or not all(isinstance(v, str) for v in card.values()):
        raise TypeError("its card is not an object of strings")
    if (config.likelihood == "gaussian") != (variance is not None):
        raise ValueError(f"variance {variance} with the likelihood {config.likelihood!r}")
    if variance is not None and not (
        isinstance(variance, float) and math.isfinite(variance) and variance > 0
    ):
        raise ValueError(f"variance {variance!r}: expected a positive number")
    # On the meta device, so that sizes are compared before memory is allocated.
    with torch.device("meta"):
        decoder = Decoder(config)
        encoder = Encoder(config) if any(n.startswith("encoder.") for n in arrays) else None
        has_classifier = any(n.startswith("classifier.") for n in arrays)
        classifier = Classifier(config) if has_classifier and config.classes else None
    if encoder is not None and not config.has_encoder:
        raise ValueError(f"a {config.family} has no encoder")
    if has_classifier and classifier is None:
        raise ValueError("a classifier without classes")
    for name, network in (("decoder", decoder), ("encoder", encoder), ("classifier", classifier)):
        if network is not None:
            fill(network, arrays, f"{name}.")
            network.requires_grad_(True)
    prior = _prior(json.loads(metadata["prior"]), config.code, arrays)
    of_prior = _MIXTURE_ARRAYS if isinstance(prior, GaussianMixture) else ()
    others = (name for name in arrays if name.partition(".")[0] not in _NETWORKS)
    unknown = sorted(name for name in others if name not in of_prior)
    if unknown:
        raise ValueError(f"unknown arrays: {', '.join(unknown[:5])}")
    return GenerativeModel(config, decoder, encoder, prior, variance, card, classifier)


def _prior(description: Any, dimensions: int, arrays: Mapping[str, Array]) -> LatentPrior:
    kind = description.get("kind") if isinstance(description, dict) else None
    if kind == "standard-normal":
        return StandardNormal(dimensions)
    if kind != "gaussian-mixture":
        raise ValueError(f"prior {kind!r} is unknown")
    prior = GaussianMixture(
        *(torch.from_numpy(arrays[name].astype(np.float64)) for name in _MIXTURE_ARRAYS)
    )
    if prior.dim != dimensions:
        raise ValueError(f"a prior of {prior.dim} dimensions, expected {dimensions}")
    return prior
