"""Stored blocks are found by a run that would compute the same ones, and by no other."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from codec.priors import StandardNormal
from codec.rate_distortion.annealing.bridge_passes import LocalModel
from codec.rate_distortion.annealing.finished import FinishedBlocks, clear_blocks
from codec.rate_distortion.annealing.rd_curve import rd_curve
from codec.rate_distortion.annealing.sampler import AnnealingPlan, AnnealingResult
from codec.rate_distortion.annealing.tasks import Task
from codec.rate_distortion.distortions import SumSquaredError

IMAGES = np.random.default_rng(0).random((12, 4))


class Interrupted(Executor):
    """Runs some tasks and then fails, like a run that is killed."""

    def __init__(self, left: int) -> None:
        self.left = left

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.left -= 1
        if self.left < 0:
            future.set_exception(KeyboardInterrupt())
        else:
            future.set_result(fn(*args, **kwargs))
        return future


def decode(codes: torch.Tensor) -> torch.Tensor:
    return torch.tanh(codes @ torch.tensor([[1.0, -0.5, 0.2, 0.1], [0.3, 0.8, -1.0, 0.4]]))


def curve(blocks: Path | None, executor: Executor | None = None, **options: Any) -> dict[str, Any]:
    settings = {
        "betas": [1.0, 10.0], "temperatures": 15, "chains": 500, "simulations": 3, **options,
    }  # fmt: skip
    found = rd_curve(decode, StandardNormal(2), IMAGES, blocks=blocks, executor=executor,
                     **settings)  # fmt: skip
    return found.to_json()


def test_blocks_are_kept_if_the_folder_vanishes(tmp_path: Path) -> None:
    folder = tmp_path / "blocks"

    def removed(done: float, total: float, phase: str) -> None:
        clear_blocks(folder)

    assert curve(folder, progress=removed) == curve(None)


def test_an_interrupted_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "blocks"
    with pytest.raises(KeyboardInterrupt):
        curve(folder, Interrupted(5))
    kept = len(list(folder.iterdir()))
    assert kept == 5
    calls: list[tuple[float, float, str]] = []
    resumed = curve(folder, progress=lambda *at: calls.append(at))
    found = {phase: done / total for done, total, phase in reversed(calls) if total}
    # 1 task was the pilot's; of the 6 blocks of images and 3 certificates 4 are done.
    assert found["checking local references"] == 1
    assert 0.3 < found["measuring"] < 0.7
    done, total, phase = calls[-1]
    assert (done, phase) == (total, "measuring")
    assert resumed == curve(None)
    times = [path.stat().st_mtime_ns for path in sorted(folder.iterdir())]
    assert curve(folder) == resumed
    assert [path.stat().st_mtime_ns for path in sorted(folder.iterdir())] == times
    for name in ("note.txt", "digits.npz"):
        (folder / name).touch()
    clear_blocks(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["digits.npz", "note.txt"]
    clear_blocks(tmp_path / "none")


def task_of(**changes: Any) -> Task:
    model = LocalModel(decode, StandardNormal(2), SumSquaredError(), (), 1)
    plan = AnnealingPlan((0.0, 1.0), (0.1, 0.1), torch.ones(2, 2), (1, 1), (1,))
    return replace(Task(model, plan, 2, (0, 1, 0), "cpu", torch.zeros(1, 4)), **changes)


def test_everything_that_matters_is_in_the_name(tmp_path: Path) -> None:
    task = task_of()
    store = FinishedBlocks(tmp_path, task)
    plan = task.plan
    assert isinstance(plan, AnnealingPlan)
    others = [
        task_of(seed=(0, 1, 1)),
        task_of(chains=3),
        task_of(targets=torch.ones(1, 4)),
        task_of(targets=None, simulations=2),
        task_of(plan=replace(plan, betas=(0.0, 2.0))),
        task_of(plan=replace(plan, scales=2 * plan.scales)),
        task_of(model=replace(task.model, gradient_dtype=torch.bfloat16)),
    ]
    assert len({store.path(one).name for one in (task, *others)}) == 1 + len(others)
    other = replace(task, model=replace(task.model, decode=lambda codes: 2 * decode(codes)))
    assert FinishedBlocks(tmp_path, other).path(other) != store.path(task)


def test_a_damaged_block_is_computed_again(tmp_path: Path) -> None:
    task = task_of()
    store = FinishedBlocks(tmp_path, task)
    assert store.find(task) is None
    row = torch.tensor([[1.5]], dtype=torch.float64)
    store.keep(task, AnnealingResult(row, row, row, row, row[0], 7, 3))
    found = store.find(task)
    assert isinstance(found, AnnealingResult)
    assert torch.equal(found.log_partition_nats, row)
    assert (found.gradients, found.jacobian_products) == (7, 3)
    whole = store.path(task).read_bytes()
    for damage in (b"", whole[:50], b"\0" * len(whole), whole.replace(b"gradients", b"gradientz")):
        store.path(task).write_bytes(damage)
        assert store.find(task) is None


@pytest.mark.parametrize("kind", ["array", "strings", "other shape", "other values"])
def test_a_block_of_other_values_is_computed_again(kind: str, tmp_path: Path) -> None:
    task = task_of()
    store = FinishedBlocks(tmp_path, task)
    row = torch.tensor([[1.5]], dtype=torch.float64)
    store.keep(task, AnnealingResult(row, row, row, row, row[0], 7, 3))
    path = store.path(task)
    with np.load(path) as file:
        values = dict(file)
    if kind == "array":
        with path.open("wb") as fo:
            np.save(fo, np.zeros(3))
    else:
        changed = {"strings": np.array(["a"]), "other shape": np.ones((2, 2)),
                   "other values": np.array([[np.nan]])}[kind]  # fmt: skip
        np.savez(path, **{**values, "distortion": changed})
    assert store.find(task) is None
