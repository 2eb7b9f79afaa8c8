"""Finished blocks on disk, so that an interrupted measurement can continue where it stopped.

The name of a block's file is a hash of all that its numbers depend on: the plan, the seed, the
images, the model's output for a few codes, and this code.  So a block is found again only by a run
that would compute the same numbers, and other files in the folder neither do nor come to harm.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitstream.arrays import Array
from codec.rate_distortion.annealing.bdmc import BdmcResult
from codec.rate_distortion.annealing.sampler import AnnealingPlan, AnnealingResult
from codec.rate_distortion.annealing.tasks import Task, generator_of
from codec.system.write_file import make_folder, write_atomically

_CHECKSUM = "checksum"
_BLOCK = re.compile(r"[0-9a-f]{32}\.npz")
PROBES = 8
"""Number of codes whose images tell one model from another."""


class FinishedBlocks:
    """Results of tasks in a folder, a .npz for each."""

    def __init__(self, folder: Path, task: Task) -> None:
        """Take the model from one task; all tasks have the same.

        Raises `OutputError` if the folder cannot be made.
        """
        make_folder(folder)
        self._folder, model = folder, task.model
        codes = model.prior.sample(PROBES, generator_of((0,), task.device))
        with torch.no_grad():
            made = [codes, model.decode(codes.to(task.device)), model.prior.log_prob(codes)]
        distortion = model.distortion
        here = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
        self._about = [
            torch.__version__,
            *here,
            distortion.name,
            distortion.convention,
            *map(_bytes, made),
        ]

    def path(self, task: Task) -> Path:
        """The file of a task's result."""
        model = task.model
        plan: list[Any] = [task.plan]
        if isinstance(task.plan, AnnealingPlan):
            plan = [getattr(task.plan, item.name) for item in fields(task.plan)]
        said = hashlib.sha256()
        for part in (
            *self._about, *plan, model.ladder, model.modes, model.gradient_dtype, task.chains,
            task.seed, task.device, task.simulations, task.targets,
        ):  # fmt: skip
            data = _bytes(part) if isinstance(part, torch.Tensor) else part
            said.update(data if isinstance(data, bytes) else repr(data).encode())
            said.update(b"\0")
        return self._folder / f"{said.hexdigest()[:32]}.npz"

    def find(self, task: Task) -> AnnealingResult | BdmcResult | None:
        """The stored result of the task; None if there is none or it cannot be read."""
        kind = BdmcResult if task.targets is None else AnnealingResult
        names = [item.name for item in fields(kind)]
        path = self.path(task)
        try:
            # Opened here, because NumPy leaves a file open that it cannot read.
            with path.open("rb") as fo, np.load(fo, allow_pickle=False) as file:
                values = {name: file[name] for name in names}
                written = str(file[_CHECKSUM])
        # A damaged file can raise nearly anything.
        except Exception:  # noqa: BLE001
            return None
        if written != _checksum(path, values):
            return None
        read: dict[str, Any] = {
            name: torch.from_numpy(value) if value.ndim else int(value)
            for name, value in values.items()
        }
        return kind(**read)

    def keep(self, task: Task, result: AnnealingResult | BdmcResult) -> None:
        """Write a result; raises `OutputError`."""
        values = {item.name: getattr(result, item.name) for item in fields(result)}
        arrays: dict[str, Any] = {
            name: value.cpu().numpy() if isinstance(value, torch.Tensor) else np.array(value)
            for name, value in values.items()
        }
        path = self.path(task)
        make_folder(self._folder)  # another run may have removed it
        arrays[_CHECKSUM] = np.array(_checksum(path, arrays))
        write_atomically(path, lambda fo: np.savez(fo, **arrays), force=True)


def count_blocks(folder: Path) -> int:
    """How many blocks a folder has; 0 if there is no such folder."""
    return sum(1 for path in folder.glob("*.npz") if _BLOCK.fullmatch(path.name))


def clear_blocks(folder: Path) -> None:
    """Remove the blocks of a folder, if it exists, and the folder if it is then empty."""
    for path in folder.glob("*.npz"):
        if _BLOCK.fullmatch(path.name):
            path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _checksum(path: Path, arrays: Mapping[str, Array]) -> str:
    """A hash of a block's name and values: a block that was altered is measured again."""
    said = hashlib.sha256(path.name.encode())
    for name, values in arrays.items():
        said.update(f"{name} {values.dtype.str} {values.shape} ".encode())
        said.update(np.ascontiguousarray(values).tobytes())
    return said.hexdigest()


def _bytes(tensor: torch.Tensor) -> bytes:
    return repr(tuple(tensor.shape)).encode() + tensor.detach().cpu().contiguous().numpy().tobytes()
