"""The training loop of all families: budget, reports, log, checkpoints, recovery.

The loop is independent of the family. A `Learner` has the networks, the images and the loss of a
step; a `Preset` has the settings of a run.
"""

from __future__ import annotations

import csv
import math
import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from bitstream.errors import UsageError
from training.loop.checkpoint import CHECKPOINT, parse_checkpoint, read_checkpoint, save_checkpoint
from training.loop.optimise import Schedule, set_learning_rate
from training.loop.process_group import ALONE, ProcessGroup

LOG, VALIDATION_LOG = "log.csv", "validation.csv"
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Budget:
    """When a run ends: after `minutes` of training in total or `steps`, whichever is first."""

    minutes: float | None = None
    steps: int | None = None

    def progress(self, seconds: float, step: int) -> float:
        """Fraction of the budget used, in [0, 1]."""
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        by_steps = step / self.steps if self.steps else 0.0
        return min(1.0, max(by_time, by_steps))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """The settings on which a run of any family depends, besides its data.

    The learning rate rises linearly in the first steps, then follows half a cosine over the run's
    budget (steps or minutes) down to `final_learning_rate`.

    batch   images in a step
    seed    seed of the untrained weights, the batches and the noise
    """

    batch: int = 64
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 200
    seed: int = 0

    def schedule(self) -> Schedule:
        """The learning rate of each step."""
        return Schedule(self.learning_rate, self.final_learning_rate, self.warmup_steps)


@dataclass(frozen=True)
class TrainOptions:
    """The options of a run from the command line, besides its preset; paths are not checked yet.

    data        folders and files with the images to train on
    validation  folders and files with held-out images
    weights     a weights file to start from, or to train around
    features    weights of a network whose features are used to compare pictures
    resumed     whether the run continues from a checkpoint
    """

    data: Sequence[Path]
    validation: Sequence[Path] = ()
    weights: Path | None = None
    features: Path | None = None
    autocast: bool = True
    resumed: bool = False
    group: ProcessGroup = ALONE

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
        return self.group.device


class Learner(nn.Module, ABC):
    """The networks of one run, the images that they are trained on, and how they learn.

    Forward passes may run under bfloat16 autocast; every loss is computed in float32. Images are
    loaded on the CPU and moved to the device; random numbers are drawn on the CPU, so they are the
    same for every device. Making a learner seeds torch's global generator, so the same preset
    always has the same untrained weights.

    loss_must_fall   whether a doubled loss means that the weights have diverged
    optimizers       optimisers by name
    """

    family: ClassVar[str]
    loss_must_fall: ClassVar[bool] = False

    def __init__(self, preset: Preset, *, autocast: bool, device: torch.device | None) -> None:
        super().__init__()
        torch.manual_seed(preset.seed)
        self.autocast, self.device = autocast, device or CPU

    preset: Preset
    optimizers: dict[str, torch.optim.Optimizer]

    def schedules(self) -> Mapping[str, Schedule]:
        """The learning rate of each optimiser, by the same names."""
        return dict.fromkeys(self.optimizers, self.preset.schedule())

    @abstractmethod
    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """Take a step, counted from 0, at a fraction of the budget; return its batch's figures.

        `loss` is one of them. If it is not finite, the step has changed no weights. Batch and
        noise depend only on the seed and the step.
        """

    def validate(self) -> list[dict[str, float]]:
        """Rows of figures for held-out images, all with the same names, always the same images."""
        return []

    def finish(self) -> None:
        """Fit anything that is fitted to the training images after the weights are trained."""

    def fixed(self) -> dict[str, Any]:
        """What a checkpoint must have in common with a run that continues from it."""
        return {"model": asdict(self.preset)["model"]}

    def state(self) -> dict[str, Any]:
        """Everything that `load_state` needs to continue as if the run had never stopped."""
        optimizers = {name: each.state_dict() for name, each in self.optimizers.items()}
        return {"networks": self.state_dict(), "optimizers": optimizers}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of `state`."""
        self.load_state_dict(state["networks"])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])

    def mixed(self) -> torch.autocast:
        """The context in which networks run."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast)

    def noise_of(self, step: int) -> torch.Generator:
        """The random number generator of a step."""
        return torch.Generator().manual_seed(self.preset.seed * 1_000_003 + step)


@dataclass(frozen=True)
class Progress:
    """What the loop reports from time to time; `figures` are means over the last steps."""

    step: int
    seconds: float
    fraction: float
    learning_rate: float
    dropped: int
    figures: dict[str, float]

    def row(self) -> dict[str, float]:
        """A line of the log."""
        row = asdict(self)
        return {**row, **row.pop("figures")}


