"""A training run of DRAW becomes a weights file and its card.

The weights are rounded to fixed point, and all figures but those of training are measured with
what they became. Uniform posteriors get probability tables, fitted to the symbols that the exact
coder writes of training images; gaussian ones get the tables of an archive, and numbers of bins
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
from codec.loading import HASH_BYTES
from codec.models.draw import ARCHIVE, DRAW
from codec.models.draw.archive import bits_back_arrays
from codec.models.draw.coder import TABLE_PREFIX, DrawCoder
from codec.models.draw.exact import ExactDraw, exact_arrays, log_scale_levels
from codec.models.draw.network import DrawNetwork, network_from_arrays
from training.data.small_images import evenly, to_tensor
from training.draw.archive_bins import fitted_bits
from training.draw.config import DrawPreset
from training.draw.learner import DrawLearner
from training.generative.vae import binarize
from training.loop.export import ExportOptions, Run, measured_table, write_weights_file
from training.loop.origin import Origin, card_head
from training.loop.table_fit import count_symbols, latent_tables, new_histogram

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


def trained_learner(run: Run[DrawPreset]) -> DrawLearner:
    """The learner of a run, in evaluation mode and float32."""
    learner = DrawLearner(run.preset, autocast=False)
    learner.load_state_dict(run.networks())
    return learner.eval()


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


def export_draw(run: Run[DrawPreset], options: ExportOptions) -> Path:
    """Write the weights file of a run, what is fitted to `data` in it; measure it on a test part.

    Raises what `write_draw` raises.
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

    training  uint8 (n, C, side, side), what tables or bins are fitted to
    test      what the exported weights are measured on, for the card

    Raises `UsageError` where uniform posteriors come without training images,
    `WeightsMismatchError` for weights that do not fit fixed point.
    """
    learner = trained_learner(run)
    config = learner.config
    exact = exact_arrays(config, learner.network.state_dict())
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
    learner.network.load_state_dict(network_from_arrays(config, exact).state_dict())
    figures = {} if test is None else learner.measure(to_tensor(test))
    text = _card(run, path, digest, learner.network, origin, figures)
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
    run: Run[DrawPreset],
    path: Path,
    digest: str,
    network: DrawNetwork,
    origin: Origin,
    test: dict[str, float],
) -> str:
    parameters = sum(p.numel() for p in network.parameters())
    rows = []
    if run.figures:
        held_out = f"{run.preset.validation:,} held-out training images"
        rows = ["", f"| figure | validation ({held_out}), as trained | test, as exported |"]
        rows.append("|---|---|---|")
    for key, value in run.figures.items():
        measured = f"{test[key]:.4f}" if key in test else "–"
        rows.append(f"| {_unit(key)} | {value:.4f} | {measured} |")
    kind = (
        "`step_tables.*` integer probability tables, fitted to training images."
        if run.preset.model.posterior == "uniform"
        else "the others what an archive is coded with."
    )
    head = card_head(
        f"Weights of the DRAW model `{run.name}`",
        path,
        digest,
        parameters=f"{parameters:,}",
        sizes=run.preset.model,
        licence=origin.licence,
        rows=origin.rows(),
        tags=("image-compression", "generative-model"),
    )
    return f"""{head}
Arrays `exact.*` are the network in fixed point, {kind}
""" + "\n".join([*rows, ""])
