"""Exports a training run of the vector-quantisation codec as a weights file and its card.

The networks are rounded to float16, and the priors to fixed point. With the rounded networks, the
encoder's gains are chosen on held-out images; all figures on the card are for the exported weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Int16Array
from bitstream.errors import UsageError, WeightsMismatchError
from codec.coding.bits_back_tables import bit_tables
from codec.coding.exact_layers import ACTIVATION_BITS, to_fixed_point
from codec.datasets.arrays import Images
from codec.loading import HASH_BYTES, hash_weights
from codec.models.vq import VQ
from codec.models.vq.coder import VqCoder, vq_arrays
from codec.models.vq.networks import VqNetworks, quality_fraction
from codec.models.vq.prior import ExactCodePrior
from training.data.small_images import evenly
from training.loop.export import ExportOptions, Run, round_to_half, write_weights_file
from training.loop.origin import write_card
from training.loop.sheets import MeasuredSheet, measure_sheet, square_sheet
from training.vq.code_prior import CodePrior, KnottedLinear
from training.vq.config import VqPreset
from training.vq.learner import VqLearner

QUALITIES = (1.0, 25.0, 50.0, 75.0, 100.0)
GAIN_QUALITIES = QUALITIES[::2]
GAIN_FACTORS = (0.5, 0.7, 1.0, 1.4, 2.0)
HELD_OUT_IMAGES = 36
"""Number of held-out images on which the gains are chosen."""
SHEET = 10
"""The measured files are sheets of up to SHEET × SHEET images."""
ABOUT = """\
Arrays `networks.*` are float16, `prior.*` the priors of the codes in fixed point, `bit_tables.*`
integer probability tables.
"""


def trained_learner(run: Run[VqPreset]) -> VqLearner:
    """The learner of a run, in evaluation mode and float32."""
    learner = VqLearner(run.preset, autocast=False)
    learner.load_state_dict(run.networks())
    return learner.eval()


def exported_networks(learner: VqLearner) -> VqNetworks:
    """The networks as stored in a weights file. Raises `UsageError` if float16 cannot hold them."""
    networks = learner.networks.requires_grad_(False)
    round_to_half(networks)
    return networks


def exact_prior(prior: CodePrior, learner: VqLearner, level: int) -> ExactCodePrior:
    """A trained prior in fixed point. Raises `WeightsMismatchError` for weights that do not fit."""
    layers = []
    for layer in (prior.first, prior.second, prior.last):
        assert isinstance(layer, KnottedLinear)
        weight = layer.weight.detach().double().cpu().numpy()[:, :, None, None]
        layers.append(to_fixed_point(weight, layer.bias.detach().double().cpu().numpy()))
    return ExactCodePrior(
        learner.config,
        level,
        _whole(prior.embedding.weight),
        None if prior.above is None else _whole(prior.above.weight),
        tuple(layers),
        bit_tables(),
    )


def _whole(values: Tensor) -> Int16Array:
    scaled = np.rint(values.detach().double().cpu().numpy() * 2**ACTIVATION_BITS)
    if not (np.abs(scaled) < 2**15).all():
        raise WeightsMismatchError(
            "an embedding of codes has values that int16 does not hold: train it again with a "
            "smaller learning rate"
        )
    found: Int16Array = scaled.astype(np.int16)
    return found


def choose_gains(coder: VqCoder, images: Images) -> list[float]:
    """Multiply the encoder's gains by the factors that minimise λ · MSE + rate; return these.

    They minimise the mean of ln(λ · MSE + rate) over the qualities, for files of held-out images,
    first for the top level, then for the one below.
    """
    sheet, gains = square_sheet(images, math.isqrt(HELD_OUT_IMAGES)), coder.networks.gains
    chosen = []
    for level, measured in enumerate(gains.tolist()):
        costs = []
        for factor in GAIN_FACTORS:
            gains[level] = factor * measured
            costs.append(cost_of_files(coder, sheet))
        chosen.append(GAIN_FACTORS[int(np.argmin(costs))])
        gains[level] = chosen[-1] * measured
    return chosen


def cost_of_files(coder: VqCoder, sheet: Images) -> float:
    """The sum over the qualities of ln(λ · MSE + rate), both per pixel."""
    cost = 0.0
    for quality in GAIN_QUALITIES:
        row = measure_sheet(coder, sheet, quality)
        fraction = torch.tensor(quality_fraction(round(100 * quality)))
        cost += math.log(float(coder.config.weight(fraction)) * row.mse + row.rate_bpp)
    return cost


def export_vq(run: Run[VqPreset], options: ExportOptions) -> Path:
    """Write `<preset>.safetensors`, its card and the registry entry; returns the weights file.

    The card's figures are measured on the test part, or on the held-out images if there is none.

    Raises `UsageError` or `WeightsMismatchError` for weights that the file cannot hold.
    """
    if not options.data:
        raise UsageError("the gains of vq are chosen on held-out training images: give --data")
    images = run.preset.read(options.data[0])
    _, held_out = run.preset.split(images)
    test = run.preset.read_test(options.data[0], images, options.test)
    learner = trained_learner(run)
    networks = exported_networks(learner).to(options.device)
    priors = [exact_prior(learner.prior(level), learner, level) for level in range(
        learner.config.levels
    )]  # fmt: skip
    coder = VqCoder(networks, priors, bytes(HASH_BYTES), device=options.device)
    factors = choose_gains(coder, evenly(held_out, HELD_OUT_IMAGES))
    path = write_weights_file(
        options.output,
        run.name,
        vq_arrays(networks, priors),
        config=networks.config,
        models=[VQ.name],
    )
    coder = VqCoder(networks, priors, hash_weights(path)[:HASH_BYTES], device=options.device)
    measured = evenly(held_out if test is None else test, options.images or SHEET**2)
    sheet = square_sheet(measured, SHEET)
    rows = [measure_sheet(coder, sheet, quality) for quality in QUALITIES]
    count = sheet.shape[0] * sheet.shape[1] // networks.config.side**2
    part = f"{count:,} {'held-out training' if test is None else 'test'} images"
    write_card(
        path,
        f"Weights of the codec of vector quantisation `{run.name}`",
        ABOUT + _table(rows, part, factors),
        parameters=sum(p.numel() for p in learner.parameters()),
        sizes=networks.config,
        licence=options.origin.licence,
        rows=options.origin.rows(),
        tags=("image-compression", "generative-model"),
    )
    return path


def _table(rows: Sequence[MeasuredSheet], part: str, factors: Sequence[float]) -> str:
    lines = [
        "",
        f"Measured on a sheet of {part}: bytes of the whole file, decoded again; PSNR of the mean",
        "squared error. The gains that were measured in training are multiplied by",
        f"{', '.join(f'{factor:g}' for factor in factors)}, from the top level.",
        "",
        "| quality | bits per pixel | MSE, 0..255 | PSNR, dB |",
        "|---|---|---|---|",
        *(
            f"| {row.quality:g} | {row.rate_bpp:.4f} | {row.mse:.1f} | {row.psnr_db:.2f} |"
            for row in rows
        ),
    ]
    return "\n".join([*lines, ""])
