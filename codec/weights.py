"""Weights files: safetensors, found by the hash that a compressed file names."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitstream.errors import UsageError, WeightsMismatchError, WeightsMissingError
from codec.models.catalog import WEIGHTS_FOLDER, find_model, split_name

if TYPE_CHECKING:
    from codec.models.base import LoadedModel
    from codec.models.photo_realism import RealisticSynthesis

ENVIRONMENT_VARIABLE = "CALOTYPE_WEIGHTS"
HASH_BYTES = 8


def hash_weights(path: Path) -> bytes:
    """SHA-256 of a weights file; the first 8 bytes stand in the header of every file."""
    return hashlib.sha256(path.read_bytes()).digest()


def load_model(
    model_id: int | str, *, weights_hash: bytes | None = None, device: str = "auto"
) -> LoadedModel:
    """Load a model for coding; kept in memory for the next call.

    model_id      number or name in the catalogue; "NAME:WEIGHTS" takes weights by their file's name
    weights_hash  the 8 bytes of a file's header; None takes the default weights
    device        "auto", "cpu" or "cuda"

    Weights are looked for in the folders of the environment variable CALOTYPE_WEIGHTS, then
    in the installation. Raises `UnknownModelError`, `WeightsMissingError`,
    `WeightsMismatchError`, or `UsageError` for an unknown device.
    """
    name, file = split_name(str(model_id))
    entry = find_model(name)
    path = _find(entry.name, weights_hash, file)
    return _load(entry.name, path, path.stat().st_mtime_ns, _device(device))


def with_realism(model: LoadedModel, realism: float) -> LoadedModel:
    """The model with a realism in [0, 1]; see `codec.models.photo_realism`. At 0 the model itself.

    Raises `UsageError` for a model that is not photo, `WeightsMissingError`,
    `WeightsMismatchError`.
    """
    if realism == 0:
        return model
    from codec.models.photo_coder import PhotoCoder
    from codec.models.photo_realism import RealisticPhoto

    if not isinstance(model, PhotoCoder):
        raise UsageError(
            f"realism {realism:g} was given, but the file is of {model.name}, which has one "
            "decoder only: realism is for files of photo, leave it at 0"
        )
    path = find_realism(model.weights_hash)
    realistic = _load_realism(path, path.stat().st_mtime_ns, str(model.device))
    return RealisticPhoto(model, realistic, realism)


def find_realism(photo_hash: bytes) -> Path:
    """The weights file of the realistic decoder of photo weights, named by their first 8 bytes.

    Raises `WeightsMissingError` where there is none, `WeightsMismatchError` for a damaged one.
    """
    from codec.models.photo_realism import NAME, PHOTO_HASH_KEY

    wanted, found = photo_hash.hex(), []
    for folder in _folders():
        for file, _ in _listed(folder, NAME):
            made_for = _metadata(folder / file).get(PHOTO_HASH_KEY, "")
            found.append(f"one for {made_for[: 2 * HASH_BYTES]}")
            if made_for.startswith(wanted):
                return folder / file
    raise WeightsMissingError(
        f"no realistic decoder for the photo weights {wanted} is installed (found: "
        f"{', '.join(found) or 'none'}); train one: "
        f"python -m training.realism {NAME} --data DIR --weights PHOTO.safetensors, export it: "
        f"python -m training.realism.export, and name its folder in {ENVIRONMENT_VARIABLE}; "
        "or leave the realism at 0"
    )


def _folders() -> list[Path]:
    own = [Path(p) for p in os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep) if p]
    return [*own, WEIGHTS_FOLDER]


def _find(name: str, weights_hash: bytes | None, stem: str | None) -> Path:
    listed: list[str] = []
    for folder in _folders():
        for file, digest in _listed(folder, name):
            listed.append(f"{digest[: 2 * HASH_BYTES]} {Path(file).stem}")
            is_hash = weights_hash is None or digest.startswith(weights_hash.hex())
            if is_hash and stem in (None, Path(file).stem):
                return folder / file
    found = ", ".join(listed) or "none"
    if stem is not None:
        raise WeightsMissingError(
            f"model {name!r} has no weights {stem!r} in this installation (found: {found}); give "
            f"one of these names, or name the folder that holds them in {ENVIRONMENT_VARIABLE}"
        )
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

    load = _loader(name)
    arrays, metadata, digest = _read(name, path)
    return load(arrays, metadata, digest[:HASH_BYTES], device=torch.device(device))


@lru_cache(maxsize=8)
def _load_realism(path: Path, modified_ns: int, device: str) -> RealisticSynthesis:
    import torch

    from codec.models.photo_realism import NAME, load_realism

    arrays, metadata, _ = _read(NAME, path)
    return load_realism(arrays, metadata, device=torch.device(device))


def _read(name: str, path: Path) -> tuple[dict[str, Any], dict[str, str], bytes]:
    """Arrays, metadata and SHA-256 of a weights file that is what the registry says."""
    from safetensors import SafetensorError, safe_open

    digest = hash_weights(path)
    expected = dict(_listed(path.parent, name)).get(path.name)
    if digest.hex() != expected:
        raise WeightsMismatchError(
            f"{path} has the SHA-256 {digest.hex()}, expected {expected}; install it again"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return arrays, file.metadata() or {}, digest
    except (SafetensorError, OSError) as error:
        raise WeightsMismatchError(f"{path} is not a safetensors file: {error}") from error


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise WeightsMismatchError(
            f"{path} is not a safetensors file ({error}), but registry.json beside it names it; "
            "export it again"
        ) from error


def _loader(name: str) -> Callable[..., LoadedModel]:
    """The function that builds a model of the catalogue from the contents of its weights file."""
    if name == "photo":
        from codec.models.photo_coder import load_photo

        return load_photo
    if name == "draw":
        from codec.models.draw_coder import load_draw

        return load_draw
    if name == "dplc":
        from codec.models.dplc_coder import load_dplc

        return load_dplc
    if name == "draw-bits-back":
        from codec.models.draw_bits_back import load_draw_bits_back

        return load_draw_bits_back
    if name == "vae-bits-back":
        from codec.models.vae_bits_back import load_bits_back

        return load_bits_back
    from codec.models.vae import vae_loader

    return vae_loader(name)
