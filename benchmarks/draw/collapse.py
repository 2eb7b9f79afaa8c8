"""Remedies against posterior collapse of DRAW's codes, in networks that are trained alike.

    python -m benchmarks.draw collapse --data mnist --steps 1000

Networks like `draw-digits`, with half of its steps, are trained for the same number of training
steps and measured on test images. Without a remedy the cost of the codes has its full weight from
the start. A warm-up raises the weight slowly (Bowman et al. 2016); free bits give every step and
level some bits at no cost (Kingma et al. 2016, section C.8).  Two levels pool the finer one, as in
Gregor et al. 2016, with again half of the steps, so that training takes about as long.  Without
error feedback, the skip connection of DRAW, the encoder sees only the image, not what the canvas
still lacks.

A unit, one number of a code, is active if the mean of its posterior varies by more than 0.01 over
the images, in squared standard deviations of its prior (Burda et al. 2016, section 5.2).
"""

from __future__ import annotations

import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.draw import subject
from benchmarks.draw.likelihood import BATCH, nelbo_of, posterior_pass
from benchmarks.harness.results import Measured, Report, timed
from benchmarks.harness.small_images import rounded
from codec.datasets.arrays import Images
from codec.models.draw.network import DrawNetwork
from codec.models.draw.recursion import DrawState, Recursion
from training.data.small_images import evenly, to_tensor
from training.draw.config import DRAW_PRESETS, DrawPreset
from training.draw.learner import DrawLearner
from training.generative.vae import binarize
from training.loop.trainer import Budget, Trainer

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
ACTIVE_VARIANCE = 0.01

_DIGITS = DRAW_PRESETS["draw-digits"]
_PLAIN = replace(_DIGITS, kl_warmup=0.0, model=replace(_DIGITS.model, steps=8))
_LEVELS = replace(_PLAIN, model=replace(_PLAIN.model, steps=4, hidden=(32, 32), codes=(8, 8)))
NO_FEEDBACK = "no error feedback"
VARIANTS: dict[str, DrawPreset] = {
    "no remedy": _PLAIN,
    "warm-up": replace(_PLAIN, kl_warmup=0.3),
    "free bits": replace(_PLAIN, free_nats=1.5),
    NO_FEEDBACK: _PLAIN,
    "two levels": _LEVELS,
    "two levels, free bits": replace(_LEVELS, free_nats=1.5),
}


class WithoutFeedback(Recursion):
    """The recursion with an encoder that sees x instead of x − μ(r)."""

    def shown(self, state: DrawState) -> Tensor:
        return torch.zeros_like(super().shown(state))


def trained(preset: DrawPreset, images: Images, steps: int, *, feedback: bool) -> DrawNetwork:
    """A network after `steps` training steps on images uint8 (n, 1, h, w)."""
    learner = DrawLearner(preset)
    if not feedback:
        learner.network.recursion = WithoutFeedback(preset.model, learner.network)
    learner.take(images)
    with tempfile.TemporaryDirectory() as folder:
        Trainer(learner, Path(folder), budget=Budget(steps=steps)).run()
    return learner.network.eval()


@torch.inference_mode()
def measure_units(network: DrawNetwork, x: Tensor, generator: torch.Generator) -> Report:
    """Nats and active units for x (n, 1, h, w)."""
    nelbos, costs, means = [], [], []
    for part in torch.split(x, BATCH):
        done = posterior_pass(network, part, generator)
        nelbos.append(nelbo_of(network.config, done, part))
        costs.append(done.kl)
        means.append(done.means)
    # For each step and level, over all images.
    variances = [torch.cat(parts).var(0) for parts in zip(*means, strict=True)]
    active = [int((variance > ACTIVE_VARIANCE).sum()) for variance in variances]
    nelbo = torch.cat(nelbos)
    return {
        "nelbo_nats": float(nelbo.mean()),
        "nelbo_standard_error_nats": float(nelbo.std() / len(nelbo) ** 0.5),
        "kl_nats_of_each_step": torch.cat(costs).mean(0).tolist(),
        "units": sum(variance.numel() for variance in variances),
        "active_units": sum(active),
        "active_units_of_each_step_and_level": active,
    }


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="MNIST's files")
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--limit", type=int, default=2000, help="test images")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)


def run(options: Namespace) -> Iterator[Measured]:
    torch.set_num_threads(options.threads)
    images = _PLAIN.read(options.data)
    x = binarize(to_tensor(evenly(_PLAIN.read(options.data, part="test"), options.limit)))

    for name in options.variants:

        def by_name(name: str = name) -> dict[str, Report]:
            preset = replace(VARIANTS[name], seed=options.seed)
            network = trained(preset, images, options.steps, feedback=name != NO_FEEDBACK)
            generator = torch.Generator().manual_seed(options.seed)
            found = measure_units(network, x, generator)
            about = {"training_steps": options.steps, "images": len(x), "seed": options.seed}
            return {name: {**about, "found": rounded(found, 5)}}

        yield from timed("collapse", by_name, data=options.data.name)
