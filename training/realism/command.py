"""`python -m training PRESET` for the realistic decoder of photo files."""

from __future__ import annotations

import argparse

from bitstream.errors import UsageError
from training.data.crops import CropSampler, load_photographs
from training.generative.command import named_device, show
from training.photo.learner import Budget
from training.realism.config import REALISM_PRESETS
from training.realism.photo_weights import load_photo_weights
from training.realism.run import RealismTrainer


def train_realism(options: argparse.Namespace) -> None:
    """Train the preset that the command line names, for the photo weights that it names.

    Raises `UsageError` for options that it does not take.
    """
    preset = REALISM_PRESETS[options.preset]
    for flag, value in (("--crop", options.crop), ("--seed", options.seed)):
        if value is not None:
            raise UsageError(f"{flag}: the preset {options.preset!r} does not take it")
    photo = load_photo_weights(options.weights, named_device(options.device))
    sampler = CropSampler(
        load_photographs(options.data, smallest_side=preset.crop),
        crop=preset.crop,
        batch=preset.batch,
        seed=preset.seed,
        downscale_probability=preset.downscale_probability,
    )
    trainer = RealismTrainer(
        preset,
        sampler,
        photo,
        options.run,
        budget=Budget(options.minutes, options.steps),
        autocast=not options.no_autocast,
        validation=load_photographs(options.validation) if options.validation else [],
        name=options.preset,
    )
    if options.resume:
        trainer.resume()
    trainer.run(checkpoint_minutes=options.checkpoint_minutes, report=show)
