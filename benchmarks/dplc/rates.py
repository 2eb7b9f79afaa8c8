"""Error, realism, variety and bytes of the distribution-preserving codec at each of its rates.

It is compared with a plain autoencoder of the same networks, trained only for the squared error at
the same rate, and with known codecs whose files are no larger. All are real files, decoded again.
Images are put on sheets, many to a file, since the headers of other codecs outweigh a small image;
files of single images are counted as well.
"""

from __future__ import annotations

import json
import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dplc import subject
from benchmarks.harness.peers import DecodedSheets, PeerSheets, error_figures, squared_errors
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import (
    DplcModel,
    as_picture,
    features_of,
    load_dplc_model,
    read_file,
    rounded,
    sheets,
    write_file,
)
from benchmarks.harness.targets import (
    DPLC_FRECHET_OVER_PLAIN,
    DPLC_FRECHET_SPREAD,
    DPLC_MSE_OVER_PLAIN,
)
from bitstream.arrays import Float64Array, Uint8Array
from bitstream.errors import UsageError
from codec.datasets.arrays import Images
from codec.rate_distortion.metrics import frechet_distance
from training.data.small_images import evenly
from training.features.train import FeatureNetwork, load_features

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
PEERS = ("jpeg", "jpeg2000", "avif")


def decode_sheets(
    model: DplcModel, rate: int, pictures: Sequence[Uint8Array], network: FeatureNetwork, seed: int
) -> tuple[DecodedSheets, int]:
    """Code and decode all sheets at a rate; return them and the total bytes of the payloads."""
    found, payload_bytes = DecodedSheets(model.config.side, network), 0
    for number, sheet in enumerate(pictures):
        # With the same seed, the noise would be the same at the same place of every sheet.
        file = write_file(model.coder, sheet, model.quality(rate), noise_seed=seed + number)
        found.add(len(file.data), sheet, read_file(model.coder, file.data))
        payload_bytes += file.payload_bytes
    return found, payload_bytes


