"""Does a label lower the rate? A class-conditional VAE compared with one without classes, on MNIST.

    python -m benchmarks.measurement class-channel --data MNIST --plain FILE --conditional FILE

takes weights of the presets `digits-vae` and `digits-class-vae`, which have the same networks, and
compares at equal squared error

    rate     R_p(D), and log 10 + R_p(D | y) if the true label is sent first
    any      the same for fewer images, and R_p(D) of the prior p(y) p(z), for which any label may
             be used; without certificates, which `rate` has
    files    `vae-round` of both: the label costs log₂ 10 bits, and is the true one or the cheapest
             one for the encoder

    python -m benchmarks.measurement class-channel --data MNIST --m2 FILE FILE FILE

measures the classifiers of the preset `digits-m2`, which was trained with 100 labels, on the test
images. Intervals are 95 %, over the images, or over the runs of m2. Squared errors are sums over an
image's pixels in [0, 1].
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.harness.results import Measured, Report, timed
from benchmarks.harness.small_images import rounded
from benchmarks.measurement.class_curves import (
    ToldLabels,
    code_images,
    compared,
    curve_given_labels,
    curve_of_any_label,
    rate_at,
)
from bitstream.arrays import Array, Float64Array, Int64Array, Uint8Array
from bitstream.errors import UsageError
from codec.datasets.arrays import read_images
from codec.loading import hash_weights
from codec.models.generative.networks import Decoder, GenerativeModel
from codec.models.generative.weights_file import load_generative
from codec.models.vae.coder import ClassVaeCoder, VaeCoder
from codec.models.vae.sample_coders import coder_from_arrays
from codec.priors import StandardNormal
from codec.rate_distortion.annealing.rd_curve import rd_samples
from codec.rate_distortion.annealing.summary import CurveSamples, summarize
from codec.rate_distortion.estimates import student_quantile_975
from training.data.labels import labels_of
from training.data.small_images import evenly, to_tensor
from training.generative.digits_export import TABLE_IMAGES, class_arrays, rounding_arrays

SCHEMA, RESULT = "calotype.class_channel/1", "class_channel.json"
PUBLISHED_PERCENT = {"M2": 11.97, "M1+M2": 3.33}
"""Errors on test images with 100 labels: Kingma et al. 2014, table 1."""
CLASSES = 10


class Digits(NamedTuple):
    """Images uint8 (n, 1, 28, 28) and their labels int64 (n,)."""

    images: Uint8Array
    labels: Int64Array

    def some(self, count: int) -> Digits:
        """At most `count` of them, evenly spaced."""
        places = evenly(np.arange(len(self.labels)), count)
        return Digits(self.images[places], self.labels[places])


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="MNIST's images and labels")
    parser.add_argument(
        "--plain", type=Path, nargs="*", default=[], help="weights, without classes"
    )
    parser.add_argument(
        "--conditional", type=Path, nargs="*", default=[], help="weights, one for each plain one"
    )
    parser.add_argument("--m2", type=Path, nargs="*", default=[], help="weights of several runs")
    parser.add_argument("--images", type=int, default=2000, help="of the files")
    parser.add_argument("--rate-images", type=int, default=150, help="of R_p(D); 0 leaves it out")
    parser.add_argument(
        "--any-label-images", type=int, default=20, help="of R_p(D) with any label; 0 leaves it out"
    )
    parser.add_argument("--qualities", type=float, nargs="+",
                        default=[20, 30, 40, 50, 60, 70, 80, 90])  # fmt: skip
    parser.add_argument("--distortions", type=float, nargs="+", default=[30, 20, 15, 12, 11, 10])
    parser.add_argument("--betas", type=int, default=9)
    parser.add_argument("--low-beta", type=float, default=0.05)
    parser.add_argument("--high-beta", type=float, default=10.0)
    parser.add_argument("--temperatures", type=int, default=250)
    parser.add_argument("--chains", type=int, default=10)
    parser.add_argument("--simulations", type=int, default=6, help="at each β, of each label")


def run(options: Namespace) -> Iterator[Measured]:
    torch.set_num_threads(1)
    if len(options.plain) != len(options.conditional):
        raise UsageError("--plain and --conditional: give as many of one as of the other")
    images = read_images(options.data, shape=(1, 28, 28), part="test")
    digits = Digits(images, labels_of(options.data, len(images), CLASSES, "test"))
    about = {"data": options.data.name, "distortion": "sum of squared errors, pixels in [0, 1]"}
    if options.m2:
        m2 = partial(measure_m2, options.m2, digits)
        yield from timed("m2", partial(_named, "digits-m2", m2))
    pairs = list(zip(options.plain, options.conditional, strict=True))
    for number, (plain, conditional) in enumerate(pairs):
        said = {
            **about,
            "plain_sha256": hash_weights(plain).hex(),
            "conditional_sha256": hash_weights(conditional).hex(),
        }
        found = partial(
            measure_files, options, load_generative(plain), load_generative(conditional), digits
        )
        yield from timed("files", partial(_named, f"run {number}", found), **said)
        if number:
            continue
        models = load_generative(plain), load_generative(conditional)
        if options.rate_images:
            found = partial(measure_rate, options, *models, digits)
            yield from timed("rate", partial(_named, f"run {number}", found), **said)
        if options.any_label_images:
            found = partial(measure_any_label, options, *models, digits)
            yield from timed("any_label", partial(_named, f"run {number}", found), **said)


def _named(name: str, measure: Callable[[], Report]) -> dict[str, Report]:
    return {name: measure()}


def measure_m2(paths: list[Path], digits: Digits) -> Report:
    """Errors of the classifiers on all test images."""
    errors = []
    for path in paths:
        classifier = load_generative(path).classifier
        if classifier is None:
            raise UsageError(f"{path}: has no classifier; give weights of digits-m2")
        with torch.inference_mode():
            guesses = classifier(to_tensor(digits.images)).argmax(-1).numpy()
        errors.append(100 * float((guesses != digits.labels).mean()))
    mean, half = float(np.mean(errors)), math.nan
    if len(errors) > 1:
        spread = float(np.std(errors, ddof=1)) / math.sqrt(len(errors))
        half = student_quantile_975(len(errors) - 1) * spread
    return {
        "found": rounded(
            {
                "images": len(digits.images),
                "error_percent": errors,
                "mean_percent": mean,
                "interval_95": [mean - half, mean + half],
                "published_percent": PUBLISHED_PERCENT,
                "published_source": "Kingma et al. 2014, table 1, 100 labels",
            }
        )
    }  # fmt: skip


def codecs(
    plain: GenerativeModel, conditional: GenerativeModel, data: Path
) -> tuple[VaeCoder, ClassVaeCoder]:
    """`vae-round` of both models, with steps fitted to the same training images."""
    images = read_images(data, shape=(1, 28, 28), part="train")
    labels = labels_of(data, len(images), CLASSES)[:TABLE_IMAGES]
    images = images[:TABLE_IMAGES]
    assert plain.encoder is not None
    assert conditional.encoder is not None
    assert conditional.variance is not None
    of_plain = coder_from_arrays(
        "vae-round", rounding_arrays(plain.encoder, images), plain.config.code
    )
    of_labels = coder_from_arrays(
        "vae-round", class_arrays(conditional, images, labels), conditional.config.code, CLASSES
    )
    coder = VaeCoder("vae-round", plain.encoder, plain.decoder, of_plain, bytes(8))
    return coder, ClassVaeCoder(
        "vae-round", conditional.encoder, conditional.decoder, of_labels, bytes(8),
        pixel_variance=conditional.variance,
    )  # fmt: skip


def measure_files(
    options: Namespace,
    plain: GenerativeModel,
    conditional: GenerativeModel,
    digits: Digits,
) -> Report:
    """Files without labels, with the true ones, and with those that the encoder chooses."""
    images, labels = digits.some(options.images)
    coder, chooses = codecs(plain, conditional, options.data)
    told = ToldLabels(chooses, images, labels)
    coded = {
        "without labels": code_images(coder, images, options.qualities),
        "true labels": code_images(told, images, options.qualities),
        "chosen labels": code_images(chooses, images, options.qualities),
    }
    chosen = [chooses.choose_labels(images, quality) for quality in options.qualities]
    return {
        "settings": {"images": len(images), "label_bits": math.log2(CLASSES)},
        "found": rounded(
            {
                "rows": compared(
                    {name: files.at for name, files in coded.items()},
                    covered(options.distortions, [files.sse.mean(1) for files in coded.values()]),
                    len(images),
                ),
                "chosen_is_true_percent": [100 * (c == labels).mean() for c in chosen],
                "files": {
                    name: {
                        "quality": list(files.qualities),
                        "file_bytes": list(files.file_bytes),
                        "bits_per_image": files.bits.mean(1).tolist(),
                        "sse": files.sse.mean(1).tolist(),
                    }
                    for name, files in coded.items()
                },
            }
        ),
    }


def covered(distortions: list[float], measured: list[Float64Array]) -> list[float]:
    """Those distortions that all curves reach. Raises `UsageError` if there are none."""
    low, high = max(d.min() for d in measured), min(d.max() for d in measured)
    within = [d for d in distortions if low <= d <= high]
    if not within:
        raise UsageError(f"--distortions {distortions}: expected some in {low:.2f} … {high:.2f}")
    return within


def annealed(
    options: Namespace, decoder: Decoder, images: Array, simulations: int, seed: int
) -> CurveSamples:
    """L(β) and D(β) of images through a decoder; no certificate if `simulations` is 0."""
    print(f"{len(images)} images, seed {seed}", file=sys.stderr, flush=True)
    return rd_samples(
        decoder,
        StandardNormal(decoder.config.code),
        images,
        distortion="sse",
        betas=np.geomspace(options.low_beta, options.high_beta, options.betas).tolist(),
        temperatures=options.temperatures,
        chains=options.chains,
        simulations=max(simulations, 1),
        certify=simulations > 0,
        seed=seed,
        # Local references missed modes of some pilot images here, at β of 1 and more.
        reference="prior",
        precision="bfloat16",
    )


def measure_any_label(
    options: Namespace,
    plain: GenerativeModel,
    conditional: GenerativeModel,
    digits: Digits,
) -> Report:
    """R_p(D) without labels, with the true one, and with any."""
    images, labels = digits.some(options.any_label_images)
    of_each = [
        annealed(options, conditional.decoder.given(label), images, 0, 1 + label)
        for label in range(CLASSES)
    ]

    def true_ones(label: int, _: Array) -> CurveSamples:
        return of_each[label].of_images(labels == label)

    curves = {
        "without labels": annealed(options, plain.decoder, images, 0, 0),
        "true labels": curve_given_labels(true_ones, images, labels, CLASSES),
        "any label": curve_of_any_label(of_each),
    }
    wanted = covered(options.distortions, [c.distortion.mean(0) for c in curves.values()])
    rates = {name: partial(rate_at, found) for name, found in curves.items()}
    return {
        "settings": {"images": len(images)},
        "found": rounded({"rows_nats": compared(rates, wanted, len(images))}),
    }


def measure_rate(
    options: Namespace,
    plain: GenerativeModel,
    conditional: GenerativeModel,
    digits: Digits,
) -> Report:
    """R_p(D) without labels, and with the true ones."""
    images, labels = digits.some(options.rate_images)
    samples = partial(annealed, options)
    curves = {
        "without labels": samples(plain.decoder, images, CLASSES * options.simulations, 0),
        "true labels": curve_given_labels(
            lambda label, own: samples(
                conditional.decoder.given(label), own, options.simulations, 1 + label
            ),
            images,
            labels,
            CLASSES,
        ),
    }
    judged = {name: summarize(found) for name, found in curves.items()}
    return {
        "settings": {
            "images": len(images), "temperatures": options.temperatures, "chains": options.chains,
            "simulations": options.simulations, "label_nats": math.log(CLASSES),
        },
        "found": rounded(
            {
                "rows_nats": compared(
                    {
                        name: partial(rate_at, found) for name, found in curves.items()
                    },
                    covered(options.distortions, [c.distortion.mean(0) for c in curves.values()]),
                    len(images),
                ),
                "curves": {name: curve.to_json() for name, curve in judged.items()},
            }
        ),
    }  # fmt: skip
