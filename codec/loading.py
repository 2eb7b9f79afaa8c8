"""Weights files: safetensors, found by the hash that a compressed file names."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitstream.errors import UsageError, WeightsMismatchError, WeightsMissingError
from codec.models.catalog import (
    FOREIGN,
    WEIGHTS_FOLDER,
    ModelEntry,
    architecture_name,
    find_model,
    find_variant,
    split_name,
)
from codec.system.missing_extra import extra_needed_by

if TYPE_CHECKING:
    from bitstream.header import Header
    from codec.models.base import LoadedModel
    from codec.models.photo.realism import RealisticSynthesis

ENVIRONMENT_VARIABLE = "CALOTYPE_WEIGHTS"
HASH_BYTES = 8
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".safetensors")
MAX_CHECKPOINT_BYTES = 2**30  # it is read into memory; those of the zoo have some 10⁸

PathName = str | os.PathLike[str]


def hash_weights(path: Path) -> bytes:
    """SHA-256 of a weights file; the first 8 bytes stand in the header of every file."""
    return hashlib.sha256(path.read_bytes()).digest()


def load_model(
    model_id: int | str,
    *,
    weights_hash: bytes | None = None,
    device: str = "auto",
    checkpoint: PathName | None = None,
) -> LoadedModel:
    """Load a model for coding; kept in memory for the next call.

    model_id      number or name in the catalogue; "NAME:WEIGHTS" takes weights by their file's name
    weights_hash  the 8 bytes of a file's header; None takes the default weights
    device        "auto", "cpu", "openvino" or "cuda". Auto takes a GPU that torch finds; the photo
                  model does without torch, and asks it only where it is loaded already. "openvino"
                  is the processor, for the photo model alone
    checkpoint    the weights file of "compressai:ARCHITECTURE"; None looks for one with that hash

    Weights are looked for in the folders of the environment variable CALOTYPE_WEIGHTS, then
    in the installation. Raises `UnknownModelError`, `WeightsMissingError`,
    `WeightsMismatchError`, `TableError`, or `UsageError` for an unknown device, a checkpoint of
    another model, or an extra that is not installed.
    """
    name, file = split_name(str(model_id))
    entry = find_model(name)
    purpose = "The device 'cuda'" if device == "cuda" else f"The model {entry.name!r}"
    with extra_needed_by(purpose):
        return _load_entry(entry, file, weights_hash, device, checkpoint)


def _load_entry(
    entry: ModelEntry,
    file: str | None,
    weights_hash: bytes | None,
    device: str,
    checkpoint: PathName | None,
) -> LoadedModel:
    if entry.name == FOREIGN:
        variant = find_variant(file)
        path = _find_checkpoint(weights_hash, checkpoint)
        return _load_checkpoint(variant, path, path.stat().st_mtime_ns, _device(device))
    if checkpoint is not None:
        raise UsageError(
            f"a checkpoint was given, but the model is {entry.name!r}, which has weights of its "
            f"own: checkpoints are for {FOREIGN}:ARCHITECTURE, leave it out"
        )
    path = _find(entry.name, weights_hash, file)
    if entry.name == "photo" and device == "openvino":
        chosen = device
    else:
        chosen = "cpu" if _needs_no_torch(entry.name, device) else _device(device)
    return _load(entry.name, path, path.stat().st_mtime_ns, chosen)


def load_model_of(
    header: Header, *, device: str = "auto", checkpoint: PathName | None = None
) -> LoadedModel:
    """Load the model that a file was written with; otherwise as `load_model`."""
    name: int | str = header.model_id
    if name == find_model(FOREIGN).model_id:
        name = f"{FOREIGN}:{architecture_name(header.variant)}"
    return load_model(name, weights_hash=header.weights_hash, device=device, checkpoint=checkpoint)


def with_realism(model: LoadedModel, realism: float) -> LoadedModel:
    """The model with a realism in [0, 1]; see `codec.models.photo.realism`. At 0 the model itself.

    Raises `UsageError` for a model that is not photo, `WeightsMissingError`,
    `WeightsMismatchError`.
    """
    if realism == 0:
        return model
    from codec.models.photo.coder import PhotoCoder

    if not isinstance(model, PhotoCoder):
        raise UsageError(
            f"realism {realism:g} was given, but the file is of {model.name}, which has one "
            "decoder only: realism is for files of photo, leave it at 0"
        )
    with extra_needed_by("A realism above 0"):
        from codec.models.photo.realism import RealisticPhoto

        path = find_realism(model.weights_hash)
        realistic = _load_realism(path, path.stat().st_mtime_ns, str(model.device))
        return RealisticPhoto(model, realistic, realism)


def find_realism(photo_hash: bytes) -> Path:
    """The weights file of the realistic decoder of photo weights, named by their first 8 bytes.

    Raises `WeightsMissingError` where there is none, `WeightsMismatchError` for a damaged one.
    """
    from codec.models.photo.realism import NAME, PHOTO_HASH_KEY

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
        f"python -m training {NAME} --data DIR --weights PHOTO.safetensors, export it: "
        f"python -m training.realism.export, and name its folder in {ENVIRONMENT_VARIABLE}; "
        "or leave the realism at 0"
    )


def _own_folders() -> list[Path]:
    return [Path(p) for p in os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep) if p]


def _folders() -> list[Path]:
    return [*_own_folders(), WEIGHTS_FOLDER]


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


def _find_checkpoint(weights_hash: bytes | None, given: PathName | None) -> Path:
    """The checkpoint that was given, or the one of that hash in the folders of the environment."""
    if given is not None:
        path = Path(given)
        found = _checkpoint_hash(path, _modified_ns(path))
        if weights_hash not in (None, found):
            raise WeightsMismatchError(
                f"the file was written with the checkpoint {weights_hash.hex()}, but {path} is "
                f"{found.hex()}: give the same checkpoint, unchanged to the byte"
            )
        return path
    if weights_hash is None:
        raise WeightsMissingError(
            f"the model {FOREIGN!r} has no weights of its own: give a checkpoint"
        )
    wanted = weights_hash.hex()
    for folder in _own_folders():
        paths = filter(_may_be_checkpoint, folder.iterdir() if folder.is_dir() else ())
        # Files of the zoo have the first digits of their hash in their names.
        for path in sorted(paths, key=lambda path: (wanted[:8] not in path.name, path)):
            if _checkpoint_hash(path, _modified_ns(path)) == weights_hash:
                return path
    raise WeightsMissingError(
        f"the file was written with the checkpoint {wanted} of {FOREIGN}, the first "
        "bytes of its SHA-256: give it (--checkpoint FILE), or name its folder in "
        f"{ENVIRONMENT_VARIABLE}"
    )


def _may_be_checkpoint(path: Path) -> bool:
    is_file = path.suffix.lower() in CHECKPOINT_SUFFIXES and path.is_file()
    return is_file and path.stat().st_size <= MAX_CHECKPOINT_BYTES


def _modified_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise WeightsMissingError(
            f"cannot read the checkpoint {path}: {error.strerror or error}"
        ) from error


def _read_checkpoint(path: Path) -> bytes:
    try:
        size_bytes = path.stat().st_size
        if size_bytes > MAX_CHECKPOINT_BYTES:
            raise WeightsMismatchError(
                f"{path} has {size_bytes} bytes, but the limit is {MAX_CHECKPOINT_BYTES}: save the "
                "state_dict of the model alone"
            )
        return path.read_bytes()
    except OSError as error:
        raise WeightsMissingError(
            f"cannot read the checkpoint {path}: {error.strerror or error}"
        ) from error


@lru_cache(maxsize=256)
def _checkpoint_hash(path: Path, modified_ns: int) -> bytes:
    return hashlib.sha256(_read_checkpoint(path)).digest()[:HASH_BYTES]


@lru_cache(maxsize=2)
def _load_checkpoint(variant: int, path: Path, modified_ns: int, device: str) -> LoadedModel:
    import torch

    from codec.models.compressai.checkpoint import load_zoo

    data = _read_checkpoint(path)
    digest = hashlib.sha256(data).digest()[:HASH_BYTES]
    return load_zoo(data, variant, digest, source=str(path), device=torch.device(device))


def _listed(folder: Path, name: str) -> list[tuple[str, str]]:
    registry = folder / "registry.json"
    if not registry.exists():
        return []
    try:
        entries = json.loads(registry.read_text("utf-8")).get(name, [])
        return [(str(entry["file"]), str(entry["sha256"])) for entry in entries]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsMismatchError(f"{registry} is not a registry of weights: {error}") from error


def _needs_no_torch(model: str, device: str) -> bool:
    """Whether a model computes in NumPy: to look for a GPU takes longer than most photographs."""
    return model == "photo" and (
        device == "cpu" or (device == "auto" and "torch" not in sys.modules)
    )


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device 'cuda' was asked for, but torch sees none; use 'cpu' or 'auto'")
    if name == "openvino":
        raise UsageError("device 'openvino' is for photo alone; use 'cpu' or 'auto'")
    if name not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is unknown; expected 'auto', 'cpu' or 'cuda'")
    return name


@lru_cache(maxsize=8)
def _load(name: str, path: Path, modified_ns: int, device: str) -> LoadedModel:
    arrays, metadata, digest = _read(name, path)
    if name == "photo":
        from codec.models.photo.coder import load_photo

        return load_photo(arrays, metadata, digest[:HASH_BYTES], device=device)
    import torch

    return _loader(name)(arrays, metadata, digest[:HASH_BYTES], device=torch.device(device))


@lru_cache(maxsize=8)
def _load_realism(path: Path, modified_ns: int, device: str) -> RealisticSynthesis:
    import torch

    from codec.models.photo.realism import NAME, load_realism

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
    """The function that builds a model from the contents of its weights file, on a torch device."""
    if name == "draw":
        from codec.models.draw.coder import load_draw

        return load_draw
    if name == "dplc":
        from codec.models.dplc.coder import load_dplc

        return load_dplc
    if name == "draw-bits-back":
        from codec.models.draw.archive import load_draw_bits_back

        return load_draw_bits_back
    if name == "vae-bits-back":
        from codec.models.vae.archive import load_bits_back

        return load_bits_back
    from codec.models.vae.coder import vae_loader

    return vae_loader(name)
