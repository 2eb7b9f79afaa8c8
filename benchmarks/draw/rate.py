"""R_p(D) of a trained DRAW compared with its own encoder and its files.

    R_p(D) by annealing ≤ E KL of the encoder's posterior ≤ bytes of the files

The codes have thousands of dimensions, for which annealing with an affordable number of
temperatures is not expected to be certified.  Its result is above R_p on average all the same, and
the certificate is reported as it is.  Squared errors are sums over an image's pixels in [0, 1],
taken of the model's picture in floating point, or of 8-bit pixels for files.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from benchmarks.draw import subject
from benchmarks.draw.decoder import DrawDecoder, picture
from benchmarks.draw.files import ideal_bits
from benchmarks.draw.likelihood import posterior_pass, targets
from benchmarks.harness import generative_rate
from benchmarks.harness.generative_rate import SSE, joined, measure_generative_rate, rung_of_images
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import DrawModel, as_picture, decode_prefixes, write_file
from bitstream.arrays import Float32Array
from codec.datasets.arrays import Images
from codec.rate_distortion.ladder.rung import Rung
from codec.rate_distortion.model_curve import NATS_PER_BIT
from training.data.small_images import evenly

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT


def pixels_of(model: DrawModel, images: Images) -> Float32Array:
    """The target images, float32 (n, C, h, w) in 0..1: digits are binarised."""
    if model.config.likelihood == "bernoulli":
        binary: Float32Array = targets(model, images).numpy()
        return binary
    levels: Float32Array = images.astype(np.float32) / np.float32(255)
    return levels


def amortised_rung(model: DrawModel, decoder: DrawDecoder, images: Images, seed: int) -> Rung:
    """The encoder's posterior in the first steps, and the prior in the others.

    It has a point, E KL and the squared error of a sample, for each number of steps that are sent.
    """
    x, pixels = targets(model, images), torch.from_numpy(pixels_of(model, images))
    generator = torch.Generator().manual_seed(seed)
    points = []
    for sent in range(1, decoder.steps + 1):
        done = posterior_pass(model.network, x, generator, sent=sent, steps=decoder.steps)
        error = SSE(pixels, picture(model.network, done.canvas)).numpy()
        points.append(
            rung_of_images(done.kl.sum(1).numpy(), error, "E KL, own encoder", "amortised")
        )
    return joined(points)


def file_rungs(model: DrawModel, decoder: DrawDecoder, images: Images) -> tuple[Rung, Rung]:
    """Code length of the decoder's steps, and bytes of files cut after each of them.

    Each image is a file of its own; missing layers take the prior's mean.
    """
    coder, quality = model.file_coder(), decoder.quality
    bits, ends, errors = [], [], []
    for image in images:
        pixels = as_picture(image)
        file = write_file(coder, pixels, quality)
        bits.append(ideal_bits(coder, pixels, quality, steps=decoder.steps)[0])
        ends.append(file.layer_ends[: decoder.steps])
        decoded = list(decode_prefixes(coder, file, None))[: decoder.steps]
        errors.append([float(((pixels / 255.0 - p / 255.0) ** 2).sum()) for p in decoded])
    lengths, error = np.array(ends, dtype=np.float64), np.array(errors)
    code = rung_of_images(
        np.array(bits) * NATS_PER_BIT, error[:, -1], "files: code length", "code_length"
    )
    cut = [
        rung_of_images(8 * NATS_PER_BIT * lengths[:, k], error[:, k], "files: bytes", "bytes")
        for k in range(decoder.steps)
    ]
    return code, joined(cut)


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_subject(parser)
    generative_rate.add_arguments(parser, temperatures=60, chains=4, leapfrog=5)
    parser.add_argument("--quality", type=float, default=75)
    parser.add_argument("--steps", type=int, help="that have noise of their own; default all")


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DrawModel, images: Images) -> Report:
        images, quality = evenly(images, options.count), options.quality
        options.picture = options.picture or options.output.with_name(f"draw_rate_{model.name}")
        is_gaussian = model.config.posterior == "gaussian"
        decoder = DrawDecoder(model.network, images.shape[2], steps=options.steps, quality=quality)

        def others() -> Sequence[Rung]:
            if is_gaussian:
                return (amortised_rung(model, decoder, images, options.seed),)
            return file_rungs(model, decoder, images)

        return {
            "code_dimensions": decoder.dim,
            "steps": decoder.steps,
            "quality": quality if model.config.knots > 1 else None,
            "prior": "the model's own, in unit normal coordinates"
            if is_gaussian
            else "Gaussian relaxation of the quantised prior",
            **measure_generative_rate(
                options, model.name, decoder, decoder.dim, pixels_of(model, images), others
            ),
        }

    return subject.measured(options, "rate", measure)
