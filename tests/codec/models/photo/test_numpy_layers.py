"""Layers in NumPy do what torch's do, on any size and any number of threads."""

from __future__ import annotations

import os
import sys
import warnings

import numpy as np
import numpy.typing as npt
import pytest
import threadpoolctl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from codec.models.layers import Block as TorchBlock
from codec.models.layers import interpolate as torch_interpolate
from codec.models.photo import numpy_layers
from codec.models.photo.numpy_layers import (
    Block,
    Dense,
    ModulatedBlock,
    Plane,
    add_dense,
    crew_of,
    downsample,
    interpolate,
    shuffled,
    stage,
    upsample,
)
from codec.system import processors

Float32Array = npt.NDArray[np.float32]


def random_array(*shape: int, seed: int = 0) -> Float32Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def plane_of(image: Float32Array) -> Plane:
    plane = Plane(*image.shape)
    plane.image[:] = image
    return plane


def as_tensor(image: Float32Array) -> torch.Tensor:
    """(h, w, c) to (1, c, h, w)."""
    return torch.from_numpy(image.transpose(2, 0, 1).copy())[None]


def as_image(tensor: torch.Tensor) -> Float32Array:
    """(1, c, h, w) to (h, w, c)."""
    array: Float32Array = tensor[0].permute(1, 2, 0).numpy()
    return array


def random_block(channels: int, knots: int = 3) -> tuple[TorchBlock, ModulatedBlock]:
    """A block of torch with random parameters, and the same in NumPy."""
    torch.manual_seed(channels)
    block = TorchBlock(channels, knots).requires_grad_(False)
    for parameter in block.parameters():
        parameter.normal_(0, 0.5)

    def dense(layer: torch.nn.Conv2d) -> Dense:
        assert layer.bias is not None
        return Dense(layer.weight[:, :, 0, 0].t().contiguous().numpy(), layer.bias.numpy())

    assert block.spatial.bias is not None
    spatial = Dense(
        block.spatial.weight.reshape(channels, 9).t().numpy(), block.spatial.bias.numpy()
    )
    scale, shift = block.scale.knots.numpy(), block.shift.knots.numpy()
    return block, ModulatedBlock(spatial, scale, shift, dense(block.expand), dense(block.project))


