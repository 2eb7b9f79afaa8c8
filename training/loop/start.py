"""Runs that start from exported instead of untrained weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitstream.errors import InputError, WeightsMismatchError, WeightsMissingError
from codec.models.weights_files import WeightsFile, hash_weights, read_weights


def read_start(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays and metadata of the weights file from which a run starts. Raises `InputError`."""
    try:
        return read_weights(WeightsFile(path, hash_weights(path).hex()))
    except (WeightsMissingError, WeightsMismatchError) as error:
        raise InputError(
            f"{path} is not a weights file: {error}; name one with --weights"
        ) from error
