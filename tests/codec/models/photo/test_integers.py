"""The synthesis in integers: a decoder computes what the network computed in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitstream.errors import WeightsMismatchError
from codec.models.photo.config import PhotoConfig
from codec.models.photo.integers import (
    BIAS_LIMIT,
    block_names,
    float_offsets,
    float_weights,
    integer_gains,
    integer_log_steps,
    integer_offsets,
    integer_weights,
    layer_inputs,
    weight_exponents,
)
from codec.models.photo.network import PhotoModel
from codec.models.photo.quantised import IMAGE, RECTIFIED, STREAM, Convolution, weight_unit
from codec.models.photo.synthesis_arrays import restore_synthesis, synthesis_arrays
from codec.models.weights_files import stored
from tests.codec.models.photo.tiny import TINY, lively_model


def test_layers_are_those_of_the_network() -> None:
    for config in (TINY, PhotoConfig()):
        model = PhotoModel(config)
        layers = {
            name
            for name, module in model.named_modules()
            if isinstance(module, Convolution) and name.startswith("synthesis.")
        }
        assert layers == set(layer_inputs(config))
        tables = {
            name.removesuffix(".gain.knots")
            for name, _ in model.synthesis.named_parameters(prefix="synthesis")
            if name.endswith(".gain.knots")
        }
        assert tables == set(block_names(config))
    assert {IMAGE.bits, RECTIFIED.bits} == {5}
    assert STREAM.bits == 4


def test_weights_are_rounded_as_in_training() -> None:
    rng = np.random.default_rng(0)
    weight = (rng.normal(size=(40, 8, 1, 1)) * np.exp2(rng.integers(-9, 3, (40, 1, 1, 1)))).astype(
        np.float32
    )
    exponents = weight_exponents(weight, np.zeros((40, 1)), 4)
    units = weight_unit(torch.from_numpy(weight)).numpy()
    np.testing.assert_array_equal(np.exp2(exponents.astype(np.float32)), units.ravel())
    integers = integer_weights(weight, exponents)
    assert integers.dtype == np.int8
    assert np.abs(integers).max(axis=(1, 2, 3)).min() >= 32
    assert np.abs(integers).max() <= 63
    np.testing.assert_array_equal(
        float_weights(integers, exponents), np.rint(weight / units) * units
    )


def test_outputs_of_nothing_but_their_bias_keep_it() -> None:
    weight = np.zeros((2, 3, 1, 1), dtype=np.float32)
    bias = np.array([0.0, 0.7])
    exponents = weight_exponents(weight, bias[:, None], 4)
    integers = integer_offsets(bias, exponents, 4)
    assert np.abs(integers).max() <= BIAS_LIMIT
    np.testing.assert_allclose(float_offsets(integers, exponents, 4), bias, rtol=1e-6)


def test_sums_stay_below_what_float32_holds() -> None:
    arrays = synthesis_arrays(lively_model())
    for name, bits in layer_inputs(TINY).items():
        weight = np.abs(arrays[f"{name}.weight"].astype(int)).sum(axis=(1, 2, 3))
        key = f"{name}.bias"
        offsets = arrays[key] if key in arrays else arrays[name[: -len("spatial")] + "shift"]
        largest = np.abs(offsets.astype(int)).reshape(-1, len(weight)).max(axis=0)
        assert (255 * weight + largest).max() < 2**24, (name, bits)


def test_gains_and_steps() -> None:
    gains = np.array([-1.0, 0.0, 1.0, 1.99, 5.0])
    assert integer_gains(gains).tolist() == [0, 0, 64, 127, 127]
    assert integer_log_steps(np.log(np.array([1 / 255, 2 / 255, 0.5 / 255]))).tolist() == [
        0, 1024, -1024,
    ]  # fmt: skip


def test_restored_networks_draw_the_same() -> None:
    model = lively_model()
    other = PhotoModel(TINY).eval()
    arrays = synthesis_arrays(model)
    restore_synthesis(other, arrays)
    again = synthesis_arrays(other)
    assert again.keys() == arrays.keys()
    for key, array in arrays.items():
        if key.endswith((".gain", "log_step")):
            np.testing.assert_array_equal(array, again[key], err_msg=key)
    for name in layer_inputs(TINY):
        one, two = (
            float_weights(
                stored(some, f"{name}.weight"),
                stored(some, f"{name}.exponent"),
            )
            for some in (arrays, again)
        )
        np.testing.assert_array_equal(one, two, err_msg=name)
    rng = torch.Generator().manual_seed(0)
    linear = 100 * torch.rand((1, 3, 64, 64), generator=rng) - 50
    hidden = 3 * torch.rand((1, TINY.hidden, 4, 4), generator=rng)
    with torch.no_grad():
        mix = model.mix(torch.tensor([0.5]), torch.tensor([1]))
        drawn = [m.synthesis(linear, hidden, mix, rounded=True) for m in (model, other)]
    assert drawn[0].abs().max() > 1
    # In half levels; rounded biases and gains change few of them by one.
    assert (drawn[0] != drawn[1]).float().mean() < 0.05
    assert (drawn[0] - drawn[1]).abs().max() <= 2


def test_arrays_of_other_kinds_are_refused() -> None:
    arrays = synthesis_arrays(lively_model())
    for key in ("log_step", "synthesis.out.weight", "synthesis.stage_8.blocks.0.gain"):
        with pytest.raises(WeightsMismatchError, match=key):
            restore_synthesis(PhotoModel(TINY), arrays | {key: arrays[key].astype(np.float32)})
    for exponent in (-27, 16, 127):
        broken = arrays | {"synthesis.out.exponent": np.full(48, exponent, dtype=np.int8)}
        with pytest.raises(WeightsMismatchError, match="exponent"):
            restore_synthesis(PhotoModel(TINY), broken)
