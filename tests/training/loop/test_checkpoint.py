"""Checkpoints on a disk that is full."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from bitstream.errors import OutputError
from training.loop.checkpoint import read_checkpoint, save_checkpoint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 1})
    before = read_checkpoint(path)
    monkeypatch.setattr("os.fsync", _full)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(path, {"step": 2, "weights": torch.zeros(1000)})
    monkeypatch.undo()
    assert read_checkpoint(path) == before
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def _full(descriptor: int) -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        full.write(b"x")
