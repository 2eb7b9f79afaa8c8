"""The training loop of the realistic decoder: batches, schedule, log, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitstream.errors import InputError, UsageError
from codec.models.photo.realism import RealisticPhoto, RealisticSynthesis
from codec.rate_distortion import psnr_db
from training.data.crops import CropSampler, Pixels
from training.loop.checkpoint import load_checkpoint, save_checkpoint
from training.loop.trainer import StepProgress, StepTrainer
from training.photo.learner import CHECKPOINT, Budget
from training.photo.losses import sample_positions
from training.realism.config import RealismPreset
from training.realism.learner import RealismLearner
from training.realism.photo_weights import DecodedCrops, PhotoWeights, decode_crops, decoded_latents

KIND = "realism"
VALIDATION_QUALITIES = (5, 20, 40, 60, 80)


class RealismTrainer(StepTrainer):
    """Trains the realistic decoder of some photo weights on crops of photographs.

    validation  pictures uint8 (h, w, 3), sides of 16 pixels at least
    """

    def __init__(
        self,
        preset: RealismPreset,
        sampler: CropSampler,
        photo: PhotoWeights,
        directory: Path,
        *,
        budget: Budget,
        autocast: bool = True,
        validation: Sequence[Pixels] = (),
        name: str = "",
    ) -> None:
        super().__init__(directory, budget)
        self.preset, self.sampler, self.photo = preset, sampler, photo
        self.validation, self.name = validation, name
        torch.manual_seed(preset.seed)
        self.learner = RealismLearner(preset, photo.coder, autocast=autocast)
        self.batches = 0

    @property
    def checkpoint_path(self) -> Path:
        """The file that a killed run goes on from."""
        return self.directory / CHECKPOINT

    def save(self) -> None:
        """Write the checkpoint."""
        state = {
            "kind": KIND,
            "name": self.name,
            "step": self.step,
            "batches": self.batches,
            "seconds": self.seconds,
            "preset": asdict(self.preset),
            "config": asdict(self.photo.coder.config),
            "photo_sha256": self.photo.sha256,
            "learner": self.learner.state_dict(),
            "decoder_adam": self.learner.decoder_adam.state_dict(),
            "critic_adam": self.learner.critic_adam.state_dict(),
        }
        save_checkpoint(self.checkpoint_path, state)

    def resume(self) -> None:
        """Continue from the checkpoint in the run's directory.

        Raises `InputError` for another trainer's, `UsageError` for other photo weights or sizes.
        """
        state = load_realism_checkpoint(self.checkpoint_path)
        check_photo(state, self.photo, self.checkpoint_path)
        for name in ("critic", "condition"):
            found, expected = state["preset"][name], getattr(self.preset, name)
            if found != expected:
                raise UsageError(
                    f"{self.checkpoint_path} was made with {name}={found}, but the preset has "
                    f"{expected}: take the preset {state['name']!r}"
                )
        self.learner.load_state_dict(state["learner"])
        self.learner.decoder_adam.load_state_dict(state["decoder_adam"])
        self.learner.critic_adam.load_state_dict(state["critic_adam"])
        self.step, self.batches = state["step"], state["batches"]
        self.seconds = state["seconds"]

    def schedule(self, fraction: float) -> float:
        """Learning rates relative to their start, at a fraction of the budget."""
        cosine = 0.5 * (1 + math.cos(math.pi * fraction))
        return self.preset.final_share + (1 - self.preset.final_share) * cosine

    def learning_rate(self, fraction: float) -> float:
        """Learning rate of the decoder."""
        steps = self.step + 1 - self.preset.critic_lead
        warmup = min(1.0, max(0.0, steps / self.preset.warmup_steps))
        return warmup * self.preset.learning_rate * self.schedule(fraction)

    def draw(self, generator: torch.Generator) -> DecodedCrops:
        """The next training batch: qualities as often as in the training of photo."""
        self.batches += 1
        position = sample_positions(self.preset.batch, generator)
        return decode_crops(
            self.photo.coder, self.sampler(self.batches - 1), (1 + 99 * position).tolist()
        )

    def train_step(self, fraction: float) -> dict[str, float]:
        """One step of the learner; its noise depends on the seed and the step alone."""
        generator = torch.Generator().manual_seed(self.preset.seed * 1_000_003 + self.step)
        figures = self.learner.train_step(
            lambda: self.draw(generator),
            generator,
            decoder_rate=self.learning_rate(fraction),
            critic_rate=self.preset.critic_learning_rate * self.schedule(fraction),
        )
        self.step += 1
        return figures

    def run(
        self,
        *,
        checkpoint_minutes: float = 5.0,
        report: Callable[[StepProgress], None] | None = None,
        report_seconds: float = 10.0,
    ) -> None:
        """Train until the budget is used; the log is `log.jsonl` in the run's directory."""
        self.run_steps(checkpoint_minutes, report, report_seconds)
        self.save()
        self.look()

    def look(self) -> None:
        """Figures of the validation pictures, one row for each quality."""
        for quality in VALIDATION_QUALITIES if self.validation else ():
            row = {"step": self.step, "seconds": self.seconds, "quality": quality}
            self.log("validation", {**row, **self.validate(quality)})

    def validate(self, quality: float) -> dict[str, float]:
        """Mean PSNR in dB of 8-bit pictures by the averaged decoder, and by the photo model."""
        coder = self.photo.coder
        realistic = RealisticSynthesis(self.learner.average, coder.config, self.photo.sha256)
        second = RealisticPhoto(coder, realistic, 1)
        rows = []
        for picture in self.validation:
            height, width = (side // coder.stride * coder.stride for side in picture.shape[:2])
            pixels = np.ascontiguousarray(picture[:height, :width])
            latents = decoded_latents(coder, pixels, quality)
            drawn = (model.synthesize(latents, quality) for model in (second, coder))
            rows.append([psnr_db(pixels, one) for one in drawn])
        realistic_db, photo_db = np.mean(rows, axis=0)
        return {"psnr_db": float(realistic_db), "photo_psnr_db": float(photo_db)}


def load_realism_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint of this trainer; raises `InputError` for one of another's."""
    state = load_checkpoint(path)
    if state.get("kind") != KIND:
        raise InputError(f"checkpoint {path} is not of a realistic decoder; drop --resume")
    return state


def check_photo(state: dict[str, Any], photo: PhotoWeights, path: Path) -> None:
    """Raise `UsageError` unless a checkpoint belongs to these photo weights."""
    if state["photo_sha256"] != photo.sha256:
        raise UsageError(
            f"{path} was made for the photo weights {state['photo_sha256'][:16]}, "
            f"but {photo.sha256[:16]} were given: name the others with --weights"
        )
