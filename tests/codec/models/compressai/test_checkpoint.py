"""Checkpoints: which are read and which refused, and how their tables become ours."""

from __future__ import annotations

import builtins
import io
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from bitstream import TableError, UsageError, WeightsMismatchError
from codec.models.compressai import ARCHITECTURES
from codec.models.compressai import checkpoint as zoo
from codec.models.compressai.checkpoint import (
    load_zoo,
    network_of,
    read_state,
    tables_from_cdfs,
    take_apart,
)
from tests.codec.models.compressai.tiny import KINDS, SCALES, cdfs_of, stand, stand_in_network

CPU = torch.device("cpu")
STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}


def saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        saved(STATE),
        saved(OrderedDict(STATE)),
        saved({"epoch": 1, "state_dict": STATE, "optimizer": {"lr": 0.1}}),
        safetensors.torch.save(STATE),
    ],
)
def test_states_are_found(data: bytes) -> None:
    found = read_state(data)
    assert found.keys() == STATE.keys()
    for name, tensor in STATE.items():
        assert torch.equal(found[name], tensor)


class Attack:
    """An object whose pickle calls a function."""

    def __reduce__(self) -> Any:
        return (builtins.print, ("this must never be printed",))


def test_no_code_of_a_checkpoint_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeightsMismatchError, match="without running code"):
        read_state(saved({"state_dict": STATE, "more": Attack()}))
    assert capsys.readouterr().out == ""


