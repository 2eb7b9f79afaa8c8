"""Weights files of generative models: safetensors, with the sizes in the metadata.

    format     "calotype-generative-1"
    config     JSON object: the fields of `GenerativeConfig`
    prior      JSON object: {"kind": "standard-normal"} or {"kind": "gaussian-mixture"}
    variance   JSON number or null
    card       JSON object of strings

Arrays: `decoder.layers.{i}.weight|bias` and `encoder.layers.{i}.weight|bias`, float16 or float32;
of a mixture also `prior.weights` (m,), `prior.means` (m, k), `prior.covariances` (m, k, k),
float64, because a component may be nearly singular.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from bitstream.errors import UsageError, WeightsMismatchError
from codec.models.generative.networks import Decoder, Encoder, GenerativeConfig, GenerativeModel
from codec.priors import GaussianMixture, LatentPrior, StandardNormal
from codec.system.write_file import write_atomically

FORMAT = "calotype-generative-1"
_MIXTURE_ARRAYS = ("prior.weights", "prior.means", "prior.covariances")


def save_generative(path: Path, model: GenerativeModel, *, half: bool = True) -> None:
    """Write `model` to `path`, completely or not at all; an existing file is replaced.

    half   store the networks in float16 instead of float32

    Raises `UsageError` for weights that are not finite (or too large for float16), for a prior
    that is neither `StandardNormal` nor `GaussianMixture`; `OutputError` if `path` cannot be
    written.
    """
    arrays: dict[str, Tensor] = {}
    for name, network in (("decoder", model.decoder), ("encoder", model.encoder)):
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
    """The same file with its metadata sorted: safetensors writes them in a random order."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def load_generative(path: Path) -> GenerativeModel:
    """Read a weights file: float32 networks in evaluation mode, on the CPU.

    Raises `WeightsMismatchError` when the file is not there, is no weights file, or holds other
    arrays than its sizes ask for.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, expected {FORMAT!r}")
            return _read(file, metadata)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsMismatchError(
            f"{path} is not a weights file of a generative model: {error}"
        ) from error


def _read(file: Any, metadata: dict[str, str]) -> GenerativeModel:
    fields = json.loads(metadata["config"])
    for name in ("image_shape", "hidden"):
        fields[name] = tuple(fields[name])
    config = GenerativeConfig(**fields)
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
    names = set(file.keys())
    # Without memory at first: the sizes are compared before anything is allocated.
    with torch.device("meta"):
        decoder = Decoder(config)
        encoder = Encoder(config) if any(n.startswith("encoder.") for n in names) else None
    if encoder is not None and not config.has_encoder:
        raise ValueError(f"a {config.family} has no encoder")
    _fill(decoder, "decoder.", file, names)
    if encoder is not None:
        _fill(encoder, "encoder.", file, names)
    prior = _read_prior(json.loads(metadata["prior"]), config.code, file, names)
    if names:
        raise ValueError(f"unknown arrays: {', '.join(sorted(names)[:5])}")
    return GenerativeModel(config, decoder, encoder, prior, variance, card)


def _fill(network: nn.Module, prefix: str, file: Any, names: set[str]) -> None:
    state = {}
    for key, expected in network.state_dict().items():
        state[key] = _array(file, prefix + key, tuple(expected.shape), names).float()
        if not torch.isfinite(state[key]).all():
            raise ValueError(f"{prefix}{key} has values that are not finite")
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(True)


def _array(file: Any, name: str, shape: tuple[int, ...], names: set[str]) -> Tensor:
    if name not in names:
        raise KeyError(f"array {name} is missing")
    found = tuple(file.get_slice(name).get_shape())
    if found != shape:
        raise ValueError(f"array {name} has the shape {found}, expected {shape}")
    names.discard(name)
    array: Tensor = file.get_tensor(name)
    if not array.is_floating_point():
        raise ValueError(f"array {name} has the type {array.dtype}, expected floating point")
    return array


def _read_prior(description: Any, code: int, file: Any, names: set[str]) -> LatentPrior:
    kind = description.get("kind") if isinstance(description, dict) else None
    if kind == "standard-normal":
        return StandardNormal(code)
    if kind != "gaussian-mixture":
        raise ValueError(f"prior {kind!r} is unknown")
    count = file.get_slice("prior.weights").get_shape()
    shapes = ((*count[:1],), (*count[:1], code), (*count[:1], code, code))
    weights, means, covariances = (
        _array(file, name, shape, names)
        for name, shape in zip(_MIXTURE_ARRAYS, shapes, strict=True)
    )
    return GaussianMixture(weights, means, covariances)
