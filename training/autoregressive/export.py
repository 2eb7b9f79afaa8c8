"""Exports a training run of an autoregressive model as a weights file and its card.

The best average of the run is rounded to fixed point.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from bitstream.arrays import Array, Float64Array
from codec.coding.bits_back_tables import bit_tables
from codec.coding.exact_layers import ACTIVATION_BITS, finest_bits
from codec.models.autoregressive.config import AutoregressiveConfig
from codec.models.autoregressive.networks import gate_tables, hidden_mask, output_mask
from training.autoregressive.config import AutoregressivePreset
from training.autoregressive.learner import AutoregressiveLearner
from training.loop.export import ExportOptions, Run, write_weights_file
from training.loop.origin import write_card

_MAX_WEIGHT_BITS = 12


def autoregressive_arrays(
    config: AutoregressiveConfig, state: Mapping[str, Tensor]
) -> dict[str, Array]:
    """All arrays of a weights file, from the weights of `training.autoregressive.network`.

    Raises `WeightsMismatchError` for weights that fixed point cannot represent.
    """
    real = {name: value.detach().cpu().double().numpy() for name, value in state.items()}
    arrays: dict[str, Array] = {}
    for name in sorted(key.removesuffix(".weight") for key in real if key.endswith(".weight")):
        weight = real[f"{name}.weight"]
        if config.kind == "pixelcnn":
            weight = _seen_taps(name, weight)
        else:
            mask = hidden_mask if name == "hidden" else output_mask
            weight = weight[mask(config.hidden)]
        arrays.update(_layer_arrays(name, weight, real[f"{name}.bias"]))
    if config.kind == "pixelcnn":
        arrays.update(gate_tables())
    arrays.update({f"pixel_tables.{n}": a for n, a in bit_tables().to_arrays().items()})
    return arrays


def _seen_taps(name: str, weight: Float64Array) -> Float64Array:
    """A convolution (out, in, k, k) as (out, in · taps), with only the taps that are not masked."""
    taps = weight.shape[-1] ** 2
    seen = taps // 2 + (name != "first")
    return weight.reshape(*weight.shape[:2], taps)[:, :, :seen].reshape(len(weight), -1)


def _layer_arrays(name: str, weight: Float64Array, bias: Float64Array) -> dict[str, Array]:
    bits = finest_bits(name, weight, bias, _MAX_WEIGHT_BITS)
    # The exact layer rounds its sums down, which is half a unit on average.
    offsets = np.rint(bias * 2.0**ACTIVATION_BITS + 0.5)
    return {
        f"{name}.weight": np.rint(weight * 2.0**bits).astype(np.int16),
        f"{name}.bias": offsets.astype(np.int32),
        f"{name}.weight_bits": np.array(bits, np.int32),
    }


def export_autoregressive(run: Run[AutoregressivePreset], options: ExportOptions) -> Path:
    """Write `<preset>.safetensors`, its card and the registry; returns the weights file.

    `benchmarks.measurement autoregressive` measures the exported weights on test images.
    """
    config = run.preset.model
    learner = AutoregressiveLearner(run.preset, autocast=False)
    learner.load_state_dict(run.networks())
    arrays = autoregressive_arrays(config, learner.best.state_dict())
    model = f"digits-{config.kind}"
    path = write_weights_file(options.output, run.name, arrays, config=config, models=[model])
    text = (
        "Integers, for `codec.models.autoregressive`: layers in fixed point, and tables.\n"
        f"Held-out training images take {float(learner.best_nats):.2f} nats each, before rounding. "
        "The figures of test images are in `benchmarks/results/autoregressive.json`.\n"
    )
    write_card(
        path,
        f"Weights of the model `{model}`",
        text,
        parameters=sum(a.size for n, a in arrays.items() if n.endswith((".weight", ".bias"))),
        sizes=config,
        licence=options.origin.licence,
        rows=options.origin.rows(),
        tags=("image-compression", "generative-model"),
    )
    return path
