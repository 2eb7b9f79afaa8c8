"""One process of a training run that test_process_group.py starts: `MODULE FOLDER`.

Writes FOLDER/RANK.json, the results of this process, which the test compares.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.codec.tiny import photographs
from training.data.crops import CropSampler
from training.loop.process_group import ALONE, ProcessGroup, ProcessLostError, joined
from training.loop.trainer import Budget, Trainer
from training.photo.config import PRESETS
from training.photo.learner import PhotoLearner

STEPS = 6
PRESET = dataclasses.replace(PRESETS["photo-tiny"], batch=4, hard_tail=0.0)


def trainer(folder: Path, budget: Budget, group: ProcessGroup = ALONE) -> Trainer:
    """A run in float32 on scenes that are the same everywhere."""
    sampler = CropSampler(photographs(4), crop=PRESET.crop, batch=PRESET.batch, seed=PRESET.seed)
    learner = PhotoLearner(
        PRESET, sampler, autocast=False, validation=photographs(1, seed=9), group=group
    )
    return Trainer(learner, folder, budget=budget, group=group)


def first_losses(run: Trainer) -> list[float]:
    """Losses of the first steps, on the whole batch."""
    return [run.train_step(step / STEPS)["loss"] for step in range(STEPS)]


def digest(run: Trainer) -> str:
    """SHA-256 of weights, averages and the optimiser's state, bit for bit."""
    state, found = run.learner.state(), hashlib.sha256()
    tensors: list[Any] = [*state["networks"].values()]
    for values in state["optimizers"]["adamw"]["state"].values():
        tensors += [value for value in values.values() if isinstance(value, torch.Tensor)]
    for tensor in tensors:
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


def main(arguments: Sequence[str]) -> None:
    """Train for steps and for a time, with NaN in one process, and lose the other process."""
    folder = Path(arguments[0])
    with joined(torch.device("cpu")) as group:
        seen: dict[str, Any] = {}
        run = trainer(folder / "steps", Budget(steps=STEPS), group)
        seen["losses"], seen["digest"] = first_losses(run), digest(run)

        # Clocks differ: the last process is late, but the first one's time counts.
        time.sleep(0.2 * group.rank)
        timed = trainer(folder / "minutes", Budget(minutes=0.5 / 60), group)
        timed.run(report_seconds=0.0)
        seen["timed"] = [timed.step, timed.seconds, digest(timed)]

        again = trainer(folder / "minutes", Budget(minutes=1), group)
        again.resume()
        again.train_step(0.5)
        timed.train_step(0.5)
        seen["resumed"] = [again.step - 1, digest(again), digest(timed)]

        run.save()
        run.budget = Budget(steps=STEPS + 8)
        if not group.is_first:
            assert isinstance(run.learner, PhotoLearner)
            with torch.no_grad():
                run.learner.model.analysis.stem.weight.fill_(float("nan"))
        run.run()
        seen["dropped"] = [run.step, run.dropped, run.rate_factor, digest(run)]

        begin = time.monotonic()
        if not group.is_first:
            (folder / f"{group.rank}.json").write_text(json.dumps(seen))
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            run.train_step(0.5)
        except ProcessLostError as error:
            seen["lost"] = [str(error), time.monotonic() - begin]
        (folder / f"{group.rank}.json").write_text(json.dumps(seen))
        sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
