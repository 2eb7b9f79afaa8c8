"""Options: one place that checks them, and the same list for all functions of the library."""

from __future__ import annotations

import dataclasses
import inspect
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import codec
from bitstream import UsageError
from codec.options import (
    CompressArguments,
    CompressOptions,
    DecompressArguments,
    DecompressOptions,
)

HUGE = 10**400  # too large for a float
HUGER = 10**5000  # and too large for Python to convert to text
NO_NUMBERS = (
    float("nan"), float("inf"), -float("inf"), True, np.bool_(True), HUGE, HUGER, "5", None,
    np.float32("nan"), np.array([1, 2]), (1,), 1j,
)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "arguments"),
    [(CompressOptions, CompressArguments), (DecompressOptions, DecompressArguments)],
)
def test_what_type_checkers_see_is_what_is_checked(options: Any, arguments: Any) -> None:
    fields = {field.name: field.type for field in dataclasses.fields(options)}
    named = {name: one.__forward_arg__ for name, one in arguments.__annotations__.items()}
    assert named == fields


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (codec.compress, CompressOptions),
        (codec.compress_to_file, CompressOptions),
        (codec.compress_files, CompressOptions),
        (codec.decompress, DecompressOptions),
        (codec.decompress_file, DecompressOptions),
        (codec.decompress_files, DecompressOptions),
    ],
)
def test_help_lists_every_option_with_its_default(
    function: Callable[..., object], options: Any
) -> None:
    shown = inspect.signature(function).parameters
    for field in dataclasses.fields(options):
        assert shown[field.name].kind is inspect.Parameter.KEYWORD_ONLY
        assert shown[field.name].default == field.default
    assert all(one.kind is not one.VAR_KEYWORD for one in shown.values())


def test_numbers_of_numpy_and_torch_become_pythons() -> None:
    given: dict[str, Any] = {
        "quality": np.float32(30.5),
        "effort": np.int64(2),
        "noise_seed": np.uint64(2**63 - 1),
        "strip": np.bool_(True),
    }
    options = CompressOptions(**given)
    values = (options.quality, options.effort, options.noise_seed, options.strip)
    assert values == (30.5, 2, 2**63 - 1, True)
    assert [type(value) for value in values] == [float, int, int, bool]
    for name in ("bpp", "size", "psnr", "ssimulacra2"):
        target: dict[str, Any] = {name: np.int16(40)}
        value = getattr(CompressOptions(**target), name)
        assert (value, type(value)) == (40, int)
    given = {
        "region": np.array([1, 2, 3, 4]),
        "layers": torch.tensor(3),
        "seed": np.int8(7),
        "realism": np.float16(0.5),
        "partial": 1,
    }
    again = DecompressOptions(**given)
    assert again == DecompressOptions((1, 2, 3, 4), layers=3, seed=7, realism=0.5, partial=True)
    assert again.region is not None
    assert [type(value) for value in again.region] == [int] * 4
    assert type(again.layers) is int


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: type(value).__name__)
def test_what_is_no_finite_number_is_a_usage_error(value: Any) -> None:
    for name in ("quality", "bpp", "size", "psnr", "ssimulacra2", "effort", "noise_seed"):
        if value is None and name != "effort":
            continue  # which is how to ask for none
        with pytest.raises(UsageError, match=name):
            CompressOptions(**{name: value})
    for name in ("layers", "seed", "realism"):
        if value is None and name != "realism":
            continue
        with pytest.raises(UsageError, match=name):
            DecompressOptions(**{name: value})
    with pytest.raises(UsageError, match="region"):
        DecompressOptions(region=(0, 0, 1, value))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": b"photo"}, "model b'photo' was given"),
        ({"model": 1}, "model 1"),
        ({"device": None}, "device None"),
        ({"strip": "no"}, "strip 'no' was given, expected True or False"),
        ({"reduce_depth": None}, "reduce_depth"),
        ({"checkpoint": 5}, "checkpoint 5 was given, expected a path"),
    ],
)
def test_other_types_of_compression(options: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        codec.compress("/does/not/exist.png", **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": 5}, "region 5 was given, expected four integers"),
        ({"region": "0,0,1,1"}, "region"),
        ({"region": (0, 0, 1, 2**31)}, "region"),
        ({"partial": np.array([1, 2])}, "partial"),
        ({"checkpoint": 5}, "checkpoint 5"),
        ({"device": np.array(["cpu"])}, "device"),
        ({"layers": 0}, "layers 0"),
        ({"realism": 1.5}, "realism 1.5"),
    ],
)
def test_other_types_of_decompression(options: Any, message: str, tmp_path: Path) -> None:
    for door in (
        lambda: codec.decompress("/does/not/exist.calo", **options),
        lambda: codec.decompress_file("/does/not/exist.calo", tmp_path / "x.png", **options),
        lambda: codec.decompress_files(["/does/not/exist.calo"], tmp_path, **options),
    ):
        with pytest.raises(UsageError, match=message):
            door()


@pytest.mark.usefixtures("tiny_weights")
def test_a_target_beyond_every_file(photograph: Any) -> None:
    for options in ({"bpp": 1e308}, {"size": 10**300}):
        done = codec.compress_to_file(photograph, io.BytesIO(), **options)
        assert done.quality == 100


def test_a_misspelt_option_names_the_function_and_the_nearest_option(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"compress\(\) has no option 'qualty'; did you mean 'qual"):
        codec.compress(Path("missing.png"), qualty=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"decompress_file\(\) has no option 'zzz'$"):
        codec.decompress_file("missing.calo", tmp_path / "x.png", zzz=3)  # type: ignore[call-arg]
