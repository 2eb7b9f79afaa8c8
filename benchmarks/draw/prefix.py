"""Quality of DRAW's files cut after a layer, compared with other codecs at equal bytes.

Each cut file is really cut and really decoded; the missing part is the mean of the model's prior or
a sample of it.  For 32×32 pixels the headers of other codecs outweigh their data, so the comparison
is made on sheets: many images as one picture, coded as a whole by every codec, and cut into images
again for image-wise distances.  Files of single images are measured as well.
"""

from __future__ import annotations

import math
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.draw import subject
from benchmarks.harness.peers import DecodedSheets, PeerSheets, peer_files
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import (
    DrawModel,
    as_picture,
    cut,
    decode_prefixes,
    rounded,
    sheets,
    write_file,
)
from bitstream.arrays import Float64Array, Uint8Array
from codec.datasets.arrays import Images
from codec.models.draw.coder import DrawCoder
from codec.rate_distortion.metrics import METRICS, frechet_distance, ms_ssim
from training.features.train import FeatureNetwork, extract, load_features

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
PEERS = ("jpeg", "jpeg2000", "avif")
SSIM_WINDOW = 7
"""Window of the similarity of single images; 32 pixels are too few for five scales."""

WANTED_SHARE = 0.1


@dataclass
class DecodedPrefixes(DecodedSheets):
    """The decoded images for one cut of the files, with similarities as well as errors."""

    similarities: list[Float64Array] = field(default_factory=list)
    of_sheets: list[float] = field(default_factory=list)

    def add(self, file_bytes: int, sheet: Uint8Array, again: Uint8Array) -> None:
        super().add(file_bytes, sheet, again)
        if METRICS["ms-ssim"].missing() is None:
            self.similarities.append(similarity(cut(sheet, self.side), cut(again, self.side)))
            whole = ms_ssim(sheet, again)
            self.of_sheets += [] if whole is None else [whole]

    def row(self, original: Float64Array | None, files: int | None = None) -> Report:
        found = {"bytes_of_each_file": float(np.mean(self.file_bytes))}
        if self.similarities:
            found["ssim"] = float(np.concatenate(self.similarities).mean())
        if self.of_sheets:
            found["ms_ssim_of_sheets"] = float(np.mean(self.of_sheets))
        return found | super().row(original, files)


def similarity(original: Images, again: Images) -> Float64Array:
    """SSIM of images uint8 (n, 3, side, side) with windows of seven pixels: (n,)."""
    import pytorch_msssim

    first, second = (torch.from_numpy(images.astype(np.float32)) for images in (original, again))
    with torch.inference_mode():
        values = pytorch_msssim.ssim(
            first, second, data_range=255, size_average=False, win_size=SSIM_WINDOW
        )
    found: Float64Array = values.double().numpy()
    return found


def measure_prefix(
    model: DrawModel,
    images: Images,
    qualities: Sequence[float],
    *,
    network: FeatureNetwork | None,
    columns: int = 16,
    singles: int = 100,
    seed: int = 0,
    peers: Sequence[str] = PEERS,
) -> dict[str, Any]:
    """The part `prefix`, of images uint8 (n, 3, side, side).

    network  classifier whose features give the Fréchet distance; None leaves it out
    singles  number of images that are also coded one by one
    """
    coder, side = model.file_coder(), images.shape[2]
    pictures = sheets(images, columns)
    used = images[: len(pictures) * columns**2]
    original = None if network is None else extract(network, used)
    known = PeerSheets(peers, pictures)

    def empty() -> DecodedPrefixes:
        return DecodedPrefixes(side, network)

    found = []
    for quality in qualities:
        files = [write_file(coder, sheet, quality) for sheet in pictures]
        whole = sum(len(file.data) for file in files)
        print(f"quality {quality:g}: {len(files)} sheets, {whole} bytes", file=sys.stderr)
        mean, sampled = ([empty() for _ in range(coder.layers)] for _ in range(2))
        for number, (sheet, file) in enumerate(zip(pictures, files, strict=True)):
            for layers, chosen in ((mean, None), (sampled, seed + number)):
                decoded = decode_prefixes(coder, file, chosen)
                for one, end, pixels in zip(layers, file.layer_ends, decoded, strict=True):
                    one.add(end, sheet, pixels)
        rows = []
        for index in range(coder.layers):
            ends = [file.layer_ends[index] for file in files]
            fitting = known.within(ends, empty)
            rows.append(
                {
                    "layers": index + 1,
                    "share_of_the_file": sum(ends) / whole,
                    "bits_per_pixel": 8 * sum(ends) / (used[0, 0].size * len(used)),
                    "mean": mean[index].row(original),
                    "sampled": sampled[index].row(original),
                    "peers": {name: peer and peer.row(original) for name, peer in fitting.items()},
                }
            )
        found.append(
            {
                "quality": quality,
                "file_bytes": whole / len(pictures),
                "prefixes": rows,
                "summary": prefix_summary(rows),
                "single_images": single_images(coder, images[:singles], quality, peers),
            }
        )
    halves = None
    if original is not None and len(original) >= 4:
        halves = frechet_distance(original[::2], original[1::2])
    return {
        "images": len(used),
        "sheets": f"{len(pictures)} of {columns}×{columns} images, each one picture of "
        f"{side * columns}×{side * columns} for every codec",
        "rate": "bytes of the file up to the end of the layer, headers included",
        "mse": "mean over pixels and channels of 0..255, then over images; PSNR of that mean",
        "ssim": f"windows of {SSIM_WINDOW} pixels, image by image; ms_ssim_of_sheets: five scales "
        "on each sheet as one picture, seams included",
        "frechet": "squared Fréchet distance of Gaussians fitted to own classifier features of "
        "the originals and of what was decoded; not comparable with FID",
        "frechet_between_halves_of_the_originals": rounded(halves),
        "peers": "the finest setting whose whole file is not above the bytes of the prefix, "
        "sheet by sheet; null where no file is that small",
        "peer_encoders": known.encoders,
        "missing_layers": "mean: the prior's mean; sampled: a sample of the prior",
        "seed": seed,
        "tenth_of_the_finest_file": rounded(tenth_of_the_finest(found), 6),
        "found": rounded(found, 6),
    }


