"""The lossless archive: exact, and as short as the evidence lower bound allows."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch

from benchmarks.measurement.digits import integer_elbo
from bitstream import PayloadError, UsageError, container_from_bytes, container_to_bytes
from bitstream.ans_coder import AnsCoder
from bitstream.errors import WeightsMismatchError
from codec.coding import bits_back_tables
from codec.coding.bits_back_tables import PosteriorTables
from codec.coding.prior_tables import interval_masses
from codec.models.vae import archive as vae_bits_back
from codec.models.vae.archive import BitsBackCoder
from codec.models.vae.exact_mlp import ExactLinear, ExactMlp
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.models.vae.tiny import binary, bits_back, digits, sheet
from training.generative.digits_export import posterior_arrays

Pixels = npt.NDArray[np.uint8]

TABLES = PosteriorTables(**posterior_arrays(64))


def archive(pixels: Pixels) -> bytes:
    picture = Picture(pixels[:, :, None])
    return container_to_bytes(compress_picture(picture, bits_back(), quality=75))


def restore(data: bytes) -> Pixels:
    return decompress_container(container_from_bytes(data), bits_back()).pixels[:, :, 0]


@pytest.mark.parametrize("size", [(1, 1), (28, 28), (56, 280), (100, 61)])
def test_is_lossless(size: tuple[int, int]) -> None:
    pixels = binary(sheet(digits(60, seed=2), 10))[: size[0], : size[1]]
    np.testing.assert_array_equal(restore(archive(pixels)), pixels)


def test_noise_and_extremes_are_lossless_too() -> None:
    rng = np.random.default_rng(0)
    for pixels in (
        rng.choice(np.array([0, 255], np.uint8), (84, 84)),
        np.full((300, 300), 255, np.uint8),
        np.zeros((600, 600), np.uint8),
    ):
        np.testing.assert_array_equal(restore(archive(pixels)), pixels)


def test_threads_change_nothing() -> None:
    pixels = binary(sheet(digits(40, seed=8), 8))
    before = torch.get_num_threads()
    data = archive(pixels)
    try:
        torch.set_num_threads(2)
        assert archive(pixels) == data
        np.testing.assert_array_equal(restore(data), pixels)
    finally:
        torch.set_num_threads(before)


def test_the_archive_costs_the_evidence_bound_and_the_seed() -> None:
    images = (binary(digits(400, seed=3)).reshape(400, -1) // 255).astype(np.int32)
    stack = bits_back().push_images(images, 16)
    assert stack is not None
    _, elbo_bits, _ = integer_elbo(bits_back(), images)
    assert abs(stack.bits - 16 * 32 - elbo_bits.sum()) < 0.02 * elbo_bits.sum()


def test_the_seed_comes_back() -> None:
    images = (binary(digits(30, seed=3)).reshape(30, -1) // 255).astype(np.int32)
    stack = bits_back().push_images(images, 16)
    assert stack is not None
    np.testing.assert_array_equal(bits_back().pop_images(stack, 30), images)
    assert stack.to_bytes() == AnsCoder.seeded(16, vae_bits_back.SEED).to_bytes()


def test_a_seed_that_runs_out_is_noticed() -> None:
    images = (binary(digits(30, seed=3)).reshape(30, -1) // 255).astype(np.int32)
    assert bits_back().push_images(images, 2) is None


def test_grey_and_colour_are_refused_with_advice() -> None:
    pixels = np.zeros((28, 28), np.uint8)
    pixels[0, 0] = 254
    with pytest.raises(UsageError, match="black and white"):
        archive(pixels)
    colour = np.zeros((28, 28, 3), np.uint8)
    colour[0, 0, 0] = 255
    with pytest.raises(UsageError, match="colours"):
        compress_picture(Picture(colour), bits_back(), quality=75)


def test_groups_grow_with_the_stack() -> None:
    found = list(vae_bits_back.groups(200, 16))
    assert [end for _, end in found[:-1]] == [begin for begin, _ in found[1:]]
    assert (found[0], found[-1][1]) == ((0, 1), 200)
    assert all(end - begin <= max(1, begin // 4) and end - begin <= 16 for begin, end in found)
    assert list(vae_bits_back.groups(0, 16)) == []


def test_frequencies_are_those_of_the_gaussian() -> None:
    edges = np.concatenate([[-np.inf], TABLES.edges / 2**16, [np.inf]])
    for mean, log_variance in ((0.0, 0.0), (-0.7, -3.0), (2.1, -5.25), (0.3, 1.0)):
        level = bits_back_tables.variance_level(np.array([round(log_variance * 1024)], np.int32))
        found = TABLES.frequencies(np.array([round(mean * 1024)], np.int32), level)[0]
        assert found.sum() == 2**24
        assert found.min() >= 1
        spread = math.exp(log_variance / 2)
        expected = interval_masses((edges - round(mean * 1024) / 1024) / spread)
        assert np.abs(found[:-1] / 2**24 - expected).max() < 1e-4


@pytest.mark.parametrize("mean", [-(2**22), -5000, 0, 5000, 2**22])
@pytest.mark.parametrize("level", [0, bits_back_tables.LOG_VARIANCE_LEVELS - 1])
def test_frequencies_hold_at_the_limits(mean: int, level: int) -> None:
    found = TABLES.frequencies(np.array([mean], np.int32), np.array([level], np.int32))
    assert found.sum() == 2**24
    assert found.min() >= 1
    TABLES.tables(np.array([mean], np.int32), np.array([level], np.int32))


def test_indexes_are_rounded_and_bounded() -> None:
    units = np.array([-(2**22), -12 * 1024, -129, 0, 128, 2**22], np.int32)
    top = bits_back_tables.LOG_VARIANCE_LEVELS - 1
    assert bits_back_tables.variance_level(units).tolist() == [0, 0, 47, 48, 49, top]
    odds = np.array([-(2**22), -65, 0, 63, 64, 2**22])
    assert bits_back_tables.log_odds_index(odds).tolist() == [0, 127, 128, 128, 129, 256]


def test_tables_that_break_a_rule_are_refused() -> None:
    good = posterior_arrays(16)
    for name, bad in (
        ("edges", good["edges"][::-1].copy()),
        ("edges", good["edges"][1:]),
        ("centres", good["centres"][:-1]),
        ("reciprocals", np.zeros_like(good["reciprocals"])),
        ("distribution", good["distribution"] + 1),
        ("distribution", good["distribution"].astype(np.int64)),
    ):
        with pytest.raises(WeightsMismatchError):
            PosteriorTables(**{**good, name: bad})  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [0, 1, 5, -1])
def test_damage_is_noticed(place: int) -> None:
    pixels = binary(sheet(digits(20, seed=2), 10))
    latents = bits_back().analyze(np.repeat(pixels[:, :, None], 3, axis=2), 75)
    payload = bytearray(bits_back().encode_tile(latents, 75)[0])
    payload[place] ^= 1
    with pytest.raises(PayloadError):
        bits_back().decode_tile([bytes(payload)], 2, 10, 75)


@pytest.mark.parametrize("bins", [2, 64])
def test_a_known_bin_is_pushed_as_under_the_whole_table(bins: int) -> None:
    posterior = PosteriorTables(**posterior_arrays(bins))
    rng = np.random.default_rng(bins)
    mean = np.concatenate([rng.integers(-5000, 5000, 400), [2**22, -(2**22)] * 50])
    level = rng.integers(0, bits_back_tables.LOG_VARIANCE_LEVELS, 500).astype(np.int32)
    codes = rng.integers(0, bins, 500).astype(np.int32)
    codes[:4] = [0, bins - 1, 0, bins - 1]
    indexes = np.arange(500, dtype=np.int32)
    whole, short = AnsCoder.seeded(16, 1), AnsCoder.seeded(16, 1)
    whole.push(codes, indexes, posterior.tables(mean.astype(np.int32), level))
    symbols, tables = posterior.tables_of_bins(mean.astype(np.int32), level, codes)
    short.push(symbols, indexes, tables)
    assert short.to_bytes() == whole.to_bytes()


def test_weights_of_too_many_dimensions_are_refused() -> None:
    def layer(inside: int, out: int) -> ExactMlp:
        return ExactMlp([ExactLinear(np.ones((out, inside), np.int16), np.zeros(out, np.int32), 1)])

    k, coder = 1025, bits_back()
    posterior = PosteriorTables(**posterior_arrays(2))
    with pytest.raises(WeightsMismatchError, match="1025 dimensions"):
        BitsBackCoder(layer(784, 2 * k), layer(k, 784), posterior, coder.pixel_tables, bytes(8))
    good = posterior_arrays(16)
    with pytest.raises(WeightsMismatchError):
        PosteriorTables(**{**good, "centres": np.array(3, np.int32)})


def test_a_model_that_eats_its_seed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae_bits_back, "MAX_SEED_WORDS", 8)
    with pytest.raises(WeightsMismatchError, match="seed"):
        archive(np.zeros((28, 28), np.uint8))
