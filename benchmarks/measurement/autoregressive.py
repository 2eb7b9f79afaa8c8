"""Autoregressive models of binary digits: likelihood of test images, compared with real files.

Images are binarised once, white with the probability given by the pixel. The published figures are
for the file of Larochelle and Murray (2011), which was drawn differently.

    nats          −ln p of an image by the log-odds of the exact network, mean over all test images
    coded bytes   of one file, a sheet of the first test images, which is decoded again

    python -m benchmarks.measurement autoregressive --data MNIST [--model NAME …] [--files N]
"""

from __future__ import annotations

import math
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.results import Measured, load_average, provenance
from benchmarks.harness.targets import TARGETS
from benchmarks.measurement.digits import sheet_shape
from bitstream.arrays import BoolArray, Float64Array, Int32Array, Uint8Array
from bitstream.container import container_from_bytes, container_to_bytes
from bitstream.errors import UsageError
from codec import loading
from codec.datasets.arrays import read_images
from codec.models.autoregressive import MODELS
from codec.models.autoregressive.coder import AutoregressiveCoder
from codec.models.autoregressive.config import PIXELS
from codec.models.sheets import sheet_of
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from training.data.small_images import to_tensor
from training.generative.vae import BINARIZATION_SEED, binarize

SCHEMA, RESULT = "calotype.autoregressive/1", "autoregressive.json"
PUBLISHED_NATS = {
    "digits-fvsbn": (97.45, "FVSBN, as Germain et al. 2015 quote it"),
    "digits-made": (88.33, "NADE, as Germain et al. 2015 quote it"),
    "digits-pixelcnn": (81.30, "PixelCNN, van den Oord et al. 2016"),
}
GROUP = 1000


def image_nats(model: AutoregressiveCoder, images: BoolArray) -> Float64Array:
    """−ln p of images (784, n) from the log-odds before these are rounded to tables: (n,)."""
    total = np.zeros(images.shape[1])
    places = iter(range(PIXELS))

    def code(log_odds: Int32Array) -> BoolArray:
        pixels: BoolArray = images[next(places)]
        signed = np.where(pixels, -log_odds, log_odds) / 1024
        np.add(total, np.logaddexp(0, signed), out=total)
        return pixels

    model.network.sweep(images.shape[1], code)
    return total


def measure_file(model: AutoregressiveCoder, images: Uint8Array) -> dict[str, Any]:
    """Write images uint8 (n, 1, 28, 28), 0 or 255, as one file, and decode it."""
    pixels = sheet_of(images, *sheet_shape(len(images)))[:, :, :1]
    begin = time.process_time()
    container = compress_picture(Picture(pixels), model, quality=100)
    data = container_to_bytes(container)
    middle = time.process_time()
    decoded = decompress_container(container_from_bytes(data), model).pixels
    end = time.process_time()
    return {
        "images": len(images),
        "lossless": bool((decoded == pixels).all()),
        "file_bytes": len(data),
        "payload_bytes": len(container.payloads[0][0]),
        "encode_cpu_seconds": round(middle - begin, 1),
        "decode_cpu_seconds": round(end - middle, 1),
    }


def measure_model(name: str, images: Uint8Array, files: int) -> dict[str, Any]:
    """Nats of images uint8 (n, 1, 28, 28), 0 or 255, and the file of the first `files` of them."""
    model = loading.load_model(name, device="cpu")
    assert isinstance(model, AutoregressiveCoder)
    flat = np.ascontiguousarray(images.reshape(-1, PIXELS).T) > 0
    parts = [
        image_nats(model, flat[:, begin : begin + GROUP]) for begin in range(0, len(images), GROUP)
    ]
    nats = np.concatenate(parts)
    file = measure_file(model, images[:files])
    likelihood_bytes = float(nats[:files].sum()) / math.log(2) / 8
    published, source = PUBLISHED_NATS[name]
    return {
        "weights_sha256": model.weights_hash.hex(),
        "images": len(images),
        "nats": round(float(nats.mean()), 3),
        "nats_standard_error": round(float(nats.std()) / math.sqrt(len(nats)), 3),
        "published_nats": published,
        "published_source": source,
        "target_nats": TARGETS[name][1],
        "file": {
            **file,
            "likelihood_bytes": round(likelihood_bytes, 1),
            "above_likelihood_percent": round(100 * (file["file_bytes"] / likelihood_bytes - 1), 3),
        },
    }


def add_arguments(parser: ArgumentParser) -> None:
    names = [spec.name for spec in MODELS]
    parser.add_argument("--data", type=Path, required=True, help="MNIST's files")
    parser.add_argument("--model", nargs="+", choices=names, default=names)
    parser.add_argument("--files", type=int, default=10_000, help="images of the file")
    parser.add_argument("--limit", type=int, help="test images, the first ones (all)")


def run(options: Namespace) -> Iterator[Measured]:
    images = read_images(options.data, shape=(1, 28, 28), part="test")
    # Before `--limit` is applied, because the draws of an image depend on the other images.
    binary = (255 * binarize(to_tensor(images))).numpy().astype(np.uint8)[: options.limit]
    if not 0 < options.files <= len(binary):
        raise UsageError(f"--files {options.files}: expected 1 .. {len(binary)}")
    for name in options.model:
        load, begin = load_average(), time.perf_counter()
        found = measure_model(name, binary, options.files)
        content = {
            "provenance": provenance(),
            "load_average": load,
            "seconds": round(time.perf_counter() - begin, 1),
            "data": options.data.name,
            "binarisation": f"once, seed {BINARIZATION_SEED}; not Larochelle's file",
            "found": found,
        }
        failed = []
        if found["nats"] > found["target_nats"]:
            failed.append(f"{name}: {found['nats']} nats, wanted {found['target_nats']}")
        above = found["file"]["above_likelihood_percent"]
        if not found["file"]["lossless"] or above > TARGETS["above likelihood"][1]:
            failed.append(f"{name}: the file is {above} % above the likelihood, or not lossless")
        lines = [
            f"{name}: {found['nats']} ± {found['nats_standard_error']} nats (published "
            f"{found['published_nats']}), file {above:+.3f} % above −log₂ p"
        ]
        yield Measured({"models": {name: content}}, lines, "; ".join(failed), keep_others=True)
