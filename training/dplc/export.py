"""Exports a training run of the distribution-preserving codec as a weights file and its card.

Batch norms are folded into the last layers of the maps B, and the networks rounded to float16.
With the rounded networks, a prior of the symbols is fitted to training images at each rate, and
converted to fixed point; all figures on the card are for the exported weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitstream.errors import UsageError
from codec.datasets.arrays import Images
from codec.loading import HASH_BYTES, hash_weights
from codec.models.dplc import DPLC
from codec.models.dplc.coder import DplcCoder, dplc_arrays
from codec.models.dplc.networks import DplcNetworks
from codec.models.dplc.prior import ExactBitPrior
from training.data.small_images import evenly, to_tensor
from training.dplc.config import DplcPreset
from training.dplc.figures import rate_figures
from training.dplc.learner import DplcLearner
from training.dplc.prior_fit import fit_prior
from training.loop.export import ExportOptions, Run, round_to_half, write_weights_file
from training.loop.origin import write_card
from training.loop.sheets import measure_sheet, square_sheet

TRAINING_IMAGES = 20_000
"""Number of training images to which the priors are fitted."""
SHEET = 32
"""The measured files are sheets of up to SHEET × SHEET images."""
_AT_ONCE = 1000
ABOUT = """\
Arrays `generator.*`, `encoders.*` and `maps.*` are float16, `prior.*` the priors of the symbols in
fixed point, fitted to training images, `bit_tables.*` integer probability tables.
"""


def trained_learner(run: Run[DplcPreset]) -> DplcLearner:
    """The learner of a run, in evaluation mode and float32."""
    learner = DplcLearner(run.preset, autocast=False)
    learner.load_state_dict(run.networks())
    return learner.eval()


def exported_networks(learner: DplcLearner) -> DplcNetworks:
    """The networks as stored in a weights file: batch norms folded, values of float16.

    Raises `UsageError` for values that float16 cannot hold.
    """
    networks = learner.folded()
    round_to_half(networks)
    return networks


@torch.no_grad()
def symbol_bits(networks: DplcNetworks, images: Images, rate: int) -> Tensor:
    """The bits of blocks uint8 (N, C, s, s) in the order of the coder: bool (N, n)."""
    device = next(networks.parameters()).device
    found = [
        (networks.analyze(to_tensor(part).to(device), rate) >= 0).flatten(1)
        for part in np.array_split(images, -(-len(images) // _AT_ONCE))
    ]
    return torch.cat(found)


def fitted_priors(
    networks: DplcNetworks, training: Images, held_out: Images
) -> list[ExactBitPrior | None]:
    """A prior for each rate, from the bits of images uint8 (N, C, s, s); None for no symbols."""
    priors: list[ExactBitPrior | None] = []
    for rate, symbols in enumerate(networks.config.rates):
        if not symbols:
            priors.append(None)
            continue
        fit = fit_prior(*(symbol_bits(networks, part, rate) for part in (training, held_out)))
        priors.append(ExactBitPrior.to_fixed_point(fit.weight, fit.bias))
    return priors


@dataclass(frozen=True)
class MeasuredRate:
    """The cost of one rate in bits per pixel, and the quality of a decoded file.

    fixed_bpp  a bit for every symbol
    prior_bpp  estimate: code length under the prior, mean over images
    file_bpp   size of a whole file, a sheet of images, at `quality`
    psnr_db    PSNR of the mean squared error of the decoded sheet, 8 bits
    """

    symbols: int
    quality: float
    fixed_bpp: float
    prior_bpp: float
    file_bpp: float
    psnr_db: float


def measure_rates(coder: DplcCoder, images: Images) -> list[MeasuredRate]:
    """Code a sheet of images, uint8 (N, C, s, s), at each rate and decode it again."""
    config = coder.config
    sheet = square_sheet(images, SHEET)
    rows = []
    for rate, symbols in enumerate(config.rates):
        quality = round((rate + 0.5) * 100 / len(config.rates), 2)
        found = measure_sheet(coder, sheet, quality)
        prior, cost = coder.priors[rate], 0.0
        if prior is not None:
            bits = symbol_bits(coder.networks, images, rate).cpu().numpy()
            cost = float(prior.cost_bits(bits).mean())
        rows.append(
            MeasuredRate(
                symbols,
                quality,
                config.symbols(rate) / config.side**2,
                cost / config.side**2,
                found.rate_bpp,
                found.psnr_db,
            )
        )
    return rows


def export_dplc(run: Run[DplcPreset], options: ExportOptions) -> Path:
    """Write `<preset>.safetensors`, its card and the registry entry; returns the weights file.

    Priors are fitted to the training images of `data`, and selected on those held out. The card's
    figures are measured on the test part, or on the held-out images if there is none.

    Raises `UsageError` or `WeightsMismatchError` for weights that the file cannot hold.
    """
    if not options.data:
        raise UsageError("the priors of dplc are fitted to training images: give --data")
    images = run.preset.read(options.data[0])
    training, held_out = run.preset.split(images)
    test = run.preset.read_test(options.data[0], images, options.test)
    networks = exported_networks(trained_learner(run)).to(options.device)
    fitted_to = evenly(training, options.images or TRAINING_IMAGES)
    priors = fitted_priors(networks, fitted_to, held_out)
    arrays = dplc_arrays(networks, priors)
    path = write_weights_file(
        options.output, run.name, arrays, config=networks.config, models=[DPLC.name]
    )
    coder = DplcCoder(networks, priors, hash_weights(path)[:HASH_BYTES], device=options.device)
    measured = held_out if test is None else test
    figures = rate_figures(networks, to_tensor(measured))
    rows = measure_rates(coder, measured)
    part = f"{len(measured):,} {'held-out training' if test is None else 'test'} images"
    write_card(
        path,
        f"Weights of the distribution-preserving codec `{run.name}`",
        ABOUT + _table(rows, figures, part),
        parameters=sum(p.numel() for p in networks.parameters()),
        sizes=networks.config,
        licence=options.origin.licence,
        rows=options.origin.rows(),
        tags=("image-compression", "generative-model"),
    )
    return path


def _table(rows: Sequence[MeasuredRate], figures: dict[str, float], part: str) -> str:
    lines = [
        "",
        f"Measured on {part}. Bits per pixel are given in three ways: one bit per symbol; the",
        "estimated code length under the prior; whole files, each a sheet of up to",
        f"{SHEET}×{SHEET} images, to which the PSNR belongs. MSE and pixel variance (over pictures",
        "of the same symbols) are of pixels in [0, 1], MMD is the squared discrepancy of z and",
        "N(0, I), or, where B gives codes, of codes and the flow's samples.",
        "",
        "| symbols | quality | bpp, fixed | bpp, prior | bpp, files | PSNR, dB | MSE | "
        "pixel variance | MMD |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        names = (f"{name}_s{row.symbols}" for name in ("mse", "pixel_variance", "mmd"))
        values = (f"{figures[n]:.5f}" if n in figures else "–" for n in names)
        rates = (row.fixed_bpp, row.prior_bpp, row.file_bpp)
        cells = (*(f"{v:.4f}" for v in rates), f"{row.psnr_db:.2f}", *values)
        lines.append(f"| {row.symbols} | {row.quality:g} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])
