"""Exports a training run of a generative model as a weights file and its card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from codec.models.generative.networks import GenerativeModel
from codec.models.generative.weights_file import load_generative, save_generative
from training.data.small_images import to_tensor
from training.generative.config import GenerativePreset
from training.generative.learner import GenerativeLearner
from training.generative.methods import generative_learner
from training.loop.export import ExportOptions, Run
from training.loop.optimise import MovingAverage
from training.loop.origin import write_card

UNITS = {
    "nelbo_nats": "negative ELBO, nats per image",
    "distortion_nats": "−log p(x\\|z) at a posterior sample, nats per image",
    "kl_nats": "KL(q(z\\|x) ‖ p(z)), nats per image",
    "joint_nelbo_nats": "negative ELBO of image and label, nats per image",
    "error_percent": "wrong classes of the classifier, per cent of the images",
    "bits_per_dimension": "negative ELBO, bits per value of an image",
    "bits_per_dimension_q": "estimated bits per value of an image, quality",
    "psnr_db_q": "PSNR of the mean squared error, dB, quality",
    "rate_nats": "KL divergence of the codes' posterior from the prior, nats per image",
    "sse": "squared error of the reconstruction, sum over pixels in [0, 1], mean over images",
    "variance": "variance of the Gaussian likelihood",
    "mmd": "squared maximum mean discrepancy of codes and prior",
    "code_mean_square": "mean square of the codes",
    "code_nll_nats": "−log p(z) of the codes under the fitted prior, nats",
    "critic_estimate": "E D(x) − E D(f(z)), the critic's estimate of the Wasserstein distance",
    "pattern_entropy_bits": "entropy of the sign of a unit of the critic, bits, mean over units",
    "nearest_sample_sse": "squared error of an image and the nearest of 5,000 samples",
    "nearest_data_sse": "squared error of a sample and the nearest image of the set",
}


def export_generative(run: Run[GenerativePreset], options: ExportOptions) -> Path:
    """Write `<preset>.safetensors` and its card; the card's last column has the figures of the
    exported weights on the test part of `data`.
    """
    learner = generative_learner(run.preset, autocast=False)
    learner.load_state_dict(run.networks())
    learner.eval()
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{run.name}.safetensors"
    figures = {key: round(value, 4) for key, value in run.figures.items()}
    card = {
        "model": run.name,
        "data": options.origin.data,
        "licence": options.origin.licence,
        "command": options.origin.command,
        "steps": str(run.state["step"]),
        "minutes": f"{run.state['seconds'] / 60:.1f}",
        "validation": json.dumps(figures),
    }
    save_generative(path, replace(learner.model(), card=card), half=options.half)
    exported = load_generative(path)
    test: dict[str, float] = {}
    if options.data:
        test = measure_exported(learner, exported, options.data[0])
    networks = [n for n in (exported.decoder, exported.encoder) if n is not None]
    counts = " + ".join(f"{sum(p.numel() for p in n.parameters()):,}" for n in networks)
    write_card(
        path,
        f"Weights of the generative model `{run.name}`",
        figures_table(run, test),
        parameters=f"{counts} (decoder{' + encoder' if exported.encoder is not None else ''})",
        sizes=exported.config,
        licence=options.origin.licence,
        rows={"prior": repr(exported.prior), **options.origin.rows()},
        tags=("generative-model", "rate-distortion"),
    )
    return path


def measure_exported(
    learner: GenerativeLearner, exported: GenerativeModel, data: Path
) -> dict[str, float]:
    """Figures on the test part of `data`, with the exported weights."""
    for name in ("decoder", "average", "encoder", "encoder_average"):
        network = exported.encoder if name.startswith("encoder") else exported.decoder
        target = getattr(learner, name, None)
        if isinstance(target, MovingAverage):
            target = target.module
        if isinstance(target, nn.Module) and network is not None:
            target.load_state_dict(network.state_dict())
    return learner.measure(to_tensor(learner.preset.read(data, part="test")))


def figures_table(run: Run[Any], test: Mapping[str, float]) -> str:
    """The validation and test figures, for a model card; empty without validation figures."""
    if not run.figures:
        return ""
    held_out = f"{run.preset.validation:,} held-out training images"
    rows = [
        f"| figure | validation ({held_out}), as trained | test, as exported |",
        "|---|---|---|",
    ]
    for key, value in run.figures.items():
        name, mark, quality = key.rpartition("_q")
        unit = f"{UNITS[name + mark]} {quality}" if mark else UNITS.get(key, key)
        measured = f"{test[key]:.4f}" if key in test else "–"
        rows.append(f"| {unit} | {value:.4f} | {measured} |")
    return "\n".join([*rows, ""])
