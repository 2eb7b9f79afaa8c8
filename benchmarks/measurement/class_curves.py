"""R_p(D) and files of a class-conditional model compared with those of one without classes.

A label costs −log p(y) = log of the number of classes. Comparisons are paired: both models
describe the same images, and the bootstrap draws the same images for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.measurement.digits import sheet_shape
from bitstream.arrays import Array, Float64Array, Int32Array, Int64Array, Uint8Array
from bitstream.container import container_from_bytes, container_to_bytes
from codec.coding.prior_tables import symbol_bits
from codec.models.sheets import BLOCK, sheet_of
from codec.models.vae.coder import ClassVaeCoder, VaeCoder
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from codec.rate_distortion.annealing.summary import CurveSamples, envelope, joined_rows

BOOTSTRAP = 2000
Curves = Mapping[str, Callable[[Float64Array, Float64Array], Float64Array]]


def curve_given_labels(
    samples_of: Callable[[int, Array], CurveSamples],
    images: Array,
    labels: Int64Array,
    classes: int,
) -> CurveSamples:
    """Samples of images (n, …) whose labels (n,) are sent first: log(classes) + R_p(D | y).

    samples_of   gives the samples of one label's decoder on images; all at the same β
    """
    parts, places = [], []
    for label in np.unique(labels).tolist():
        own = np.flatnonzero(labels == label)
        places.append(own)
        parts.append(samples_of(label, images[own]))
    back = np.argsort(np.concatenate(places))
    missed = [part.missed for part in parts if part.missed is not None]
    gaps = [part.gap for part in parts if part.gap is not None]
    rows: dict[str, Any] = {
        name: rows if rows is None else rows[back] for name, rows in joined_rows(parts).items()
    }
    rows["log_partition"] = rows["log_partition"] + math.log(classes)
    ways = zip(*(part.reference for part in parts), strict=True)
    return replace(
        parts[0],
        **rows,
        acceptance=np.mean([part.acceptance for part in parts], axis=0),
        gap=np.concatenate(gaps) if len(gaps) == len(parts) else None,
        missed=np.max(missed, axis=0) if len(missed) == len(parts) else None,
        reference=tuple("local" if {*way} == {"local"} else "prior" for way in ways),
        gradients=sum(part.gradients for part in parts),
        jacobian_products=sum(part.jacobian_products for part in parts),
        modes=max(part.modes for part in parts),
    )


def curve_of_any_label(of_each: Sequence[CurveSamples]) -> CurveSamples:
    """Samples with the label as part of the code: Z is the mean over labels of Z_y.

    No bits are wasted if several labels fit an image: R_p(D) of the prior p(y) p(z).

    of_each   the samples of each label's decoder, all on the same images
    """
    costs = np.stack([samples.log_partition for samples in of_each])
    total = math.log(len(of_each)) - np.logaddexp.reduce(-costs, axis=0)
    weights = np.exp(total - costs) / len(of_each)
    distortion = (weights * np.stack([samples.distortion for samples in of_each])).sum(0)
    return replace(of_each[0], log_partition=total, distortion=distortion, excess=None)


def rate_at(samples: CurveSamples, distortions: Float64Array, draws: Float64Array) -> Float64Array:
    """R_p in nats at distortions (d,), for weights of the images (b, n): (b, d)."""
    return envelope(samples.beta, draws @ samples.log_partition / draws.sum(1, keepdims=True),
                    np.broadcast_to(distortions, (len(draws), len(distortions))))  # fmt: skip


@dataclass(frozen=True)
class CodedImages:
    """n images as files at several qualities, float64 (q, n) each.

    bits    bits of each image: its ideal code length, and its share of the file's other bits
    sse     squared error of each image, sum over pixels in [0, 1]
    """

    qualities: tuple[float, ...]
    file_bytes: tuple[int, ...]
    bits: Float64Array
    sse: Float64Array

    def at(self, distortions: Float64Array, draws: Float64Array) -> Float64Array:
        """Bits at distortions (d,), linear in log D, for weights of the images (b, n): (b, d)."""
        total = draws.sum(1, keepdims=True)
        errors, bits = draws @ self.sse.T / total, draws @ self.bits.T / total
        wanted = np.log(distortions)
        curves = zip(np.log(errors[:, ::-1]), bits[:, ::-1], strict=True)
        return np.stack([np.interp(wanted, error, rate) for error, rate in curves])


class ToldLabels(ClassVaeCoder):
    """A class-conditional codec that is told the labels of images instead of choosing them.

    images, labels   uint8 (n, 1, 28, 28), and (n,)
    """

    def __init__(self, model: ClassVaeCoder, images: Uint8Array, labels: Int64Array) -> None:
        vars(self).update(vars(model))
        pairs = zip(images, labels.tolist(), strict=True)
        self._told = {image.tobytes(): label for image, label in pairs}

    def choose_labels(self, blocks: Array, quality: float) -> Int32Array:
        return np.array([self._told[block.tobytes()] for block in blocks], dtype=np.int32)


def code_images(model: VaeCoder, images: Uint8Array, qualities: Sequence[float]) -> CodedImages:
    """Write images uint8 (n, 1, 28, 28) as one file at each quality, and decode it."""
    rows, columns = sheet_shape(len(images))
    sheet = sheet_of(images, rows, columns)
    found: list[tuple[int, Float64Array, Float64Array]] = []
    for quality in qualities:
        container = compress_picture(Picture(sheet[:, :, :1]), model, quality=quality)
        data = container_to_bytes(container)
        decoded = decompress_container(container_from_bytes(data), model).pixels
        errors = ((sheet[:, :, :1].astype(np.float64) - decoded) / 255) ** 2
        ideal = np.zeros(len(images))
        for message in model.messages(model.analyze(sheet, quality), quality):
            each = symbol_bits(message.symbols, message.indexes, message.tables)
            ideal += each.reshape(len(images), -1).sum(1)
        share = (8 * len(data) - ideal.sum()) / len(images)
        cells = errors.reshape(rows, BLOCK, columns, BLOCK).sum((1, 3)).ravel()
        found.append((len(data), ideal + share, cells))
    sizes, bits, sse = zip(*found, strict=True)
    return CodedImages(tuple(qualities), sizes, np.stack(bits), np.stack(sse))


def compared(curves: Curves, distortions: Sequence[float], images: int) -> list[dict[str, Any]]:
    """At each distortion the rate of each curve, and its difference from the first curve with a
    95 % interval from a paired bootstrap over images.

    curves   by name: distortions (d,) and weights of the images (b, n) to rates (b, d)
    """
    wanted = np.array(distortions)
    draws = np.random.default_rng(0).multinomial(images, np.full(images, 1 / images), BOOTSTRAP)
    point = {name: rate(wanted, np.ones((1, images)))[0] for name, rate in curves.items()}
    drawn = {name: rate(wanted, draws.astype(np.float64)) for name, rate in curves.items()}
    first, *others = curves
    return [
        {
            "distortion": float(distortion),
            "rates": {name: float(rates[i]) for name, rates in point.items()},
            "above_first": {
                name: {
                    "estimate": float(point[name][i] - point[first][i]),
                    "interval_95": np.percentile(
                        drawn[name][:, i] - drawn[first][:, i], [2.5, 97.5]
                    ).tolist(),
                }
                for name in others
            },
        }
        for i, distortion in enumerate(wanted)
    ]