def sheets_row(
    decoded: DecodedSheets, payload_bytes: int, original: Float64Array
) -> dict[str, Any]:
    row = decoded.row(original)
    return {
        "sheet_bytes": float(np.mean(decoded.file_bytes)),
        "sheet_bytes_per_image": sum(decoded.file_bytes) / row["images"],
        "payload_bits_per_image": 8 * payload_bytes / row["images"],
        **row,
    }


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
    """Variance of each pixel over decodings of a file with different noise, averaged over pixels.

    In levels 0..255; unbiased for the number of decodings; the error is over the sheet's images.
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
    """Figures if every image is replaced by the single picture with the least squared error."""
    mean = np.rint(training.mean(axis=0)).astype(np.uint8)
    again = np.broadcast_to(mean, images.shape)
    features = features_of(network, np.stack([mean, mean]))
    return {
        "what": f"the mean of {len(training):,} training images, for every image; no file",
        **error_figures(squared_errors(images, again)),
        "frechet_distance": frechet_distance(original, features),
    }


def check_plain(model: DplcModel, plain: Sequence[DplcModel]) -> dict[int, DplcModel]:
    """Plain autoencoders by symbols per position. Raises `UsageError` for other models."""
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


def kept_plain(path: Path, name: str, images: int) -> dict[int, dict[str, Any]]:
    """Figures of plain autoencoders in a result file, for as many images, by symbols per position.

    They do not depend on the weights of the codec.
    """
    if not path.exists():
        return {}
    report = json.loads(path.read_text("utf-8")).get("rates", {}).get(name, {})
    if report.get("images") != images:
        return {}
    rows = {row["symbols_per_position"]: row["plain"] for row in report["found"]["rates"]}
    return {symbols: plain for symbols, plain in rows.items() if symbols and plain}


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_common(parser)
    subject.add_weights(parser, plain="without them their figures in the result file are kept")
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
    def measure(model: DplcModel) -> Report:
        plain = [load_dplc_model(path) for path in options.plain]
        images, training = (
            subject.images_for(options, model, part=part) for part in ("test", "train")
        )
        network = load_features(options.features)
        on_sheets = len(images) - len(images) % options.columns**2
        kept = {} if plain else kept_plain(options.output, model.name, on_sheets)
        found = measure_rates(model, plain, images, training, network, options, kept)
        return {**found, "features": options.features.name}

    return subject.measured_model(options, "rates", measure)


def measure_rates(
    model: DplcModel,
    plain: Sequence[DplcModel],
    images: Images,
    training: Images,
    network: FeatureNetwork,
    settings: Namespace,
    kept: Mapping[int, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Measure test images uint8 (n, C, side, side); training images have the same form.

    kept   figures of plain autoencoders that are not measured, by symbols per position
    """
    others, seed = check_plain(model, plain), settings.seed
    pictures = sheets(images, settings.columns)
    used = images[: len(pictures) * settings.columns**2]
    few = evenly(used, settings.singles)
    noisy = sheets(used, settings.variance_columns)[0]
    original = features_of(network, used)
    known = PeerSheets(settings.peers, pictures[: settings.peer_sheets])
    rows = []
    for rate, symbols in enumerate(model.config.rates):
        decoded, payload_bytes = decode_sheets(model, rate, pictures, network, seed)
        peers = known.within(decoded.file_bytes, lambda: DecodedSheets(model.config.side, network))
        row: dict[str, Any] = {
            "symbols_per_position": symbols,
            "fixed_bits_per_image": model.fixed_bits(rate),
            "fixed_bits_per_pixel": model.fixed_bits(rate) / model.config.side**2,
            **sheets_row(decoded, payload_bytes, original),
            "single_images": single_files(model, rate, few, seed),
            "conditional": conditional_variance(model, rate, noisy, settings.decodes, seed),
            "plain": (kept or {}).get(symbols),
            "peers": {
                name: peer and {"sheet_bytes": float(np.mean(peer.file_bytes)),
                                **peer.row(original)}
                for name, peer in peers.items()
            },
            "on_the_peers_sheets": decoded.row(original, len(known.pictures)),
        }  # fmt: skip
        if symbols in others:
            one = others[symbols]
            row["plain"] = {
                "weights_sha256": one.weights_sha256,
                **sheets_row(*decode_sheets(one, 0, pictures, network, seed), original),
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
        "plain": "same networks, no noise, no flow, one rate, trained for the squared error alone; "
        "at no symbols the mean of the training images",
        "peers": "the finest setting whose whole file is not above that of the sheet, sheet by "
        f"sheet, on the first {len(known.pictures)}; null where no file is that small",
        "peer_encoders": known.encoders,
        "seed": seed,
        "found": rounded({"rates": rows, "summary": summary(rows)}),
    }


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The claims, each with the measured value and whether it holds."""
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
        "frechet_flat": spread <= DPLC_FRECHET_SPREAD,
        "frechet_over_plain": ratios,
        "frechet_at_most_half_of_plain_at_the_two_lowest": _at_most_half(ratios[:2]),
        "frechet_at_most_half_of_plain_at_the_two_lowest_with_symbols": _at_most_half(
            with_symbols[:2]
        ),
        "mse_falls": all(a > b for a, b in pairwise(errors)),
        "mse_over_plain_at_the_highest": at_the_end,
        "mse_near_plain_at_the_highest": None
        if at_the_end is None
        else at_the_end <= DPLC_MSE_OVER_PLAIN,
        "payload_over_fixed_rate": bits,
        "payload_below_fixed_rate": all(share < 1 for share in bits),
        "zero_rate_file_bytes": rows[0]["single_images"]["file_bytes"]
        if not rows[0]["symbols_per_position"]
        else None,
    }


def _at_most_half(ratios: Sequence[float | None]) -> bool | None:
    known = [ratio for ratio in ratios if ratio is not None]
    return (
        all(ratio <= DPLC_FRECHET_OVER_PLAIN for ratio in known)
        if len(known) == len(ratios)
        else None
    )


def _over_plain(row: dict[str, Any], name: str) -> float | None:
    plain = row["plain"]
    return None if plain is None else row[name] / plain[name]
