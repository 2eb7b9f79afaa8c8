"""The training loop of the photo model."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitstream.errors import UsageError
from codec.models.photo.network import PhotoModel, quality_position
from codec.system.missing_extra import extra_needed_by
from training.data.crops import CropSampler, Pixels
from training.loop.checkpoint import parse_checkpoint, read_checkpoint, save_checkpoint
from training.loop.process_group import ALONE, ProcessGroup
from training.photo.config import PhotoPreset
from training.photo.losses import rate_distortion_loss, sample_positions
from training.photo.warm_start import start_from_weights

CHECKPOINT = "checkpoint.pt"
VALIDATION_QUALITIES = (15, 30, 45, 60, 80)
# Batches for the data-dependent start, far from those that training will see.
FIT_BATCH = 10**9


@dataclass(frozen=True)
class Budget:
    """When a run ends: after `minutes` of training in all, or after `steps`; the first of both."""

    minutes: float | None = None
    steps: int | None = None

    def progress(self, seconds: float, step: int) -> float:
        """Fraction of the budget used, in [0, 1]."""
        by_time = seconds / (60 * self.minutes) if self.minutes else 0.0
        by_steps = step / self.steps if self.steps else 0.0
        return min(1.0, max(by_time, by_steps))


@dataclass(frozen=True)
class Progress:
    """What the loop reports now and then; loss, bpp and PSNR are means of the last steps."""

    step: int
    seconds: float
    fraction: float
    learning_rate: float
    loss: float
    bpp: float
    psnr_db: float
    skipped: int


def build_optimizer(model: torch.nn.Module, preset: PhotoPreset) -> torch.optim.Optimizer:
    """The preset's optimiser; raises `UsageError` for an unknown or missing one."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    if preset.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=preset.learning_rate, betas=(0.9, 0.98), weight_decay=0.0
        )
    if preset.optimizer == "soap":
        with extra_needed_by("The optimizer 'soap' (the preset 'photo-adamw' takes another)"):
            from pytorch_optimizer import SOAP
        # Preconditioners pay for dense matrices; for biases, tables and depthwise filters
        # they cost as much as the step itself, so these get plain Adam (dimension 1).
        dense = [p for p in parameters if p.ndim == 4 and p.shape[1] > 1]
        rest = [p for p in parameters if not (p.ndim == 4 and p.shape[1] > 1)]
        optimizer: torch.optim.Optimizer = SOAP(
            [
                {"params": dense, "max_precondition_dim": 256},
                {"params": rest, "max_precondition_dim": 1},
            ],
            lr=preset.learning_rate,
            weight_decay=0.0,
            precondition_frequency=10,
        )
        return optimizer
    raise UsageError(f"optimizer {preset.optimizer!r} is unknown; use 'soap' or 'adamw'")


def to_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    """uint8 (batch, h, w, 3) to float (batch, 3, h, w) in [0, 1], channels last."""
    tensor = torch.from_numpy(np.array(pixels)).to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).float().div_(255)


