"""How good DRAW's files are when they break off after a layer, beside other codecs' of equal bytes.

Each cut file is really cut and really decoded; what is missing is the mean of the model's prior or
a sample of it.  32×32 pixels are so few that the headers of other codecs outweigh their data, so
the comparison is made on sheets: many images as one picture, coded as a whole by every codec, and
cut again for distances that are taken image by image.  Single images stand beside them as they are.
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
from benchmarks.harness.peers import peer_files
from benchmarks.harness.results import Measured, Report
from benchmarks.harness.small_images import (
    DrawModel,
    Float64Array,
    LayeredFile,
    Uint8Array,
    as_picture,
    cut,
    decode_prefixes,
    rounded,
    sheets,
    write_file,
)
from codec.datasets.arrays import Images
from codec.models.draw.coder import DrawCoder
from codec.rate_distortion import find_codec
from codec.rate_distortion.metrics import (
    METRICS,
    frechet_distance,
    ms_ssim,
    psnr_from_mse_db,
)
from training.features.train import FeatureNetwork, extract, load_features

SCHEMA, RESULT = subject.SCHEMA, subject.RESULT
PEERS = ("jpeg", "jpeg2000", "avif")
SSIM_WINDOW = 7
"""Of the similarity of single images: five scales do not fit 32 pixels."""

WANTED_SHARE = 0.1


@dataclass
class Decoded:
    """What came back of the images, sheet by sheet, of one codec at one place of the file."""

    bytes: int = 0
    errors: list[Float64Array] = field(default_factory=list)
    similarities: list[Float64Array] = field(default_factory=list)
    of_sheets: list[float] = field(default_factory=list)
    features: list[Float64Array] = field(default_factory=list)

    def add(
        self,
        coded_bytes: int,
        sheet: Uint8Array,
        again: Uint8Array,
        side: int,
        network: FeatureNetwork | None,
    ) -> None:
        """One more file: its sheet of images (h, w, 3), and what was decoded."""
        self.bytes += coded_bytes
        original, decoded = cut(sheet, side), cut(again, side)
        difference = original.astype(np.float64) - decoded
        self.errors.append((difference**2).mean(axis=(1, 2, 3)))
        if METRICS["ms-ssim"].missing() is None:
            self.similarities.append(similarity(original, decoded))
            whole = ms_ssim(sheet, again)
            self.of_sheets += [] if whole is None else [whole]
        if network is not None:
            self.features.append(extract(network, decoded))

    def row(self, original_features: Float64Array | None, files: int) -> dict[str, Any]:
        """Means over the images."""
        errors = np.concatenate(self.errors)
        mse = float(errors.mean())
        found: dict[str, Any] = {
            "bytes_of_each_file": self.bytes / files,
            "mse": mse,
            "mse_standard_error": float(errors.std(ddof=1)) / math.sqrt(len(errors)),
            "psnr_db": psnr_from_mse_db(mse),
        }
        if self.similarities:
            found["ssim"] = float(np.concatenate(self.similarities).mean())
        if self.of_sheets:
            found["ms_ssim_of_sheets"] = float(np.mean(self.of_sheets))
        if original_features is not None:
            features = np.concatenate(self.features)
            found["frechet_distance"] = frechet_distance(original_features, features)
        return found


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


@dataclass
class Series:
    """All that is decoded at one quality: lists with one entry for each number of layers."""

    mean: list[Decoded]
    sampled: list[Decoded]
    peers: dict[str, list[Decoded | None]]

    @classmethod
    def empty(cls, layers: int, peers: Sequence[str]) -> Series:
        """For files of so many layers."""
        return cls(
            [Decoded() for _ in range(layers)],
            [Decoded() for _ in range(layers)],
            {name: [Decoded() for _ in range(layers)] for name in peers},
        )

    def add(
        self,
        coder: DrawCoder,
        sheet: Uint8Array,
        file: LayeredFile,
        side: int,
        seed: int,
        network: FeatureNetwork | None,
    ) -> None:
        """One more sheet: ours, with the mean and with a sample, and the peers."""
        for rows, chosen in ((self.mean, None), (self.sampled, seed)):
            for decoded, end, pixels in zip(
                rows, file.layer_ends, decode_prefixes(coder, file, chosen), strict=True
            ):
                decoded.add(end, sheet, pixels, side, network)
        for name, columns in self.peers.items():
            files = peer_files(name, sheet)
            for index, end in enumerate(file.layer_ends):
                fitting = files.decoded_within(end)
                decoded_peer = columns[index]
                if fitting is None or decoded_peer is None:
                    columns[index] = None
                    continue
                decoded_peer.add(fitting[0], sheet, fitting[1], side, network)


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

    network  classifier whose features the Fréchet distance is taken in; None leaves it out
    singles  images that are coded one by one as well
    """
    coder, side = model.file_coder(), images.shape[2]
    pictures = sheets(images, columns)
    used = images[: len(pictures) * columns**2]
    original = None if network is None else extract(network, used)
    found = []
    for quality in qualities:
        series, whole = Series.empty(coder.layers, peers), 0
        for number, sheet in enumerate(pictures):
            file = write_file(coder, sheet, quality)
            whole += len(file.data)
            series.add(coder, sheet, file, side, seed + number, network)
            print(
                f"quality {quality:g}: sheet {number + 1} of {len(pictures)}, "
                f"{len(file.data)} bytes",
                file=sys.stderr,
            )
        rows = prefix_rows(series, original, len(pictures), whole, used[0, 0].size * len(used))
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
        "peer_encoders": {name: find_codec(name).encoder for name in peers},
        "missing_layers": "mean: the prior's mean; sampled: a sample of the prior",
        "seed": seed,
        "tenth_of_the_finest_file": rounded(tenth_of_the_finest(found), 6),
        "found": rounded(found, 6),
    }


def prefix_rows(
    series: Series, original: Float64Array | None, files: int, whole: int, pixels: int
) -> list[dict[str, Any]]:
    """One row for each number of layers."""
    rows = []
    for index, (mean, sampled) in enumerate(zip(series.mean, series.sampled, strict=True)):
        rows.append(
            {
                "layers": index + 1,
                "share_of_the_file": mean.bytes / whole,
                "bits_per_pixel": 8 * mean.bytes / pixels,
                "mean": mean.row(original, files),
                "sampled": sampled.row(original, files),
                "peers": {
                    name: None if peer is None else peer.row(original, files)
                    for name, column in series.peers.items()
                    for peer in [column[index]]
                },
            }
        )
    return rows


def prefix_summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is claimed: errors that fall in every layer, and realism at a tenth of the bytes."""
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
    """The cut file, at any quality, nearest to a tenth of the bytes at the finest quality.

    The first layer alone may be more than a tenth of its own file.  None without features.
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
    """Each image as a file of its own: bytes and errors, and how often a peer has any file."""
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