@given(
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    channels=st.sampled_from([1, 3, 16, 300]),
    position=st.floats(0, 1),
    threads=st.integers(1, 3),
    span_bytes=st.sampled_from([1, 2**12, 2**19]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_block_is_that_of_torch(
    height: int, width: int, channels: int, position: float, threads: int, span_bytes: int
) -> None:
    block, modulated = random_block(channels)
    image = random_array(height, width, channels)
    with torch.no_grad():
        expected = as_image(block(as_tensor(image), torch.tensor([position])))
    target = Plane(height, width, channels)
    target.grid[:] = np.nan  # what the pass before has left there
    with pytest.MonkeyPatch.context() as patch, crew_of(threads) as crew:
        patch.setattr(numpy_layers, "_SPAN_BYTES", span_bytes)
        modulated.at(position)(plane_of(image), target, crew)
    np.testing.assert_allclose(target.image, expected, rtol=1e-4, atol=1e-4 * channels)
    assert not target.grid[:, width].any()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_stage_is_one_block_after_another(count: int) -> None:
    block, modulated = random_block(8)
    image = random_array(5, 7, 8)
    expected = as_tensor(image)
    with torch.no_grad():
        for _ in range(count):
            expected = block(expected, torch.tensor([0.3]))
    with crew_of(2) as crew:
        found = stage(plane_of(image), [modulated.at(0.3)] * count, crew)
    np.testing.assert_allclose(found.image, as_image(expected), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("position", [0.0, 0.01, 0.5, 0.73, 1.0])
def test_interpolates_as_torch_does(position: float) -> None:
    knots = random_array(12, 5)
    expected = torch_interpolate(torch.from_numpy(knots), torch.tensor([position])).flatten()
    np.testing.assert_allclose(interpolate(knots, position), expected.numpy(), atol=1e-5)


def in_torch_order(channels: int, factor: int) -> npt.NDArray[np.intp]:
    """Where channel (c, dy, dx) of torch's pixel shuffle is in the order (dy, dx, c)."""
    numbers = np.arange(channels * factor**2).reshape(factor**2, channels)
    order: npt.NDArray[np.intp] = numbers.T.ravel()
    return order


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("threads", [1, 2])
def test_shuffles_are_those_of_torch(
    factor: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numpy_layers, "_SPAN_BYTES", 2**10)
    height, width, channels, inputs = 6, 5, 3, 7
    order = in_torch_order(channels, factor)
    wide = Dense(random_array(inputs, channels * factor**2), random_array(len(order)))
    image = random_array(height, width, inputs)
    product = (image @ wide.weight + wide.bias)[:, :, order]
    fine = as_image(F.pixel_shuffle(as_tensor(product), factor))
    with crew_of(threads) as crew:
        plane = upsample(plane_of(image), wide, factor, crew)
        np.testing.assert_allclose(plane.image, fine, atol=1e-5)
        assert not plane.grid[:, plane.width].any()
        back = Dense(random_array(len(order), inputs, seed=1), random_array(inputs))
        added = random_array(height, width, inputs, seed=2)
        found = downsample(plane, back, factor, crew, add=plane_of(added))
    unshuffled = as_image(F.pixel_unshuffle(as_tensor(fine), factor))
    coarse = unshuffled @ back.weight[order] + back.bias + added
    np.testing.assert_allclose(found.image, coarse, atol=1e-4)


def test_a_shuffled_plane_is_a_view() -> None:
    plane = Plane(8, 4, 3)
    shuffled(plane, 2)[1, 0, 1, 4] = 5  # coarse row and column 1, upper row, right, channel 1
    assert plane.image[2, 3, 1] == 5
    assert np.count_nonzero(plane.grid) == 1


def test_adds_a_layer() -> None:
    image, added = random_array(4, 3, 5), random_array(4, 3, 6, seed=1)
    layer = Dense(random_array(6, 5), random_array(5))
    target = plane_of(image)
    with crew_of(1) as crew:
        add_dense(target, plane_of(added), layer, crew)
    np.testing.assert_allclose(target.image, image + added @ layer.weight + layer.bias, atol=1e-5)
    assert not target.grid[:, 3].any()


def test_overflow_is_no_warning_in_any_thread() -> None:
    huge = np.full((6, 6, 4), 1e38, dtype=np.float32)
    ones = np.ones((4, 8), dtype=np.float32)
    block = Block(np.ones((9, 4), np.float32), ones, np.zeros(8, np.float32), ones.T, ones[0, :4])
    target = Plane(6, 6, 4)
    with warnings.catch_warnings(), crew_of(2) as crew:
        warnings.simplefilter("error")
        block(plane_of(huge), target, crew)
    assert np.isinf(target.image).all()


def test_an_error_in_a_thread_is_raised() -> None:
    def fail(spans: object) -> None:
        raise MemoryError("no more")

    with crew_of(2) as crew, pytest.raises(MemoryError, match="no more"):
        crew.run(fail, [slice(0, 1), slice(1, 2)])


def blas_threads() -> set[int]:
    controller = threadpoolctl.ThreadpoolController().select(user_api="blas")
    return {library["num_threads"] for library in controller.info()}


def test_blas_has_one_thread_while_any_crew_works() -> None:
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        first, second = crew_of(2), crew_of(2)
        first.__enter__()
        assert blas_threads() == {1}
        second.__enter__()
        first.__exit__(None, None, None)
        assert blas_threads() == {1}
        with pytest.raises(KeyError), crew_of(1):
            raise KeyError
        assert blas_threads() == {1}
        second.__exit__(None, None, None)
        assert blas_threads() == before


def test_threads_follow_torch_which_is_loaded_here() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        assert processors.thread_count() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("told", "expected"), [("5", 5), ("0", None), ("two", None), ("", None)])
def test_threads_without_torch(
    told: str, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 7}, raising=False)
    assert processors.thread_count() == (expected or 3)
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert processors.thread_count() == (expected or 1)