class Trainer:
    """Trains a learner until a budget is used up, in a folder of its own.

    A step whose loss or gradient is not finite is dropped. After `patience` dropped steps in a row,
    or when the running loss of a learner whose loss must fall doubles, the last checkpoint is
    loaded again at half the learning rate; after `last_patience` in a row the run ends.

    name    name of the preset, for the checkpoint
    data    names of the training data, for the card of an export
    group   the processes that train together. All have the same state and base every decision on
            the same numbers. The first one writes and validates, while the others wait in the next
            step
    """

    patience, last_patience = 5, 20
    memory = 500

    def __init__(
        self,
        learner: Learner,
        directory: Path,
        *,
        budget: Budget,
        name: str = "",
        data: Sequence[str] = (),
        group: ProcessGroup = ALONE,
    ) -> None:
        self.learner, self.directory, self.budget = learner, directory, budget
        self.name, self.data, self.group = name, list(data), group
        self.step, self.seconds, self.rate_factor = 0, 0.0, 1.0
        self.dropped_in_a_row, self.dropped = 0, 0
        self.validation: list[dict[str, float]] = []
        self.finished = False
        values = learner.state_dict().values()
        group.copy_from_first([value for value in values if isinstance(value, Tensor)])

    @property
    def checkpoint_path(self) -> Path:
        """The file from which a killed run continues."""
        return self.directory / CHECKPOINT

    def save(self) -> None:
        """Write the checkpoint, if this is the first process."""
        if not self.group.is_first:
            return
        state = {
            "family": self.learner.family,
            "name": self.name,
            "data": self.data,
            "step": self.step,
            "seconds": self.seconds,
            "rate_factor": self.rate_factor,
            "finished": self.finished,
            "validation": self.validation,
            "preset": asdict(self.learner.preset),
            "fixed": self.learner.fixed(),
            "learner": self.learner.state(),
        }
        save_checkpoint(self.checkpoint_path, state)

    def resume(self) -> None:
        """Continue from the checkpoint in the run's folder, which the first process reads.

        Raises `InputError` for a file that is no checkpoint, `UsageError` for a checkpoint of
        another family or of a run with other sizes or images.
        """
        path = self.checkpoint_path
        data = read_checkpoint(path) if self.group.is_first else b""
        state = parse_checkpoint(self.group.bytes_of_first(data), path)
        before = {"family": state["family"], **state["fixed"]}
        now = {"family": self.learner.family, **self.learner.fixed()}
        for name in now:
            if before.get(name) != now[name]:
                raise UsageError(
                    f"{path} was made with {name} {before.get(name)}, but this run has "
                    f"{now[name]}: give what it was made with, or begin in another folder"
                )
        self.learner.load_state(state["learner"])
        self.step, self.seconds = state["step"], state["seconds"]
        if self.group.is_first:
            for part in self.directory.glob(f".{CHECKPOINT}.*.part"):
                part.unlink(missing_ok=True)  # left by a run that was killed while it wrote
        self.rate_factor, self.validation = state["rate_factor"], state["validation"]

    def learning_rates(self, fraction: float) -> dict[str, float]:
        """The learning rate of each optimiser in the next step."""
        schedules = self.learner.schedules()
        return {k: self.rate_factor * each(self.step, fraction) for k, each in schedules.items()}

    def train_step(self, fraction: float) -> dict[str, float]:
        """Take one step of the learner at a fraction of the budget; return its batch's figures."""
        optimizers = self.learner.optimizers
        for name, rate in self.learning_rates(fraction).items():
            set_learning_rate(optimizers[name], rate)
        figures = self.learner.learn(self.step, fraction)
        self.step += 1
        return figures

    def run(
        self,
        *,
        checkpoint_minutes: float = 5.0,
        report: Callable[[Progress], None] | None = None,
        report_seconds: float = 10.0,
    ) -> list[dict[str, float]]:
        """Train until the budget is used up, call `finish`, and return the rows of validation.

        The logs are `log.csv` and `validation.csv` in the run's folder. `report` is called by the
        first process, and always after the last step. Raises `UsageError` if the loss stays
        infinite or NaN.
        """
        if self.group.is_first and not self.checkpoint_path.exists():
            self.save()  # so that there is a state to return to from the first step on
        begin = last_save = last_report = time.monotonic()
        earlier, reported_step = self.seconds, self.step
        recent: deque[dict[str, float]] = deque(maxlen=self.memory)
        best = math.inf
        while (fraction := self.budget.progress(self.seconds, self.step)) < 1:
            figures = self.train_step(fraction)
            now = time.monotonic()
            self.seconds = self.group.number_of_first(earlier + now - begin)
            if math.isfinite(figures["loss"]):
                self.dropped_in_a_row = 0
                recent.append(figures)
            else:
                self.dropped += 1
                self.dropped_in_a_row += 1
            running = float(np.mean([one["loss"] for one in recent])) if recent else math.inf
            if len(recent) == recent.maxlen:
                best = min(best, running)
            if self.must_roll_back(running, best):
                self.roll_back()
                recent.clear()
                best = math.inf
            if now - last_report >= report_seconds and recent:
                last_report, reported_step = now, self.step
                self.report(fraction, recent, report)
            # Not while steps are dropped: weights that cause this are not worth keeping.
            if now - last_save >= 60 * checkpoint_minutes and not self.dropped_in_a_row:
                last_save = now
                self.keep()
        if recent and reported_step != self.step:
            self.report(fraction, recent, report)
        self.learner.finish()
        self.finished = True
        self.keep()
        return self.validation

    def report(
        self,
        fraction: float,
        recent: Sequence[Mapping[str, float]],
        show: Callable[[Progress], None] | None,
    ) -> None:
        """Log the means of the last steps' figures and show them, if this is the first process."""
        if not self.group.is_first:
            return
        means = {k: float(np.mean([one[k] for one in recent])) for k in recent[0]}
        rate = next(iter(self.learning_rates(fraction).values()))
        progress = Progress(self.step, self.seconds, fraction, rate, self.dropped, means)
        self.log(LOG, progress.row())
        if show is not None:
            show(progress)

    def keep(self) -> None:
        """Validate and write the checkpoint, if this is the first process."""
        if not self.group.is_first:
            return
        self.validation = self.learner.validate()
        self.save()
        for row in self.validation:
            self.log(VALIDATION_LOG, {"step": self.step, "seconds": self.seconds, **row})

    def must_roll_back(self, running: float, best: float) -> bool:
        """Whether the weights have diverged, by the running loss, its best, and dropped steps.

        Raises `UsageError` if going back has not helped.
        """
        if self.dropped_in_a_row >= self.last_patience:
            raise UsageError(
                f"the loss of {self.dropped_in_a_row} steps in a row was not finite at step "
                f"{self.step}; try a lower learning rate, or --no-autocast"
            )
        if self.learner.loss_must_fall and running > 2 * best:
            return True
        return self.dropped_in_a_row > 0 and self.dropped_in_a_row % self.patience == 0

    def roll_back(self) -> None:
        """Return to the last checkpoint, at half the learning rate from there on."""
        step, seconds, factor = self.step, self.seconds, self.rate_factor
        self.resume()
        # The schedule continues from now on, so a rolled-back run still ends within its budget and
        # does not see the same batches again.
        self.step, self.seconds, self.rate_factor = step, seconds, factor / 2

    def log(self, name: str, row: Mapping[str, float]) -> None:
        """Append a row to a CSV file of the run, with a header line before the first row."""
        path = self.directory / name
        new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def check_folder(directory: Path, *, resume: bool, group: ProcessGroup = ALONE) -> None:
    """Raise `UsageError` if a run would overwrite a checkpoint, or has none to continue from."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory} is a file: name the folder of a run")
    # The first process soon writes a checkpoint, so the others must not look for it themselves.
    found = bool(group.number_of_first((directory / CHECKPOINT).exists()))
    if found and not resume:
        raise UsageError(
            f"{directory} holds a checkpoint of an earlier run: "
            "go on from it with --resume, or name another folder with --run"
        )
    if resume and not found:
        raise UsageError(f"{directory} holds no checkpoint: drop --resume, or name its --run")


def show(progress: Progress) -> None:
    """Report on standard error: one line that is updated on a terminal, else many lines."""
    figures = "  ".join(f"{key} {value:.4g}" for key, value in progress.figures.items())
    line = (
        f"step {progress.step:7d}  {progress.fraction:6.1%}  "
        f"lr {progress.learning_rate:.2e}  {figures}"
    )
    if progress.dropped:
        line += f"  {progress.dropped} steps dropped"
    end = "" if sys.stderr.isatty() else "\n"
    print(("\r\x1b[K" if not end else "") + line, end=end, file=sys.stderr, flush=True)
