"""Training in several processes that `torchrun` starts, each with its share of every batch.

    torchrun --standalone --nproc-per-node 2 -m -- training photo --data photographs --minutes 60

Every process reads all of the data, which must be the same on every machine; only the first process
writes to the run's folder. All hold the same weights and the same optimiser state. Each step
exchanges one vector: the mean of the gradients and of the figures on which decisions depend. It has
the same bits everywhere, so the processes never diverge. DistributedDataParallel does the same, and
also overlaps computing with sending, for which this model is too small; here an exchange that fails
can be told from a step that fails.

Only the exchange itself uses `torch.distributed`: gloo on CPUs, NCCL on GPUs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from bitstream.errors import CalotypeError, UsageError

TIMEOUT = timedelta(minutes=30)
"""How long processes wait while the first one validates, or for one that does not answer."""

CPU = torch.device("cpu")


class ProcessLostError(CalotypeError):
    """Another process of a training run has ended or does not answer."""


@dataclass(frozen=True)
class ProcessGroup:
    """The processes of one training run. A single one, the default, exchanges nothing.

    rank    rank of this process, 0 .. size − 1; process 0 writes checkpoints and logs
    device  the device on which it computes
    """

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def share(self, batch: int) -> slice:
        """The places of a batch that belong to this process; every process has as many.

        Raises `UsageError` if the batch cannot be divided evenly.
        """
        if batch % self.size:
            raise UsageError(
                f"a batch of {batch} cannot be divided among {self.size} processes: "
                f"start a number of processes that divides {batch}"
            )
        part = batch // self.size
        return slice(self.rank * part, (self.rank + 1) * part)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its mean over the processes, in one exchange.

        float32, on this group's device, of the same shapes in every process. NaN in one
        process becomes NaN in all. Raises `ProcessLostError`.
        """
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with self._exchange():
            dist.all_reduce(flat)
            parts = torch.split(flat.div_(self.size), [tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    @torch.no_grad()
    def copy_from_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of the first process. Raises `ProcessLostError`."""
        if self.size == 1:
            return
        with self._exchange():
            for tensor in tensors:
                values = tensor.contiguous()
                dist.broadcast(values, 0)
                tensor.copy_(values)

    def number_of_first(self, value: float) -> float:
        """The first process's number, bit for bit. Raises `ProcessLostError`."""
        if self.size == 1:
            return value
        number = torch.tensor([value], dtype=torch.float64, device=self.device)
        self.copy_from_first([number])
        return number.item()

    def bytes_of_first(self, data: bytes) -> bytes:
        """The first process's bytes; the others' are ignored. Raises `ProcessLostError`."""
        if self.size == 1:
            return data
        content = np.frombuffer(data, np.uint8)
        length = int(self.number_of_first(len(data)))
        if not self.is_first:
            content = np.zeros(length, np.uint8)
        values = torch.from_numpy(content.copy()).to(self.device)
        self.copy_from_first([values])
        return values.cpu().numpy().tobytes()

    @contextmanager
    def _exchange(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            reason = str(error).partition("\n")[0].partition(". ")[0]
            raise ProcessLostError(
                f"process {self.rank} of {self.size} has lost another one ({reason}): see what "
                "that one says, then start all of them again with --resume"
            ) from error


ALONE = ProcessGroup()


def require_alone(group: ProcessGroup, preset: str) -> None:
    """Raise `UsageError` if there are several processes; the preset can only be trained by one."""
    if group.size > 1:
        raise UsageError(
            f"the preset {preset!r} trains in one process, but {group.size} were started: "
            "start it without torchrun"
        )


def named_device(name: str) -> torch.device:
    """The device of a name; "auto" is cuda if available, else the CPU.

    Raises `UsageError` for cuda if it is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no such device; use 'cpu' or 'auto'")
    return torch.device(name)


@contextmanager
def joined(device: torch.device) -> Iterator[ProcessGroup]:
    """Join the processes that are named in the environment variables that torchrun sets.

    Without these variables, or with one process, there is nothing to join. On a machine with GPUs,
    each process takes its own GPU.

    Raises `UsageError` for variables that are missing or wrong and for fewer GPUs than
    processes, `ProcessLostError` if the others cannot be reached.
    """
    size = _variable("WORLD_SIZE", 1)
    if size == 1:
        yield ProcessGroup(device=device)
        return
    rank, local_rank = _variable("RANK"), _variable("LOCAL_RANK", 0)
    if device.type == "cuda":
        count = torch.cuda.device_count()
        if local_rank >= count:
            raise UsageError(
                f"process {local_rank} of this machine has no GPU, torch sees {count}: "
                f"give torchrun --nproc-per-node {count}, or --device cpu"
            )
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    group = ProcessGroup(rank, size, device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        with group._exchange():
            dist.init_process_group(backend, timeout=TIMEOUT)
    except ValueError as error:
        raise UsageError(
            f"the processes cannot be joined: {error}; start them by torchrun"
        ) from error
    yield group
    # Not after an error, because this would wait for processes that may be gone.
    dist.destroy_process_group()


def _variable(name: str, default: int | None = None) -> int:
    text = os.environ.get(name, "" if default is None else str(default))
    if not text.isdecimal():
        raise UsageError(
            f"the environment variable {name} is {text!r}, expected a number: "
            "start several processes by torchrun"
        )
    return int(text)
