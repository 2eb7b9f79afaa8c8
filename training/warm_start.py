"""Training that starts from an exported weights file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from bitstream.errors import InputError, UsageError
from codec.exact import ACTIVATION_BITS, WEIGHT_BITS, layers_from_arrays
from codec.models.photo import PhotoModel


def start_from_weights(model: PhotoModel, path: Path) -> None:
    """Copy a weights file into a model of the same sizes, the exact path back into floats.

    Raises `InputError` for an unreadable file, `UsageError` where the sizes differ.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            config = json.loads((file.metadata() or {})["config"])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(f"{path} is not a weights file of this trainer: {error}") from error
    if config != asdict(model.config):
        raise UsageError(
            f"{path} has the sizes {config}, but the preset has {asdict(model.config)}: "
            "take the preset that the weights were trained with"
        )
    state = {
        name.removeprefix("network."): torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith("network.")
    }
    model.load_state_dict(state, strict=False)
    with torch.no_grad():
        pairs = zip(model.hyper_synthesis.layers(), layers_from_arrays(arrays), strict=True)
        for (layer, bias, _), exact in pairs:
            layer.weight.copy_(torch.from_numpy(exact.weight / 2.0**WEIGHT_BITS))
            bias.knots.copy_(torch.from_numpy(exact.bias / 2.0**ACTIVATION_BITS))
