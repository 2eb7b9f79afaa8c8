"""`python -m training`: train a preset, export a run, train features for Fréchet distances."""

from __future__ import annotations

import argparse
import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import torch

from bitstream.errors import CalotypeError, InputError, UsageError
from codec.options import MAX_SEED, check_integer, check_number
from training.features import train as features
from training.generative.digits_export import export_digits
from training.loop.export import ExportOptions, add_weights
from training.loop.origin import Origin, add_origin_options
from training.loop.process_group import ProcessGroup, joined, named_device, require_alone
from training.loop.trainer import Budget, Trainer, TrainOptions, check_folder, show
from training.presets import FAMILIES, Family, find_preset, read_run


class _Parser(argparse.ArgumentParser):
    """A parser that raises `UsageError`, like every other command."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see {self.prog} --help")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; it raises `UsageError`."""
    parser = _Parser(
        prog="python -m training", description="Train Calotype's models on your own images."
    )
    commands = parser.add_subparsers(dest="verb", required=True, metavar="train|export|features")
    _add_train(commands.add_parser(
        "train",
        help="train a preset, or resume its training",
        description="Train a preset until --minutes or --steps are used up.",
        epilog=_preset_list(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ))  # fmt: skip
    _add_export(commands.add_parser(
        "export",
        help="make a weights file and its model card from a finished run",
        description="Make a weights file, its model card and its registry entry from a finished "
        "run, or from the weights file of a VAE of digits.",
    ))  # fmt: skip
    features.add_options(commands.add_parser(
        "features",
        help="train the small classifier whose features are used for Fréchet distances",
    ))  # fmt: skip
    return parser


def _preset_list() -> str:
    parts = []
    for family in FAMILIES.values():
        names = textwrap.fill(
            " ".join(family.presets), 78, initial_indent="    ", subsequent_indent="    ",
            break_on_hyphens=False,
        )  # fmt: skip
        parts.append(f"  {family.title}:\n{names}")
    return "presets:\n" + "\n".join(parts)


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("preset", help="one of the presets below")
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR|FILE")
    parser.add_argument("--validation", type=Path, nargs="*", default=[], metavar="DIR|TAR")
    parser.add_argument("--run", type=Path, help="folder of the run (runs/PRESET)")
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="photo, pixel, draw: weights to start from; generative: for presets with a flow, a "
        "generator whose decoder is kept; dplc: the generator; realism: a realistic decoder to "
        "start from, or the photo weights that it is trained for (those that ship with the codec)",
    )
    parser.add_argument(
        "--features", type=Path, metavar="FILE",
        help="weights of LPIPS (npz, AlexNet); photo: makes LPIPS a part of the distortion for the "
        "tune visual; realism: compares pictures in its features as well as in cosine bands",
    )  # fmt: skip
    parser.add_argument(
        "--crop",
        type=int,
        metavar="PIXELS",
        help="presets of 64×64 pixels: side of the centre square cut from pictures (the largest)",
    )
    parser.add_argument("--seed", type=int, help="random seed, for several runs of a preset (0)")
    parser.add_argument(
        "--learning-rate",
        type=float,
        help="peak learning rate instead of the preset's (lower for weights that are trained "
        "already)",
    )
    parser.add_argument("--minutes", type=float, help="total training time, across resumptions")
    parser.add_argument("--steps", type=int, help="total number of steps, across resumptions")
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    _add_device(parser)
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--no-autocast", action="store_true", help="train in float32")
    parser.add_argument("--checkpoint-minutes", type=float, default=5.0)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=Path, metavar="RUN|FILE",
        help="folder of a finished run of any family, or the weights file of a trained VAE of "
        "digits, from which weights of the vae codecs are made",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, default=Path("weights"), metavar="DIR")
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="DIR|FILE",
        help="training data: tables and priors are fitted to it, and its test part is measured",
    )  # fmt: skip
    parser.add_argument(
        "--validation", type=Path, nargs="*", default=[], metavar="DIR|TAR",
        help="photo, realism: photographs to measure the weights on, for the card",
    )  # fmt: skip
    parser.add_argument(
        "--test", type=Path, help="draw, dplc: another data set whose test part is measured"
    )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE",
        help="realism: photo weights of the run (those that ship with the codec)",
    )  # fmt: skip
    parser.add_argument("--images", type=int, help="how many training images to fit to")
    parser.add_argument(
        "--full", action="store_true", help="generative models: float32 weights, not float16"
    )
    parser.add_argument(
        "--unfinished", action="store_true", help="also export a run that has not ended"
    )
    parser.add_argument(
        "--replace", action="store_true",
        help="replace other weights of the same name; otherwise the new name gets a number",
    )  # fmt: skip
    _add_device(parser)
    add_origin_options(parser)


