"""Loading models: by name, or the one that a file was written with."""

from __future__ import annotations

import hashlib
import sys
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bitstream.errors import HeaderError, TableError, UsageError, WeightsMismatchError
from codec.models.base import BoundedModel, RealisticModel, TunedModel
from codec.models.catalog import find_model, model_numbered, split_name
from codec.models.spec import MAX_ERROR, ModelSpec
from codec.models.weights_files import (
    ENVIRONMENT_VARIABLE,
    HASH_BYTES,
    PathName,
    WeightsFile,
    cached_hash,
    find_checkpoint,
    find_weights,
    hash_weights,
    read_bytes,
    read_weights,
)
from codec.system.missing_extra import extra_needed_by

if TYPE_CHECKING:
    from bitstream.header import Header
    from codec.models.base import LoadedModel

__all__ = [
    "ENVIRONMENT_VARIABLE",
    "HASH_BYTES",
    "hash_weights",
    "load_model",
    "load_model_of",
    "with_max_error",
    "with_realism",
    "with_tune",
]


def load_model(
    model_id: int | str,
    *,
    weights_hash: bytes | None = None,
    device: str = "auto",
    checkpoint: PathName | None = None,
) -> LoadedModel:
    """Load a model for coding, or return it from the cache.

    model_id      number or name in the catalogue; "NAME:WEIGHTS" chooses weights by file name
    weights_hash  the 8 bytes of a file's header; None takes the default weights
    device        "auto", "cpu" or "cuda". Auto takes a GPU that torch finds; for a model that needs
                  no torch, only if torch is already imported
    checkpoint    the weights file for "NAME:VARIANT", a model without weights of its own; None
                  searches for one with that hash

    `codec.models.weights_files` says where weights are searched for. Raises `UnknownModelError`,
    `WeightsMissingError`, `WeightsMismatchError`, `TableError`, or `UsageError` for an unknown
    device, a checkpoint of another model, or an extra that is not installed.
    """
    name, detail = split_name(str(model_id))
    spec = find_model(name)
    purpose = "the device 'cuda'" if device == "cuda" else f"the model {spec.name!r}"
    with extra_needed_by(purpose):
        if spec.variants:
            variant = spec.variant(detail)
            path = find_checkpoint(spec.name, weights_hash, checkpoint)
            chosen = _device(spec, device)
            return _load_checkpoint(spec, variant, path, cached_hash(path), chosen)
        if checkpoint is not None:
            raise UsageError(
                f"a checkpoint was given, but the model is {spec.name!r}, which has weights of "
                "its own: leave it out"
            )
        file = find_weights(spec, weights_hash, detail)
        return _load(spec, file, cached_hash(file.path), _device(spec, device))


def load_model_of(
    header: Header, *, device: str = "auto", checkpoint: PathName | None = None
) -> LoadedModel:
    """Load the model that a file was written with; otherwise as `load_model`.

    Raises `HeaderError` for a tune that the model does not have, or a bound outside 1 .. 16.
    """
    name: int | str = header.model_id
    spec = model_numbered(header.model_id)
    if spec is not None and spec.variants:
        name = f"{spec.name}:{spec.variant_name(header.variant)}"
    model = load_model(name, weights_hash=header.weights_hash, device=device, checkpoint=checkpoint)
    if isinstance(model, TunedModel):
        number = header.variant
        if number is None or number >= len(model.tunes):
            raise HeaderError(
                f"variant {number} in the header, expected 0 .. {len(model.tunes) - 1}, the tunes "
                f"of {model.name}: the file was not written by a conforming encoder"
            )
        return model.with_tune(model.tunes[number])
    if isinstance(model, BoundedModel):
        bound = header.variant
        if bound is None or not 1 <= bound <= MAX_ERROR:
            raise HeaderError(
                f"variant {bound} in the header, expected the bound of {model.name}, 1 .. "
                f"{MAX_ERROR}: the file was not written by a conforming encoder"
            )
        return model.with_max_error(bound)
    return model


def with_max_error(model: LoadedModel, max_error: int | None) -> LoadedModel:
    """The model with a bound, 1 .. 16; unchanged without one, or if it is no `BoundedModel`."""
    if isinstance(model, BoundedModel) and max_error:
        return model.with_max_error(max_error)
    return model


def with_tune(model: LoadedModel, tune: str | None) -> LoadedModel:
    """The model with a tune by name, see `TunedModel`; with None, the model itself.

    Raises `UsageError` for a tune that the model does not have.
    """
    if isinstance(model, TunedModel) and tune in model.tunes:
        return model.with_tune(tune)
    name, _ = split_name(model.name)
    find_model(name).check_tune(tune)
    return model


def with_realism(model: LoadedModel, realism: float, noise_seed: int = 0) -> LoadedModel:
    """The model with a realism in [0, 1], see `RealisticModel`; at 0, the model itself.

    Raises `UsageError` for a model that has only one decoder, `WeightsMissingError`,
    `WeightsMismatchError`.
    """
    if realism == 0:
        return model
    if not isinstance(model, RealisticModel):
        raise UsageError(
            f"realism {realism:g} was given, but the file is of {model.name}, which has one "
            "decoder only: leave it at 0"
        )
    return model.with_realism(realism, noise_seed)


def _device(spec: ModelSpec, name: str) -> str:
    if not spec.needs_torch and name == "auto" and "torch" not in sys.modules:
        return "cpu"  # looking for a GPU takes longer than coding most photographs
    if name == "cpu":
        return name
    if name not in ("auto", "cuda"):
        raise UsageError(f"device {name!r} was given, expected auto, cpu or cuda")
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if name == "cuda":
        raise UsageError("device 'cuda' was asked for, but torch sees none; use 'cpu' or 'auto'")
    return "cpu"


@lru_cache(maxsize=8)
def _load(spec: ModelSpec, file: WeightsFile, digest: bytes, device: str) -> LoadedModel:
    arrays, metadata = read_weights(file)
    try:
        return spec.load(arrays, metadata, digest[:HASH_BYTES], device=device)
    except (TableError, WeightsMismatchError) as error:
        raise WeightsMismatchError(
            f"{file.path} was taken for weights of {spec.name!r}: {error}"
        ) from error


@lru_cache(maxsize=2)
def _load_checkpoint(
    spec: ModelSpec, variant: int, path: Path, digest: bytes, device: str
) -> LoadedModel:
    data = read_bytes(path)
    digest = hashlib.sha256(data).digest()  # of the bytes read: the file may have changed since
    return spec.load(data, variant, digest[:HASH_BYTES], source=str(path), device=device)
