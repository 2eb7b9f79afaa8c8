"""Checkpoints that survive a kill: written beside the old one, then renamed over it."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import torch

from bitstream.errors import InputError
from codec.system.write_file import write_atomically

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, containers of them) atomically.

    Raises `OutputError` if the file cannot be written.
    """

    # In memory first, because torch turns the error of a full disk into a RuntimeError.
    buffer = io.BytesIO()
    torch.save(state, buffer)

    def write(file: BinaryIO) -> None:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, write, force=True)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; tensors and plain containers only, never arbitrary objects.

    Raises `InputError` for a file that is missing, damaged, or not a checkpoint.
    """
    return parse_checkpoint(read_checkpoint(path), path)


def read_checkpoint(path: Path) -> bytes:
    """The bytes of a checkpoint, to be sent or parsed. Raises `InputError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def parse_checkpoint(data: bytes, path: Path) -> dict[str, Any]:
    """The state in the bytes of a checkpoint; `path` is for messages. Raises `InputError`."""
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise _unreadable(path, error) from error
    if not isinstance(state, dict) or not {"family", "step", "learner"} <= state.keys():
        raise InputError(
            f"{path} is not a checkpoint of this version: begin another run, in another folder"
        )
    return state


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"checkpoint {path} is unreadable ({error}); delete it or drop --resume")
