"""DRAW as a codec: symbols are restored, every prefix is a picture, and damage is an error."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bitstream.errors import LimitError, PayloadError, TableError, UsageError, WeightsMismatchError
from bitstream.symbols import SymbolEncoder
from bitstream.tables import TableSet
from codec.models.base import LayeredModel
from codec.models.draw.coder import MAX_TILE_SIDE, TABLE_PREFIX, DrawCoder, load_draw
from codec.models.draw.exact import ExactDraw, exact_arrays
from codec.models.draw.network import DrawNetwork
from tests.codec.models.draw.tiny import CONFIG, arrays, coder, metadata, scenes

Float32Array = npt.NDArray[np.float32]
Uint8Array = npt.NDArray[np.uint8]
CPU = torch.device("cpu")


def scene(height: int, width: int, seed: int = 10) -> Uint8Array:
    pixels = scenes(1, seed, max(height, width))[0].transpose(1, 2, 0)
    return np.ascontiguousarray(pixels[:height, :width])


def size_of(latents: Float32Array) -> tuple[int, int]:
    return latents.shape[1], latents.shape[2]


def mean_square(one: Uint8Array, two: Uint8Array) -> float:
    return float(np.mean((one.astype(float) - two) ** 2))


def test_pixels_pass_through_the_transform_unchanged() -> None:
    pixels = scene(24, 40)
    latents = coder().analyze(pixels, 50)
    assert latents.shape == (3 * 64, 3, 5)
    np.testing.assert_array_equal(coder().synthesize(latents, 50), pixels)
    assert isinstance(coder(), LayeredModel)


@pytest.mark.parametrize("size", [(8, 8), (24, 40), (64, 16)])
@pytest.mark.parametrize("quality", [1, 33.33, 100])
def test_symbols_are_read_as_they_were_written(size: tuple[int, int], quality: float) -> None:
    latents = coder().analyze(scene(*size), quality)
    written, payloads = (
        coder().step_symbols(latents, quality),
        coder().encode_tile(latents, quality),
    )
    assert len(payloads) == coder().layers == CONFIG.steps
    decoder = coder().tile_decoder(*size_of(latents), quality)
    for step, payload in zip(written, payloads, strict=True):
        read = decoder.read_messages(payload)
        assert [len(symbols) for symbols, _ in read] == [
            codes * size[0] * size[1] // side**2 for codes, side in ((2, 8), (3, 4))
        ]
        for one, other in zip(read, step, strict=True):
            np.testing.assert_array_equal(one[0], other[0])
            np.testing.assert_array_equal(one[1], other[1])
    decoded = coder().decode_tile(payloads, *size_of(latents), quality)
    np.testing.assert_array_equal(decoder.latents(), decoded)


def test_quality_is_that_of_the_header() -> None:
    latents = coder().analyze(scene(32, 32), 50)
    assert coder().encode_tile(latents, 50.001) == coder().encode_tile(latents, 50)
    sizes = [sum(map(len, coder().encode_tile(latents, q))) for q in (1, 50, 100)]
    assert sizes == sorted(set(sizes))


def test_every_layer_makes_the_picture_better() -> None:
    pixels = np.concatenate([scene(64, 64, seed) for seed in (20, 21, 22)])
    latents = coder().analyze(pixels, 60)
    decoder = coder().tile_decoder(*size_of(latents), 60)
    errors = [mean_square(coder().synthesize(decoder.latents(), 60), pixels)]
    for payload in coder().encode_tile(latents, 60):
        decoder.read(payload)
        errors.append(mean_square(coder().synthesize(decoder.latents(), 60), pixels))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.6 * errors[0]


def test_looking_between_the_layers_changes_nothing() -> None:
    latents = coder().analyze(scene(32, 48), 70)
    payloads = coder().encode_tile(latents, 70)
    curious, plain = (coder().tile_decoder(*size_of(latents), 70) for _ in range(2))
    for payload in payloads:
        curious.latents()
        curious.latents(np.random.default_rng(1))
        curious.read(payload)
        plain.read(payload)
        np.testing.assert_array_equal(curious.latents(), plain.latents())
    whole = curious.latents(np.random.default_rng(2))  # nothing is missing
    np.testing.assert_array_equal(whole, plain.latents())


def test_what_is_missing_is_the_mean_or_a_sample() -> None:
    latents = coder().analyze(scene(64, 64), 70)
    decoder = coder().tile_decoder(*size_of(latents), 70)
    decoder.read(coder().encode_tile(latents, 70)[0])
    mean, again = decoder.latents(), decoder.latents()
    np.testing.assert_array_equal(mean, again)
    one, same, other = (decoder.latents(np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert (one != mean).any()


def test_a_damaged_step_leaves_the_decoder_where_it_was() -> None:
    latents = coder().analyze(scene(32, 32), 80)
    first, second, third = coder().encode_tile(latents, 80)
    decoder = coder().tile_decoder(*size_of(latents), 80)
    decoder.read(first)
    before = decoder.latents()
    for damaged in (second[:-3], second + b"\1", third):
        with pytest.raises(PayloadError):
            decoder.read(damaged)
        np.testing.assert_array_equal(decoder.latents(), before)
    decoder.read(second)
    decoder.read(third)
    expected = coder().decode_tile((first, second, third), *size_of(latents), 80)
    np.testing.assert_array_equal(decoder.latents(), expected)
    with pytest.raises(PayloadError, match="more layers"):
        decoder.read(third)


def test_a_step_of_zeros_has_no_bytes() -> None:
    # A picture that the decoder makes without symbols has only zeros.
    nothing = coder().tile_decoder(4, 4, 80).latents()
    payloads = coder().encode_tile(nothing, 80)
    assert b"" in payloads
    symbols = coder().step_symbols(nothing, 80)
    assert [not any(s.any() for s, _ in step) for step in symbols] == [not p for p in payloads]
    found = coder().decode_tile(payloads, 4, 4, 80)
    decoder = coder().tile_decoder(4, 4, 80)
    for payload, step in zip(payloads, symbols, strict=True):
        for read, written in zip(decoder.read_messages(payload), step, strict=True):
            np.testing.assert_array_equal(read, written)
    np.testing.assert_array_equal(decoder.latents(), found)


def test_zeros_that_are_spelt_out_are_refused() -> None:
    decoder, encoder = coder().tile_decoder(4, 4, 80), SymbolEncoder()
    for symbols, indexes in coder().tile_decoder(4, 4, 80).read_messages(b""):
        assert not symbols.any()
        encoder.put(symbols, indexes, coder().tables)
    with pytest.raises(PayloadError, match="expected none"):
        decoder.read(encoder.finish())


def test_another_number_of_layers_is_refused() -> None:
    latents = coder().analyze(scene(16, 16), 80)
    payloads = coder().encode_tile(latents, 80)
    for wrong in (payloads[:2], (*payloads, payloads[0]), ()):
        with pytest.raises(PayloadError, match="expected 3"):
            coder().decode_tile(wrong, *size_of(latents), 80)


def test_tiles_beyond_the_limit_are_refused_before_any_work() -> None:
    side = MAX_TILE_SIDE // 8 + 1
    with pytest.raises(LimitError, match="1024"):
        coder().tile_decoder(1, side, 50)
    with pytest.raises(UsageError, match="1024"):
        coder().encode_tile(np.zeros((192, side, 1), np.float32), 50)


def _config(**changes: Any) -> dict[str, str]:
    values = {**dataclasses.asdict(CONFIG), **changes}
    return {"config": json.dumps(values)}


@pytest.mark.parametrize(
    "damaged",
    [
        {}, {"config": "{"}, {"config": "[]"}, {"config": "3"}, {"config": "{}"},
        _config(hidden=7), _config(hidden="ab"), _config(steps="3"), _config(steps=3.0),
        _config(extra=1), _config(likelihood=None), _config(knots=2), _config(stride=2),
        _config(channels=1), _config(steps=99),
    ],
)  # fmt: skip
def test_configurations_that_do_not_fit_are_refused(damaged: dict[str, str]) -> None:
    with pytest.raises(WeightsMismatchError):
        load_draw(arrays(), damaged, bytes(8), device=CPU)


def test_more_steps_use_the_same_weights() -> None:
    # All steps share their weights, so only the configuration has their number.
    longer = load_draw(arrays(), _config(steps=5), bytes(8), device=CPU)
    latents = longer.analyze(scene(16, 16), 80)
    payloads = longer.encode_tile(latents, 80)
    assert len(payloads) == longer.layers == 5
    assert payloads[:3] == coder().encode_tile(latents, 80)


def _loaded(**changes: Any) -> DrawCoder:
    config = dataclasses.replace(CONFIG, **changes)
    torch.manual_seed(0)
    exact = exact_arrays(config, DrawNetwork(config).state_dict())
    return DrawCoder(ExactDraw(config, exact), coder().tables, bytes(8))


@pytest.mark.parametrize(
    "changes",
    [
        {"posterior": "gaussian"}, {"likelihood": "bernoulli"}, {"likelihood": "logistic"},
        {"channels": 1}, {"stride": 3}, {"stride": 16, "hidden": (4, 4, 4), "codes": (1, 1, 1)},
    ],
)  # fmt: skip
def test_networks_of_another_kind_are_refused(changes: dict[str, Any]) -> None:
    if changes.get("stride") == 16:
        assert _loaded(**changes).stride == 64  # the largest block that tiles hold
        return
    with pytest.raises(WeightsMismatchError, match="DRAW network"):
        _loaded(**changes)


def test_tables_that_do_not_fit_are_refused() -> None:
    tables = coder().tables
    few = TableSet(
        tables.frequencies[: tables.starts[-2]], tables.starts[:-1], tables.minimums[:-1]
    )
    with pytest.raises(WeightsMismatchError, match="128 tables, expected 129"):
        DrawCoder(coder().network, few, bytes(8))
    without = {k: v for k, v in arrays().items() if k != TABLE_PREFIX + "starts"}
    with pytest.raises(TableError, match="starts"):
        load_draw(without, metadata(), bytes(8), device=CPU)
