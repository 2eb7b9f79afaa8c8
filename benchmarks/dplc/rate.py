"""R_p(D) of the codec's generator compared with the codec's own files.

    R_p(D) by annealing ≤ ideal length of the symbols ≤ bytes

Squared errors are sums over an image's pixels in [0, 1]. The codec aims at more than a small error:
its pictures should be distributed like the generator's, which costs up to 3 dB.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

import numpy as np

from benchmarks.dplc import subject
from benchmarks.harness import generative_rate
from benchmarks.harness.generative_rate import joined, measure_generative_rate, rung_of_images
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import DplcModel, as_picture, cut, paste, read_file, write_file
from bitstream.arrays import Float64Array
from bitstream.errors import UsageError
from codec.datasets.arrays import Images
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.model_curve import NATS_PER_BIT
from training.data.small_images import evenly

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
LARGEST_STRIP = 4096


def sums(original: Images, again: Images) -> Float64Array:
    """Squared error of each image, summed over pixels in [0, 1]: (n,)."""
    difference = (original.astype(np.float64) - again) / 255
    found: Float64Array = (difference**2).sum(axis=(1, 2, 3))
    return found


def file_rungs(model: DplcModel, images: Images, seed: int) -> tuple[Rung, Rung, Rung]:
    """Ideal length of the symbols; bytes of one file with all images; bytes of a file for each."""
    name = model.coder.name
    lengths, together, single = [], [], []
    side = model.config.side
    strip = paste(images, len(images))
    for rate in range(len(model.config.rates)):
        quality, prior = model.quality(rate), model.coder.priors[rate]
        latents = model.coder.analyze(np.ascontiguousarray(
            np.broadcast_to(strip, (*strip.shape[:2], 3))), quality)  # fmt: skip
        bits = np.zeros(len(images))
        if prior is not None:
            bits = prior.cost_bits(model.coder.bits(latents))
        file = write_file(model.coder, strip, quality, noise_seed=seed)
        errors = sums(images, cut(read_file(model.coder, file.data), side))
        lengths.append(
            rung_of_images(NATS_PER_BIT * bits, errors, f"{name}: code length", "code_length")
        )
        # The images share the file, so its bytes besides the symbols are divided evenly.
        whole = bits + 8 * len(file.data) / len(images) - bits.mean()
        together.append(
            rung_of_images(NATS_PER_BIT * whole, errors, f"{name}, one file of all: bytes", "bytes")
        )
        sizes, apart = [], []
        for number, image in enumerate(images):
            one = write_file(model.coder, as_picture(image), quality, noise_seed=seed + number)
            again = read_file(model.coder, one.data).transpose(2, 0, 1)
            sizes.append(8 * len(one.data))
            apart.append(sums(image[None], again[None])[0])
        single.append(
            rung_of_images(
                NATS_PER_BIT * np.array(sizes, np.float64),
                np.array(apart),
                f"{name}, a file each: bytes",
                "bytes",
            )
        )
    return joined(lengths), joined(together), joined(single)


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_common(parser)
    subject.add_weights(parser)
    subject.add_data(parser)
    generative_rate.add_arguments(parser, temperatures=300, chains=8, leapfrog=10)


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DplcModel) -> Report:
        most = LARGEST_STRIP // model.config.side
        if options.count > most:
            raise UsageError(f"{options.count} images, expected at most {most}")
        images = evenly(subject.images_for(options, model), options.count)
        options.picture = options.picture or options.output.with_name(f"dplc_rate_{model.name}")
        found = measure_generative_rate(
            options, model.name, model.coder.networks.generator, model.config.code,
            images.astype(np.float32) / np.float32(255),
            lambda: file_rungs(model, images, options.seed),
        )  # fmt: skip
        return {"code_dimensions": model.config.code, **found}

    return subject.measured_model(options, "rate", measure)
