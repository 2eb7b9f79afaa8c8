"""Weights files: safetensors, found by the hash that a compressed file names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bitstream.errors import UsageError, WeightsMismatchError, WeightsMissingError
from codec.models.catalog import WEIGHTS_FOLDER, find_model

if TYPE_CHECKING:
    from codec.models.base import LoadedModel

ENVIRONMENT_VARIABLE = "CALOTYPE_WEIGHTS"
HASH_BYTES = 8


def hash_weights(path: Path) -> bytes:
    """SHA-256 of a weights file; the first 8 bytes stand in the header of every file."""
    return hashlib.sha256(path.read_bytes()).digest()


def load_model(
    model_id: int | str, *, weights_hash: bytes | None = None, device: str = "auto"
) -> LoadedModel:
    """Load a model for coding; kept in memory for the next call.

    model_id      number or name in the catalogue
    weights_hash  the 8 bytes of a file's header; None takes the default weights
    device        "auto", "cpu" or "cuda"

    Weights are looked for in the folders of the environment variable CALOTYPE_WEIGHTS, then
    in the installation. Raises `UnknownModelError`, `WeightsMissingError`,
    `WeightsMismatchError`, or `UsageError` for an unknown device.
    """
    entry = find_model(model_id)
    path = _find(entry.name, weights_hash)
    return _load(entry.name, path, path.stat().st_mtime_ns, _device(device))


def _folders() -> list[Path]:
    own = [Path(p) for p in os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep) if p]
    return [*own, WEIGHTS_FOLDER]


def _find(name: str, weights_hash: bytes | None) -> Path:
    listed: list[str] = []
    for folder in _folders():
        for file, digest in _listed(folder, name):
            listed.append(digest[: 2 * HASH_BYTES])
            if weights_hash is None or digest.startswith(weights_hash.hex()):
                return folder / file
    found = ", ".join(listed) or "none"
    if weights_hash is None:
        raise WeightsMissingError(
            f"model {name!r} has no weights in this installation; install calotype again, or "
            f"name a folder that holds weights in {ENVIRONMENT_VARIABLE}"
        )
    raise WeightsMissingError(
        f"weights {weights_hash.hex()} of model {name!r} are not installed (found: {found}); "
        "install the version of calotype that wrote the file, "
        f"or name the folder that holds them in {ENVIRONMENT_VARIABLE}"
    )


def _listed(folder: Path, name: str) -> list[tuple[str, str]]:
    registry = folder / "registry.json"
    if not registry.exists():
        return []
    try:
        entries = json.loads(registry.read_text("utf-8")).get(name, [])
        return [(str(entry["file"]), str(entry["sha256"])) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsMismatchError(f"{registry} is not a registry of weights: {error}") from error


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' was asked for, but torch sees none; use 'cpu' or 'auto'")
    if name not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is unknown; expected 'auto', 'cpu' or 'cuda'")
    return name


@lru_cache(maxsize=8)
def _load(name: str, path: Path, modified_ns: int, device: str) -> LoadedModel:
    import torch
    from safetensors import SafetensorError, safe_open

    load = _loader(name)
    digest = hash_weights(path)
    expected = dict(_listed(path.parent, name)).get(path.name)
    if digest.hex() != expected:
        raise WeightsMismatchError(
            f"{path} has the SHA-256 {digest.hex()}, expected {expected}; install it again"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsMismatchError(f"{path} is not a safetensors file: {error}") from error
    return load(arrays, metadata, digest[:HASH_BYTES], device=torch.device(device))


def _loader(name: str) -> Callable[..., LoadedModel]:
    """The function that builds a model of the catalogue from the contents of its weights file."""
    if name == "photo":
        from codec.models.photo_coder import load_photo

        return load_photo
    if name == "draw":
        from codec.models.draw_coder import load_draw

        return load_draw
    if name == "draw-bits-back":
        from codec.models.draw_bits_back import load_draw_bits_back

        return load_draw_bits_back
    if name == "vae-bits-back":
        from codec.models.vae_bits_back import load_bits_back

        return load_bits_back
    from codec.models.vae import vae_loader

    return vae_loader(name)
