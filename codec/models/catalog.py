"""The models that this version knows, and their weights.

Imports no torch: only the `__init__` of each family's folder is loaded.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache

from bitstream.errors import UnknownModelError
from codec.models.spec import ModelSpec
from codec.models.weights_files import weights_of

FAMILIES = (
    "codec.models.photo",
    "codec.models.draw",
    "codec.models.dplc",
    "codec.models.vae",
    "codec.models.compressai",
    "codec.models.pixel",
    "codec.models.vq",
    "codec.models.autoregressive",
)
"""The folders of the families: a new family is one folder and one line here."""


RETIRED = "1"
"""The number of a removed model, which no other model may use."""


@dataclass(frozen=True)
class WeightsEntry:
    """A weights file by name, with the SHA-256 of its bytes in hexadecimal.

    folder   where it is, or should be: a folder of CALOTYPE_WEIGHTS, or the installation
    """

    file: str
    sha256: str
    folder: str


@dataclass(frozen=True)
class ModelEntry:
    """A model: its number in the file format, and its weights, the default first.

    layers  largest number of layers in its files; for DRAW the weights' steps decide
    """

    model_id: int
    name: str
    description: str
    layers: int
    weights: tuple[WeightsEntry, ...]


@lru_cache(maxsize=2)
def _entries(modules: tuple[str, ...]) -> tuple[ModelSpec, ...]:
    found = [entry for module in modules for entry in importlib.import_module(module).MODELS]
    return tuple(found)


def all_models() -> tuple[ModelSpec, ...]:
    """All models, family by family, the default first."""
    return _entries(FAMILIES)


def list_models() -> tuple[ModelEntry, ...]:
    """Return the catalogue: numbers, names and weights of the models.  Imports no torch.

    Weights in the folders of CALOTYPE_WEIGHTS come before those that ship.  Raises
    WeightsMissingError for a folder that cannot be read, WeightsMismatchError if its
    registry.json is not a registry.
    """
    return tuple(
        ModelEntry(
            spec.model_id,
            spec.name,
            spec.description,
            spec.layers,
            tuple(
                WeightsEntry(file.path.name, file.sha256, str(file.path.parent))
                for file in weights_of(spec.name, spec.exports, shipped_by_registry=True)
            ),
        )
        for spec in all_models()
    )


def split_name(text: str) -> tuple[str, str | None]:
    """A model's name, and the text after a colon: the name of its weights, or a variant."""
    name, colon, detail = text.partition(":")
    return name, detail if colon else None


def model_numbered(model_id: int) -> ModelSpec | None:
    """The model of this number, if this version knows it."""
    return next((spec for spec in all_models() if spec.model_id == model_id), None)


def find_model(name_or_id: str | int) -> ModelSpec:
    """The model of this name or number; raises `UnknownModelError`."""
    for spec in all_models():
        if name_or_id in (spec.name, spec.model_id, str(spec.model_id)):
            return spec
    if str(name_or_id) == RETIRED:
        raise UnknownModelError(
            "model 1 was that of photographs before 0.2.0, the first release, and no version reads "
            "its files any more: compress the picture again"
        )
    known = ", ".join(f"{spec.name} ({spec.model_id})" for spec in all_models())
    raise UnknownModelError(
        f"model {name_or_id!r} is unknown; this version knows {known}. "
        "A newer version of calotype may know more"
    )
