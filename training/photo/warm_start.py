"""Training that starts from an exported weights file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from bitstream.errors import InputError, UsageError
from codec.coding.exact_layers import layers_from_arrays
from codec.models.photo.exact_context import context_from_arrays
from codec.models.photo.fixed_point import restore
from codec.models.photo.network import CONTEXT_SIZES, SCALE_COUNT, PhotoModel


def start_from_weights(model: PhotoModel, path: Path) -> None:
    """Copy a weights file into a model of the same sizes, the exact path back into floats.

    The file may lack a context that the model has; that of the model then starts silent.

    Raises `InputError` for an unreadable file, `UsageError` where the sizes differ.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            config = json.loads((file.metadata() or {})["config"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a weights file of this trainer: {error}") from error
    context = context_from_arrays(arrays, SCALE_COUNT)
    own = asdict(model.config)
    if context is None:
        # Weights from before there was a context are a start for a model with one.
        config |= {name: own[name] for name in CONTEXT_SIZES}
    if config != own:
        raise UsageError(
            f"{path} has the sizes {config}, but the preset has {own}: "
            "take the preset that the weights were trained with"
        )
    state = {
        name.removeprefix("network."): torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith("network.")
    }
    model.load_state_dict(state, strict=False)
    restore(model, layers_from_arrays(arrays), context)
