"""`python -m training.draw.export --run RUN -o FOLDER`: weights file and card of a DRAW model.

The weights are rounded to fixed point, and all figures but those of training are measured with
what they became. Uniform posteriors get probability tables, fitted to the symbols that the exact
coder writes of training images; gaussian ones get the tables of an archive, and numbers of bins
fitted to training images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitstream.errors import CalotypeError, InputError, UsageError
from bitstream.tables import TableSet, gaussian_tables
from codec.datasets.arrays import Images
from codec.loading import HASH_BYTES
from codec.models.draw import ARCHIVE, DRAW
from codec.models.draw.archive import bits_back_arrays
from codec.models.draw.coder import TABLE_PREFIX, DrawCoder
from codec.models.draw.exact import ExactDraw, exact_arrays, log_scale_levels
from codec.models.draw.network import network_from_arrays
from codec.models.draw.recursion import DrawConfig
from training.data.small_images import evenly
from training.draw.archive_bins import fitted_bits
from training.draw.config import DrawPreset
from training.draw.data import draw_images
from training.draw.learner import DrawLearner
from training.generative.run import build_learner, load_generative_checkpoint, to_tensor
from training.generative.vae import binarize
from training.loop.export import Array, measured_table, write_weights_file
from training.loop.origin import Origin, add_origin_options, card_head
from training.loop.table_fit import count_symbols, latent_tables, new_histogram
from training.photo.learner import CHECKPOINT

QUALITIES = 12
"""Tables are fitted at so many qualities, 1 .. 100."""
TRAINING_IMAGES = {"uniform": 300, "gaussian": 1000}
"""So many training images tables and bins are fitted to."""
CARD_IMAGES = 24
"""So many test images become files for the card."""

UNITS = {
    "nelbo_nats": "negative ELBO, nats per image",
    "distortion_nats": "−log p(x\\|z) at a posterior sample, nats per image",
    "kl_nats": "KL(q(z\\|x) ‖ p(z)), nats per image",
    "bits_per_dimension": "negative ELBO, bits per value of an image",
    "bits_per_dimension_q": "estimated bits per value of an image, quality",
    "psnr_db_q": "PSNR of the mean squared error, dB, quality",
}


@dataclass(frozen=True)
class Run:
    """What a training run has come to: the learner in evaluation mode, in float32."""

    name: str
    learner: DrawLearner
    state: dict[str, Any]

    @property
    def preset(self) -> DrawPreset:
        """How it was trained."""
        return self.learner.preset


def load_draw_run(run: Path, *, unfinished: bool = False) -> Run:
    """Read the checkpoint of a run.

    unfinished  take a run that has not ended as well
    Raises `InputError`.
    """
    state = load_generative_checkpoint(run / CHECKPOINT)
    if "posterior" not in state["preset"]["model"]:
        raise InputError(
            f"{run}: not a DRAW model; export it with python -m training.generative.export"
        )
    if not (state["finished"] or unfinished):
        raise InputError(f"{run}: the run has not ended; go on with it (--resume), or --unfinished")
    known = {f.name for f in fields(DrawPreset)}
    values = {key: value for key, value in state["preset"].items() if key in known}
    preset = DrawPreset(**{**values, "model": DrawConfig(**values["model"])})
    learner = build_learner(preset, autocast=False)
    learner.load_state_dict(state["learner"])
    return Run(state["name"] or DRAW.name, learner.eval(), state)


def draw_arrays(
    network: ExactDraw, exact: dict[str, Array], images: Images | None
) -> dict[str, Array]:
    """All arrays of a weights file, from those of the network.

    images  uint8 (n, C, side, side), training images that tables or bins are fitted to

    Raises `UsageError` where uniform posteriors come without images.
    """
    config = network.config
    if config.posterior == "uniform":
        if images is None:
            raise UsageError(
                "uniform posteriors need training images for their tables: give --data"
            )
        tables = step_tables(network, images).to_arrays()
        return {**exact, **{TABLE_PREFIX + name: array for name, array in tables.items()}}
    arrays = {**exact, **bits_back_arrays(config)}
    if images is not None:
        if config.likelihood == "bernoulli":
            images = (255 * binarize(to_tensor(images))).to(torch.uint8).numpy()
        arrays.update(fitted_bits(network, images))
    return arrays


def step_tables(network: ExactDraw, images: Images) -> TableSet:
    """Tables of the symbols, one for each level of ln σ_p.

    Gaussians convolved with a uniform of width one, reshaped by what the exact coder writes of
    images uint8 (n, 3, h, w): each is coded at two qualities, all qualities in turn.
    """
    scales = np.exp(log_scale_levels(network.config))
    # The symbols to be counted do not depend on the tables, but a coder is not one without.
    coder = DrawCoder(network, gaussian_tables(scales), bytes(HASH_BYTES))
    histogram = new_histogram(len(scales))
    for number, image in enumerate(images):
        for offset in (0, QUALITIES / 2):
            quality = 1 + 99 * ((number + offset) % QUALITIES) / (QUALITIES - 1)
            latents = coder.analyze(image.transpose(1, 2, 0), quality)
            for messages in coder.step_symbols(latents, quality):
                for symbols, indexes in messages:
                    count_symbols(histogram, indexes, symbols)
    return latent_tables(histogram, scales)


def export_run(
    run: Run,
    folder: Path,
    origin: Origin,
    *,
    training: Images | None = None,
    test: Images | None = None,
) -> Path:
    """Write `<preset>.safetensors`, `<preset>.md` and the registry; returns the weights file.

    training  uint8 (n, C, side, side), what tables or bins are fitted to
    test      what the exported weights are measured on, for the card

    Raises `UsageError` where uniform posteriors come without training images,
    `WeightsMismatchError` for weights that do not fit fixed point.
    """
    config = run.learner.config
    exact = exact_arrays(config, run.learner.network.state_dict())
    network = ExactDraw(config, exact)
    arrays = draw_arrays(network, exact, training)
    path, digest = write_weights_file(
        folder,
        run.name,
        arrays,
        model=run.name,
        config=config,
        models=[(DRAW if config.posterior == "uniform" else ARCHIVE).name],
        metadata={"side": str(run.preset.side)},
    )
    # From here on the learner measures what was exported.
    run.learner.network.load_state_dict(network_from_arrays(config, exact).state_dict())
    figures = {} if test is None else run.learner.validate(to_tensor(test))
    text = _card(run, path, digest, exact, origin, figures)
    if test is not None and config.posterior == "uniform":
        tables = TableSet.from_arrays(arrays, TABLE_PREFIX)
        coder = DrawCoder(network, tables, bytes.fromhex(digest)[:HASH_BYTES])
        chosen = evenly(test, CARD_IMAGES)
        text += measured_table(coder, list(chosen.transpose(0, 2, 3, 1)), part="test")
    path.with_suffix(".md").write_text(text, "utf-8")
    return path


def _unit(figure: str) -> str:
    name, mark, quality = figure.rpartition("_q")
    return f"{UNITS[name + mark]} {quality}" if mark else UNITS.get(figure, figure)


def _card(
    run: Run,
    path: Path,
    digest: str,
    exact: dict[str, Array],
    origin: Origin,
    test: dict[str, float],
) -> str:
    state = run.state
    parameters = sum(p.numel() for p in run.learner.network.parameters())
    rows = []
    if state["figures"]:
        held_out = f"{run.preset.validation:,} held-out training images"
        rows = ["", f"| figure | validation ({held_out}), as trained | test, as exported |"]
        rows.append("|---|---|---|")
    for key, value in state["figures"].items():
        measured = f"{test[key]:.4f}" if key in test else "–"
        rows.append(f"| {_unit(key)} | {value:.4f} | {measured} |")
    kind = (
        "`step_tables.*` integer probability tables, fitted to training images."
        if run.learner.config.posterior == "uniform"
        else "the others what an archive is coded with."
    )
    note = "" if state["finished"] else ", the run had not ended"
    head = card_head(
        f"Weights of the DRAW model `{run.name}`",
        path,
        digest,
        parameters=f"{parameters:,}",
        sizes=run.learner.config,
        licence=origin.licence,
        rows=origin.after(state["step"], state["seconds"], note=note).rows(),
        tags=("image-compression", "generative-model"),
    )
    return f"""{head}
