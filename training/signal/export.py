"""Exports a training run of the signal model as a weights file: fixed point and integer tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bitstream.arrays import Array, Float64Array
from bitstream.tables import TableSet, tables_from_pmfs
from codec.coding.exact_layers import (
    ExactLayer,
    layer_arrays,
    single_precision,
    to_fixed_point,
)
from codec.models.signal import SIGNAL
from codec.models.signal.coder import FINE_SCALES, MOST_LOW_BITS, PHASE_BITS
from codec.models.signal.network import SignalConfig
from training.loop.export import ExportOptions, Run, write_weights_file
from training.loop.origin import Origin, write_card
from training.signal.config import SignalPreset
from training.signal.network import SignalNetwork

_INPUT_UNITS, _HIDDEN_UNITS = (10, 2**13), (8, 2**13)
"""Fraction bits of a layer's inputs, and their limit in these units: float32 holds the sums."""
_TAIL = 2.0**-16
_REACH = 2**11
_ABOUT = """\
Integers, for `codec.models.signal`: `first`, `layers.*`, `hidden` and `output` are the network in
fixed point, `tables.*` the probability tables. `mixture`, float32, is the distribution that the
tables were made from, which no decoder reads. The figures of test signals are in
`benchmarks/results/signals.json`.
"""


@torch.no_grad()
def fixed_point(network: SignalNetwork) -> dict[str, ExactLayer]:
    """The layers of a network as integers, by name."""
    layers = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv1d):
            weight = layer.weight.double().cpu().numpy()
            # The weights of the earlier place come first.
            rows = np.concatenate(list(weight.transpose(2, 0, 1)), 1)[:, :, None, None]
            # An exact layer rounds its sums down, which is half a unit on average.
            bias = layer.bias.double().cpu().numpy()[None] + 0.5 * 2.0**-10  # type: ignore[union-attr]
            units = single_precision(rows, *(_INPUT_UNITS if name == "first" else _HIDDEN_UNITS))
            layers[name] = to_fixed_point(rows, bias, units=units)
    return layers


@torch.no_grad()
def tables(network: SignalNetwork) -> TableSet:
    """The tables of all scales and fractions of a step, and of low bits."""
    network = network.double().cpu()
    pmfs = []
    differences = torch.arange(-_REACH, _REACH + 1, dtype=torch.float64)
    for scale in range(FINE_SCALES):
        bits = int(PHASE_BITS[scale])
        for phase in range(1 << bits):
            # The middle of the sixteenths that share the table, relative to that of the centre.
            offset = ((phase + 0.5) * 2 ** (4 - bits) - 0.5) / 16 - 0.5
            chosen = torch.full_like(differences, scale)
            pmfs.append(_table(network.probability(differences - offset, chosen)))
    pmfs += [(0, np.full(1 << bits, 2.0**-bits)) for bits in range(1, MOST_LOW_BITS + 1)]
    return tables_from_pmfs(pmfs)


def _table(probabilities: Tensor) -> tuple[int, Float64Array]:
    """The smallest symbol of a table and its probabilities; the escape covers the tails."""
    pmf = probabilities.numpy().astype(np.float64)
    pmf = np.where(pmf > 2.0**-21, pmf, 0.0)
    kept = np.flatnonzero(np.minimum(np.cumsum(pmf), np.cumsum(pmf[::-1])[::-1]) > _TAIL)
    first, last = int(kept[0]), int(kept[-1])
    return first - _REACH, pmf[first : last + 1] / max(1.0, pmf[first : last + 1].sum())


def export_arrays(network: SignalNetwork) -> dict[str, Array]:
    """All arrays of the weights file of a network."""
    arrays: dict[str, Array] = {}
    for name, layer in fixed_point(network).items():
        arrays |= layer_arrays(layer, name)
    arrays["mixture"] = network.mixture.detach().float().cpu().numpy()
    return arrays | {f"tables.{n}": array for n, array in tables(network).to_arrays().items()}


def write_weights(
    folder: Path, arrays: dict[str, Array], config: SignalConfig, origin: Origin
) -> Path:
    """Write `signal.safetensors`, its card and the registry; returns the weights file."""
    name = SIGNAL.name
    path = write_weights_file(folder, name, arrays, config=config, models=[name])
    write_card(
        path,
        f"Weights of the model `{name}`",
        _ABOUT,
        parameters=sum(a.size for n, a in arrays.items() if n.endswith((".weight", ".bias"))),
        sizes=config,
        licence=origin.licence,
        rows=origin.rows(),
        tags=("audio-compression",),
    )
    return path


def export_signal(run: Run[SignalPreset], options: ExportOptions) -> Path:
    """Write the weights file of a run as `signal.safetensors`.

    `benchmarks.measurement signals` measures the exported weights on test signals.
    """
    network = SignalNetwork(run.preset.model)
    network.load_state_dict(run.networks("network."))
    return write_weights(options.output, export_arrays(network), run.preset.model, options.origin)
