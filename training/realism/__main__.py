"""`python -m training.realism PRESET --data DIR`: train the realistic decoder of photo files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from bitstream.errors import CalotypeError, UsageError
from training.data import CropSampler, load_photographs
from training.generative.command import named_device, show
from training.loop import CHECKPOINT, Budget
from training.process_group import joined, require_alone
from training.realism.config import REALISM_PRESETS
from training.realism.photo_weights import load_photo_weights
from training.realism.run import RealismTrainer


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m training.realism",
        description="Train a second decoder of photo files, one that looks like photographs.",
    )
    parser.add_argument("preset", choices=sorted(REALISM_PRESETS))
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR|TAR")
    parser.add_argument("--validation", type=Path, nargs="*", default=[], metavar="DIR|TAR")
    parser.add_argument(
        "--weights",
        type=Path,
        help="photo weights (.safetensors) to train for; those that ship with the codec",
    )
    parser.add_argument("--run", type=Path, help="folder of the run (runs/PRESET)")
    parser.add_argument("--minutes", type=float, help="training time in all, resumed parts too")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--no-autocast", action="store_true", help="train in float32")
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0)
    options = parser.parse_args(arguments)
    if options.minutes is None and options.steps is None:
        parser.error("give --minutes or --steps")
    if options.run is None:
        options.run = Path("runs", options.preset)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parse(arguments)
    try:
        if options.threads:
            torch.set_num_threads(options.threads)
        found = (options.run / CHECKPOINT).exists()
        if found and not options.resume:
            raise UsageError(
                f"{options.run} holds a checkpoint of an earlier run: "
                "go on from it with --resume, or name another folder with --run"
            )
        if options.resume and not found:
            raise UsageError(f"{options.run} holds no checkpoint: drop --resume, or name its --run")
        with joined(named_device(options.device)) as group:
            require_alone(group, options.preset)
            train(options)
    except CalotypeError as error:
        print(f"training.realism: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def train(options: argparse.Namespace) -> None:
    """Train the preset that the command line names, or go on training it."""
    preset = REALISM_PRESETS[options.preset]
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


if __name__ == "__main__":
    sys.exit(main())
