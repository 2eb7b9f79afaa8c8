"""Pixels are computed in integers, and every way to compute them gives the same ones."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch

from bitstream.arrays import Array, Float32Array, Int8Array, Uint8Array
from bitstream.errors import WeightsMismatchError
from codec.models.photo.config import PhotoConfig
from codec.models.photo.integers import block_names, kind_of, layer_inputs
from codec.models.photo.network import PhotoModel
from codec.models.photo.numpy_backend import NumpyBackend, NumpyRenderer, shuffled
from codec.models.photo.onnx_backend import OnnxRenderer
from codec.models.photo.runtime import Transforms
from codec.models.photo.synthesis import (
    Renderer,
    SynthesisWeights,
    deep_pixels_of,
    inverse_transform,
    network,
    pixels_of,
    seen_pixels,
    seen_texture,
    synthesize,
)
from codec.models.photo.torch_backend import TorchRenderer
from codec.models.photo.transform import COLOURS, channel_order, cosine_basis
from codec.system.processors import compute_threads
from tests.codec.models.photo.tiny import TINY, tiny_arrays

CONDITIONS = [(100, 0), (4321, 1), (10000, 0)]


def random_arrays(config: PhotoConfig, *, extreme: bool = False) -> dict[str, Array]:
    """A synthesis with random weights that uses all of the range, or with the largest weights."""
    rng = np.random.default_rng(1)
    arrays = {
        name: array
        for name, array in tiny_arrays().items()
        if config == TINY and (name.startswith("synthesis.") or name == "log_step")
    }
    for name in layer_inputs(config):
        shape = arrays[f"{name}.weight"].shape
        weight = rng.integers(-63, 64, shape)
        chosen = 63 * np.sign(weight) if extreme else weight
        arrays[f"{name}.weight"] = np.asarray(chosen, np.int8)
        fan_in = shape[1] * shape[2] * shape[3]
        # Scaled so that sums of so many products have the same spread as the inputs.
        spread = -5 - round(np.log2(fan_in) / 2)
        exponent = rng.integers(spread - 1, spread + 1, shape[:1])
        arrays[f"{name}.exponent"] = exponent.astype(np.int8)
        if f"{name}.bias" in arrays:
            arrays[f"{name}.bias"] = rng.integers(-3000, 3000, shape[:1]).astype(np.int32)
    for name in block_names(config):
        shape = arrays[f"{name}.gain"].shape
        arrays[f"{name}.gain"] = rng.integers(0, 128, shape).astype(np.int16)
        limit = 57344 if extreme else 3000
        arrays[f"{name}.shift"] = rng.integers(-limit, limit + 1, shape).astype(np.int32)
    return arrays


def inputs(extreme: bool) -> tuple[Uint8Array, Uint8Array]:
    """Pixels (64, 96, 3) and texture (hidden, 4, 6)."""
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (64, 96, 3))
    texture = rng.integers(0, 256, (TINY.hidden, 4, 6))
    if extreme:
        pixels, texture = (np.where(array < 128, 0, 255) for array in (pixels, texture))
    return pixels.astype(np.uint8), texture.astype(np.uint8)


class Int64Backend(NumpyBackend):
    """The definition: sums in int64, multiplied by factors in float64."""

    def layer(self, name: str, values: Float32Array) -> Float32Array:
        weight = self._weights.weight(name).astype(np.int64)
        bias, multiplier = self._weights.condition(name, *self._condition)
        integers = values.astype(np.int64)
        assert (integers == values).all()
        size = weight.shape[-1]
        padded = np.pad(integers, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
        near = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
        terms = "oxij,ohwij->ohw" if size > 1 else "ocij,chwij->ohw"
        sums = np.einsum(terms, weight, near) + bias[:, None, None]
        assert np.abs(sums).max() < 2**24
        exact = sums * multiplier.astype(np.float64)[:, None, None]
        low, high = (0, 255) if kind_of(name).rectified else (-128, 127)
        rounded: Float32Array = np.clip(np.rint(exact), low, high).astype(np.float32)
        return rounded


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("condition", CONDITIONS)
def test_all_ways_to_compute_the_network_give_the_integers_of_its_definition(
    extreme: bool, condition: tuple[int, int]
) -> None:
    weights = SynthesisWeights(random_arrays(TINY, extreme=extreme), TINY)
    pixels, texture = inputs(extreme)
    backend = Int64Backend(weights, pixels, texture, *condition)
    expected = shuffled(network(backend, TINY), 4).transpose(1, 2, 0)
    assert len(np.unique(expected)) > 20
    renderers: list[Renderer] = [
        NumpyRenderer(weights),
        OnnxRenderer(weights),
        TorchRenderer(weights, torch.device("cpu")),
    ]
    for render in renderers:
        np.testing.assert_array_equal(render(pixels, texture, *condition), expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_do_not_change_a_pixel(threads: int) -> None:
    weights = SynthesisWeights(random_arrays(TINY), TINY)
    pixels, texture = inputs(False)
    expected = NumpyRenderer(weights)(pixels, texture, 4321, 1)
    with compute_threads(threads):
        np.testing.assert_array_equal(OnnxRenderer(weights)(pixels, texture, 4321, 1), expected)


def test_the_network_is_the_one_that_was_trained() -> None:
    from codec.models.photo.synthesis_arrays import restore_synthesis

    arrays = random_arrays(TINY)
    model = PhotoModel(TINY)
    restore_synthesis(model, arrays)
    pixels, texture = inputs(False)
    mix = model.mix(torch.tensor([1.0]), torch.tensor([0]))  # at a knot, nothing is interpolated
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() - 128
    hidden = torch.from_numpy(texture)[None] / 32
    with torch.no_grad():
        rendered = model.synthesis(image, hidden, mix, rounded=True)
    found = NumpyRenderer(SynthesisWeights(arrays, TINY))(pixels, texture, 10000, 0)
    np.testing.assert_array_equal(found, 2 * rendered[0].permute(1, 2, 0).numpy())


@pytest.mark.parametrize("coded", [768, 200, 0])
@pytest.mark.parametrize("largest", [40, 10**5, 2**31 - 1])
@pytest.mark.parametrize("tune", [0, 1])
def test_the_inverse_transform_is_exact(tune: int, largest: int, coded: int) -> None:
    rng = np.random.default_rng(3)
    latents = rng.integers(-largest, largest + 1, (768, 2, 300)).astype(np.int32)
    latents[coded:] = 0
    weights = SynthesisWeights(random_arrays(TINY), TINY)
    steps = weights.steps(6543, 1)
    # In Python's unbounded integers.
    scaled = np.rint(latents * steps[:, None, None]).clip(-(2**20), 2**20).astype(object)
    space = np.rint(cosine_basis(16) * 2**13).astype(int).astype(object)
    both = np.rint(np.einsum("vj,wc->vwjc", cosine_basis(16), COLOURS[tune]) * 2**13)
    coefficients = np.zeros((768, 2, 300), dtype=object)
    coefficients[channel_order()] = scaled
    coefficients = coefficients.reshape(16, 16, 3, 2, 300)
    places = rng.integers(0, [2, 300], (12, 2))  # some of all blocks
    for row, column in places:
        block = coefficients[..., row, column]
        first = np.tensordot(space, block, (0, 0))
        sums = np.tensordot(first, both.astype(int).astype(object), 2)  # (row, column, colour)
        wanted = np.array([round(Fraction(int(one), 2**26)) for one in sums.ravel()])
        found = inverse_transform(latents, steps, tune).reshape(2, 16, 300, 16, 3)[row, :, column]
        limited = wanted.clip(-(2**14) + 1, 2**14 - 1).reshape(16, 16, 3)
        np.testing.assert_array_equal(found, limited)


@pytest.mark.parametrize("tune", [0, 1])
def test_the_inverse_transform_is_that_of_the_network(tune: int) -> None:
    rng = np.random.default_rng(4)
    model = PhotoModel(TINY)
    pixels = torch.from_numpy(rng.random((1, 3, 48, 64), dtype=np.float32))
    mix = model.mix(torch.tensor([0.0]), torch.tensor([tune]))
    with torch.no_grad():
        coefficients = model.transform.analyze(pixels - 0.5, torch.eye(2)[None, tune])
        latents = coefficients / model.log_step(mix).exp()
    from codec.models.photo.synthesis_arrays import synthesis_arrays

    weights = SynthesisWeights(synthesis_arrays(model), TINY)
    found = inverse_transform(
        np.rint(latents[0].numpy() * 1024).astype(np.int32), weights.steps(100, tune), tune
    )
    levels = found / 64 + 127.5
    np.testing.assert_allclose(levels, pixels[0].permute(1, 2, 0).numpy() * 255, atol=0.6)


def test_the_bases_are_no_ties() -> None:
    """Cosines that another library computes with an error of an ulp round to the same integers."""
    each = [np.einsum("vj,wc->vwjc", cosine_basis(16), colours) for colours in COLOURS]
    for basis in (cosine_basis(16), *each):
        fractions = np.abs(basis * 2**13 % 1 - 0.5)
        assert fractions.min() > 1e-6
    mantissas = np.exp2(14 + np.arange(1024) / 1024)
    assert np.abs(mantissas % 1 - 0.5).min() > 1e-6


def test_numbers_beyond_all_pictures_give_pixels() -> None:
    weights = SynthesisWeights(random_arrays(TINY), TINY)
    rng = np.random.default_rng(5)
    decoded = rng.choice([-(2**31), 2**31 - 1], (768 + TINY.hidden, 2, 2)).astype(np.int32)
    pixels = synthesize(weights, NumpyRenderer(weights), decoded, 10000, 1)
    assert pixels.shape == (32, 32, 3)
    assert pixels.dtype == np.uint8


def test_what_the_network_sees_is_rounded_to_its_units() -> None:
    image = np.array([-16383, -33, -32, 31, 32, 8128, 16383], dtype=np.int16).reshape(1, -1, 1)
    assert seen_pixels(image).ravel().tolist() == [0, 127, 128, 128, 129, 255, 255]
    hidden = np.array([0, 15, 16, 8175, 8176, 2**30], dtype=np.int32).reshape(-1, 1, 1)
    assert seen_texture(hidden).ravel().tolist() == [0, 0, 1, 255, 255, 255]


def test_the_correction_is_added_and_clipped() -> None:
    image = np.array([-16383, -8160, 0, 0, 8160, 16383], dtype=np.int16).reshape(1, -1, 1)
    rendered = np.array([-128, 0, 0, 3, 0, 127], dtype=np.int8).reshape(1, -1, 1)
    assert pixels_of(image, rendered).ravel().tolist() == [0, 0, 128, 129, 255, 255]


def test_deep_pixels_are_the_same_levels_with_more_bits() -> None:
    rng = np.random.default_rng(6)
    image = rng.integers(-9000, 9000, (40, 50, 3)).astype(np.int16)
    rendered = rng.integers(-128, 128, (40, 50, 3)).astype(np.int8)
    exact = (image / 64 + rendered / 2 + 127.5).clip(0, 255) * 257
    assert np.abs(deep_pixels_of(image, rendered) - exact).max() <= 0.5
    coarse = np.abs(pixels_of(image, rendered) * 257.0 - exact)
    assert coarse.max() <= 128.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synthesis.out.weight", 64),
        ("synthesis.stage_8.blocks.0.gain", 128),
        ("synthesis.stage_8.blocks.0.shift", 57345),
        ("synthesis.out.bias", 2**22 + 1),
    ],
)
def test_weights_beyond_the_range_of_exact_sums_are_refused(name: str, value: int) -> None:
    arrays = random_arrays(TINY)
    wrong = arrays[name].copy()
    wrong.flat[0] = value
    with pytest.raises(WeightsMismatchError, match="beyond"):
        SynthesisWeights({**arrays, name: wrong}, TINY)


def test_weights_of_other_sizes_are_refused() -> None:
    arrays = random_arrays(TINY)
    with pytest.raises(WeightsMismatchError, match=r"synthesis\.up_8\.weight is int8"):
        SynthesisWeights(arrays, replace(TINY, width_4=TINY.width_4 + 1))
    del arrays["log_step"]
    with pytest.raises(WeightsMismatchError, match="log_step is missing"):
        SynthesisWeights(arrays, TINY)


def test_grey_pictures_have_no_colour_in_any_tune() -> None:
    forward = [np.linalg.inv(colours).T for colours in COLOURS]
    np.testing.assert_allclose(
        [rows @ np.ones(3) for rows in forward], [[3**0.5, 0, 0]] * 2, atol=1e-12
    )


def test_the_reference_takes_the_place_of_kernels_that_are_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    arrays = {**tiny_arrays(), **random_arrays(TINY)}
    assert isinstance(Transforms(arrays, TINY).renderer, OnnxRenderer)
    right = OnnxRenderer.__call__

    def wrong(
        self: OnnxRenderer, pixels: Uint8Array, texture: Uint8Array, hundredths: int, tune: int
    ) -> Int8Array:
        return right(self, pixels, texture, hundredths, tune) ^ 1

    monkeypatch.setattr(OnnxRenderer, "__call__", wrong)
    with pytest.warns(RuntimeWarning, match=r"onnxruntime .* wrong integers .* another version"):
        found = Transforms(arrays, TINY).renderer
    assert isinstance(found, NumpyRenderer)
