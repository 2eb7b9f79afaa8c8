"""Vector quantisers of normal numbers, the rotations around them, and the reported figures."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

from benchmarks.dplc.rotation import turn, turn_back, with_normal_lengths
from benchmarks.dplc.trellis import LATTICES, kolmogorov, row
from benchmarks.dplc.trellis_codes import LatticeCode, RandomCode, Trellis, TrellisCode
from benchmarks.readme.dplc import dplc_section
from bitstream.arrays import Float64Array
from bitstream.errors import PayloadError, UsageError
from codec.rate_distortion.known.perception import GaussianPerception
from tests.benchmarks.tiny_dplc_set import run

LN2 = math.log(2)
SMALL = Trellis(3, 0o13 >> 1, 0o4 >> 1)
ROOM = "--vectors", "48", "--length", "160", "--lattice-memory", "8", "--random-memory", "8"


def normal(seed: int, *shape: int) -> Float64Array:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("trellis", [SMALL, *LATTICES.values(), Trellis(5, 0, 16)])
def test_two_branches_lead_to_every_state(trellis: Trellis) -> None:
    states = 1 << trellis.memory
    assert trellis.incoming.shape == (2, states)
    assert (trellis.after[trellis.incoming] == np.arange(states)).all()


def test_the_best_path_is_the_best_of_all() -> None:
    steps, streams = 8, 3
    costs = normal(0, steps, 2, 8, streams).astype(np.float32)
    bits = SMALL.best_path(lambda step: costs[step].copy(), steps, streams)

    def cost(path: tuple[int, ...], stream: int) -> float:
        state, total = 0, 0.0
        for step, bit in enumerate(path):
            branch = 2 * state + bit
            state = SMALL.after[branch]
            way = int(SMALL.incoming[1, state] == branch)
            total += costs[step, way, state, stream]
        return total

    for stream in range(streams):
        least = min(cost(path, stream) for path in itertools.product((0, 1), repeat=steps))
        assert cost(tuple(bits[:, stream]), stream) == pytest.approx(least, abs=1e-5)


LATTICE = LatticeCode.designed(SMALL, 1.5, normal(1, 20, 200))
CODES: dict[str, TrellisCode] = {"lattice": LATTICE, "random": RandomCode.of_memory(6, 4)}


@pytest.mark.parametrize("name", CODES)
def test_symbols_come_back_of_their_bytes(name: str) -> None:
    code = CODES[name]
    symbols = code.quantize(normal(2, 30, 200))
    data = code.encode(symbols)
    assert (code.decode(data, *symbols.shape) == symbols).all()
    assert code.dequantize(symbols).shape == (30, 200)
    with pytest.raises(PayloadError):
        code.decode(data[:-3], *symbols.shape)


def test_a_lattice_gains_over_its_union_and_costs_what_its_tables_say() -> None:
    values = normal(2, 60, 500)
    bits, errors = {}, {}
    for trellis in (SMALL, LATTICES[8]):
        code = dataclasses.replace(LATTICE, trellis=trellis)
        symbols = code.quantize(values)
        bits[trellis.memory] = 8 * len(code.encode(symbols)) / values.size
        errors[trellis.memory] = ((code.dequantize(symbols) - values) ** 2).mean()
    assert bits[3] == pytest.approx(1.5, abs=0.02)
    decibels = {n: 10 * math.log10(errors[n] * 4 ** bits[n]) for n in bits}
    # A scalar quantiser without memory is 1.53 dB above the bound at high rates, 1.4 dB here.
    assert 0.40 < decibels[3] < 0.50
    assert 0.19 < decibels[8] < 0.29


def test_turns_are_orthogonal_undone_and_without_preference() -> None:
    vectors = normal(3, 2, 50, 6)
    turned = turn(vectors, 7)
    assert turn_back(turned, 7) == pytest.approx(vectors)
    assert (turned**2).sum(-1) == pytest.approx((vectors**2).sum(-1))
    inner = (vectors[0] * vectors[1]).sum(-1)
    assert (turned[0] * turned[1]).sum(-1) == pytest.approx(inner)
    # An axis that is rotated 40,000 times is uniform on the sphere; this holds for every axis.
    for axis in range(3):
        fixed = np.zeros((40_000, 3))
        fixed[:, axis] = 1
        found = turn(fixed, 8)
        # A coordinate of a uniform point on a sphere in three dimensions is itself uniform.
        for coordinate in found.T:
            steps = np.sort(coordinate) / 2 + 0.5 - (np.arange(40_000) + 0.5) / 40_000
            assert math.sqrt(40_000) * np.abs(steps).max() < 1.63
        assert found.T @ found / 40_000 == pytest.approx(np.eye(3) / 3, abs=0.01)


@pytest.mark.parametrize("independent", [False, True])
def test_whatever_was_between_the_numbers_are_normal(independent: bool) -> None:
    """If only signs of the rotated numbers are kept, no moment of the result shows it."""
    source = normal(4, 4000, 20)
    coarse = np.sign(turn_back(source, 9)) * np.tile([1, 0], 10)
    coarse *= np.abs(normal(5, 4000, 1)) + 0.1
    found = turn(with_normal_lengths(coarse, 9, independent=independent), 9)
    flat = found.ravel()
    assert kolmogorov(coarse.ravel()) > 50
    assert kolmogorov(flat) < 1.63
    wanted = {1: 0, 2: 1, 3: 0, 4: 3, 6: 15}
    deviations = {1: 1, 2: 2, 3: 15, 4: 96, 6: 10_170}  # variances of the powers
    for power, mean in wanted.items():
        error = 3 * math.sqrt(deviations[power] / flat.size)
        assert (flat**power).mean() == pytest.approx(mean, abs=error)
    assert found.T @ found / 4000 == pytest.approx(np.eye(20), abs=0.08)
    squares = found**2 - 1
    assert (squares[:, :-1] * squares[:, 1:]).mean() == pytest.approx(0, abs=0.03)
    norms = (found**2).sum(1)
    assert norms.var() == pytest.approx(40, rel=0.1)


def test_ranks_keep_the_longest_the_longest() -> None:
    vectors = normal(6, 500, 10)
    kept = with_normal_lengths(vectors, 1, independent=True)
    drawn = with_normal_lengths(vectors, 1, independent=False)
    norms = [np.linalg.norm(one, axis=1) for one in (vectors, kept, drawn)]
    assert (np.argsort(norms[0]) == np.argsort(norms[1])).all()
    assert sorted(norms[1]) == pytest.approx(sorted(norms[2]))
    assert ((kept - vectors) ** 2).mean() < 0.01 < ((drawn - vectors) ** 2).mean()
    # Ties are broken at random: the order of the vectors is not that of their lengths.
    alike = with_normal_lengths(np.ones((500, 10)), 1, independent=True)[:, 0]
    assert abs(np.corrcoef(alike, np.arange(500))[0, 1]) < 0.2


def test_a_row_says_how_far_the_closed_form_is() -> None:
    """The test channel, scaled to the width of the source, gives the closed form itself."""
    source, noise = normal(7, 2, 1000, 500)
    correlation = math.sqrt(1 - 2**-3.0)
    decoded = correlation * source + math.sqrt(1 - correlation**2) * noise
    found = row(1.5, 2.0, 1000 * 500 * 3 // 16, source, decoded)
    assert found["rate_bits"] == 1.5
    assert found["closed_form"] == pytest.approx(GaussianPerception(2.0).distortion_at(1.5 * LN2))
    assert found["ratio"] == pytest.approx(1, abs=0.01)
    assert found["bits_above_closed_form"] == pytest.approx(0, abs=0.01)
    assert found["kolmogorov"] < 1.63
    assert found["met"]
    assert not row(1.5, 2.0, 1000 * 500 * 3 // 16, source, 0.9 * decoded)["kolmogorov"] < 1.63


def test_the_part_of_the_report(tmp_path: Path) -> None:
    output = tmp_path / "dplc.json"
    kept = run(tmp_path, output, "trellis", "--rates", "0.25", "2", *ROOM)
    low, high = kept["normal"]["found"]["rows"]
    assert (low["rate_bits"], high["rate_bits"]) == pytest.approx((0.25, 2), rel=0.03)
    for found in (low, high):
        assert found["rate_bits"] == pytest.approx(8 * found["bytes"] / (48 * 160), rel=1e-4)
        assert 0 < found["bits_above_closed_form"] < 0.1
        assert found["share_of_rate_above"] == pytest.approx(
            found["bits_above_closed_form"] / found["rate_bits"], rel=1e-3
        )
        assert 1 < found["ratio"] < 1.15
    assert kept["normal"]["found"]["met"] == low["met"] + high["met"]
    text = dplc_section(tmp_path)
    assert "trellis codes, random rotations, 0.25 to 2 bits" in text
    assert f"| {high['rate_bits']:.4f} | – | +{100 * (high['ratio'] - 1):.1f} % |" in text


def test_streams_hold_whole_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not of words of 7"):
        run(tmp_path, tmp_path / "dplc.json", "trellis", "--rates", "0.143", *ROOM)
