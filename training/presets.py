"""Every preset that can be trained: its settings, and what trains and exports it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from bitstream.errors import InputError, UsageError
from training.autoregressive.config import AUTOREGRESSIVE_PRESETS, AutoregressivePreset
from training.autoregressive.export import export_autoregressive
from training.autoregressive.learner import AutoregressiveLearner
from training.data.labels import labels_of
from training.dplc.config import DPLC_PRESETS, DplcPreset
from training.dplc.export import export_dplc
from training.dplc.generator import load_decoder, load_generator
from training.dplc.learner import DplcLearner
from training.draw.config import DRAW_PRESETS, DrawPreset
from training.draw.export import export_draw
from training.draw.learner import DrawLearner
from training.generative.config import GENERATIVE_PRESETS, GenerativePreset
from training.generative.export import export_generative
from training.generative.flow import FlowLearner
from training.generative.learner import ImageLearner
from training.generative.m2 import ClassVaeLearner
from training.generative.methods import generative_learner
from training.loop.checkpoint import CHECKPOINT, load_checkpoint
from training.loop.export import ExportOptions, Run
from training.loop.trainer import Learner, Preset, TrainOptions
from training.photo.config import PRESETS, PhotoPreset
from training.photo.export import export_photo
from training.photo.learner import photo_learner
from training.pixel.config import PRESETS as PIXEL_PRESETS
from training.pixel.config import PixelPreset
from training.pixel.export import export_pixel
from training.pixel.learner import pixel_learner
from training.realism.config import REALISM_PRESETS, RealismPreset
from training.realism.export import export_realism
from training.realism.learner import realism_learner
from training.signal.config import PRESETS as SIGNAL_PRESETS
from training.signal.config import SignalPreset
from training.signal.export import export_signal
from training.signal.learner import signal_learner
from training.vq.config import VQ_PRESETS, VqPreset
from training.vq.export import export_vq
from training.vq.learner import VqLearner


@dataclass(frozen=True)
class Family:
    """What the commands need to know about a model family.

    title    name in the help text
    presets  the presets by name
    kind     class of its presets
    learner  makes a learner from a preset and the options of the command line
    export   writes a run's weights file and returns its path
    takes    those options of training and export that not every family accepts, but this one does
    """

    title: str
    presets: Mapping[str, Preset]
    kind: type[Preset]
    learner: Callable[[Any, TrainOptions], Learner]
    export: Callable[[Run[Any], ExportOptions], Path]
    takes: frozenset[str]


def _generative(preset: GenerativePreset, options: TrainOptions) -> Learner:
    learner = generative_learner(preset, autocast=options.autocast, device=options.device)
    if options.weights is not None:
        if not isinstance(learner, FlowLearner):
            raise UsageError(
                "--weights: only a preset with a flow can be trained for a decoder that is given"
            )
        learner.start_from(load_decoder(options.weights, preset.model))
    images = preset.read(options.data[0])
    if isinstance(learner, ClassVaeLearner):
        learner.take_labels(labels_of(options.data[0], len(images), preset.model.classes))
    learner.take(images)
    return learner


def _draw(preset: DrawPreset, options: TrainOptions) -> Learner:
    if options.weights is not None:
        # A warm-up is for codes without information; trained codes would grow without a price.
        preset = replace(preset, kl_warmup=0.0)
    learner = DrawLearner(
        preset, autocast=options.autocast, device=options.device, weights=options.weights
    )
    return _on_images(learner, options)


def _autoregressive(preset: AutoregressivePreset, options: TrainOptions) -> Learner:
    learner = AutoregressiveLearner(preset, autocast=options.autocast, device=options.device)
    return _on_images(learner, options)


def _dplc(preset: DplcPreset, options: TrainOptions) -> Learner:
    generator = None
    if options.weights is not None:
        generator = load_generator(options.weights, preset.model.generator)
    elif not preset.is_plain and not options.resumed:
        raise UsageError(
            "this preset is trained around a generator: name its file with --weights, "
            "as python -m training export wrote it, or a file of dplc, which contains one"
        )
    learner = DplcLearner(
        preset, autocast=options.autocast, device=options.device, generator=generator
    )
    return _on_images(learner, options)


def _vq(preset: VqPreset, options: TrainOptions) -> Learner:
    return _on_images(VqLearner(preset, autocast=options.autocast, device=options.device), options)


def _on_images(learner: ImageLearner, options: TrainOptions) -> Learner:
    learner.take(learner.preset.read(options.data[0]))
    return learner


FAMILIES = {
    "photo": Family(
        "the codec of photographs (any number of processes)",
        PRESETS,
        PhotoPreset,
        photo_learner,
        export_photo,
        frozenset({
            "several --data", "--validation", "--weights", "--features", "--seed",
            "--learning-rate", "several processes", "--images",
        }),
    ),
    "realism": Family(
        "the second decoder of photo files, for --realism",
        REALISM_PRESETS,
        RealismPreset,
        realism_learner,
        export_realism,
        frozenset({"several --data", "--validation", "--weights", "--features"}),
    ),
    "draw": Family(
        "the codecs draw and draw-bits-back",
        DRAW_PRESETS,
        DrawPreset,
        _draw,
        export_draw,
        frozenset({"--seed", "--learning-rate", "--weights", "--test", "--images"}),
    ),
    "dplc": Family(
        "the codec dplc, trained around a generator (--weights) unless it is plain",
        DPLC_PRESETS,
        DplcPreset,
        _dplc,
        export_dplc,
        frozenset({"--seed", "--crop", "--weights", "--test", "--images"}),
    ),
    "vq": Family(
        "the codec vq",
        VQ_PRESETS,
        VqPreset,
        _vq,
        export_vq,
        frozenset({"--seed", "--crop", "--test", "--images"}),
    ),
    "pixel": Family(
        "the lossless and the nearly lossless codec",
        PIXEL_PRESETS,
        PixelPreset,
        pixel_learner,
        export_pixel,
        frozenset({"several --data", "--validation", "--seed", "--learning-rate", "--weights"}),
    ),
    "signal": Family(
        "the lossless codec of one-dimensional signals (folders of WAV files)",
        SIGNAL_PRESETS,
        SignalPreset,
        signal_learner,
        export_signal,
        frozenset({"several --data", "--seed", "--learning-rate"}),
    ),
    "autoregressive": Family(
        "the lossless codecs of black-and-white digits",
        AUTOREGRESSIVE_PRESETS,
        AutoregressivePreset,
        _autoregressive,
        export_autoregressive,
        frozenset({"--seed"}),
    ),
    "generative": Family(
        "generative models, to be measured, and generators for dplc",
        GENERATIVE_PRESETS,
        GenerativePreset,
        _generative,
        export_generative,
        frozenset({"--seed", "--crop", "--full", "--weights"}),
    ),
}  # fmt: skip


def find_preset(name: str) -> tuple[Family, Any]:
    """The family and the settings of a preset. Raises `UsageError` for an unknown name."""
    for family in FAMILIES.values():
        if name in family.presets:
            return family, family.presets[name]
    names = [known for family in FAMILIES.values() for known in family.presets]
    near = difflib.get_close_matches(name, names, 3)
    raise UsageError(
        f"the preset {name!r} is unknown"
        + (f", did you mean {' or '.join(near)}?" if near else "")
        + "; python -m training train --help lists all of them"
    )


def read_run(folder: Path, *, unfinished: bool = False) -> tuple[Family, Run[Any]]:
    """The run in a folder, and its family. Raises `InputError`.

    unfinished   also accept a run that has not finished
    """
    if not (folder / CHECKPOINT).exists():
        raise InputError(f"{folder} holds no {CHECKPOINT}: name the folder of a run")
    state = load_checkpoint(folder / CHECKPOINT)
    family = FAMILIES.get(state["family"])
    if family is None:
        raise InputError(f"{folder}: a run of the family {state['family']!r} is not exported")
    if not (state["finished"] or unfinished):
        raise InputError(
            f"{folder}: the run has not ended; go on with it (--resume), or give --unfinished"
        )
    return family, Run(state["name"], _rebuilt(family.kind, state["preset"]), state)


def _rebuilt(kind: Any, values: Mapping[str, Any]) -> Any:
    """The dataclass from which `dataclasses.asdict` made these values."""
    kinds = get_type_hints(kind)
    return kind(**{
        field.name: _rebuilt(kinds[field.name], values[field.name])
        if is_dataclass(kinds[field.name])
        else values[field.name]
        for field in fields(kind)
    })  # fmt: skip
