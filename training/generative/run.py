"""The training loop of the generative models: batches, schedule, log, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from bitstream.errors import InputError, UsageError
from codec.datasets.arrays import Images
from codec.models.generative.networks import Decoder
from training.dplc.config import DplcPreset
from training.dplc.learner import DplcLearner
from training.draw.config import DrawPreset
from training.draw.learner import DrawLearner
from training.generative.config import GenerativePreset
from training.generative.gan import GanLearner
from training.generative.learner import Learner
from training.generative.rae import RaeLearner
from training.generative.vae import VaeLearner
from training.generative.wae import WaeLearner
from training.generative.wpp import WppLearner
from training.loop.checkpoint import load_checkpoint, save_checkpoint
from training.loop.trainer import StepProgress, StepTrainer
from training.photo.learner import CHECKPOINT, Budget

Preset = GenerativePreset | DrawPreset | DplcPreset

LEARNERS: dict[str, type[VaeLearner | WaeLearner | RaeLearner | GanLearner | WppLearner]] = {
    "vae": VaeLearner,
    "wae": WaeLearner,
    "rae": RaeLearner,
    "gan": GanLearner,
    "wpp": WppLearner,
}


@overload
def build_learner(
    preset: GenerativePreset, *, autocast: bool = ..., device: torch.device | None = ...
) -> Learner: ...


@overload
def build_learner(
    preset: DrawPreset, *, autocast: bool = ..., device: torch.device | None = ...
) -> DrawLearner: ...


@overload
def build_learner(
    preset: DplcPreset,
    *,
    autocast: bool = ...,
    device: torch.device | None = ...,
    generator: Decoder | None = ...,
) -> DplcLearner: ...


@overload
def build_learner(
    preset: Preset,
    *,
    autocast: bool = ...,
    device: torch.device | None = ...,
    generator: Decoder | None = ...,
) -> Learner | DrawLearner | DplcLearner: ...


def build_learner(
    preset: Preset,
    *,
    autocast: bool = True,
    device: torch.device | None = None,
    generator: Decoder | None = None,
) -> Learner | DrawLearner | DplcLearner:
    """The untrained networks of a preset; the same ones every time.

    generator   that a distribution-preserving codec is trained around
    """
    torch.manual_seed(preset.seed)
    if isinstance(preset, DrawPreset):
        return DrawLearner(preset, autocast=autocast, device=device)
    if isinstance(preset, DplcPreset):
        return DplcLearner(preset, autocast=autocast, device=device, generator=generator)
    return LEARNERS[preset.method](preset, autocast=autocast, device=device)


def to_tensor(images: Images) -> Tensor:
    """uint8 (n, C, H, W) to float32 in [0, 1]."""
    return torch.from_numpy(images.astype(np.float32) / 255)


class BatchSampler:
    """Every image once in an epoch, in an order that the seed and the epoch's number fix."""

    def __init__(self, images: Images, *, batch: int, seed: int) -> None:
        self.images, self.batch, self.seed = images, min(batch, len(images)), seed
        self._epoch, self._order = -1, np.arange(0)

    def __call__(self, number: int) -> Tensor:
        """Batch `number`: float32 (batch, C, H, W) in [0, 1]."""
        epoch, place = divmod(number, len(self.images) // self.batch)
        if epoch != self._epoch:
            rng = np.random.default_rng((self.seed, epoch))
            self._epoch, self._order = epoch, rng.permutation(len(self.images))
        chosen = self._order[place * self.batch : (place + 1) * self.batch]
        return to_tensor(self.images[chosen])


class GenerativeTrainer(StepTrainer):
    """Trains one generative model on images, uint8 (n, C, H, W).

    generator   as `build_learner` takes it

    The last `preset.validation` of them are held out.
    """

    def __init__(
        self,
        preset: Preset,
        images: Images,
        directory: Path,
        *,
        budget: Budget,
        autocast: bool = True,
        name: str = "",
        device: torch.device | None = None,
        generator: Decoder | None = None,
    ) -> None:
        if len(images) < preset.validation + 2:
            raise InputError(
                f"training data: {len(images)} images, of which {preset.validation} are held out "
                f"for validation; give at least {preset.validation + 2}"
            )
        super().__init__(directory, budget)
        self.preset, self.name = preset, name
        split = len(images) - preset.validation
        images = np.require(images, requirements="W")  # torch takes no others
        self.training, self.held_out = images[:split], images[split:]
        self.sampler = BatchSampler(self.training, batch=preset.batch, seed=preset.seed)
        self.learner = build_learner(preset, autocast=autocast, device=device, generator=generator)
        self.learner.start(torch.from_numpy(self.training))
        self.batches = 0
        self.figures: dict[str, float] = {}
        self.finished = False

    @property
    def checkpoint_path(self) -> Path:
        """The file that a killed run goes on from."""
        return self.directory / CHECKPOINT

    def save(self) -> None:
        """Write the checkpoint."""
        optimizers = self.learner.optimizers()
        state = {
            "kind": "generative",
            "name": self.name,
            "step": self.step,
            "batches": self.batches,
            "seconds": self.seconds,
            "finished": self.finished,
            "figures": self.figures,
            "preset": asdict(self.preset),
            "learner": self.learner.state_dict(),
            "optimizers": {name: o.state_dict() for name, o in optimizers.items()},
        }
        save_checkpoint(self.checkpoint_path, state)

    def resume(self) -> None:
        """Continue from the checkpoint in the run's directory."""
        state = load_generative_checkpoint(self.checkpoint_path)
        if state["preset"]["model"] != asdict(self.preset.model):
            raise UsageError(
                f"{self.checkpoint_path} was made with other model sizes: "
                f"{state['preset']['model']}; expected {asdict(self.preset.model)}"
            )
        for option in ("crop", "seed"):
            before, now = state["preset"].get(option), getattr(self.preset, option, None)
            if before != now:
                raise UsageError(
                    f"{self.checkpoint_path} was made with --{option} {before}, expected {now}: "
                    "its images would come in another way"
                )
        self.learner.load_state_dict(state["learner"])
        for name, optimizer in self.learner.optimizers().items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.step, self.batches = state["step"], state["batches"]
        self.seconds, self.figures = state["seconds"], state["figures"]

    def learning_rate(self, fraction: float) -> float:
        """Linear warm-up over the first steps, cosine over the budget."""
        preset = self.preset
        cosine = 0.5 * (1 + math.cos(math.pi * fraction))
        rate = preset.final_learning_rate + cosine * (
            preset.learning_rate - preset.final_learning_rate
        )
        return rate * min(1.0, (self.step + 1) / preset.warmup_steps)

    def draw(self) -> Tensor:
        """The next training batch."""
        self.batches += 1
        return self.sampler(self.batches - 1)

    def train_step(self, fraction: float) -> dict[str, float]:
        """One step of the learner; its noise depends on the seed and the step alone."""
        generator = torch.Generator().manual_seed(self.preset.seed * 1_000_003 + self.step)
        rate = self.learning_rate(fraction)
        for optimizer in self.learner.optimizers().values():
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("rate_factor", 1.0)
        figures = self.learner.train_step(self.draw, generator, fraction)
        self.step += 1
        return figures

    def run(
        self,
        *,
        checkpoint_minutes: float = 5.0,
        report: Callable[[StepProgress], None] | None = None,
        report_seconds: float = 10.0,
    ) -> dict[str, float]:
        """Train until the budget is used, fit what is fitted last; the figures of validation."""
        self.run_steps(checkpoint_minutes, report, report_seconds)
        self.learner.finish(torch.from_numpy(self.training))
        self.finished = True
        figures = self.validate()
        self.save()
        return figures

    def look(self) -> None:
        """Figures of the held-out images, into the log."""
        self.validate()

    def validate(self) -> dict[str, float]:
        """Figures of the held-out images, also into the log."""
        self.learner.eval()
        self.figures = self.learner.validate(to_tensor(self.held_out))
        self.learner.train()
        self.log("validation", {"step": self.step, "seconds": self.seconds, **self.figures})
        return self.figures


def load_generative_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of this trainer; raises `InputError` for one of another's."""
    state = load_checkpoint(path)
    if state.get("kind") != "generative":
        raise InputError(f"checkpoint {path} is not of a generative model; drop --resume")
    return state
