"""Exports a training run of a pixel model as a weights file: fixed point and integer tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from bitstream.arrays import Array, Float64Array, Int32Array
from bitstream.container import container_to_bytes
from bitstream.tables import TableSet, tables_from_pmfs
from codec.coding.exact_layers import (
    ExactLayer,
    layer_arrays,
    single_precision,
    to_fixed_point,
)
from codec.loading import HASH_BYTES, hash_weights
from codec.models.pixel.coder import NearLosslessCoder, PixelCoder, PixelConfig
from codec.models.pixel.wavefront import PEAK
from codec.pictures.picture import Picture
from codec.pipeline.encode import compress_picture
from training.data.crops import Pixels, load_photographs
from training.loop.export import ExportOptions, Run, write_weights_file
from training.loop.origin import Origin, write_card
from training.pixel.config import PixelPreset
from training.pixel.network import PixelNetwork

QUALITY = 100.0

_INPUT_UNITS, _HIDDEN_UNITS = (10, 2**12), (8, 2**12)
"""Fraction bits of a layer's inputs, and their limit in these units: float32 holds the sums."""
_TAIL = 2.0**-16
_ABOUT = """\
Arrays `exact.*` are the network in fixed point, `tables.*` the integer probability tables, and
`phase_bits` says how many of them each scale has.
"""


def phase_bits(network: PixelNetwork) -> Int32Array:
    """int32 (scales,): a table for each 1/16 of a step if σ < 1, then half as many per octave."""
    octaves = np.arange(network.scales) // 4 + network.first_octave
    return np.clip(4 - (octaves + 1), 0, 4).astype(np.int32)


@torch.no_grad()
def fixed_point(network: PixelNetwork) -> list[ExactLayer]:
    """The layers of a network as integers."""
    layers = []
    for number, layer in enumerate(network.layers):
        assert isinstance(layer, nn.Linear)
        weight = layer.weight.double().cpu().numpy()[:, :, None, None]
        bias = layer.bias.double().cpu().numpy()[None]
        units = single_precision(weight, *(_HIDDEN_UNITS if number else _INPUT_UNITS))
        layers.append(to_fixed_point(weight, bias, units=units))
    return layers


@torch.no_grad()
def tables(network: PixelNetwork) -> TableSet:
    """The tables of all scales and fractions of a step."""
    network = network.double().cpu()
    pmfs = []
    differences = torch.arange(-PEAK - 1, PEAK + 2, dtype=torch.float64)
    for scale, bits in enumerate(phase_bits(network).tolist()):
        for phase in range(1 << bits):
            # The middle of the sixteenths that share the table, relative to that of the centre.
            offset = ((phase + 0.5) * 2 ** (4 - bits) - 0.5) / 16 - 0.5
            chosen = torch.full_like(differences, scale)
            pmfs.append(_table(network.probability(differences - offset, chosen)))
    return tables_from_pmfs(pmfs)


def _table(probabilities: Tensor) -> tuple[int, Float64Array]:
    """The smallest symbol of a table and its probabilities; the escape covers the tails."""
    pmf = probabilities.numpy().astype(np.float64)
    pmf = np.where(pmf > 2.0**-19, pmf, 0.0)
    kept = np.flatnonzero(np.minimum(np.cumsum(pmf), np.cumsum(pmf[::-1])[::-1]) > _TAIL)
    first, last = int(kept[0]), int(kept[-1])
    return first - PEAK - 1, pmf[first : last + 1] / max(1.0, pmf[first : last + 1].sum())


def export_arrays(network: PixelNetwork) -> dict[str, Array]:
    """All arrays of the weights file of a network."""
    arrays: dict[str, Array] = {}
    for number, layer in enumerate(fixed_point(network)):
        arrays |= layer_arrays(layer, f"exact.{number}")
    stored = {f"tables.{name}": array for name, array in tables(network).to_arrays().items()}
    return {**arrays, **stored, "phase_bits": phase_bits(network)}


def write_weights(
    folder: Path,
    name: str,
    arrays: dict[str, Array],
    config: PixelConfig,
    origin: Origin,
    validation: Sequence[Pixels] = (),
    *,
    kind: type[PixelCoder] = PixelCoder,
) -> Path:
    """Write `<name>.safetensors`, its card and the registry; returns the weights file.

    kind   the coder of the model, lossless or nearly lossless

    The card has the figures of the written weights on the `validation` images.
    """
    path = write_weights_file(
        folder, name, arrays, config=config, models=[kind.name], metadata={"model": kind.name}
    )
    coder = kind(arrays, config, hash_weights(path)[:HASH_BYTES])
    text = _ABOUT
    if validation:
        bound = f" at a bound of {coder.max_error}" if coder.max_error else ""
        text += (
            f"\nMeasured on {len(validation)} validation images: "
            f"{bits_per_value(coder, validation):.4f} bits per value of a pixel{bound} (whole "
            "files, mean over images).\n"
        )
    write_card(
        path,
        f"Weights of the model `{name}`",
        text,
        parameters=sum(a.size for key, a in arrays.items() if key.startswith("exact.")),
        sizes=config,
        licence=origin.licence,
        rows=origin.rows(),
    )
    return path


def bits_per_value(coder: PixelCoder, images: Sequence[Pixels]) -> float:
    """Bits of whole files per pixel value, mean over images uint8 (h, w, 3)."""
    rates = []
    for pixels in images:
        data = container_to_bytes(compress_picture(Picture(pixels), coder, quality=QUALITY))
        rates.append(8 * len(data) / pixels.size)
    return float(np.mean(rates))


def export_pixel(run: Run[PixelPreset], options: ExportOptions) -> Path:
    """Write the weights file of a run as `pixel.safetensors` or `near-lossless.safetensors`."""
    network = PixelNetwork(run.preset.model, bounded=run.preset.bounded)
    kind = NearLosslessCoder if run.preset.bounded else PixelCoder
    network.load_state_dict(run.networks("network."))
    validation = load_photographs(options.validation) if options.validation else []
    return write_weights(
        options.output,
        kind.name,
        export_arrays(network),
        run.preset.model,
        options.origin,
        validation,
        kind=kind,
    )
