"""Training of the photo model that starts from an exported weights file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bitstream.errors import UsageError
from codec.models.photo.coder import read_sizes
from codec.models.photo.exact_context import pass_names
from codec.models.photo.network import PhotoModel
from codec.models.photo.torch_network import read_model
from training.loop.start import read_start

_LIKE = {"corners_4": "diagonal", "edges_4": "coarse", "corners_2": "diagonal"}
"""The step as a copy of which a far pass starts if the weights do not have it."""


def start_from_weights(model: PhotoModel, path: Path) -> None:
    """Copy a weights file into a model of the same sizes, converting integers back to floats.

    The model may have more far passes, which start as copies of nearer ones of the same kind.

    Raises `InputError` for an unreadable file, `UsageError` if the sizes differ,
    `WeightsMismatchError` if its arrays do not fit them.
    """
    arrays, metadata = read_start(path)
    config = read_sizes(metadata)
    passes = model.config.far_passes
    if replace(config, far_passes=passes) != model.config or config.far_passes > passes:
        raise UsageError(
            f"{path} has the sizes {config}, but the preset has {model.config}: "
            "take the preset that the weights were trained with"
        )
    found = read_model(arrays, config)
    for name in pass_names(model.config):
        if name not in found.context.pass_names:
            found.context.add_module(name, found.context.get_submodule(_LIKE[name]))
    model.load_state_dict(found.state_dict())
