"""`python -m training.generative.export --run RUN -o FOLDER`: weights file and model card."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from bitstream.errors import CalotypeError, InputError
from codec.models.generative.networks import GenerativeConfig, GenerativeModel
from codec.models.generative.weights_file import load_generative, save_generative
from training.data.small_images import preset_images
from training.generative.config import GenerativePreset
from training.generative.learner import Learner
from training.generative.run import build_learner, load_generative_checkpoint, to_tensor
from training.loop.origin import Origin, add_origin_options, card_head
from training.photo.learner import CHECKPOINT

UNITS = {
    "nelbo_nats": "negative ELBO, nats per image",
    "distortion_nats": "−log p(x\\|z) at a posterior sample, nats per image",
    "kl_nats": "KL(q(z\\|x) ‖ p(z)), nats per image",
    "sse": "squared error of the reconstruction, sum over pixels in [0, 1], mean over images",
    "variance": "variance of the Gaussian likelihood",
    "mmd": "squared maximum mean discrepancy of codes and prior",
    "code_mean_square": "mean square of the codes",
    "code_nll_nats": "−log p(z) of the codes under the fitted prior, nats",
    "critic_estimate": "E D(x) − E D(f(z)), the critic's estimate of the Wasserstein distance",
    "nearest_sample_sse": "squared error of an image and the nearest of 5,000 samples",
    "nearest_data_sse": "squared error of a sample and the nearest image of the set",
}


def load_run(run: Path) -> tuple[Learner, dict[str, Any]]:
    """The learner of a finished run's checkpoint, and the checkpoint."""
    state = load_generative_checkpoint(run / CHECKPOINT)
    if "posterior" in state["preset"]["model"]:
        raise InputError(f"{run}: a DRAW model; export it with python -m training.draw.export")
    if "rates" in state["preset"]["model"]:
        raise InputError(f"{run}: a dplc model; export it with python -m training.dplc.export")
    known = {f.name for f in fields(GenerativePreset)}
    values = {key: value for key, value in state["preset"].items() if key in known}
    preset = GenerativePreset(**{**values, "model": GenerativeConfig(**values["model"])})
    if not state["finished"]:
        raise InputError(f"{run}: the run has not ended; go on with it: --resume")
    learner = build_learner(preset, autocast=False)
    learner.load_state_dict(state["learner"])
    return learner.eval(), state


def measure_test(learner: Learner, exported: GenerativeModel, data: Path) -> dict[str, float]:
    """Figures on the test part of `data`, with the weights as they were exported."""
    for name in ("decoder", "average", "encoder", "encoder_average"):
        network = exported.encoder if name.startswith("encoder") else exported.decoder
        target = getattr(learner, name, None)
        if isinstance(target, torch.nn.Module) and network is not None:
            target.load_state_dict(network.state_dict())
    images = preset_images(learner.preset, data, part="test")
    return learner.validate(to_tensor(images))


def export_run(
    run: Path, folder: Path, *, card: dict[str, str], data: Path | None = None, half: bool = True
) -> Path:
    """Write `<preset>.safetensors` and `<preset>.md` of a finished run; the weights file.

    card  data, licence and command, as they stand in the card
    data  where the test part is read that the exported weights are measured on
    """
    learner, state = load_run(run)
    name = state["name"] or learner.config.family
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    told = {
        "model": name,
        **card,
        "steps": str(state["step"]),
        "minutes": f"{state['seconds'] / 60:.1f}",
        "validation": json.dumps({k: round(v, 4) for k, v in state["figures"].items()}),
    }
    model = replace(learner.model(), card=told)
    save_generative(path, model, half=half)
    exported = load_generative(path)
    test = measure_test(learner, exported, data) if data is not None else {}
    text = _card(path, exported, state["figures"], test, len_validation=learner.preset.validation)
    (folder / f"{name}.md").write_text(text, "utf-8")
    return path


def _card(
    path: Path,
    model: GenerativeModel,
    validation: dict[str, float],
    test: dict[str, float],
    *,
    len_validation: int,
) -> str:
    told = model.card
    networks = [n for n in (model.decoder, model.encoder) if n is not None]
    parameters = [sum(p.numel() for p in network.parameters()) for network in networks]
    counts = " + ".join(f"{count:,}" for count in parameters)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = [
        f"| {UNITS.get(key, key)} | {value:.4f} | "
        + (f"{test[key]:.4f} |" if key in test else "– |")
        for key, value in validation.items()
    ]
    origin = Origin(told["data"], told["licence"], told["command"])
    head = card_head(
        f"Weights of the generative model `{told['model']}`",
        path,
        digest,
        parameters=f"{counts} (decoder{' + encoder' if model.encoder is not None else ''})",
        sizes=model.config,
        licence=origin.licence,
        rows={
            "prior": repr(model.prior),
            **origin.after(int(told["steps"]), 60 * float(told["minutes"])).rows(),
        },
        tags=("generative-model", "rate-distortion"),
    )
    return f"""{head}
| figure | validation ({len_validation:,} held-out training images) | test |
|---|---|---|
""" + "\n".join([*rows, ""])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.generative.export")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("-o", "--output", type=Path, default=Path("weights"))
    parser.add_argument("--data", type=Path, help="data set whose test part is measured")
    add_origin_options(parser)
    parser.add_argument("--full", action="store_true", help="float32 weights instead of float16")
    options = parser.parse_args(arguments)
    card = {
        "data": options.data_description,
        "licence": options.licence,
        "command": options.command,
    }
    try:
        path = export_run(
            options.run, options.output, card=card, data=options.data, half=not options.full
        )
    except CalotypeError as error:
        print(f"export: {error}", file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
