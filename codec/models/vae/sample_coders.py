"""Four ways to code the posterior of a VAE, for the same model and scale of quality.

Each takes the posterior N(μ, diag σ²) of n images and returns messages of integer symbols; and
decodes symbols to codes z for the decoder network. The prior is N(0, I).

    vae-round    K = round(μ / Δ)                    ẑ = Δ K
    vae-dither   K = round((μ + u') / Δ)             ẑ = Δ K − u'      a sample of μ + uniform
    vae-rec      index among shared candidates       z of that index   a sample of N(μ, diag σ²)
    vae-vbq      dyadic prior quantile near μ        the quantile

**Quality** sets one number, an inverse temperature β = 2^((quality − 75) / 6.25) on the decoder's
evidence about z; at 75 it is that of training. The evidence is q(z|x) / p(z), a Gaussian of
precision 1/σ² − 1, so that

    vae-rec      codes samples of the tempered posterior ∝ p(z) · (q(z|x) / p(z))^β
    vae-vbq      weighs a bit with λ = 1 / β
    the others   take steps Δ = √(12 / (β · mean evidence)), rounded to the ladder of
                 `codec.coding.prior_tables`: their noise Δ²/12 is the inverse of β times the
                 evidence. The same rungs select the tables of vae-vbq

A regularised autoencoder has a mixture of Gaussians as its prior, and no posterior. `vae-round`
codes its z, too: the number j of a component, and then z in coordinates in which that component
is N(0, I), with the same steps and tables.

    vae-round    z = m_j + T_j u,  K = round(u / Δ_j)

The networks of a class-conditional VAE see a label as well (Kingma et al. 2014, model M2), and
`vae-round` codes it before z, with log₂(number of classes) bits: in the prior all labels are
equally likely, and independent of z.

Floating point chooses symbols, integers choose tables: a last-bit difference never affects
parsing. Encoding with vae-rec takes about ten milliseconds per block of an image, the others far
less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from bitstream.arrays import Array, Float32Array, Float64Array, Int32Array
from bitstream.errors import PayloadError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder
from bitstream.tables import PRECISION, TableSet
from codec.coding import channel_simulation, quantize
from codec.coding.prior_tables import (
    DYADIC_BITS,
    LARGEST_STEP,
    NOISE_LEVELS,
    RUNGS,
    RUNGS_PER_OCTAVE,
    dyadic_quantiles,
    step_sizes,
    symbol_bits,
    uniform_tables,
)
from codec.models.weights_files import stored

NEUTRAL_QUALITY = 75
QUALITY_PER_OCTAVE = 6.25  # of β; a step halves over twice that


@dataclass(frozen=True)
class Message:
    """Symbols int32 (n · m,), the same number m for each of n images, image by image.

    indexes   int32 (n · m,), the table of each in `tables`
    """

    symbols: Int32Array
    indexes: Int32Array
    tables: TableSet


@dataclass(frozen=True)
class Posterior:
    """N(mean, diag variance) of each image: float64 (n, k) each, variance > 0."""

    mean: Float64Array
    variance: Float64Array

    def kl_bits(self) -> Float64Array:
        """KL to the prior in bits, float64 (n,)."""
        bits: Float64Array = channel_simulation.kl_bits(self.mean, self.variance).sum(axis=1)
        return bits


def posterior_from_network(mean: Float32Array, log_variance: Float32Array) -> Posterior:
    """Clip the outputs of an encoder network, (n, k) each, to the range that can be coded."""
    bounded = np.clip(np.nan_to_num(mean.astype(np.float64), nan=0.0), -1e6, 1e6)
    logs = np.clip(np.nan_to_num(log_variance.astype(np.float64), nan=0.0), -20.0, 20.0)
    return Posterior(bounded, np.exp(logs))


def inverse_temperature(hundredths: int) -> float:
    """β of a quality in hundredths."""
    return float(2.0 ** ((hundredths / 100 - NEUTRAL_QUALITY) / QUALITY_PER_OCTAVE))


def tempered(posterior: Posterior, beta: float) -> Posterior:
    """The distribution ∝ p(z) · (q(z|x) / p(z))^β: Gaussian, with β times the evidence of q.

    A dimension with σ² ≥ 1 has no evidence: its mean shrinks with β < 1, and its variance stays.
    """
    evidence = 1 / posterior.variance - 1
    informed = evidence > 0
    precision = np.where(informed, 1 + beta * evidence, 1 / posterior.variance)
    mean = beta * posterior.mean / (posterior.variance * precision)
    uninformed = min(beta, 1.0) * posterior.mean
    return Posterior(np.where(informed, mean, uninformed), 1 / precision)


def rung_offsets(mean_evidence: Float64Array) -> Int32Array:
    """Rung of each dimension at quality 75, int32 (k,), from E[1/σ² − 1], float64 (k,)."""
    steps = np.sqrt(12 / np.maximum(mean_evidence, 12 / LARGEST_STEP**2))
    rungs: Float64Array = np.rint(RUNGS_PER_OCTAVE * np.log2(LARGEST_STEP / steps))
    return rungs.astype(np.int32)


def rungs_at(hundredths: int, offsets: Int32Array) -> Int32Array:
    """Rung of each dimension at a quality in hundredths, by integer arithmetic: int32 (k,)."""
    # A step halves over 12.5 in quality, that is, over 1250 hundredths.
    change = (2 * RUNGS_PER_OCTAVE * (hundredths - 100 * NEUTRAL_QUALITY) + 1250) // 2500
    return np.clip(offsets.astype(np.int64) + change, 0, RUNGS - 1).astype(np.int32)


class SampleCoder(Protocol):
    """From posteriors to messages, and from messages to codes."""

    def messages(self, posterior: Posterior, hundredths: int) -> Sequence[Message]:
        """The messages of n images, in order."""

    def codes(self, decoder: SymbolDecoder, count: int, hundredths: int) -> Float32Array:
        """Decode the messages of `count` images: float32 (count, k). Raises `PayloadError`."""


@dataclass(frozen=True)
class RoundingCoder:
    """vae-round. tables: one per rung; offsets: int32 (k,), see `rung_offsets`."""

    tables: TableSet
    offsets: Int32Array

    def __post_init__(self) -> None:
        _require_tables("round_tables", self.tables, RUNGS)

    def messages(self, posterior: Posterior, hundredths: int) -> Sequence[Message]:
        """One message, (n, k) in row-major order."""
        rungs = rungs_at(hundredths, self.offsets)
        symbols = quantize.round_to_grid(_float32(posterior.mean), step_sizes()[rungs])
        return [Message(symbols.ravel(), np.tile(rungs, len(symbols)), self.tables)]

    def codes(self, decoder: SymbolDecoder, count: int, hundredths: int) -> Float32Array:
        rungs = rungs_at(hundredths, self.offsets)
        symbols = decoder.get(np.tile(rungs, count), self.tables).reshape(count, -1)
        return quantize.multiples(symbols, step_sizes()[rungs])


@dataclass(frozen=True)
class MixtureCoder:
    """vae-round for a model whose prior is a mixture of M components. It ignores the posterior's
    variance, because the encoder gives a single code.

    labels    one table, over 0 .. M − 1
    tables    one per rung
    offsets   int32 (M, k), see `rung_offsets`
    means     float32 (M, k), m_j
    turns     float32 (M, k, k), T_j
    """

    labels: TableSet
    tables: TableSet
    offsets: Int32Array
    means: Float32Array
    turns: Float32Array

    def __post_init__(self) -> None:
        _require_tables("round_tables", self.tables, RUNGS)
        _require_tables("label_tables", self.labels, 1)
        count = len(self.offsets)
        if self.labels.minimums[0] != 0 or self.labels.sizes[0] != count:
            raise WeightsMismatchError(f"weights file: label_tables are not over 0 .. {count - 1}")
        finite = np.isfinite(self.means).all() and np.isfinite(self.turns).all()
        if not finite or (np.linalg.slogdet(self.turns)[0] == 0).any():
            raise WeightsMismatchError("weights file: a component of the mixture is not regular")

    def messages(self, posterior: Posterior, hundredths: int) -> Sequence[Message]:
        """The components (n, 1), each the one with the fewest bits, then (n, k) symbols."""
        rungs = rungs_at(hundredths, self.offsets)
        count, components = len(posterior.mean), len(rungs)
        symbols = np.empty((components, count, rungs.shape[1]), dtype=np.int32)
        numbers = np.arange(components, dtype=np.int32)
        label_bits = symbol_bits(numbers, np.zeros_like(numbers), self.labels)
        bits = np.empty((components, count))
        for j, turn in enumerate(self.turns.astype(np.float64)):
            centred = posterior.mean - self.means[j]
            white = _float32(np.linalg.solve(turn, centred.T).T)
            symbols[j] = quantize.round_to_grid(white, step_sizes()[rungs[j]])
            found = symbol_bits(symbols[j].ravel(), np.tile(rungs[j], count), self.tables)
            bits[j] = label_bits[j] + found.reshape(count, -1).sum(axis=1)
        label = bits.argmin(axis=0).astype(np.int32)
        chosen = symbols[label, np.arange(count)]
        return [
            Message(label, np.zeros_like(label), self.labels),
            Message(chosen.ravel(), rungs[label].ravel(), self.tables),
        ]

    def codes(self, decoder: SymbolDecoder, count: int, hundredths: int) -> Float32Array:
        label = decoder.get(np.zeros(count, dtype=np.int32), self.labels)
        if count and not 0 <= label.min() <= label.max() < len(self.offsets):
            raise PayloadError(
                f"a component of {label.min()} .. {label.max()} was decoded, expected "
                f"0 .. {len(self.offsets) - 1}: the payload is damaged"
            )
        rungs = rungs_at(hundredths, self.offsets)[label]
        symbols = decoder.get(rungs.ravel(), self.tables).reshape(count, -1)
        white = quantize.multiples(symbols, step_sizes()[rungs])
        codes: Float32Array = self.means[label] + np.einsum("nij,nj->ni", self.turns[label], white)
        return codes


@dataclass(frozen=True)
class ClassCoder:
    """vae-round for a VAE whose decoder sees one of M classes. Codes are (z, y): z rounded, and the
    label y as a one-hot vector of M values. In a posterior these are the last M means.

    labels   one table, over 0 .. M − 1
    rounded  coder of z
    """

    labels: TableSet
    rounded: RoundingCoder

    def __post_init__(self) -> None:
        _require_tables("label_tables", self.labels, 1)
        if self.labels.minimums[0] != 0:
            raise WeightsMismatchError("weights file: label_tables do not begin at 0")

    @property
    def classes(self) -> int:
        return int(self.labels.sizes[0])

    def messages(self, posterior: Posterior, hundredths: int) -> Sequence[Message]:
        """The labels (n, 1), then (n, k) symbols."""
        place = posterior.mean.shape[1] - self.classes
        label = posterior.mean[:, place:].argmax(axis=1).astype(np.int32)
        z = Posterior(posterior.mean[:, :place], posterior.variance[:, :place])
        of_label = Message(label, np.zeros_like(label), self.labels)
        return [of_label, *self.rounded.messages(z, hundredths)]

    def codes(self, decoder: SymbolDecoder, count: int, hundredths: int) -> Float32Array:
        label = decoder.get(np.zeros(count, dtype=np.int32), self.labels)
        if count and not 0 <= label.min() <= label.max() < self.classes:
            raise PayloadError(
                f"a class of {label.min()} .. {label.max()} was decoded, expected "
                f"0 .. {self.classes - 1}: the payload is damaged"
            )
        return self.with_label(self.rounded.codes(decoder, count, hundredths), label)

    def with_label(self, z: Float32Array, label: Int32Array) -> Float32Array:
        """(n, k) and labels (n,) to the codes that the decoder sees, (n, k + M)."""
        return np.concatenate([z, np.eye(self.classes, dtype=np.float32)[label]], axis=1)

    def decoded(self, messages: Sequence[Message], hundredths: int) -> Float32Array:
        """The codes that the decoder would get from messages, without coding them."""
        label, symbols = (message.symbols for message in messages)
        steps = step_sizes()[rungs_at(hundredths, self.rounded.offsets)]
        z = quantize.multiples(symbols.reshape(len(label), -1), steps)
        return self.with_label(z, label)


@dataclass(frozen=True)
class DitheringCoder:
    """vae-dither. tables: `rung · NOISE_LEVELS + level`; offsets as for rounding."""

    tables: TableSet
    offsets: Int32Array

    def __post_init__(self) -> None:
        _require_tables("dither_tables", self.tables, RUNGS * NOISE_LEVELS)

    def messages(self, posterior: Posterior, hundredths: int) -> Sequence[Message]:
        """One message, (n, k) in row-major order, each symbol under the table of its noise."""
        rungs = rungs_at(hundredths, self.offsets)
        noise = quantize.dither_noise(*posterior.mean.shape)
        steps = step_sizes()[rungs]
        symbols = quantize.quantize_dithered(_float32(posterior.mean), steps, noise)
        indexes = rungs * NOISE_LEVELS + quantize.noise_levels(noise)
        return [Message(symbols.ravel(), indexes.ravel(), self.tables)]

    def codes(self, decoder: SymbolDecoder, count: int, hundredths: int) -> Float32Array:
        """The mean plus uniform noise of a step's width."""
        rungs = rungs_at(hundredths, self.offsets)
        noise = quantize.dither_noise(count, len(rungs))
        indexes = rungs * NOISE_LEVELS + quantize.noise_levels(noise)
        symbols = decoder.get(indexes.ravel(), self.tables).reshape(count, -1)
        return quantize.dequantize_dithered(symbols, step_sizes()[rungs], noise)


