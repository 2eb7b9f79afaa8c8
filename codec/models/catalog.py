"""The models that this version knows, and the weights that ship with them.

Imports neither torch nor NumPy: of a family's folder only its `__init__` is loaded.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import lru_cache

from bitstream.errors import UnknownModelError
from codec.models.family import Family
from codec.models.weights_files import WEIGHTS_FOLDER, registered

FAMILIES = (
    "codec.models.photo",
    "codec.models.draw",
    "codec.models.dplc",
    "codec.models.vae",
    "codec.models.compressai",
)
"""The folders of the families: a new family is one folder and one line here."""


@dataclass(frozen=True)
class WeightsEntry:
    """A weights file by name, with the SHA-256 of its bytes in hexadecimal."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ModelEntry:
    """A model: its number in the file format, and its weights, the default first.

    layers  of the files that it writes; those of DRAW are the steps of its weights
    """

    model_id: int
    name: str
    description: str
    layers: int
    weights: tuple[WeightsEntry, ...]


@lru_cache(maxsize=2)
def _entries(modules: tuple[str, ...]) -> tuple[Family, ...]:
    found = [entry for module in modules for entry in importlib.import_module(module).FAMILY]
    return tuple(sorted(found, key=lambda entry: entry.model_id))


def families() -> tuple[Family, ...]:
    """All models, in the order of their numbers."""
    return _entries(FAMILIES)


def list_models() -> tuple[ModelEntry, ...]:
    """Return the catalogue: numbers, names and weights of the models.  Imports no torch."""
    return tuple(
        ModelEntry(
            family.model_id,
            family.name,
            family.description,
            family.layers,
            tuple(
                WeightsEntry(file.path.name, file.sha256)
                for file in registered(WEIGHTS_FOLDER, family.name)
            ),
        )
        for family in families()
    )


def split_name(text: str) -> tuple[str, str | None]:
    """A model's name, and what follows a colon: weights of it by name, or a variant."""
    name, colon, detail = text.partition(":")
    return name, detail if colon else None


def family_of(model_id: int) -> Family | None:
    """The model of this number, if this version knows it."""
    return next((family for family in families() if family.model_id == model_id), None)


def find_family(name_or_id: str | int) -> Family:
    """The model of this name or number; raises `UnknownModelError`."""
    for family in families():
        if name_or_id in (family.name, family.model_id, str(family.model_id)):
            return family
    known = ", ".join(f"{family.name} ({family.model_id})" for family in families())
    raise UnknownModelError(
        f"model {name_or_id!r} is unknown; this version knows {known}. "
        "A newer version of calotype may know more"
    )
