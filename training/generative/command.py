"""`python -m training PRESET` for the generative presets."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from bitstream.errors import UsageError
from codec.models.generative.networks import Decoder
from training.data.small_images import preset_images
from training.dplc.config import DPLC_PRESETS, DplcPreset
from training.dplc.generator import load_generator
from training.dplc.learner import DplcLearner
from training.draw.config import DRAW_PRESETS, DrawPreset
from training.draw.data import draw_images
from training.generative.config import GENERATIVE_PRESETS
from training.generative.run import GenerativeTrainer, Preset
from training.loop.trainer import StepProgress
from training.photo.learner import CHECKPOINT, Budget


def show(progress: StepProgress) -> None:
    """Report on standard error: one line that renews itself on a terminal, else many."""
    figures = "  ".join(f"{key} {value:.4g}" for key, value in progress.figures.items())
    line = (
        f"step {progress.step:7d}  {progress.fraction:6.1%}  "
        f"lr {progress.learning_rate:.2e}  {figures}"
    )
    end = "" if sys.stderr.isatty() else "\n"
    print(("\r\x1b[K" if not end else "") + line, end=end, file=sys.stderr, flush=True)


def train_generative(options: argparse.Namespace, run: Path) -> dict[str, float]:
    """Train the preset that the command line names; returns the figures of validation.

    Raises `UsageError` for options that the preset does not take.
    """
    name, found = options.preset, (run / CHECKPOINT).exists()
    presets: dict[str, Preset] = {**GENERATIVE_PRESETS, **DRAW_PRESETS, **DPLC_PRESETS}
    preset = presets[name]
    needs_generator = isinstance(preset, DplcPreset) and not preset.is_plain
    crops = not isinstance(preset, DrawPreset) and preset.crop is not None
    for flag, given in (
        ("--validation", bool(options.validation)),
        ("--weights", options.weights is not None and not needs_generator),
        ("--crop", options.crop is not None and not crops),
        ("several --data", len(options.data) > 1),
    ):
        if given:
            raise UsageError(f"{flag}: the preset {name!r} does not take it")
    if needs_generator and options.weights is None and not found:
        raise UsageError(
            f"the preset {name!r} is trained around a generator: name its file with --weights, "
            "as python -m training.generative.export wrote it"
        )
    if options.seed is not None:
        preset = replace(preset, seed=options.seed)
    device = named_device(options.device)
    generator = None
    if isinstance(preset, DplcPreset) and options.weights is not None:
        generator = load_generator(options.weights, preset.model)
    if isinstance(preset, DrawPreset):
        images = draw_images(preset, options.data[0])
    else:
        if options.crop is not None:
            preset = replace(preset, crop=options.crop)
        images = preset_images(preset, options.data[0])
    trainer = GenerativeTrainer(
        preset,
        images,
        run,
        budget=Budget(options.minutes, options.steps),
        autocast=not options.no_autocast,
        name=name,
        device=device,
        generator=generator,
    )
    if found:
        trainer.resume()
        if generator is not None:
            _check_same_generator(trainer, generator, options.weights)
    return trainer.run(checkpoint_minutes=options.checkpoint_minutes, report=show)


def _check_same_generator(trainer: GenerativeTrainer, generator: Decoder, path: Path) -> None:
    assert isinstance(trainer.learner, DplcLearner)
    trained = trainer.learner.networks.generator.state_dict()
    if any(not torch.equal(trained[key].cpu(), v) for key, v in generator.state_dict().items()):
        raise UsageError(
            f"{path} is not the generator of the run in {trainer.directory}: "
            "go on without --weights, or begin another run"
        )


def named_device(name: str) -> torch.device:
    """The device of a name, cuda for "auto" where there is one.

    Raises `UsageError` for cuda where there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no such device; use 'cpu' or 'auto'")
    return torch.device(name)