@dataclass(frozen=True)
class RelativeEntropyCoder:
    """vae-rec.

    layouts   int32 (sets, k): block of each dimension, for each set of qualities
    tables    table `set · k + block` over the classes of the block's index
    """

    tables: TableSet
    layouts: Int32Array
    largest_block_bits: ClassVar[float] = 9.0  # mean KL of a block, unless one dimension has more

    def __post_init__(self) -> None:
        layouts = self.layouts
        if layouts.dtype != np.int32 or layouts.ndim != 2 or not layouts.size:
            raise WeightsMismatchError(
                f"weights file: rec_layouts is {layouts.dtype}{list(layouts.shape)}, "
                "expected int32[sets, k]"
            )
        sets, dimensions = layouts.shape
        used = [np.unique(layout) for layout in layouts]
        gapless = all((blocks == np.arange(len(blocks))).all() for blocks in used)
        if not gapless or dimensions > channel_simulation.MAX_DIMENSIONS:
            raise WeightsMismatchError("weights file: rec_layouts do not count blocks from 0")
        _require_tables("rec_tables", self.tables, sets * dimensions)

    def layout(self, hundredths: int) -> tuple[Int32Array, Int32Array]:
        """Block of each dimension (k,), and the table of each block's class (blocks,)."""
        chosen = quantize.table_set(hundredths, len(self.layouts))
        layout = self.layouts[chosen]
        first = chosen * layout.size
        return layout, np.arange(first, first + int(layout.max()) + 1, dtype=np.int32)

    def indexes(self, posterior: Posterior, hundredths: int) -> Int32Array:
        """Index of each block's candidate, int32 (n, blocks)."""
        layout, tables = self.layout(hundredths)
        coded = tempered(posterior, inverse_temperature(hundredths))
        found = np.empty((len(coded.mean), len(tables)), dtype=np.int32)
        for block in range(len(tables)):
            own = layout == block
            for image, (mean, variance) in enumerate(
                zip(coded.mean[:, own], coded.variance[:, own], strict=True)
            ):
                stream = image * len(tables) + block
                found[image, block] = channel_simulation.select(mean, variance, stream)
        return found

    def messages(self, posterior: Posterior, hundredths: int) -> Sequence[Message]:
        """The classes of all indexes, (n, blocks), then the bits below each one's leading bit."""
        _, tables = self.layout(hundredths)
        values = self.indexes(posterior, hundredths).astype(np.int64) + 1
        classes = (np.frexp(values.astype(np.float64))[1] - 1).astype(np.int32)
        rests = (values - (1 << classes.astype(np.int64))).astype(np.int32)
        return [
            Message(classes.ravel(), np.tile(tables, len(values)), self.tables),
            Message(rests.ravel(), classes.ravel(), _INDEX_TABLES),
        ]

    def codes(self, decoder: SymbolDecoder, count: int, hundredths: int) -> Float32Array:
        layout, tables = self.layout(hundredths)
        indexes = np.tile(tables, count)
        classes = decoder.get(indexes, self.tables)
        rests = _read_rests(decoder, classes)
        found = ((1 << classes.astype(np.int64)) + rests - 1).reshape(count, -1)
        codes = np.empty((count, len(layout)), dtype=np.float32)
        for block in range(len(tables)):
            own = layout == block
            streams = np.arange(block, found.size, len(tables), dtype=np.int64)
            codes[:, own] = channel_simulation.candidates_at(
                streams, found[:, block], int(own.sum())
            )
        return codes


