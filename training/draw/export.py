"""Exports a training run of DRAW as a weights file and its card.

The weights are rounded to fixed point, and all figures except those of training are measured with
the rounded weights. Uniform posteriors get probability tables, fitted to the symbols that the exact
coder writes for training images; gaussian ones get the tables of an archive, and numbers of bins
fitted to training images.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from bitstream.arrays import Array
from bitstream.errors import UsageError
from bitstream.tables import TableSet, gaussian_tables
from codec.datasets.arrays import Images
from codec.loading import HASH_BYTES, hash_weights
from codec.models.draw import ARCHIVE, DRAW
from codec.models.draw.archive import bits_back_arrays
from codec.models.draw.coder import TABLE_PREFIX, DrawCoder
from codec.models.draw.exact import ExactDraw, exact_arrays, log_scale_levels
from codec.models.draw.network import network_from_arrays
from training.data.small_images import evenly, to_tensor
from training.draw.archive_bins import fitted_bits
from training.draw.config import DrawPreset
from training.draw.learner import DrawLearner
from training.generative.export import figures_table
from training.generative.vae import binarize
from training.loop.export import ExportOptions, Run, measured_table, write_weights_file
from training.loop.origin import Origin, write_card
from training.loop.table_fit import count_symbols, latent_tables, new_histogram

QUALITIES = 12
"""Number of qualities, 1 .. 100, at which tables are fitted."""
TRAINING_IMAGES = {"uniform": 300, "gaussian": 1000}
"""Number of training images to which tables or bins are fitted."""
CARD_IMAGES = 24
"""Number of test images that become files for the card."""


def trained_learner(run: Run[DrawPreset]) -> DrawLearner:
    """The learner of a run, in evaluation mode and float32."""
    learner = DrawLearner(run.preset, autocast=False)
    learner.load_state_dict(run.networks())
    return learner.eval()


def draw_arrays(
    network: ExactDraw, exact: dict[str, Array], images: Images | None
) -> dict[str, Array]:
    """All arrays of a weights file, from those of the network.

    images  training images to which tables or bins are fitted, uint8 (n, C, side, side)

    Raises `UsageError` for uniform posteriors without images.
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

    They are Gaussians convolved with a uniform distribution of width one, reshaped by the symbols
    that the exact coder writes for images uint8 (n, 3, h, w): each image is coded at two qualities,
    so that all qualities take turns.
    """
    scales = np.exp(log_scale_levels(network.config))
    # The symbols to be counted do not depend on the tables, but a coder cannot do without.
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


def export_draw(run: Run[DrawPreset], options: ExportOptions) -> Path:
    """Write the weights file of a run, with tables or bins fitted to `data`, and measure it.

    It is measured on a test part.  Raises what `write_draw` raises.
    """
    preset = run.preset
    training = test = None
    if options.data:
        images = preset.read(options.data[0])
        test = preset.read_test(options.data[0], images, options.test)
        count = options.images or TRAINING_IMAGES[preset.model.posterior]
        training = evenly(preset.split(images)[0], count)
    elif options.test is not None:
        test = preset.read(options.test, part="test")
    return write_draw(run, options.output, options.origin, training=training, test=test)


def write_draw(
    run: Run[DrawPreset],
    folder: Path,
    origin: Origin,
    *,
    training: Images | None = None,
    test: Images | None = None,
) -> Path:
    """Write `<preset>.safetensors`, `<preset>.md` and the registry; returns the weights file.

    training  images to which tables or bins are fitted, uint8 (n, C, side, side)
    test      images on which the exported weights are measured, for the card

    Raises `UsageError` for uniform posteriors without training images, `WeightsMismatchError` for
    weights that fixed point cannot represent.
    """
    learner = trained_learner(run)
    config = learner.config
    exact = exact_arrays(config, learner.network.state_dict())
    network = ExactDraw(config, exact)
    arrays = draw_arrays(network, exact, training)
    is_archive = config.posterior != "uniform"
    path = write_weights_file(
        folder,
        run.name,
        arrays,
        config=config,
        models=[(ARCHIVE if is_archive else DRAW).name],
        metadata={"side": str(run.preset.side)},
    )
    # From here on the learner measures the exported weights.
    learner.network.load_state_dict(network_from_arrays(config, exact).state_dict())
    figures = {} if test is None else learner.measure(to_tensor(test))
    kind = (
        "and the others are for coding archives."
        if is_archive
        else "`step_tables.*` integer probability tables, fitted to training images."
    )
    text = f"Arrays `exact.*` are the network in fixed point, {kind}\n"
    if run.figures:
        text += "\n" + figures_table(run, figures)
    if test is not None and not is_archive:
        tables = TableSet.from_arrays(arrays, TABLE_PREFIX)
        coder = DrawCoder(network, tables, hash_weights(path)[:HASH_BYTES])
        chosen = evenly(test, CARD_IMAGES)
        text += measured_table(coder, list(chosen.transpose(0, 2, 3, 1)), part="test")
    write_card(
        path,
        f"Weights of the DRAW model `{run.name}`",
        text,
        parameters=sum(p.numel() for p in learner.network.parameters()),
        sizes=config,
        licence=origin.licence,
        rows=origin.rows(),
        tags=("image-compression", "generative-model"),
    )
    return path