def _add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code. A preset without a command is trained."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] not in (*_COMMANDS, "-h", "--help"):
        words.insert(0, "train")
    try:
        options = build_parser().parse_args(words)
        _COMMANDS[options.verb](options)
    except CalotypeError as error:
        rank = os.environ.get("RANK", "0")
        name = "training" if rank == "0" else f"training, process {rank}"
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def train(options: argparse.Namespace) -> None:
    """Train the preset that the command line names, in all processes that were started together.

    Raises `UsageError` for options that the preset does not take, if the run's folder holds a
    checkpoint and --resume is not given, or the reverse, and for several processes unless they
    train a photo preset.
    """
    if options.minutes is None and options.steps is None:
        raise UsageError("give --minutes or --steps")
    _check_numbers(options)
    family, preset = find_preset(options.preset)
    if options.threads:
        torch.set_num_threads(options.threads)
    with joined(named_device(options.device)) as group:
        _train(options, family, preset, group)


def _train(options: argparse.Namespace, family: Family, preset: Any, group: ProcessGroup) -> None:
    if "several processes" not in family.takes:
        require_alone(group, options.preset)
    takes = set(family.takes)
    if getattr(preset, "crop", None) is None:
        takes.discard("--crop")
    if getattr(preset, "is_plain", False):
        takes.discard("--weights")
    changes = {
        name: getattr(options, name)
        for name in ("seed", "crop", "learning_rate")
        if getattr(options, name) is not None
    }
    given = {
        **{"--" + name.replace("_", "-"): True for name in changes},
        "--validation": options.validation,
        "--weights": options.weights,
        "--features": options.features,
        "several --data": len(options.data) > 1,
    }
    _refuse(given, takes, f"the preset {options.preset!r} does not take it")
    preset = replace(preset, **changes)
    run = options.run or Path("runs", options.preset)
    check_folder(run, resume=options.resume, group=group)
    learner = family.learner(preset, TrainOptions(
        options.data,
        options.validation,
        options.weights,
        options.features,
        autocast=not options.no_autocast,
        resumed=options.resume,
        group=group,
    ))  # fmt: skip
    budget = Budget(options.minutes, options.steps)
    data = [path.absolute().name for path in options.data]
    trainer = Trainer(learner, run, budget=budget, name=options.preset, data=data, group=group)
    if options.resume:
        trainer.resume()
    trainer.run(checkpoint_minutes=options.checkpoint_minutes, report=show)


def export(options: argparse.Namespace) -> None:
    """Write the weights file for the run, or the VAE of digits, that the command line names.

    Raises `UsageError` for options that its family does not take.
    """
    origin = Origin.of(options)
    given = {
        "--validation": options.validation,
        "--weights": options.weights,
        "--test": options.test,
        "--images": options.images,
        "--full": options.full,
        "several --data": len(options.data) > 1,
    }
    family = None
    if options.source.is_file():
        _refuse(given, {"--images"}, "the export of a weights file does not take it")
    else:
        if not options.source.is_dir():
            raise InputError(f"{options.source} does not exist: name the folder of a run")
        family, run = read_run(options.source, unfinished=options.unfinished)
        takes = family.takes if family is FAMILIES["realism"] else family.takes - {"--weights"}
        _refuse(given, takes, f"the export of {run.name!r} does not take it")
        note = "" if run.state["finished"] else ", the run had not ended"
        data = run.state.get("data", [])
        origin = origin.after(run.state["step"], run.state["seconds"], data=data, note=note)
    with TemporaryDirectory() as folder:
        chosen = ExportOptions(
            Path(folder),
            origin,
            data=options.data,
            test=options.test,
            validation=options.validation,
            weights=options.weights,
            images=options.images,
            half=not options.full,
            device=named_device(options.device),
        )
        path = family.export(run, chosen) if family else export_digits(options.source, chosen)
        print(add_weights(path, options.output, replace=options.replace))


def _check_numbers(options: argparse.Namespace) -> None:
    if check_number("--checkpoint-minutes", options.checkpoint_minutes) < 0:
        raise UsageError(f"--checkpoint-minutes {options.checkpoint_minutes:g}: expected 0 or more")
    for name in ("minutes", "learning_rate"):
        value, flag = getattr(options, name), "--" + name.replace("_", "-")
        if value is not None and check_number(flag, value) <= 0:
            raise UsageError(f"{flag} {value:g} was given, expected a positive number")
    for name, low, high in (("steps", 1, MAX_SEED), ("threads", 1, 2**16), ("seed", 0, MAX_SEED)):
        value = getattr(options, name)
        if value is not None:
            check_integer("--" + name, value, low, high)


def _refuse(given: Mapping[str, Any], takes: set[str] | frozenset[str], reason: str) -> None:
    for flag, value in given.items():
        if value and flag not in takes:
            raise UsageError(f"{flag}: {reason}")


_COMMANDS = {"train": train, "export": export, "features": features.run}
