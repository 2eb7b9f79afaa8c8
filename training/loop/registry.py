"""The registry of a folder of weights: which file a model loads, by the SHA-256 of its bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from codec.loading import hash_weights


def register(path: Path, models: Sequence[str]) -> str:
    """Name a weights file for models of the catalogue in the `registry.json` beside it.

    It becomes the default of these models, before those of other names that the folder holds.
    Returns its SHA-256 in hexadecimal.
    """
    registry_path = path.with_name("registry.json")
    registry = json.loads(registry_path.read_text("utf-8")) if registry_path.exists() else {}
    digest = hash_weights(path).hex()
    for model in models:
        others = [entry for entry in registry.get(model, []) if entry["file"] != path.name]
        registry[model] = [{"file": path.name, "sha256": digest}, *others]
    registry_path.write_text(json.dumps(registry, indent=2) + "\n", "utf-8")
    return digest
