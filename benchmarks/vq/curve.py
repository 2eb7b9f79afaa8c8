"""Rate and distortion of the codec's files, compared with other codecs at equal bytes.

Images are put on sheets, many to a file, since the headers of other codecs outweigh a small image.
At each quality and for each sheet, every other codec writes its best file within the bytes of ours.
Differences of errors are taken image by image. All are real files, decoded again. Files of single
images are counted as well, and how far files are above the likelihood: −log₂ p of their codes by
the prior's log-odds before these are rounded to tables.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.peers import DecodedSheets, PeerSheets
from benchmarks.harness.results import Measured, Report, timed
from benchmarks.harness.small_images import (
    as_picture,
    images_of_size,
    read_file,
    read_weights,
    rounded,
    sheets,
    write_file,
)
from bitstream.arrays import Float64Array, Uint8Array
from codec.datasets.arrays import Images
from codec.loading import HASH_BYTES, hash_weights
from codec.models.vq.coder import VqCoder, load_vq
from codec.rate_distortion.estimates import student_quantile_975
from codec.rate_distortion.metrics import psnr_from_mse_db
from training.data.small_images import evenly

SCHEMA, RESULT = "calotype.vq/1", "vq.json"
QUALITIES = (1.0, 25.0, 50.0, 75.0, 100.0)
PEERS = ("jpeg", "jpeg2000", "avif", "photo-psnr", "draw")
GREY_PEERS = ("jpeg", "jpeg2000", "avif", "photo-psnr", "dplc")


def interval(values: Float64Array) -> dict[str, float]:
    """Mean of independent values (n,), n > 1, and half of its 95 % interval."""
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    return {
        "mean": float(values.mean()),
        "half_of_95_percent_interval": student_quantile_975(len(values) - 1) * error,
    }


def coded_sheets(
    coder: VqCoder, pictures: Sequence[Uint8Array], quality: float
) -> tuple[DecodedSheets, int]:
    """All sheets, coded and decoded again, and the bytes of their payloads."""
    found, payload_bytes = DecodedSheets(coder.stride, None), 0
    for sheet in pictures:
        file = write_file(coder, sheet, quality)
        found.add(len(file.data), sheet, read_file(coder, file.data))
        payload_bytes += file.payload_bytes
    return found, payload_bytes


def likelihood_bytes(coder: VqCoder, pictures: Sequence[Uint8Array], quality: float) -> float:
    """−log₂ p of the codes of all sheets, in bytes."""
    nats = 0.0
    for sheet in pictures:
        codes = coder.choose_codes(coder.analyze(sheet, quality), quality)
        columns, above = codes.reshape(len(codes), -1).T, None
        for level, (prior, place) in enumerate(zip(coder.priors, coder.places, strict=True)):
            side = coder.config.grid(level)
            own = np.ascontiguousarray(columns[:, place]).reshape(-1, side, side)
            nats += float(prior.nats(own, above, round(quality * 100)).sum())
            above = own
    return nats / math.log(2) / 8


def single_bytes(coder: VqCoder, images: Images, quality: float) -> float:
    """Mean bytes of a file of one image."""
    sizes = [len(write_file(coder, as_picture(image), quality).data) for image in images]
    return float(np.mean(sizes))


def figures(decoded: DecodedSheets, pixels: int) -> Report:
    """Rate and error of sheets; `pixels` is the number of pixels of all of them."""
    errors = np.concatenate(decoded.errors)
    return {
        "bytes_per_image": sum(decoded.file_bytes) / len(errors),
        "rate_bpp": 8 * sum(decoded.file_bytes) / pixels,
        "mse": interval(errors),
        "psnr_db": psnr_from_mse_db(float(errors.mean())),
    }


def compared(own: DecodedSheets, other: DecodedSheets | None, pixels: int) -> Report | None:
    """Figures of another codec, and by how much its errors are larger, in image-wise pairs."""
    if other is None:
        return None
    ours, theirs = (np.concatenate(each.errors) for each in (own, other))
    return {
        **figures(other, pixels),
        "mse_more_than_vq": interval(theirs - ours),
        "mse_over_vq": float(theirs.mean() / ours.mean()),
    }


def measure_curve(
    coder: VqCoder,
    images: Images,
    peers: Sequence[str],
    *,
    columns: int,
    sheet_count: int,
    singles: int,
    qualities: Sequence[float] = QUALITIES,
) -> Report:
    """Measure images uint8 (n, C, side, side) on `sheet_count` sheets of columns × columns."""
    pictures = sheets(images, columns)[:sheet_count]
    used = images[: len(pictures) * columns**2]
    pixels = len(used) * coder.stride**2
    known = PeerSheets(peers, pictures)
    rows = []
    for quality in qualities:
        own, payload_bytes = coded_sheets(coder, pictures, quality)
        bound = likelihood_bytes(coder, pictures, quality)
        others = known.within(own.file_bytes, lambda: DecodedSheets(coder.stride, None))
        rows.append({
            "quality": quality,
            **figures(own, pixels),
            "above_likelihood_percent": 100 * (sum(own.file_bytes) / bound - 1),
            "payload_above_likelihood_percent": 100 * (payload_bytes / bound - 1),
            "bytes_of_a_single_image": single_bytes(coder, evenly(used, singles), quality),
            "peers": {name: compared(own, other, pixels) for name, other in others.items()},
        })  # fmt: skip
        rate, error = rows[-1]["rate_bpp"], rows[-1]["mse"]["mean"]
        print(f"quality {quality:g}: {rate:.4f} bpp, MSE {error:.1f}", file=sys.stderr)
    return {
        "images": len(used),
        "sheets": f"{len(pictures)} of {columns}×{columns} images, a file each",
        "mse": "mean over pixels and channels of 0..255, then over images; PSNR of that mean",
        "intervals": "95 %, Student's t over images; differences are taken image by image",
        "peers": "the finest setting whose whole file is not above that of the sheet, sheet by "
        "sheet; null where no file is that small",
        "peer_encoders": known.encoders,
        "weights_of_peers": known.weights,
        "found": rounded({"qualities": rows, "summary": summary(rows)}),
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> Report:
    """For each other codec, at how many qualities its error is significantly larger, or smaller.

    Only qualities at which that codec has a file small enough count.
    """
    found: Report = {}
    for name in rows[0]["peers"]:
        cells = [row["peers"][name] for row in rows if row["peers"][name] is not None]
        differences = [cell["mse_more_than_vq"] for cell in cells]
        found[name] = {
            "qualities": len(cells),
            "vq_is_better": sum(
                d["mean"] - d["half_of_95_percent_interval"] > 0 for d in differences
            ),
            "vq_is_worse": sum(
                d["mean"] + d["half_of_95_percent_interval"] < 0 for d in differences
            ),
        }
    return found


def load_coder(path: Path) -> VqCoder:
    """Read a weights file. Raises `WeightsMismatchError`."""
    weights_hash = hash_weights(path)[:HASH_BYTES]
    return load_vq(*read_weights(path), weights_hash, device=torch.device("cpu"))


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--weights", type=Path, required=True, help="of the model vq")
    parser.add_argument("--data", type=Path, required=True, help="pictures, .npz or IDX")
    parser.add_argument("--columns", type=int, default=8, help="images in a row of a sheet")
    parser.add_argument("--sheets", type=int, default=4, help="sheets, the first ones")
    parser.add_argument("--singles", type=int, default=20, help="images that get own files too")
    parser.add_argument("--peers", nargs="*", help="other codecs and models [by colour]")
    parser.add_argument("--threads", type=int, default=1)


def run(options: Namespace) -> Iterator[Measured]:
    torch.set_num_threads(options.threads)

    def measure() -> dict[str, Report]:
        coder = load_coder(options.weights)
        config, count = coder.config, options.sheets * options.columns**2
        peers = options.peers
        if peers is None:
            peers = PEERS if config.channels == 3 else GREY_PEERS
        images = images_of_size(options.data, config.channels, config.side, limit=count)
        found = measure_curve(
            coder, images, peers,
            columns=options.columns, sheet_count=options.sheets, singles=options.singles,
        )  # fmt: skip
        about = {
            "model": options.weights.stem,
            "weights_sha256": hash_weights(options.weights).hex(),
            "levels": config.levels,
        }
        return {options.weights.stem: about | found}

    yield from timed("curve", measure, data=options.data.name)
