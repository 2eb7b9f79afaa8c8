"""`python -m training PRESET --data DIR_OR_FILE`: train a model, or go on training it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from codec.system.missing_extra import MissingExtraError, extra_needed_by

try:
    with extra_needed_by("Training", extra="train"):
        import torch
except MissingExtraError as error:
    print(f"training: {error}", file=sys.stderr)
    sys.exit(error.exit_code)

from bitstream.errors import CalotypeError, UsageError
from training.data.crops import CropSampler, load_photographs
from training.dplc.config import DPLC_PRESETS
from training.draw.config import DRAW_PRESETS
from training.generative.command import named_device, train_generative
from training.generative.config import GENERATIVE_PRESETS
from training.loop.process_group import ALONE, ProcessGroup, joined, require_alone
from training.photo.config import PRESETS
from training.photo.learner import CHECKPOINT, Budget, Progress, Trainer
from training.realism.command import train_realism
from training.realism.config import REALISM_PRESETS


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m training", description="Train a Calotype model on your own images."
    )
    kinds = (PRESETS, REALISM_PRESETS, GENERATIVE_PRESETS, DRAW_PRESETS, DPLC_PRESETS)
    names = [name for presets in kinds for name in sorted(presets)]
    parser.add_argument("preset", choices=names)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR|FILE")
    parser.add_argument("--validation", type=Path, nargs="*", default=[], metavar="DIR|TAR")
    parser.add_argument(
        "--run", type=Path, help="folder of the run (runs/photo, or runs/PRESET of another kind)"
    )
    parser.add_argument(
        "--weights",
        type=Path,
        help="weights file (.safetensors) to start from; of dplc presets, that of the generator; "
        "of realism presets, the photo weights that it is for (those that ship with the codec)",
    )
    parser.add_argument(
        "--crop",
        type=int,
        metavar="PIXELS",
        help="presets of 64×64 pixels: centre square that is cut from pictures (the largest)",
    )
    parser.add_argument("--seed", type=int, help="of another run of the same preset (0)")
    parser.add_argument(
        "--learning-rate",
        type=float,
        help="photo presets: the highest one, another than the preset's (lower, for weights that "
        "are trained already)",
    )
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
        options.run = Path("runs", "photo" if options.preset in PRESETS else options.preset)
    return options


def show(progress: Progress) -> None:
    """Report on standard error: one line that renews itself on a terminal, else many."""
    line = (
        f"step {progress.step:7d}  {progress.fraction:6.1%}  lr {progress.learning_rate:.2e}  "
        f"loss {progress.loss:.4f}  {progress.bpp:.3f} bpp  {progress.psnr_db:.2f} dB"
    )
    if progress.skipped:
        line += f"  {progress.skipped} steps dropped"
    end = "" if sys.stderr.isatty() else "\n"
    print(("\r\x1b[K" if not end else "") + line, end=end, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = parse(arguments)
    try:
        if options.threads:
            torch.set_num_threads(options.threads)
        with joined(named_device(options.device)) as group:
            train(options, group)
    except CalotypeError as error:
        print(f"{_name()}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def train(options: argparse.Namespace, group: ProcessGroup) -> None:
    """Train the preset that the command line names, in this process of the group.

    Raises `UsageError` where the run's folder holds a checkpoint and --resume is not given, or
    the reverse; for several processes that do not train a photo preset.
    """
    if options.preset not in PRESETS:
        require_alone(group, options.preset)
        if options.learning_rate is not None:
            raise UsageError(f"--learning-rate: the preset {options.preset!r} does not take it")
    # The first process makes a checkpoint at once: the others must not look for themselves.
    found = bool(group.number_of_first((options.run / CHECKPOINT).exists()))
    if found and not options.resume:
        raise UsageError(
            f"{options.run} holds a checkpoint of an earlier run: "
            "go on from it with --resume, or name another folder with --run"
        )
    if options.resume and not found:
        raise UsageError(f"{options.run} holds no checkpoint: drop --resume, or name its --run")
    if options.preset in PRESETS:
        train_photo(options, group)
    elif options.preset in REALISM_PRESETS:
        train_realism(options)
    else:
        train_generative(options, options.run)


def train_photo(options: argparse.Namespace, group: ProcessGroup = ALONE) -> None:
    """Train the photo preset that the command line names.

    Raises `UsageError` for options that it does not take.
    """
    preset = PRESETS[options.preset]
    if options.crop is not None:
        raise UsageError(f"--crop: the preset {options.preset!r} does not take it")
    if options.seed is not None:
        preset = replace(preset, seed=options.seed)
    if options.learning_rate is not None:
        preset = replace(preset, learning_rate=options.learning_rate)
    sampler = CropSampler(
        load_photographs(options.data, smallest_side=preset.crop),
        crop=preset.crop,
        batch=preset.batch,
        seed=preset.seed,
        downscale_probability=preset.downscale_probability,
    )
    # Only the first process validates.
    held_out = options.validation if group.is_first else []
    validation = load_photographs(held_out) if held_out else []
    trainer = Trainer(
        preset,
        sampler,
        options.run,
        budget=Budget(options.minutes, options.steps),
        device=group.device,
        autocast=not options.no_autocast,
        validation=validation,
        weights=options.weights,
        group=group,
    )
    if options.resume:
        trainer.resume()
    trainer.run(checkpoint_minutes=options.checkpoint_minutes, report=show)


def _name() -> str:
    """How messages call this process: one of several says which one it is."""
    rank = os.environ.get("RANK", "0")
    return "training" if rank == "0" else f"training, process {rank}"


if __name__ == "__main__":
    sys.exit(main())
