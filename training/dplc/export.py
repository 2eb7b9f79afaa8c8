"""`python -m training.dplc.export --run RUN --data DATA -o FOLDER`: weights file and card.

Batch norms are folded into the last layers of the maps B, and the networks rounded to float16.
With what they have become, a prior of the symbols is fitted to training images at each rate, and
put into fixed point; all figures on the card are of the exported weights.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitstream.container import container_from_bytes, container_to_bytes
from bitstream.errors import CalotypeError, InputError, UsageError
from codec.datasets.arrays import Images
from codec.loading import HASH_BYTES
from codec.models.dplc import DPLC
from codec.models.dplc.coder import DplcCoder, dplc_arrays
from codec.models.dplc.networks import DplcConfig, DplcNetworks
from codec.models.dplc.prior import ExactBitPrior
from codec.models.sheets import sheet_of
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from training.data.small_images import evenly, preset_images
from training.dplc.config import DplcPreset
from training.dplc.figures import rate_figures
from training.dplc.learner import DplcLearner
from training.dplc.prior_fit import fit_prior
from training.generative.command import named_device
from training.generative.run import build_learner, load_generative_checkpoint, to_tensor
from training.loop.export import write_weights_file
from training.loop.origin import Origin, add_origin_options, card_head
from training.photo.learner import CHECKPOINT

TRAINING_IMAGES = 20_000
"""So many training images the priors are fitted to."""
SHEET = 32
"""The files that are measured are sheets of up to SHEET × SHEET images."""
_AT_ONCE = 1000


@dataclass(frozen=True)
class Run:
    """What a training run has come to: the learner in evaluation mode, in float32."""

    name: str
    learner: DplcLearner
    state: dict[str, Any]


def load_dplc_run(run: Path) -> Run:
    """Read the checkpoint of a finished run. Raises `InputError`."""
    state = load_generative_checkpoint(run / CHECKPOINT)
    if "rates" not in state["preset"]["model"]:
        raise InputError(
            f"{run}: not a distribution-preserving codec; export it with "
            "python -m training.generative.export or training.draw.export"
        )
    if not state["finished"]:
        raise InputError(f"{run}: the run has not ended; go on with it: --resume")
    known = {f.name for f in fields(DplcPreset)}
    values = {key: value for key, value in state["preset"].items() if key in known}
    preset = DplcPreset(**{**values, "model": DplcConfig(**values["model"])})
    learner = build_learner(preset, autocast=False)
    learner.load_state_dict(state["learner"])
    return Run(state["name"] or DPLC.name, learner.eval(), state)


@torch.no_grad()
def exported_networks(learner: DplcLearner) -> DplcNetworks:
    """The networks as a weights file holds them: batch norms folded, values of float16.

    Raises `UsageError` for values that float16 cannot hold.
    """
    networks = learner.folded()
    for name, parameter in networks.named_parameters():
        rounded = parameter.to(torch.float16)
        if not torch.isfinite(rounded).all():
            raise UsageError(f"{name} has values that float16 cannot hold: train it again")
        parameter.copy_(rounded)
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
    """A prior for each rate, from the bits of images uint8 (N, C, s, s); None at no symbols."""
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
    """What one rate costs in bits per pixel, and what a decoded file of it looks like.

    fixed_bpp  a bit for every symbol
    prior_bpp  estimate: code length under the prior, mean over images
    file_bpp   bytes of a whole file, a sheet of images, at `quality`
    psnr_db    of the mean squared error of the decoded sheet, 8 bits
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
    side = min(SHEET, math.isqrt(len(images)))
    sheet = sheet_of(images[: side**2], side, side)[..., : config.channels]
    rows = []
    for rate, symbols in enumerate(config.rates):
        quality = round((rate + 0.5) * 100 / len(config.rates), 2)
        data = container_to_bytes(compress_picture(Picture(sheet), coder, quality=quality))
        decoded = decompress_container(container_from_bytes(data), coder).pixels
        error = float(np.mean((decoded.astype(np.float64) - sheet) ** 2))
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
                8 * len(data) / (sheet.shape[0] * sheet.shape[1]),
                10 * math.log10(255**2 / max(error, 1e-9)),
            )
        )
    return rows


