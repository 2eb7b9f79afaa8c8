"""`python -m training PRESET` for the generative presets."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from bitstream.errors import UsageError
from codec.rate_distortion.image_arrays import read_images
from training.draw.config import DRAW_PRESETS, DrawPreset
from training.draw.data import draw_images
from training.generative.config import GENERATIVE_PRESETS, GenerativePreset
from training.generative.run import GenerativeProgress, GenerativeTrainer
from training.loop import CHECKPOINT, Budget


def show(progress: GenerativeProgress) -> None:
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
    preset: GenerativePreset | DrawPreset
    draw = options.preset in DRAW_PRESETS
    preset = DRAW_PRESETS[options.preset] if draw else GENERATIVE_PRESETS[options.preset]
    for flag, given in (
        ("--validation", bool(options.validation)),
        ("--weights", options.weights is not None),
        ("--device cuda", options.device == "cuda" and not draw),
        ("several --data", len(options.data) > 1),
    ):
        if given:
            raise UsageError(f"{flag}: the preset {options.preset!r} does not take it")
    if isinstance(preset, DrawPreset):
        images, device = draw_images(preset, options.data[0]), named_device(options.device)
    else:
        images = read_images(options.data[0], shape=preset.model.image_shape, part="train")
        device = torch.device("cpu")
    trainer = GenerativeTrainer(
        preset,
        images,
        run,
        budget=Budget(options.minutes, options.steps),
        autocast=not options.no_autocast,
        name=options.preset,
        device=device,
    )
    if (run / CHECKPOINT).exists():
        trainer.resume()
    return trainer.run(checkpoint_minutes=options.checkpoint_minutes, report=show)


def named_device(name: str) -> torch.device:
    """The device of a name, cuda for "auto" where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)
