"""Training of the photo model that starts from an exported weights file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError, safe_open

from bitstream.errors import InputError, UsageError
from codec.models.photo.network import PhotoModel
from codec.models.photo.torch_network import read_model


def start_from_weights(model: PhotoModel, path: Path) -> None:
    """Copy a weights file into a model of the same sizes, its integers back into floats.

    Raises `InputError` for an unreadable file, `UsageError` where the sizes differ,
    `WeightsMismatchError` where its arrays do not fit them.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            config = json.loads((file.metadata() or {})["config"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a weights file of this trainer: {error}") from error
    own = json.loads(json.dumps(asdict(model.config)))
    if config != own:
        raise UsageError(
            f"{path} has the sizes {config}, but the preset has {own}: "
            "take the preset that the weights were trained with"
        )
    model.load_state_dict(read_model(arrays, model.config).state_dict())