def deflated(data: bytes) -> bytes:
    """The same zip archive with compressed members, which may be a zip bomb."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


NOT_CHECKPOINTS: dict[str, Any] = {
    "nothing": b"",
    "text": b"hello, I am no checkpoint",
    "safetensors in name": b"\xff" * 7 + b"\x7f{",
    "safetensors cut": safetensors.torch.save(STATE)[:-3],
    "zip compressed": deflated(saved(STATE)),
    "zip cut": saved(STATE)[:-30],
    "a tensor": saved(torch.zeros(3)),
    "a list": saved([torch.zeros(3)]),
    "numbers": saved({"a": 3}),
    "no names": saved({3: torch.zeros(3)}),
    "not finite": saved({"a": torch.tensor([1.0, float("nan")])}),
    "sparse": saved({"a": torch.eye(3).to_sparse()}),
    "a billion numbers in few bytes": saved({"a": torch.zeros(1).expand(2**30)}),
}


@pytest.mark.filterwarnings("ignore")  # torch warns that some kinds are deprecated
@pytest.mark.parametrize("name", NOT_CHECKPOINTS)
def test_what_is_no_checkpoint_is_refused(name: str) -> None:
    with pytest.raises(WeightsMismatchError):
        read_state(NOT_CHECKPOINTS[name])


def test_tables_have_the_same_probabilities() -> None:
    cdfs, lengths, offsets = cdfs_of(SCALES)
    tables = tables_from_cdfs(cdfs, lengths, offsets)
    assert len(tables) == len(SCALES)
    for number in range(len(SCALES)):
        ours = tables.frequencies[tables.starts[number] : tables.starts[number + 1]]
        theirs = cdfs[number, : lengths[number]].diff().numpy()
        np.testing.assert_array_equal(ours, 256 * theirs)
        assert tables.minimums[number] == offsets[number]


@pytest.mark.parametrize(
    ("cdf", "length", "message"),
    [
        ([0, 9, 9, 65536], 4, "ascend"),
        ([0, 9, 8, 65536], 4, "ascend"),
        ([1, 9, 12, 65536], 4, "0 to 2"),
        ([0, 9, 12, 65535], 4, "0 to 2"),
        ([0, 9, 12, 65536], 3, "0 to 2"),
        ([0, 9, 12, 65536], 5, "0 to 2"),
        ([0, 65536, 0, 0], 2, "0 to 2"),
        ([0, 65536, 0, 0], -2, "0 to 2"),
        ([0, 9, -(2**31), 65536], 4, "ascend"),
    ],
)
def test_tables_are_checked(cdf: list[int], length: int, message: str) -> None:
    one = torch.tensor([cdf], dtype=torch.int32)
    with pytest.raises(TableError, match=message):
        tables_from_cdfs(one, torch.tensor([length]), torch.tensor([0]))


def test_tables_offsets_and_lengths_are_as_many() -> None:
    one = torch.tensor([[0, 9, 65536]], dtype=torch.int32)
    for lengths, offsets in (([3, 3], [0]), ([3], [0, 0]), ([], [])):
        with pytest.raises(TableError, match="one of each"):
            tables_from_cdfs(one, torch.tensor(lengths), torch.tensor(offsets))
    with pytest.raises(TableError, match="one of each"):
        tables_from_cdfs(one[0], torch.tensor([3]), torch.tensor([0]))


def test_models_whose_parts_disagree_are_refused() -> None:
    model = stand("mbt2018-mean")
    model.gaussian_conditional.scale_table = torch.arange(3.0)
    with pytest.raises(WeightsMismatchError, match="9 tables for 3 scales"):
        take_apart("mbt2018-mean", model)
    model.gaussian_conditional.scale_table = torch.arange(9.0).flip(0)
    with pytest.raises(WeightsMismatchError, match="ascending"):
        take_apart("mbt2018-mean", model)
    model.entropy_bottleneck.quantiles.data = torch.zeros(7, 1, 3)
    with pytest.raises(WeightsMismatchError, match="4 tables for 7 channels"):
        take_apart("mbt2018-mean", model)


def quantiles(width: float, channels: int = 4) -> torch.Tensor:
    return torch.tensor([-width, 0, width]).repeat(channels, 1, 1)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"g_a.0.weight": torch.zeros(1).expand(513, 3, 5, 5)}, "512 channels"),
        ({"h_a.0.weight": torch.zeros(1).expand(3, 10**7, 1, 1)}, "512 channels"),
        ({"gaussian_conditional._quantized_cdf": torch.zeros(1).expand(2**23)}, "entries"),
        ({}, "no quantiles"),
        ({"entropy_bottleneck.quantiles": torch.zeros(3, 3)}, "no quantiles"),
        ({"entropy_bottleneck.quantiles": torch.zeros(0, 1, 3)}, "no quantiles"),
        ({"entropy_bottleneck.quantiles": quantiles(1e7)}, "tables of 20000003 entries"),
        ({"entropy_bottleneck.quantiles": torch.tensor([[[0, 1e9, 0]]])}, "of 1000000003 entries"),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(
    state: dict[str, torch.Tensor], message: str
) -> None:
    with pytest.raises(WeightsMismatchError, match=message):
        zoo._check_sizes(state)
    zoo._check_sizes({"entropy_bottleneck.quantiles": quantiles(10)})


def test_errors_name_the_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WeightsMismatchError, match=r"^here\.pth: it is no checkpoint"):
        load_zoo(b"?", 0, bytes(8), source="here.pth", device=CPU)
    monkeypatch.setattr(zoo, "network_of", stand_in_network)
    for architecture in KINDS:
        data = saved(stand(architecture).state_dict())
        variant = ARCHITECTURES.index(architecture)
        model = load_zoo(data, variant, b"12345678", source="here.pth", device=CPU)
        assert (model.name, model.variant) == (f"compressai:{architecture}", variant)
        assert (model.model_id, model.weights_hash, model.layers) == (10, b"12345678", 1)


def test_without_the_library_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*(n for n in sys.modules if n.partition(".")[0] == "compressai"), "compressai"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UsageError, match="install the extra 'zoo'"):
        network_of("mbt2018", {})
    from codec.rate_distortion import MissingExtraError

    with pytest.raises(MissingExtraError):
        network_of("mbt2018", {})


def test_loading_the_modules_does_not_load_the_library() -> None:
    text = Path(zoo.__file__).read_text("utf-8")
    assert "\nfrom compressai" not in text
    assert "\nimport compressai" not in text