Arrays `exact.*` are the network in fixed point, {kind}
""" + "\n".join([*rows, ""])


def _test_images(preset: DrawPreset, data: Path, training: Images) -> Images | None:
    """The test part of a data set, None where it has none of its own."""
    found = draw_images(preset, data, part="test")
    count = min(len(found), len(training))
    return None if np.array_equal(found[:count], training[:count]) else found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.draw.export")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("-o", "--output", type=Path, default=Path("weights"))
    parser.add_argument(
        "--data", type=Path, help="training data, for fitting; its test part is measured, if any"
    )
    parser.add_argument("--test", type=Path, help="data set whose test part is measured instead")
    parser.add_argument(
        "--images", type=int, help="how many training images to fit to (300, or 1000 of an archive)"
    )
    add_origin_options(parser)
    parser.add_argument(
        "--unfinished", action="store_true", help="export a run that has not ended as well"
    )
    options = parser.parse_args(arguments)
    origin = Origin.of(options)
    try:
        run = load_draw_run(options.run, unfinished=options.unfinished)
        training = test = None
        if options.data is not None:
            training = draw_images(run.preset, options.data)
            if options.test is None:
                test = _test_images(run.preset, options.data, training)
            count = options.images or TRAINING_IMAGES[run.preset.model.posterior]
            training = evenly(training[: len(training) - run.preset.validation], count)
        if options.test is not None:
            test = draw_images(run.preset, options.test, part="test")
        path = export_run(run, options.output, origin, training=training, test=test)
    except CalotypeError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
