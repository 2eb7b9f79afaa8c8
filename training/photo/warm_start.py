"""Training of the photo model that starts from an exported weights file."""

from __future__ import annotations

from pathlib import Path

from bitstream.errors import UsageError
from codec.models.photo.config import PhotoConfig
from codec.models.photo.network import PhotoModel
from codec.models.photo.torch_network import read_model
from codec.models.weights_files import read_config
from training.loop.start import read_start


def start_from_weights(model: PhotoModel, path: Path) -> None:
    """Copy a weights file into a model of the same sizes, its integers back into floats.

    Raises `InputError` for an unreadable file, `UsageError` where the sizes differ,
    `WeightsMismatchError` where its arrays do not fit them.
    """
    arrays, metadata = read_start(path)
    config = read_config(metadata, PhotoConfig)
    if config != model.config:
        raise UsageError(
            f"{path} has the sizes {config}, but the preset has {model.config}: "
            "take the preset that the weights were trained with"
        )
    model.load_state_dict(read_model(arrays, config).state_dict())
