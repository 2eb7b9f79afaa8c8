"""The models and the weights that ship with them. Imports no torch.

The number of a model is written into every file and never changes or is used again.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from bitstream.errors import UnknownModelError

WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"


@dataclass(frozen=True)
class WeightsEntry:
    """A weights file by name, with the SHA-256 of its bytes in hexadecimal."""

    file: str
    sha256: str


@dataclass(frozen=True)
class ModelEntry:
    """A model family: its number in the file format, and its weights, the default first.

    layers  of the files that it writes; those of DRAW are the steps of its weights
    """

    model_id: int
    name: str
    description: str
    layers: int
    weights: tuple[WeightsEntry, ...]


# The models 4 to 7 share one weights file; `registry.json` names it for each of them.
_FAMILIES = (
    (1, "photo", "photographs: variational autoencoder with a hyperprior", 1),
    (2, "draw", "photographs: convolutional DRAW, every step a layer of the file", 8),
    (3, "dplc", "images of one kind: distribution-preserving, decoded with noise", 1),
    (4, "vae-round", "grey digits: VAE, means rounded to a grid", 1),
    (5, "vae-dither", "grey digits: VAE, universal (dithered) quantisation", 1),
    (6, "vae-rec", "grey digits: VAE, relative entropy coding of posterior samples", 1),
    (7, "vae-vbq", "grey digits: VAE, variational Bayesian quantisation", 1),
    (8, "vae-bits-back", "black-and-white digits: VAE, lossless archive by bits-back coding", 1),
    (9, "draw-bits-back", "small images: DRAW, lossless archive by bits-back coding", 1),
    (10, "compressai", "photographs: a checkpoint of CompressAI's zoo that you bring", 1),
)

# The model whose weights a person brings; what follows its name and a colon is an architecture of
# CompressAI. The place of an architecture, its variant, is written into every file.
FOREIGN = "compressai"
ARCHITECTURES = (
    "bmshj2018-factorized",
    "bmshj2018-factorized-relu",
    "bmshj2018-hyperprior",
    "mbt2018-mean",
    "mbt2018",
    "cheng2020-anchor",
    "cheng2020-attn",
)


def _registry() -> dict[str, list[dict[str, str]]]:
    entries: dict[str, list[dict[str, str]]] = json.loads(
        (WEIGHTS_FOLDER / "registry.json").read_text("utf-8")
    )
    return entries


def _entries() -> tuple[ModelEntry, ...]:
    registry = _registry()
    return tuple(
        ModelEntry(
            model_id,
            name,
            description,
            layers,
            tuple(WeightsEntry(w["file"], w["sha256"]) for w in registry.get(name, [])),
        )
        for model_id, name, description, layers in _FAMILIES
    )


MODELS = _entries()


def split_name(text: str) -> tuple[str, str | None]:
    """A model's name, and what follows a colon: the name of weights of it, `MODEL[:WEIGHTS]`.

    Of `FOREIGN` it is the name of an architecture; see `find_variant`.
    """
    name, colon, weights = text.partition(":")
    return name, weights if colon else None


def find_model(name_or_id: str | int) -> ModelEntry:
    """The model of this name or number; raises `UnknownModelError`."""
    for entry in MODELS:
        if name_or_id in (entry.name, entry.model_id, str(entry.model_id)):
            return entry
    known = ", ".join(f"{entry.name} ({entry.model_id})" for entry in MODELS)
    raise UnknownModelError(
        f"model {name_or_id!r} is unknown; this version knows {known}. "
        "A newer version of calotype may know more"
    )


def find_variant(architecture: str | None) -> int:
    """The variant of an architecture by its name; raises `UnknownModelError`."""
    if architecture in ARCHITECTURES:
        return ARCHITECTURES.index(architecture)
    known = ", ".join(f"{FOREIGN}:{name}" for name in ARCHITECTURES)
    asked = "no architecture was named" if architecture is None else f"{architecture!r} is unknown"
    raise UnknownModelError(f"model {FOREIGN!r}: {asked}; this version knows {known}")


def architecture_name(variant: int | None) -> str:
    """The name of the architecture that a file of `FOREIGN` needs; raises `UnknownModelError`."""
    if variant is not None and 0 <= variant < len(ARCHITECTURES):
        return ARCHITECTURES[variant]
    raise UnknownModelError(
        f"architecture {variant} of the model {FOREIGN!r} in the header, expected "
        f"0 .. {len(ARCHITECTURES) - 1}: a newer version of calotype may know more"
    )
