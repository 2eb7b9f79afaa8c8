"""Error and realism of one file of photo at each quality, decoded with several `--realism`.

    python -m benchmarks.photo realism --data kodak.tar --name kodak

The result has for each quality the bits per pixel of the files, and for each realism R the PSNR,
the MS-SSIM and a Fréchet distance of patches. Realism weights are looked for where
`codec.decompress` looks, also in the folders of CALOTYPE_WEIGHTS.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import codec
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import ROOT, Measured, provenance
from benchmarks.harness.small_images import cut, rounded
from bitstream.arrays import Float64Array, Uint8Array
from bitstream.errors import UsageError
from codec import loading
from codec.models.photo.realism import find_realism
from codec.rate_distortion import find_images, psnr_db
from codec.rate_distortion.metrics import METRICS, frechet_distance, ms_ssim, mse
from training.features.train import SIDE, FeatureNetwork, extract, load_features

FEATURES = ROOT / "benchmarks" / "features" / "natural32.safetensors"
SCHEMA, RESULT = "calotype.realism/1", "realism_{name}.json"
QUALITIES = (5.0, 15.0, 30.0, 50.0, 75.0)
REALISMS = (0.0, 0.25, 0.5, 0.75, 1.0)


def patches(pixels: Uint8Array) -> Uint8Array:
    """Whole patches of 32×32 of a picture uint8 (h, w, 3), side by side: (n, 3, 32, 32)."""
    height, width = (side // SIDE * SIDE for side in pixels.shape[:2])
    if not height or not width:
        raise UsageError(
            f"a picture of {pixels.shape[1]}×{pixels.shape[0]} pixels, "
            f"expected {SIDE}×{SIDE} at least"
        )
    return cut(pixels[:height, :width], SIDE)


@dataclass
class Decoded:
    """What came back of all pictures at one quality and one realism."""

    errors: list[float] = field(default_factory=list)
    psnrs_db: list[float] = field(default_factory=list)
    similarities: list[float] = field(default_factory=list)
    features: list[Float64Array] = field(default_factory=list)

    def add(self, original: Uint8Array, again: Uint8Array, network: FeatureNetwork) -> None:
        """One more picture, uint8 (h, w, 3)."""
        self.errors.append(mse(original, again))
        self.psnrs_db.append(psnr_db(original, again))
        similarity = ms_ssim(original, again) if METRICS["ms-ssim"].missing() is None else None
        self.similarities += [] if similarity is None else [similarity]
        self.features.append(extract(network, patches(again)))

    def row(self, realism: float, original: Float64Array) -> dict[str, Any]:
        """Means over the pictures, and the distance of all patches from the original ones."""
        found: dict[str, Any] = {
            "realism": realism,
            "mean_mse": float(np.mean(self.errors)),
            "mean_psnr_db": float(np.mean(self.psnrs_db)),
        }
        if self.similarities:
            found["mean_ms_ssim"] = float(np.mean(self.similarities))
        found["frechet_distance"] = frechet_distance(original, np.concatenate(self.features))
        return found


def measure_quality(
    pictures: Sequence[Uint8Array],
    original: Float64Array,
    quality: float,
    realisms: Sequence[float],
    network: FeatureNetwork,
) -> dict[str, Any]:
    """Each picture uint8 (h, w, 3) as one file, decoded at each realism.

    original  features of the patches of all pictures
    """
    rates_bpp, decoded = [], [Decoded() for _ in realisms]
    for pixels in pictures:
        data = codec.compress(pixels, quality=quality)
        rates_bpp.append(8 * len(data) / (pixels.shape[0] * pixels.shape[1]))
        for one, realism in zip(decoded, realisms, strict=True):
            one.add(pixels, codec.decompress(data, as_="numpy", realism=realism), network)
    return {
        "quality": quality,
        "mean_bpp": float(np.mean(rates_bpp)),
        "decoded": [one.row(r, original) for one, r in zip(decoded, realisms, strict=True)],
    }


def measure_realism(
    pictures: Sequence[Uint8Array],
    qualities: Sequence[float],
    realisms: Sequence[float],
    network: FeatureNetwork,
) -> dict[str, Any]:
    """All that the result file says of pictures uint8 (h, w, 3)."""
    original = np.concatenate([extract(network, patches(pixels)) for pixels in pictures])
    photo = loading.load_model("photo", device="cpu")
    realism_path = find_realism(photo.weights_hash).path
    found = []
    for quality in qualities:
        found.append(measure_quality(pictures, original, quality, realisms, network))
        print(f"quality {quality:g}: {len(pictures)} pictures", file=sys.stderr, flush=True)
    return {
        "pictures": len(pictures),
        "patches": len(original),
        "photo_weights": photo.weights_hash.hex(),
        "realism_weights_sha256": loading.hash_weights(realism_path).hex(),
        "rate": "bits of the whole file per pixel, mean over pictures; one file for every realism",
        "mse": "mean over pixels and channels of 0..255; PSNR in dB of each picture, then the mean",
        "frechet": f"squared Fréchet distance of Gaussians fitted to own classifier features of "
        f"{SIDE}×{SIDE} patches of the originals and of what was decoded; not comparable with FID",
        "frechet_between_halves_of_the_originals": rounded(
            frechet_distance(original[::2], original[1::2])
        ),
        "found": rounded(found, 6),
    }


def table(found: Sequence[dict[str, Any]]) -> list[str]:
    """Lines to print: a head, then one for each file and realism."""
    lines = ["quality    bpp  realism  PSNR dB  MS-SSIM  Fréchet"]
    for one in found:
        for row in one["decoded"]:
            similarity = f"{row['mean_ms_ssim']:.4f}" if "mean_ms_ssim" in row else "—"
            lines.append(
                f"{one['quality']:7g} {one['mean_bpp']:6.3f} {row['realism']:8g} "
                f"{row['mean_psnr_db']:8.2f} {similarity:>8} {row['frechet_distance']:8.4g}"
            )
    return lines


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--qualities", type=float, nargs="+", default=list(QUALITIES))
    parser.add_argument("--realisms", type=float, nargs="+", default=list(REALISMS))
    parser.add_argument("--features", type=Path, default=FEATURES, help="classifier's weights")


def run(options: Namespace) -> Iterator[Measured]:
    pictures = [image.pixels() for image in find_images(options.data)[: options.limit]]
    network = load_features(options.features)
    found = measure_realism(pictures, options.qualities, options.realisms, network)
    yield Measured({**provenance(), "set": options.name, **found}, table(found["found"]))
