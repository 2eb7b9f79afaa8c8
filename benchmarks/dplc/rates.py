"""Error, realism, variety and bytes of the distribution-preserving codec at each of its rates.

Beside it stand the plain autoencoder of the same networks, trained for the squared error alone at
the same rate, and known codecs whose file is no larger. All are real files, decoded again. Images
stand on sheets, many to a file, since the headers of other codecs outweigh one small image; files
of single images are counted as well.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.dplc import subject
from benchmarks.harness.peers import PeerSheets
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import (
    DplcModel,
    Float64Array,
    LayeredFile,
    Uint8Array,
    as_picture,
    cut,
    features_of,
    load_dplc_model,
    read_file,
    rounded,
    sheets,
    write_file,
)
from bitstream.errors import UsageError
from codec.datasets.arrays import Images
from codec.rate_distortion.metrics import frechet_distance, psnr_from_mse_db
from training.features.train import FeatureNetwork, load_features

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
PEERS = ("jpeg", "jpeg2000", "avif")
FLAT, HALF, NEAR_PLAIN = 0.2, 0.5, 1.15
"""What is claimed: realism within 20 % at all rates, half the plain one's distance at the lowest,
and at the highest rate no more than 1.15 times its squared error."""


@dataclass
class Decoded:
    """What came back of the images, sheet by sheet."""

    file_bytes: list[int] = field(default_factory=list)
    payload_bytes: list[int] = field(default_factory=list)
    errors: list[Float64Array] = field(default_factory=list)
    features: list[Float64Array] = field(default_factory=list)

    def add(
        self, file: LayeredFile, original: Images, again: Images, network: FeatureNetwork
    ) -> None:
        """One more file: its images (n, C, side, side), and what was decoded."""
        self.file_bytes.append(len(file.data))
        self.payload_bytes.append(file.payload_bytes)
        self.errors.append(squared_errors(original, again))
        self.features.append(features_of(network, again))

    def row(self, original_features: Float64Array) -> dict[str, Any]:
        """Means over the images."""
        count = sum(map(len, self.errors))
        return {
            "sheet_bytes": float(np.mean(self.file_bytes)),
            "sheet_bytes_per_image": sum(self.file_bytes) / count,
            "payload_bits_per_image": 8 * sum(self.payload_bytes) / count,
            **figures(np.concatenate(self.errors)),
            "frechet_distance": frechet_distance(original_features, np.concatenate(self.features)),
        }


def squared_errors(original: Images, again: Images) -> Float64Array:
    """Mean squared error of each image, of levels 0..255: (n,)."""
    found: Float64Array = ((original.astype(np.float64) - again) ** 2).mean((1, 2, 3))
    return found


def figures(errors: Float64Array) -> dict[str, float]:
    """Squared error of a set from that of its images (n,)."""
    mse = float(errors.mean())
    return {
        "mse": mse,
        "mse_standard_error": float(errors.std(ddof=1)) / math.sqrt(len(errors)),
        "psnr_db": psnr_from_mse_db(mse),
    }


def decode_sheets(
    model: DplcModel,
    rate: int,
    pictures: Sequence[Uint8Array],
    network: FeatureNetwork,
    seed: int,
) -> Decoded:
    """Code and decode all sheets at a rate, each with noise of a seed of its own."""
    found, side = Decoded(), model.config.side
    for number, sheet in enumerate(pictures):
        # With one seed for all, the same noise would stand at the same place of every sheet.
        file = write_file(model.coder, sheet, model.quality(rate), noise_seed=seed + number)
        found.add(file, cut(sheet, side), cut(read_file(model.coder, file.data), side), network)
    return found


def single_files(model: DplcModel, rate: int, images: Images, seed: int) -> dict[str, Any]:
    """Each image as a file of its own: bytes and squared error."""
    sizes, payloads, errors = [], [], []
    for number, image in enumerate(images):
        file = write_file(
            model.coder, as_picture(image), model.quality(rate), noise_seed=seed + number
        )
        again = read_file(model.coder, file.data)
        sizes.append(len(file.data))
        payloads.append(file.payload_bytes)
        errors.append(squared_errors(image[None], again.transpose(2, 0, 1)[None]))
    return {
        "images": len(images),
        "file_bytes": float(np.mean(sizes)),
        "payload_bytes": float(np.mean(payloads)),
        "mse": float(np.mean(errors)),
    }


def conditional_variance(
    model: DplcModel, rate: int, sheet: Uint8Array, decodes: int, seed: int
) -> dict[str, float]:
    """Variance of each pixel over decodings of one file with other noise, then a mean over pixels.

    Levels 0..255; unbiased for the number of decodings, the error over the images of the sheet.
    """
    file = write_file(model.coder, sheet, model.quality(rate))
    total, squares = np.zeros(sheet.shape), np.zeros(sheet.shape)
    for number in range(decodes):
        pixels = read_file(model.coder, file.data, seed + number).astype(np.float64)
        total += pixels
        squares += pixels**2
    variance = (squares - total**2 / decodes) / (decodes - 1)
    side = model.config.side
    each = variance.reshape(sheet.shape[0] // side, side, sheet.shape[1] // side, -1)
    means = each.mean(axis=(1, 3)).ravel()
    return {
        "variance": float(means.mean()),
        "standard_error": float(means.std(ddof=1)) / math.sqrt(len(means)),
    }


def mean_image_row(
    training: Images, images: Images, original: Float64Array, network: FeatureNetwork
) -> dict[str, Any]:
    """The best single picture for the squared error, in place of each of the images."""
    mean = np.rint(training.mean(axis=0)).astype(np.uint8)
    again = np.broadcast_to(mean, images.shape)
    features = features_of(network, np.stack([mean, mean]))
    return {
        "what": f"the mean of {len(training):,} training images, for every image; no file",
        **figures(squared_errors(images, again)),
        "frechet_distance": frechet_distance(original, features),
    }


def check_plain(model: DplcModel, plain: Sequence[DplcModel]) -> dict[int, DplcModel]:
    """Plain autoencoders by symbols per position. Raises `UsageError` for others."""
    found = {}
    for one in plain:
        config, wanted = one.config, model.config
        same = (config.channels, config.side) == (wanted.channels, wanted.side)
        if len(config.rates) != 1 or config.noise or not same:
            raise UsageError(
                f"{one.name}: rates {config.rates}, noise {config.noise}, {config.channels} "
                f"channels, side {config.side}; expected a plain autoencoder of one rate, no "
                f"noise, {wanted.channels} channels and side {wanted.side}"
            )
        found[config.rates[0]] = one
    return found


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_common(parser)
    subject.add_weights(parser, plain=True)
    subject.add_data(parser)
    subject.add_features(parser)
    parser.add_argument("--columns", type=int, default=25, help="images in a row of a sheet")
    parser.add_argument("--singles", type=int, default=200, help="images that get own files too")
    parser.add_argument("--decodes", type=int, default=100, help="of one file, for the variance")
    parser.add_argument("--variance-columns", type=int, default=10,
                        help="the variance is taken on the square of so many images")  # fmt: skip
    parser.add_argument("--peer-sheets", type=int, default=4, help="that known codecs code")
    parser.add_argument("--peers", nargs="*", default=list(PEERS))


def run(options: Namespace) -> Iterator[Measured]:
    def measure() -> dict[str, Report]:
        model, network = load_dplc_model(options.weights), load_features(options.features)
        plain = [load_dplc_model(path) for path in options.plain]
        found = measure_rates(
            model, plain, subject.images_for(options, model),
            subject.images_for(options, model, part="train"), network, options,
        )  # fmt: skip
        return {model.name: {**found, "features": options.features.name}}

    yield from subject.measured(options, "rates", measure)


def measure_rates(
    model: DplcModel,
    plain: Sequence[DplcModel],
    images: Images,
    training: Images,
    network: FeatureNetwork,
    settings: Namespace,
) -> dict[str, Any]:
    """Of test images uint8 (n, C, side, side); training images likewise."""
    others, seed = check_plain(model, plain), settings.seed
    pictures = sheets(images, settings.columns)
    used = images[: len(pictures) * settings.columns**2]
    few = used[np.linspace(0, len(used) - 1, min(settings.singles, len(used))).round().astype(int)]
    noisy = sheets(used, settings.variance_columns)[0]
    original = features_of(network, used)
    known = PeerSheets(settings.peers, pictures[: settings.peer_sheets], model.config.side)
    rows = []
    for rate, symbols in enumerate(model.config.rates):
        decoded = decode_sheets(model, rate, pictures, network, seed)
        row: dict[str, Any] = {
            "symbols_per_position": symbols,
            "fixed_bits_per_image": model.fixed_bits(rate),
            "fixed_bits_per_pixel": model.fixed_bits(rate) / model.config.side**2,
            **decoded.row(original),
            "single_images": single_files(model, rate, few, seed),
            "conditional": conditional_variance(model, rate, noisy, settings.decodes, seed),
            "plain": None,
            "peers": known.rows(decoded.file_bytes, original, network),
        }
        row["on_the_peers_sheets"] = known.same_images(decoded.errors, decoded.features, original)
        if symbols in others:
            one = others[symbols]
            row["plain"] = {
                "weights_sha256": one.weights_sha256,
                **decode_sheets(one, 0, pictures, network, seed).row(original),
                "single_images": single_files(one, 0, few, seed),
            }
        elif not symbols:
            row["plain"] = mean_image_row(training, used, original, network)
        rows.append(row)
        print(
            f"{symbols} symbols: MSE {row['mse']:.1f}, Fréchet {row['frechet_distance']:.3f}, "
            f"variance {row['conditional']['variance']:.1f}, "
            f"{row['payload_bits_per_image']:.1f} bits",
            file=sys.stderr,
        )
    side, columns = model.config.side, settings.columns
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "images": len(used),
        "sheets": f"{len(pictures)} of {columns}×{columns} images, "
        f"{side * columns}×{side * columns} pixels each, a file each, noise of a seed of its own",
        "mse": "mean over pixels and channels of 0..255, then over images; PSNR of that mean; "
        "times (2/255)² it is that of pixels in [−1, 1]",
        "frechet": "squared Fréchet distance of Gaussians fitted to own classifier features of "
        "the test images and of what was decoded; not comparable with FID",
        "frechet_between_halves_of_the_originals": rounded(
            frechet_distance(original[::2], original[1::2])
        ),
        "conditional": f"variance of a pixel, 0..255, over {settings.decodes} decodings of one "
        f"file, mean over pixels and {settings.variance_columns**2} images",
        "bytes": "complete files, decoded again; payload: the coded symbols alone, of the sheets",
        "plain": "same networks, no noise, one rate, trained for the squared error alone; at no "
        "symbols the mean of the training images",
        "peers": "the finest setting whose whole file is not above that of the sheet, sheet by "
        f"sheet, on the first {len(known.pictures)}; null where no file is that small",
        "peer_encoders": known.encoders,
        "seed": seed,
        "found": rounded({"rates": rows, "summary": summary(rows)}),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The claims, each with what it came to."""
    variances = [row["conditional"]["variance"] for row in rows]
    distances = [row["frechet_distance"] for row in rows]
    errors = [row["mse"] for row in rows]
    coded = [row for row in rows if row["symbols_per_position"]]
    mean = float(np.mean(distances))
    spread = max(abs(d / mean - 1) for d in distances)
    ratios = [_over_plain(row, "frechet_distance") for row in rows]
    at_the_end = _over_plain(rows[-1], "mse")
    bits = [row["payload_bits_per_image"] / row["fixed_bits_per_image"] for row in coded]
    with_symbols = [_over_plain(row, "frechet_distance") for row in coded]
    return {
        "variance_at_the_lowest_rate": variances[0],
        "variance_positive_and_falling": variances[0] > 0
        and all(a > b for a, b in pairwise(variances)),
        "frechet_largest_share_off_the_mean": spread,
        "frechet_flat": spread <= FLAT,
        "frechet_over_plain": ratios,
        "frechet_at_most_half_of_plain_at_the_two_lowest": _at_most_half(ratios[:2]),
        "frechet_at_most_half_of_plain_at_the_two_lowest_with_symbols": _at_most_half(
            with_symbols[:2]
        ),
        "mse_falls": all(a > b for a, b in pairwise(errors)),
        "mse_over_plain_at_the_highest": at_the_end,
        "mse_near_plain_at_the_highest": None if at_the_end is None else at_the_end <= NEAR_PLAIN,
        "payload_over_fixed_rate": bits,
        "payload_below_fixed_rate": all(share < 1 for share in bits),
        "zero_rate_file_bytes": rows[0]["single_images"]["file_bytes"]
        if not rows[0]["symbols_per_position"]
        else None,
    }


def _at_most_half(ratios: Sequence[float | None]) -> bool | None:
    """None where one was not measured."""
    known = [ratio for ratio in ratios if ratio is not None]
    return all(ratio <= HALF for ratio in known) if len(known) == len(ratios) else None


def _over_plain(row: dict[str, Any], name: str) -> float | None:
    plain = row["plain"]
    return None if plain is None else row[name] / plain[name]