@dataclass(frozen=True)
class VariationalBayesianCoder:
    """vae-vbq. tables: one per rung, over 1 .. 2ᴮ − 1; offsets as for rounding."""

    tables: TableSet
    offsets: Int32Array

    def __post_init__(self) -> None:
        _require_tables("vbq_tables", self.tables, RUNGS)
        points = 2**DYADIC_BITS - 1
        if (self.tables.sizes != points).any() or (self.tables.minimums != 1).any():
            raise WeightsMismatchError(f"weights file: vbq_tables are not over 1 .. {points}")

    def messages(self, posterior: Posterior, hundredths: int) -> Sequence[Message]:
        """One message, (n, k) in row-major order."""
        rungs = rungs_at(hundredths, self.offsets)
        frequencies = self.tables.frequencies.reshape(RUNGS, -1)[rungs, :-1]
        symbols = quantize.quantize_variational(
            posterior.mean,
            posterior.variance,
            1 / inverse_temperature(hundredths),
            PRECISION - np.log2(frequencies),
        )
        return [Message(symbols.ravel(), np.tile(rungs, len(symbols)), self.tables)]

    def codes(self, decoder: SymbolDecoder, count: int, hundredths: int) -> Float32Array:
        rungs = rungs_at(hundredths, self.offsets)
        symbols = decoder.get(np.tile(rungs, count), self.tables).reshape(count, -1)
        if symbols.size and not 1 <= symbols.min() <= symbols.max() < 2**DYADIC_BITS:
            raise PayloadError("a number outside the grid was decoded: the payload is damaged")
        return _float32(dyadic_quantiles()[symbols - 1])