class Trainer:
    """Trains a `PhotoModel` on crops, keeps an exponential moving average, and recovers.

    A step whose loss or gradient is not finite is dropped; after `patience` of them in a row,
    or when the running loss doubles, the last checkpoint is loaded again at a lower rate.

    weights: an exported weights file to start from, instead of the untrained transform.
    group: the processes that train together. Each takes its share of every batch; all have the
    same weights, averages and optimiser state, and take every decision from the same numbers.
    The first one writes and validates, while the others wait in the next step.
    """

    patience = 5

    def __init__(
        self,
        preset: PhotoPreset,
        sampler: CropSampler,
        directory: Path,
        *,
        budget: Budget,
        device: torch.device,
        autocast: bool = True,
        validation: Sequence[Pixels] = (),
        weights: Path | None = None,
        group: ProcessGroup = ALONE,
    ) -> None:
        self.group, self.share = group, group.share(preset.batch)
        torch.manual_seed(preset.seed)
        self.preset, self.sampler, self.directory = preset, sampler, directory
        self.budget, self.device, self.autocast = budget, device, autocast
        self.validation = validation
        self.model = PhotoModel(preset.model)
        if weights is not None:
            start_from_weights(self.model, weights)
        else:
            samples = [to_tensor(sampler(FIT_BATCH + k), torch.device("cpu")) for k in range(4)]
            self.model.fit_scales(torch.cat(samples))
        self.model = self.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        group.copy_from_first(list(self.model.state_dict().values()))
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimizer = build_optimizer(self.model, preset)
        self.step, self.seconds, self.rate_factor = 0, 0.0, 1.0
        self.skipped_in_a_row, self.skipped = 0, 0

    @property
    def checkpoint_path(self) -> Path:
        return self.directory / CHECKPOINT

    def state(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "seconds": self.seconds,
            "rate_factor": self.rate_factor,
            "preset": asdict(self.preset),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def save(self) -> None:
        if self.group.is_first:
            save_checkpoint(self.checkpoint_path, self.state())

    def resume(self) -> None:
        """Continue from the checkpoint in the run's directory, which the first process reads."""
        data = read_checkpoint(self.checkpoint_path) if self.group.is_first else b""
        state = parse_checkpoint(self.group.bytes_of_first(data), self.checkpoint_path)
        if state["preset"]["model"] != asdict(self.preset.model):
            raise UsageError(
                f"{self.checkpoint_path} was made with other model sizes: "
                f"{state['preset']['model']}; expected {asdict(self.preset.model)}"
            )
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]
        self.rate_factor = state["rate_factor"]

    def learning_rate(self, fraction: float) -> float:
        preset = self.preset
        cosine = 0.5 * (1 + math.cos(math.pi * fraction))
        rate = preset.final_learning_rate + cosine * (
            preset.learning_rate - preset.final_learning_rate
        )
        return self.rate_factor * rate * min(1.0, (self.step + 1) / preset.warmup_steps)

    def train_step(self, fraction: float) -> tuple[float, float, float] | None:
        """One optimiser step; (loss, bpp, mse), or None when the step had to be dropped.

        The batch, its qualities and its noise depend on the seed and the step alone, and the
        figures are those of the whole batch, whatever the number of processes.
        """
        preset = self.preset
        generator = torch.Generator().manual_seed(preset.seed * 1_000_003 + self.step)
        position = sample_positions(preset.batch, generator)[self.share].to(self.device)
        pixels = to_tensor(self.sampler(self.step, self.share), self.device)
        noise = SampleNoise(preset.seed, self.step, range(preset.batch)[self.share])
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(fraction)
        hard = fraction > 1 - preset.hard_tail
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            output = self.model(pixels, position, hard=hard, noise=noise)
        loss, bpp, mse = rate_distortion_loss(output, pixels, position)
        loss.backward()  # type: ignore[no-untyped-call]
        figures = torch.stack([loss.detach(), bpp.mean(), mse.mean()])
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.group.average([*gradients, figures])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), preset.gradient_clip)
        self.step += 1
        if not (torch.isfinite(figures[0]) and torch.isfinite(norm)):
            return None
        self.optimizer.step()
        self.update_average()
        loss_mean, bpp_mean, mse_mean = figures.tolist()
        return loss_mean, bpp_mean, mse_mean

    @torch.no_grad()
    def update_average(self) -> None:
        # A short memory at first: the average must not remember the untrained weights.
        decay = min(self.preset.ema_decay, (1 + self.step) / (10 + self.step))
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        for average, current in pairs:
            average.lerp_(current, 1 - decay)

    def run(
        self,
        *,
        checkpoint_minutes: float = 5.0,
        report: Callable[[Progress], None] | None = None,
        report_seconds: float = 10.0,
    ) -> None:
        """Train until the budget is used; the log is `log.csv` in the run's directory.

        report: called by the first process.
        """
        if self.group.is_first and not self.checkpoint_path.exists():
            self.save()  # there is a state to return to from the first step on
        begin = last_save = last_report = time.monotonic()
        earlier = self.seconds
        recent: deque[tuple[float, float, float]] = deque(maxlen=500)
        best_running = math.inf
        while (fraction := self.budget.progress(self.seconds, self.step)) < 1:
            values = self.train_step(fraction)
            now = time.monotonic()
            self.seconds = self.group.number_of_first(earlier + now - begin)
            if values is None:
                self.skipped += 1
                self.skipped_in_a_row += 1
            else:
                self.skipped_in_a_row = 0
                recent.append(values)
            running = float(np.mean([v[0] for v in recent])) if recent else math.inf
            if len(recent) == recent.maxlen:
                best_running = min(best_running, running)
            if self.skipped_in_a_row >= self.patience or running > 2 * best_running:
                self.roll_back()
                recent.clear()
                best_running = math.inf
            if now - last_report >= report_seconds and recent and self.group.is_first:
                last_report = now
                loss, bpp, mse = np.mean(np.array(recent), axis=0)
                progress = Progress(
                    self.step,
                    self.seconds,
                    fraction,
                    self.optimizer.param_groups[0]["lr"],
                    float(loss),
                    float(bpp),
                    float(-10 * np.log10(mse)),
                    self.skipped,
                )
                self.log("log.csv", asdict(progress))
                if report is not None:
                    report(progress)
            # Not in the middle of dropped steps: weights that make them are not worth keeping.
            if now - last_save >= 60 * checkpoint_minutes and not self.skipped_in_a_row:
                last_save = now
                self.save()
                self.log_validation()
        self.save()
        self.log_validation()

    def roll_back(self) -> None:
        """Return to the last checkpoint, at half the learning rate from there on."""
        step, seconds, factor = self.step, self.seconds, self.rate_factor
        self.resume()
        # The schedule goes on from now: a rolled-back run still ends within its budget, and
        # does not meet the same batches again.
        self.step, self.seconds, self.rate_factor = step, seconds, factor / 2
        self.skipped_in_a_row = 0

    def log(self, name: str, row: dict[str, Any]) -> None:
        path = self.directory / name
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)

    def log_validation(self) -> None:
        if not self.group.is_first:
            return
        for quality in VALIDATION_QUALITIES if self.validation else ():
            bpp, psnr = self.validate(quality)
            row = {"step": self.step, "quality": quality, "estimated_bpp": bpp, "psnr_db": psnr}
            self.log("validation.csv", row)

    @torch.no_grad()
    def validate(self, quality: float) -> tuple[float, float]:
        """Estimated bpp and mean PSNR in dB of the averaged weights, hard rounding."""
        position = torch.tensor([quality_position(quality)], device=self.device)
        rates, psnrs = [], []
        for image in self.validation:
            height, width = (side // 64 * 64 for side in image.shape[:2])
            pixels = to_tensor(image[None, :height, :width], self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
                output = self.average(pixels, position, hard=True)
            bits = output.latent_bits + output.hyper_bits
            rates.append(float(bits) / (height * width))
            rounded = output.reconstruction.clamp(0, 1).mul(255).round().div(255)
            psnrs.append(float(-10 * torch.log10((rounded - pixels).square().mean())))
        return float(np.mean(rates)), float(np.mean(psnrs))


class SampleNoise:
    """Noise in [0, 1) that every sample of a batch has from a generator of its own.

    It depends on the seed, the step, the sample's place in the whole batch and the number of the
    call: not on the other samples that a process has. The costs are those of one draw of the
    whole, and some microseconds a sample.

    samples   places of the samples in the whole batch, in the order of the first dimension
    """

    def __init__(self, seed: int, step: int, samples: Sequence[int]) -> None:
        self.seed, self.step, self.samples = seed, step, samples
        self.draws = 0

    def __call__(self, values: Tensor) -> Tensor:
        """Uniform noise, (samples, …) as `values`; other noise at every call."""
        self.draws += 1
        generator = torch.Generator(values.device)
        noise = torch.empty_like(values)
        for row, sample in zip(noise, self.samples, strict=True):
            key = np.random.SeedSequence((self.seed, self.step, sample, self.draws))
            generator.manual_seed(int(key.generate_state(1, np.uint64)[0]))
            # Drawn in a layout of its own: that of a batch may depend on its size.
            row.copy_(
                torch.rand(row.shape, generator=generator, dtype=values.dtype, device=values.device)
            )
        return noise
