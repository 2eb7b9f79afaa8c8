"""Error and realism of one file of photo at each rate, decoded with several `--realism`.

    python -m benchmarks.photo realism --data kodak.tar --name kodak --lpips lpips_alexnet.npz

For each picture and rate, AVIF gets the file nearest to the rate, and photo and JPEG XL at most as
many bytes (`benchmarks.photo.equal_bytes`). For each realism R, and for both peers, the result has
the mean squared error, PSNR, SSIMULACRA2, LPIPS and a Fréchet distance of patches; and the effect
of `--seed` at R = 1. Realism weights are searched where `codec.decompress` searches, including the
folders in CALOTYPE_WEIGHTS.

For comparison: perfect realism need not cost more than twice the mean squared error of the best
decoder (Blau and Michaeli 2018, "The perception-distortion tradeoff").
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import codec
from benchmarks.harness.lpips import Lpips
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import ROOT, Measured, provenance
from benchmarks.harness.small_images import cut, rounded
from benchmarks.photo.equal_bytes import files_of
from bitstream.arrays import Float64Array, Uint8Array
from bitstream.errors import UsageError
from codec import loading
from codec.models.photo.realism import find_realism
from codec.rate_distortion import find_images, psnr_db, ssimulacra2
from codec.rate_distortion.metrics import METRICS, frechet_distance, mse
from training.features.train import SIDE, FeatureNetwork, extract, load_features

FEATURES = ROOT / "benchmarks" / "features" / "natural32.safetensors"
SCHEMA, RESULT = "calotype.realism/3", "realism_{name}.json"
RATES_BPP = (0.05, 0.1, 0.25, 0.5)
REALISMS = (0.0, 0.5, 1.0)
SEEDS = (0, 1, 2)
TARGET_RATE_BPP = 0.1
TARGET_FRECHET, TARGET_MSE = 0.5, 2.0
"""Of realism 1, relative to realism 0. LPIPS should be below that of AVIF."""

Measures = Mapping[str, Callable[[Uint8Array, Uint8Array], float | None]]


def patches(pixels: Uint8Array) -> Uint8Array:
    """Adjacent patches of 32×32 that fit into a picture uint8 (h, w, 3): (n, 3, 32, 32)."""
    height, width = (side // SIDE * SIDE for side in pixels.shape[:2])
    if not height or not width:
        raise UsageError(
            f"a picture of {pixels.shape[1]}×{pixels.shape[0]} pixels, "
            f"expected {SIDE}×{SIDE} at least"
        )
    return cut(pixels[:height, :width], SIDE)


@dataclass
class Decoded:
    """All pictures decoded by one codec at one realism."""

    measures: Measures
    network: FeatureNetwork
    scores: dict[str, list[float]] = field(default_factory=dict)
    features: list[Float64Array] = field(default_factory=list)

    def add(self, original: Uint8Array, again: Uint8Array) -> None:
        """Add a picture, uint8 (h, w, 3)."""
        for name, measure in self.measures.items():
            score = measure(original, again)
            if score is not None:
                self.scores.setdefault(f"mean_{name}", []).append(float(score))
        self.features.append(extract(self.network, patches(again)))

    def row(self, original: Float64Array) -> dict[str, float]:
        """Means over the pictures, and the distance of all patches from the original ones."""
        means = {name: float(np.mean(scores)) for name, scores in self.scores.items()}
        distance = frechet_distance(original, np.concatenate(self.features))
        return {**means, "frechet_distance": distance}


def measures_of(lpips: Path | None) -> Measures:
    """By name: mean squared error in 0 .. 255, PSNR in dB, and those that are installed."""
    measures: dict[str, Callable[[Uint8Array, Uint8Array], float | None]] = {
        "mse": mse, "psnr_db": psnr_db
    }  # fmt: skip
    if METRICS["ssimulacra2"].missing() is None:
        measures["ssimulacra2"] = ssimulacra2
    if lpips is not None:
        measures["lpips"] = Lpips(lpips)
    return measures


def measure_rate(
    pictures: Sequence[Uint8Array],
    original: Float64Array,
    rate: float,
    realisms: Sequence[float],
    measures: Measures,
    network: FeatureNetwork,
    seeds: Sequence[int] = SEEDS,
) -> dict[str, Any]:
    """Each picture uint8 (h, w, 3) as one file of each codec, decoded at each realism.

    original  features of the patches of all pictures

    Other seeds are compared by squared error and Fréchet distance alone, since the perceptual
    measures take most of the time.
    """
    rates: dict[str, list[float]] = {}
    decoded = {realism: Decoded(measures, network) for realism in realisms}
    peers = {name: Decoded(measures, network) for name in ("avif", "jxl")}
    by_seed = {seed: Decoded({"mse": mse}, network) for seed in seeds}
    spreads = []
    for pixels in pictures:
        files = files_of(pixels, rate, Namespace(tune=None, effort=1))
        for name, (data, again) in files.items():
            rates.setdefault(name, []).append(8 * len(data) / pixels[:, :, 0].size)
            if name in peers:
                peers[name].add(pixels, again)
        photo = files["photo"][0]
        for realism, one in decoded.items():
            one.add(pixels, codec.decompress(photo, as_="numpy", realism=realism))
        drawn = []
        for seed, one in by_seed.items():
            drawn.append(codec.decompress(photo, as_="numpy", realism=1, seed=seed))
            one.add(pixels, drawn[-1])
        spreads.append(np.stack(drawn).var(axis=0, ddof=1).mean())
    bpp = {name: float(np.mean(found)) for name, found in rates.items()}
    return {
        "rate_bpp": rate,
        "mean_bpp": bpp["photo"],
        "decoded": [{"realism": r, **one.row(original)} for r, one in decoded.items()],
        "seeds": {
            "root_mean_variance_of_a_value": float(np.sqrt(np.mean(spreads))),
            "decoded": [{"seed": seed, **one.row(original)} for seed, one in by_seed.items()],
        },
        "peers": {n: {"mean_bpp": bpp[n], **one.row(original)} for n, one in peers.items()},
    }


def reached(found: Mapping[str, Any]) -> dict[str, Any]:
    """Figures at a rate relative to realism 0 and to AVIF, and whether the targets are met."""
    by_realism = {row["realism"]: row for row in found["decoded"]}
    if not {0.0, 1.0} <= set(by_realism):
        return {}
    plain, real, avif = by_realism[0.0], by_realism[1.0], found["peers"]["avif"]
    frechet, error = (real[n] / plain[n] for n in ("frechet_distance", "mean_mse"))
    result = {
        "frechet_of_1_over_0": frechet,
        "frechet_is_met": frechet <= TARGET_FRECHET,
        "mse_of_1_over_0": error,
        "mse_is_met": error <= TARGET_MSE,
    }
    if "mean_lpips" in real:
        result["lpips_minus_avif"] = real["mean_lpips"] - avif["mean_lpips"]
        result["lpips_is_met"] = result["lpips_minus_avif"] < 0
    return result


def measure_realism(
    pictures: Sequence[Uint8Array],
    rates: Sequence[float],
    realisms: Sequence[float],
    network: FeatureNetwork,
    measures: Measures,
) -> Iterator[dict[str, Any]]:
    """The entries of the result file for each rate, from pictures uint8 (h, w, 3)."""
    original = np.concatenate([extract(network, patches(pixels)) for pixels in pictures])
    photo = loading.load_model("photo", device="cpu")
    realism_path = find_realism(photo.weights_hash).path
    about = {
        "pictures": len(pictures),
        "patches": len(original),
        "photo_weights": photo.weights_hash.hex(),
        "realism_weights_sha256": loading.hash_weights(realism_path).hex(),
        "rate": "bits of the whole file per pixel, mean over pictures; one file for every realism; "
        "AVIF's nearest file, and no more bytes for the others unless their smallest file has",
        "mse": "mean over pixels and channels of 0..255; PSNR in dB of each picture, then the mean",
        "frechet": f"squared Fréchet distance of Gaussians fitted to own classifier features of "
        f"{SIDE}×{SIDE} patches of the originals and of what was decoded; not comparable with FID",
        "frechet_between_halves_of_the_originals": rounded(
            frechet_distance(original[::2], original[1::2])
        ),
        "aimed_at": {
            "rate_bpp": TARGET_RATE_BPP,
            "frechet_of_1_over_0": TARGET_FRECHET,
            "mse_of_1_over_0": TARGET_MSE,
            "lpips": "below AVIF's",
        },
    }
    for rate in rates:
        one = measure_rate(pictures, original, rate, realisms, measures, network)
        yield {**about, **rounded({**one, "targets": reached(one)}, 6)}


def table(one: Mapping[str, Any]) -> list[str]:
    """Lines to print for a rate: a heading, then one line for each realism and each peer."""
    lines = ["rate bpp    bpp  decoded  PSNR dB  SSIMULACRA2   LPIPS  Fréchet"]

    def line(bpp: float, name: str, row: Mapping[str, float]) -> str:
        seen, objects = (
            f"{row[key]:.{digits}f}" if key in row else "—"
            for key, digits in (("mean_ssimulacra2", 1), ("mean_lpips", 4))
        )
        return (
            f"{one['rate_bpp']:8g} {bpp:6.3f} {name:>8} {row['mean_psnr_db']:8.2f} {seen:>12} "
            f"{objects:>7} {row['frechet_distance']:8.4g}"
        )

    for row in one["decoded"]:
        lines.append(line(one["mean_bpp"], f"{row['realism']:g}", row))
    for name, row in one["peers"].items():
        lines.append(line(row["mean_bpp"], name, row))
    return lines


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--rates", type=float, nargs="+", default=list(RATES_BPP))
    parser.add_argument("--realisms", type=float, nargs="+", default=list(REALISMS))
    parser.add_argument("--features", type=Path, default=FEATURES, help="classifier's weights")
    parser.add_argument("--lpips", type=Path, metavar="FILE", help="weights of LPIPS (npz)")


def run(options: Namespace) -> Iterator[Measured]:
    pictures = [image.pixels() for image in find_images(options.data)[: options.limit]]
    network, measures = load_features(options.features), measures_of(options.lpips)
    for one in measure_realism(pictures, options.rates, options.realisms, network, measures):
        content = {f"{one['rate_bpp']:g}": {**provenance(), "set": options.name, **one}}
        yield Measured({"rates": content}, table(one), keep_others=True)