_INDEX_TABLES = uniform_tables(channel_simulation.INDEX_BITS - 1)


def coder_from_arrays(
    name: str, arrays: Mapping[str, Array], dimensions: int, classes: int = 0
) -> SampleCoder:
    """The coder for a model's name, with its tables. Raises `WeightsMismatchError`."""
    if classes:
        coder = ClassCoder(
            TableSet.from_arrays(arrays, "label_tables."), _rounding(arrays, dimensions)
        )
        if name != "vae-round" or coder.classes != classes:
            raise WeightsMismatchError(
                f"weights file: {classes} classes with a table of {coder.classes}, for {name}; "
                "expected as many, for vae-round"
            )
        return coder
    if name == "vae-rec":
        layouts = stored(arrays, "rec_layouts")
        if layouts.shape[1:] != (dimensions,):
            raise WeightsMismatchError(
                f"weights file: rec_layouts is {layouts.dtype}{list(layouts.shape)}, "
                f"expected int32[sets, {dimensions}]"
            )
        return RelativeEntropyCoder(TableSet.from_arrays(arrays, "rec_tables."), layouts)
    if name == "vae-round" and "mixture.offsets" in arrays:
        count = len(np.atleast_1d(arrays["mixture.offsets"]))
        return MixtureCoder(
            TableSet.from_arrays(arrays, "label_tables."),
            TableSet.from_arrays(arrays, "round_tables."),
            stored(arrays, "mixture.offsets", "int32", count, dimensions),
            stored(arrays, "mixture.means", "float32", count, dimensions),
            stored(arrays, "mixture.turns", "float32", count, dimensions, dimensions),
        )
    offsets = stored(arrays, "rung_offsets", "int32", dimensions)
    if name == "vae-vbq":
        return VariationalBayesianCoder(TableSet.from_arrays(arrays, "vbq_tables."), offsets)
    if name == "vae-dither":
        return DitheringCoder(TableSet.from_arrays(arrays, "dither_tables."), offsets)
    return _rounding(arrays, dimensions)


def _rounding(arrays: Mapping[str, Array], dimensions: int) -> RoundingCoder:
    offsets = stored(arrays, "rung_offsets", "int32", dimensions)
    return RoundingCoder(TableSet.from_arrays(arrays, "round_tables."), offsets)


def _require_tables(name: str, tables: TableSet, count: int) -> None:
    if len(tables) != count:
        raise WeightsMismatchError(
            f"weights file: {len(tables)} tables in {name}, expected {count}"
        )


def _read_rests(decoder: SymbolDecoder, classes: Int32Array) -> Int32Array:
    largest = len(_INDEX_TABLES) - 1
    if classes.size and not 0 <= classes.min() <= classes.max() <= largest:
        raise PayloadError(
            f"a class of {classes.min()} .. {classes.max()} was decoded, expected 0 .. {largest}: "
            "the payload is damaged"
        )
    rests = decoder.get(classes, _INDEX_TABLES)
    if ((rests < 0) | (rests >= 1 << classes)).any():
        raise PayloadError("a number outside its class was decoded: the payload is damaged")
    return rests


def _float32(values: Float64Array) -> Float32Array:
    return values.astype(np.float32)