def prefix_summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The claims: errors that fall with every layer, and realism at a tenth of the bytes."""
    errors = [row["mean"]["mse"] for row in rows]
    found: dict[str, Any] = {"mse_falls_in_every_layer": all(a > b for a, b in pairwise(errors))}
    tenth = min(rows, key=lambda row: _off(row["share_of_the_file"]))
    if "frechet_distance" in tenth["mean"]:
        found["near_a_tenth_of_the_bytes"] = {
            "layers": tenth["layers"],
            "share_of_the_file": tenth["share_of_the_file"],
            **_realism(tenth),
        }
    return found


def tenth_of_the_finest(found: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The cut file, of any quality, nearest to a tenth of the bytes at the finest quality.

    Other qualities are allowed because the first layer may be more than a tenth of its own file.
    None without features.
    """
    finest = max(found, key=lambda one: one["quality"])["file_bytes"]
    rows = [(one["quality"], row) for one in found for row in one["prefixes"]]
    quality, row = min(rows, key=lambda q: _off(q[1]["mean"]["bytes_of_each_file"] / finest))
    if "frechet_distance" not in row["mean"]:
        return None
    return {
        "quality": quality,
        "layers": row["layers"],
        "share_of_the_finest_file": row["mean"]["bytes_of_each_file"] / finest,
        **_realism(row),
    }


def _off(share: float) -> float:
    return abs(math.log(share / WANTED_SHARE))


def _realism(row: dict[str, Any]) -> dict[str, Any]:
    """Fréchet distances of one cut file, with both decodings, and of JPEG 2000."""
    peer = row["peers"].get("jpeg2000")
    sampled = row["sampled"]["frechet_distance"]
    return {
        "frechet_sampled": sampled,
        "frechet_mean": row["mean"]["frechet_distance"],
        "frechet_jpeg2000": peer and peer["frechet_distance"],
        "sampled_below_jpeg2000": peer and sampled < peer["frechet_distance"],
    }


def single_images(
    coder: DrawCoder, images: Images, quality: float, peers: Sequence[str]
) -> dict[str, Any]:
    """Each image as a file of its own: bytes and errors, and how often a peer has a file."""
    pictures = [as_picture(image) for image in images]
    others = {name: [peer_files(name, picture) for picture in pictures] for name in peers}
    files = [write_file(coder, picture, quality) for picture in pictures]
    decoded = [list(decode_prefixes(coder, file, None)) for file in files]
    rows = []
    for index in range(coder.layers):
        ends = [file.layer_ends[index] for file in files]
        row: dict[str, Any] = {
            "layers": index + 1,
            "bytes": float(np.mean(ends)),
            "mse": _mse(pictures, [pixels[index] for pixels in decoded]),
            "peers": {},
        }
        for name, made in others.items():
            fitting = [one.decoded_within(end) for one, end in zip(made, ends, strict=True)]
            kept = [
                (a, b[0], b[1], pixels[index])
                for a, b, pixels in zip(pictures, fitting, decoded, strict=True)
                if b is not None
            ]
            row["peers"][name] = {
                "images_with_a_file": len(kept),
                "bytes": float(np.mean([k[1] for k in kept])) if kept else None,
                "mse": _mse([k[0] for k in kept], [k[2] for k in kept]),
                "mse_of_draw_on_these": _mse([k[0] for k in kept], [k[3] for k in kept]),
            }
        rows.append(row)
    return {
        "images": len(images),
        "file_bytes": float(np.mean([len(file.data) for file in files])),
        "smallest_file_bytes_of_peers": {
            name: float(np.mean([one.smallest_bytes() for one in made]))
            for name, made in others.items()
        },
        "prefixes": rows,
    }


def _mse(originals: Sequence[Uint8Array], decoded: Sequence[Uint8Array]) -> float | None:
    if not originals:
        return None
    errors = [
        ((a.astype(np.float64) - b) ** 2).mean() for a, b in zip(originals, decoded, strict=True)
    ]
    return float(np.mean(errors))


def add_arguments(parser: ArgumentParser) -> None:
    subject.add_subject(parser)
    parser.add_argument("--qualities", type=float, nargs="+", default=[75])
    parser.add_argument("--columns", type=int, default=16, help="of a sheet")
    parser.add_argument(
        "--features",
        type=Path,
        help="such as benchmarks/features/natural32.safetensors; without: no Fréchet distance",
    )
    parser.add_argument("--singles", type=int, default=100, help="images one by one")
    parser.add_argument("--peers", nargs="*", default=list(PEERS))


def run(options: Namespace) -> Iterator[Measured]:
    def measure(model: DrawModel, images: Images) -> Report:
        network = None if options.features is None else load_features(options.features)
        return measure_prefix(
            model, images, options.qualities, network=network, columns=options.columns,
            singles=options.singles, seed=options.seed, peers=options.peers,
        )  # fmt: skip

    return subject.measured(options, "prefix", measure)
