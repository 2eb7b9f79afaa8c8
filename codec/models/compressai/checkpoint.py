"""Reads checkpoints of CompressAI (https://github.com/InterDigitalInc/CompressAI).

This is the only module that imports that library, and only when a checkpoint is loaded.  Networks
and tables are extracted into the parts that `codec.models.compressai.coder` uses.
"""

from __future__ import annotations

import copy
import io
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from bitstream.arrays import Int32Array
from bitstream.errors import TableError, WeightsMismatchError
from bitstream.limits import MAX_TABLE_ENTRIES
from bitstream.tables import PRECISION, TableSet
from codec.models.compressai import ARCHITECTURES, COMPRESSAI
from codec.models.compressai.coder import FactorizedTables, HyperPrior, ZooCoder, ZooNetwork
from codec.models.compressai.context import ContextModel
from codec.system.missing_extra import extra_needed_by

State = dict[str, torch.Tensor]

MAX_CHANNELS = 512  # the zoo has at most 320; a small file may claim any number
_MAX_NUMBERS = 2**27  # in all tensors of a checkpoint
_CDF_BITS = 16
_OF_MAGNITUDES = ("bmshj2018-hyperprior",)


def load_zoo(
    data: bytes, variant: int, weights_hash: bytes, *, source: str, device: torch.device | str
) -> ZooCoder:
    """Build a coder from the bytes of a checkpoint, written by `torch.save` or as safetensors.

    source   name of the checkpoint in messages

    Raises `WeightsMismatchError` if it is not a checkpoint of that architecture, `TableError` for
    invalid tables, `MissingExtraError` without CompressAI.
    """
    try:
        network = network_of(ARCHITECTURES[variant], read_state(data))
    except (WeightsMismatchError, TableError) as error:
        raise type(error)(f"{source}: {error}") from error
    return ZooCoder(variant, network, weights_hash, device=torch.device(device))


def read_state(data: bytes) -> State:
    """The tensors of a checkpoint by name: at its top level, or in `state_dict`.

    No code in it is executed. Raises `WeightsMismatchError`.
    """
    try:
        if data[8:9] == b"{":  # safetensors: a JSON header after its length
            from safetensors.torch import load

            return _checked(load(data))
        if zipfile.is_zipfile(io.BytesIO(data)):
            members = zipfile.ZipFile(io.BytesIO(data)).infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise WeightsMismatchError(
                    "its members are compressed, which torch.save never does"
                )
        return _checked(torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except WeightsMismatchError:
        raise
    except Exception as error:  # both readers raise many types, and so do odd tensors
        raise WeightsMismatchError(
            f"it is no checkpoint that can be read without running code in it ({_first(error)}); "
            "expected the state_dict of a model, saved with torch.save or as safetensors"
        ) from error


def _checked(found: Any) -> State:
    if isinstance(found, Mapping) and isinstance(found.get("state_dict"), Mapping):
        found = found["state_dict"]
    if not isinstance(found, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor) for name, tensor in found.items()
    ):
        raise WeightsMismatchError(
            f"it holds {type(found).__name__}, expected tensors by name: the state_dict of a model"
        )
    state = dict(found)
    numbers = sum(tensor.numel() for tensor in state.values())
    if numbers > _MAX_NUMBERS:
        raise WeightsMismatchError(f"{numbers} numbers, but the limit is {_MAX_NUMBERS}")
    for name, tensor in state.items():
        if tensor.layout != torch.strided or not torch.isfinite(tensor).all():
            raise WeightsMismatchError(f"{name} is not a dense tensor of finite numbers")
    return state