def export_run(
    run: Run,
    folder: Path,
    origin: Origin,
    *,
    training: Images,
    held_out: Images,
    test: Images | None = None,
    device: torch.device | None = None,
) -> Path:
    """Write `<preset>.safetensors`, `<preset>.md` and the registry; returns the weights file.

    training, held_out  uint8 (n, C, s, s), what priors are fitted to and chosen by
    test                what the card's figures are measured on, the held-out images if None

    Raises `UsageError` or `WeightsMismatchError` for weights that the file cannot hold.
    """
    device = device or torch.device("cpu")
    networks = exported_networks(run.learner).to(device)
    priors = fitted_priors(networks, training, held_out)
    arrays = dplc_arrays(networks, priors)
    path, digest = write_weights_file(
        folder, run.name, arrays, model=run.name, config=networks.config, models=[DPLC.name]
    )
    coder = DplcCoder(networks, priors, bytes.fromhex(digest)[:HASH_BYTES], device=device)
    measured = held_out if test is None else test
    figures = rate_figures(networks, to_tensor(measured))
    rows = measure_rates(coder, measured)
    part = f"{len(measured):,} {'held-out training' if test is None else 'test'} images"
    text = _card(run, path, digest, origin) + _table(rows, figures, part)
    path.with_suffix(".md").write_text(text, "utf-8")
    return path


def _table(rows: Sequence[MeasuredRate], figures: dict[str, float], part: str) -> str:
    lines = [
        "",
        f"Measured on {part}. Bits per pixel: one for every symbol; code length under the prior,",
        f"an estimate; whole files, each a sheet of up to {SHEET}×{SHEET} images, whose PSNR",
        "stands beside. MSE and pixel variance (over pictures of the same symbols) are of pixels",
        "in [0, 1], MMD is the squared discrepancy of B(E(X)) and N(0, I).",
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


def _card(run: Run, path: Path, digest: str, origin: Origin) -> str:
    parameters = sum(p.numel() for p in run.learner.networks.parameters())
    head = card_head(
        f"Weights of the distribution-preserving codec `{run.name}`",
        path,
        digest,
        parameters=f"{parameters:,}",
        sizes=run.learner.config,
        licence=origin.licence,
        rows=origin.after(run.state["step"], run.state["seconds"]).rows(),
        tags=("image-compression", "generative-model"),
    )
    return f"""{head}
Arrays `generator.*`, `encoders.*` and `maps.*` are float16, `prior.*` the priors of the symbols in
fixed point, fitted to training images, `bit_tables.*` integer probability tables.
"""


def _test_images(preset: DplcPreset, data: Path, training: Images) -> Images | None:
    """The test part of a data set, None where it has none of its own."""
    found = preset_images(preset, data, part="test")
    count = min(len(found), len(training))
    return None if np.array_equal(found[:count], training[:count]) else found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.dplc.export")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("-o", "--output", type=Path, default=Path("weights"))
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        help="training data, for the priors; its test part is measured, if any",
    )
    parser.add_argument("--test", type=Path, help="data set whose test part is measured instead")
    parser.add_argument(
        "--images", type=int, default=TRAINING_IMAGES, help="how many training images to fit to"
    )
    add_origin_options(parser)
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    options = parser.parse_args(arguments)
    origin = Origin.of(options)
    try:
        run = load_dplc_run(options.run)
        preset = run.learner.preset
        images = preset_images(preset, options.data)
        split = len(images) - preset.validation
        if split < 2:
            raise InputError(
                f"{options.data}: {len(images)} images, of which {preset.validation} are held out; "
                "give the data of the training run"
            )
        if options.test is not None:
            test: Images | None = preset_images(preset, options.test, part="test")
        else:
            test = _test_images(preset, options.data, images)
        path = export_run(
            run,
            options.output,
            origin,
            training=evenly(images[:split], options.images),
            held_out=images[split:],
            test=test,
            device=named_device(options.device),
        )
    except CalotypeError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
