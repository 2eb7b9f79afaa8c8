"""The loop that trainers of a step at a time share: budget, log, reports, checkpoints."""

from __future__ import annotations

import json
import math
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bitstream.errors import UsageError
from training.photo.learner import Budget

LOG = "log.jsonl"


@dataclass(frozen=True)
class StepProgress:
    """What the loop reports now and then; `figures` are means over the last steps."""

    step: int
    seconds: float
    fraction: float
    learning_rate: float
    figures: dict[str, float]


class StepTrainer(ABC):
    """Runs `train_step` until a budget is used.

    Where `patience` steps in a row have a loss that is not finite, the run ends with `UsageError`.

    step, seconds   of training so far, resumed parts too
    """

    patience = 20

    def __init__(self, directory: Path, budget: Budget) -> None:
        self.directory, self.budget = directory, budget
        self.step, self.seconds = 0, 0.0

    @abstractmethod
    def train_step(self, fraction: float) -> dict[str, float]:
        """One step at this fraction of the budget, counted in `step`; figures with `loss`."""

    @abstractmethod
    def learning_rate(self, fraction: float) -> float:
        """The rate that reports and the log name."""

    @abstractmethod
    def save(self) -> None:
        """Write the checkpoint."""

    @abstractmethod
    def look(self) -> None:
        """Put figures of what is held out into the log, before a checkpoint."""

    def run_steps(
        self,
        checkpoint_minutes: float,
        report: Callable[[StepProgress], None] | None,
        report_seconds: float,
    ) -> None:
        """Train until the budget is used; the log is `log.jsonl` in the run's directory."""
        begin = last_save = last_report = time.monotonic()
        earlier, dropped = self.seconds, 0
        recent: deque[dict[str, float]] = deque(maxlen=200)
        while (fraction := self.budget.progress(self.seconds, self.step)) < 1:
            figures = self.train_step(fraction)
            now = time.monotonic()
            self.seconds = earlier + now - begin
            finite = math.isfinite(figures["loss"])
            dropped = 0 if finite else dropped + 1
            if finite:
                recent.append(figures)
            if dropped >= self.patience:
                raise UsageError(
                    f"the loss of {dropped} steps in a row was not finite at step {self.step}; "
                    "try a lower learning rate, or --no-autocast"
                )
            if now - last_report >= report_seconds and recent:
                last_report = now
                means = {k: float(np.mean([r[k] for r in recent])) for k in recent[0]}
                rate = self.learning_rate(fraction)
                progress = StepProgress(self.step, self.seconds, fraction, rate, means)
                self.log("train", asdict(progress))
                if report is not None:
                    report(progress)
            if now - last_save >= 60 * checkpoint_minutes and not dropped:
                last_save = now
                self.look()
                self.save()

    def log(self, kind: str, row: dict[str, Any]) -> None:
        """One line of JSON."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **row}) + "\n")