def network_of(architecture: str, state: State) -> ZooNetwork:
    """Build the network of an architecture, with the sizes of the tensors.

    Tables that the checkpoint lacks are computed, by CompressAI's `update()`.

    Raises `WeightsMismatchError`, `TableError`, `MissingExtraError`.
    """
    with extra_needed_by(f"the model {COMPRESSAI.name!r}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it uses deprecated parts of torch
        from compressai.registry import MODELS
        from compressai.zoo import load_state_dict as with_new_names
    state = with_new_names(state)
    _check_sizes(state)
    try:
        model = MODELS[architecture].from_state_dict(state)
        model.eval().requires_grad_(False).update()
    except (KeyError, IndexError, RuntimeError, ValueError, AttributeError) as error:
        raise WeightsMismatchError(
            f"it does not hold a {architecture} ({_first(error)}); "
            f"name the architecture that it was trained as, {COMPRESSAI.name}:ARCHITECTURE"
        ) from error
    return take_apart(architecture, model)


def take_apart(architecture: str, model: Any) -> ZooNetwork:
    """The parts of a model of CompressAI, or of one with the same attributes, in evaluation mode.

    Raises `WeightsMismatchError`, `TableError`.
    """
    bottleneck = model.entropy_bottleneck
    tables = _tables(bottleneck)
    medians = bottleneck.quantiles.detach()[:, 0, 1, None, None]
    if len(tables) != len(medians):
        raise WeightsMismatchError(f"{len(tables)} tables for {len(medians)} channels")
    factorized = FactorizedTables(tables, medians.float())
    if not hasattr(model, "h_s"):
        return ZooNetwork(model.g_a, model.g_s, factorized)
    gaussian = model.gaussian_conditional
    scales = gaussian.scale_table.double()
    tables = _tables(gaussian)
    if len(tables) != len(scales) or (scales.diff() < 0).any():
        raise WeightsMismatchError(
            f"{len(tables)} tables for {len(scales)} scales, expected as many, ascending"
        )
    context = None
    if hasattr(model, "context_prediction"):
        prediction = model.context_prediction
        context = ContextModel(
            prediction.weight.detach(), prediction.bias.detach(), model.entropy_parameters
        )
    has_means = architecture not in _OF_MAGNITUDES
    hyper = HyperPrior(
        analysis=model.h_a,
        synthesis=copy.deepcopy(model.h_s).double(),
        of_magnitudes=not has_means,
        has_means=has_means,
        scale_bound=float(gaussian.lower_bound_scale.bound),
        scale_table=scales,
        tables=tables,
        context=context,
        rounding=model.h_s if has_means and context is None else None,
    )
    return ZooNetwork(model.g_a, model.g_s, factorized, hyper)


def tables_from_cdfs(cdfs: torch.Tensor, lengths: torch.Tensor, offsets: torch.Tensor) -> TableSet:
    """CompressAI's cumulative frequencies as tables with exactly the same probabilities.

    cdfs      int (tables, longest), units of 2⁻¹⁶, from 0 to 2¹⁶; the last interval is the escape
    lengths   int (tables,), how many numbers of a row are used
    offsets   int (tables,), the first symbol of each table

    Raises `TableError`.
    """
    rows, sizes = cdfs.cpu().numpy().astype(np.int64), lengths.flatten().tolist()
    firsts = offsets.flatten().cpu().numpy()
    if rows.ndim != 2 or not len(rows) == len(sizes) == len(firsts):
        raise TableError(
            f"cumulative frequencies {list(rows.shape)} with {len(sizes)} lengths and "
            f"{len(firsts)} offsets, expected one of each for a row"
        )
    tables: list[Int32Array] = []
    for row, size in zip(rows, sizes, strict=True):
        used = row[: max(size, 0)]
        if len(used) != size or size < 3 or used[0] != 0 or used[-1] != 1 << _CDF_BITS:
            raise TableError(
                f"table {len(tables)} does not go from 0 to 2**{_CDF_BITS} in {size} numbers"
            )
        entries = np.diff(used)
        if entries.min() < 1:
            raise TableError(f"table {len(tables)} does not ascend")
        tables.append((entries << (PRECISION - _CDF_BITS)).astype(np.int32))
    return TableSet(
        frequencies=np.concatenate(tables),
        starts=np.cumsum([0, *map(len, tables)], dtype=np.int32),
        minimums=firsts.astype(np.int32),
    )


def _first(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".partition("\n")[0]


def _tables(entropy_model: Any) -> TableSet:
    return tables_from_cdfs(
        entropy_model.quantized_cdf, entropy_model.cdf_length, entropy_model.offset
    )


def _check_sizes(state: State) -> None:
    """Refuse sizes for which CompressAI would allocate memory before it checks anything."""
    for name, tensor in state.items():
        if name.startswith(("g_a.", "h_a.")) and max(tensor.shape, default=0) > MAX_CHANNELS:
            raise WeightsMismatchError(
                f"{name} is {list(tensor.shape)}, but the limit is {MAX_CHANNELS} channels"
            )
        if name.endswith("._quantized_cdf") and tensor.numel() > MAX_TABLE_ENTRIES:
            raise WeightsMismatchError(
                f"{name} has {tensor.numel()} entries, but the limit is {MAX_TABLE_ENTRIES}"
            )
    quantiles = state.get("entropy_bottleneck.quantiles")
    if quantiles is None or quantiles.shape[1:] != (1, 3) or not len(quantiles):
        raise WeightsMismatchError("it has no quantiles of an entropy bottleneck, (channels, 1, 3)")
    # Distances lowest to median and median to highest, of which bad files may have negative ones.
    widths = quantiles[:, 0].double().diff().clamp(min=0).ceil().sum(1) + 3
    if float(widths.max()) * len(widths) > MAX_TABLE_ENTRIES:
        raise WeightsMismatchError(
            f"its quantiles ask for tables of {float(widths.max()):.0f} entries for "
            f"{len(widths)} channels, but the limit is {MAX_TABLE_ENTRIES} together"
        )
