"""The rungs of the ladder of the shipped VAE of digits, measured once and stored in a folder.

Squared errors are sums over an image's pixels in [0, 1].
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.harness.generative_rate import SSE
from benchmarks.measurement.digits import DigitsMeasurement, measure_digits, posterior_of
from benchmarks.measurement.mnist import read_samples, write_samples
from benchmarks.measurement.prior_mismatch import prior_mismatch
from bitstream.arrays import Float32Array, Float64Array, Uint8Array
from bitstream.errors import UsageError
from codec import loading
from codec.cli.progress import PhaseLines
from codec.models.vae.coder import VaeCoder
from codec.models.vae.sample_coders import inverse_temperature, tempered
from codec.priors import StandardNormal
from codec.rate_distortion.annealing.rd_curve import rd_samples
from codec.rate_distortion.annealing.summary import CurveSamples
from codec.rate_distortion.bounds import amortized_bound, nerd_bound, source_lower_bound
from codec.rate_distortion.bounds.mode_search import SearchEffort, highest_modes, log_kernel_sum
from codec.rate_distortion.errors import MeasurementError
from codec.rate_distortion.ladder.rung import Rung, rung_from_json, rung_to_json
from codec.rate_distortion.model_curve import NATS_PER_BIT

DUAL_POWERS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)
WAYS = ("vae-round", "vae-dither", "vae-rec", "vae-vbq")
POSTERIOR_SAMPLES = 16
"""Codes of each image for sampled figures of posteriors: a single one would leave 1 % of noise."""


@dataclass(frozen=True)
class Settings:
    """The effort for each rung."""

    low_beta: float = 0.02
    high_beta: float = 50.0
    betas: int = 25
    temperatures: int = 450
    chains: int = 10
    bridge_steps: int = 64
    simulations: int = 10
    precision: str = "bfloat16"
    encoder_betas: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2)
    encoder_steps: int = 600
    plug_in_betas: tuple[float, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5)
    plug_in_samples: int = 40_000
    dual_beta: float = 0.2
    dual_samples: int = 2048
    seed: int = 0


@dataclass(frozen=True)
class Posteriors:
    """The encoder's posteriors at one quality's temperature, float64 (n,) each.

    kl_nats           KL(q(z|x) ‖ p(z)), closed form
    sampled_kl_nats   log q(z|x) / p(z), mean over samples z ~ q
    sse               squared error of the decoder's images of these samples
    mismatch_nats     bounds on KL(q(z) ‖ p(z)): lower, its standard error, upper
    """

    kl_nats: Float64Array
    sampled_kl_nats: Float64Array
    sse: Float64Array
    mismatch_nats: tuple[float, float, float]


def load_vae() -> VaeCoder:
    """The shipped VAE with one of its coders; encoder and decoder are those of all four."""
    model = loading.load_model(WAYS[0], device="cpu")
    if not isinstance(model, VaeCoder):
        raise UsageError(f"the model {WAYS[0]!r} is no VAE of digits")
    return model


class Workshop:
    """The model, the images, and the folder in which measurements are stored."""

    def __init__(self, images: Uint8Array, settings: Settings, work: Path) -> None:
        self.model, self.images, self.settings, self.work = load_vae(), images, settings, work
        self.prior = StandardNormal(self.model.decoder.config.code)
        self.identity = {
            "weights": self.model.weights_hash.hex(),
            "images": len(images),
            "pixel_sum": int(images.sum(dtype=np.int64)),
        }
        self.begin = time.perf_counter()

    @property
    def pixels(self) -> Float32Array:
        """The images in the decoder's units."""
        return (self.images / 255).astype(np.float32)

    def report(self, what: str) -> None:
        print(f"{time.perf_counter() - self.begin:6.0f} s  {what}", file=sys.stderr, flush=True)

    def kept(self, name: str, make: Callable[[], dict[str, Any]], **about: Any) -> dict[str, Any]:
        """The result of `make`, from the work folder if it was made from the same inputs before."""
        path = self.work / f"{name}.json"
        # As read from a file: tuples become lists.
        wanted = json.loads(json.dumps({**self.identity, **about}))
        if path.exists():
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if content["about"] == wanted:
                found: dict[str, Any] = content["found"]
                return found
        found = make()
        self.work.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"about": wanted, "found": found}), encoding="utf-8")
        self.report(name)
        return found

    def annealed(self) -> CurveSamples:
        settings, path = self.settings, self.work / "annealed.npz"
        names = ("low_beta", "high_beta", "betas", "temperatures", "chains", "bridge_steps",
                 "simulations", "precision", "seed")  # fmt: skip
        about = {**{name: getattr(settings, name) for name in names}, **self.identity}
        if path.exists():
            samples, said = read_samples(path)
            if said["about"] == about:
                return samples
        betas = np.geomspace(settings.low_beta, settings.high_beta, settings.betas)
        samples = rd_samples(
            self.model.decoder,
            self.prior,
            self.images,
            distortion="sse",
            betas=[float(beta) for beta in betas],
            temperatures=settings.temperatures,
            chains=settings.chains,
            bridge_steps=settings.bridge_steps,
            seed=settings.seed,
            simulations=settings.simulations,
            precision=settings.precision,
            progress=PhaseLines(),
        )
        write_samples(path, samples, about=about)
        return samples

    def files(self, way: str, quality: float) -> DigitsMeasurement:
        """Real files of one coding method, written and decoded again."""
        found = self.kept(
            f"{way}-{quality:g}", lambda: _plain(measure_digits(way, self.images, quality))
        )
        values: dict[str, Any] = {
            name: np.array(value) if isinstance(value, list) else value
            for name, value in found.items()
        }
        return DigitsMeasurement(**values)

    def trained_encoder(self, train: Uint8Array) -> Rung:
        """An encoder trained for each β on other images, with the decoder frozen."""
        settings = self.settings

        def make() -> dict[str, Any]:
            curve = amortized_bound(
                self.model.decoder, self.prior, train.astype(np.float32) / 255, self.pixels,
                betas=settings.encoder_betas, distortion=SSE, steps=settings.encoder_steps,
                seed=settings.seed,
            )  # fmt: skip
            return rung_to_json(
                _rung(curve.points, "E KL, encoder trained for each β", "amortised")
            )

        return _from_json(
            self.kept(
                "trained-encoder", make, betas=settings.encoder_betas, train=len(train),
                steps=settings.encoder_steps, seed=settings.seed,
            )
        )  # fmt: skip

    def plug_in(self) -> Rung:
        """Codes drawn from the prior; points within 1 nat of the ceiling are not certified."""
        settings = self.settings

        def make() -> dict[str, Any]:
            curve = nerd_bound(
                self.model.decoder, self.prior, self.pixels, betas=settings.plug_in_betas,
                distortion=SSE, samples=settings.plug_in_samples, seed=settings.seed,
            )  # fmt: skip
            return rung_to_json(
                _rung(
                    curve.points, "plug-in", "plug_in", ceiling_nats=curve.ceiling_nats,
                    ceiling_name=f"log₂ {curve.samples:,}",
                    certified=[not near for near in curve.near_ceiling],
                )
            )  # fmt: skip

        return _from_json(
            self.kept(
                "plug-in", make, betas=settings.plug_in_betas, samples=settings.plug_in_samples,
                seed=settings.seed,
            )
        )  # fmt: skip

    def lower_bounds(self, samples: CurveSamples) -> list[dict[str, Any]]:
        """R(D) ≥ intercept − β D of the source that draws one of the images, for each β."""
        points = torch.from_numpy(self.pixels).flatten(1)

        def make() -> dict[str, Any]:
            return {
                "lines": [
                    finite_source_line(points, beta, surprise, self.settings.seed)
                    for beta, surprise in zip(
                        samples.beta.tolist(), samples.log_partition.T, strict=True
                    )
                ]
            }

        about = {"temperatures": samples.temperatures, "seed": self.settings.seed}
        found: list[dict[str, Any]] = self.kept("lower-bounds", make, **about)["lines"]
        return found

    def general_lower_bound(self) -> dict[str, Any]:
        """The result of `source_lower_bound`, which must fit a Gaussian in all dimensions."""
        flat, beta = self.pixels.reshape(len(self.images), -1), self.settings.dual_beta

        def sample(count: int, seed: int) -> Float32Array:
            drawn = np.random.default_rng(seed).integers(len(flat), size=count)
            return np.ascontiguousarray(flat[drawn])

        said: dict[str, Any] = {"beta": beta, "dimensions": flat.shape[1]}
        try:
            bound = source_lower_bound(
                sample, beta=beta, steps=0, samples=self.settings.dual_samples, repeats=5,
                seed=self.settings.seed,
            )  # fmt: skip
        except MeasurementError as error:
            return {**said, "intercept_nats": None, "failure": str(error), "is_vacuous": True}
        vacuous = bound.intercept_nats <= 0
        return {**said, "intercept_nats": bound.intercept_nats, "is_vacuous": vacuous}

    def posteriors(self, quality: float) -> Posteriors:
        """The encoder's posteriors at the temperature of a quality."""
        seed = self.settings.seed
        q = tempered(
            posterior_of(self.model, self.images), inverse_temperature(round(100 * quality))
        )
        rng = np.random.default_rng(seed)
        ratio, errors = np.zeros(len(q.mean)), np.zeros(len(q.mean))
        for _ in range(POSTERIOR_SAMPLES):
            noise = rng.standard_normal(q.mean.shape)
            codes = q.mean + np.sqrt(q.variance) * noise
            ratio += 0.5 * (codes**2 - noise**2 - np.log(q.variance)).sum(axis=1)
            with torch.inference_mode():
                made = self.model.decoder(torch.from_numpy(codes.astype(np.float32))).numpy()
            errors += ((made - self.images / 255) ** 2).sum(axis=(1, 2, 3))
        bounds = prior_mismatch(q.mean, q.variance, seed=seed)
        return Posteriors(
            kl_nats=q.kl_bits() * NATS_PER_BIT,
            sampled_kl_nats=ratio / POSTERIOR_SAMPLES,
            sse=errors / POSTERIOR_SAMPLES,
            mismatch_nats=(bounds.lower_nats, bounds.standard_error_nats, bounds.upper_nats),
        )


def finite_source_line(
    points: torch.Tensor, beta: float, surprise_nats: Float64Array, seed: int
) -> dict[str, Any]:
    """A line below R(D) of the source that draws one of n points (n, d) with equal probability.

    By Csiszár's dual, R(D) + βD ≥ mean −log u_i − log sup_y (1/n) Σ e^{−β‖x_i − y‖²} / u_i for
    every u > 0.  With u_i = Z_i, the model's partition function, it would be tight if the model
    were optimal for these points; since n is finite, a power of Z between 0 and 1 is better.  The
    sums are over all points, so only the search for the supremum is random.

    surprise_nats   −log Z of each point, (n,)
    """
    effort = SearchEffort(candidates=len(points), starts=64, final_steps=60)
    generator = torch.Generator().manual_seed(seed)
    surprise = torch.from_numpy(np.ascontiguousarray(surprise_nats))
    best: dict[str, Any] = {"intercept_nats": -math.inf}
    for power in DUAL_POWERS:
        weights_log = power * surprise
        places, _ = highest_modes(
            points, weights_log.float(), beta, effort=effort, generator=generator
        )
        heights = log_kernel_sum(places.double(), points.double(), weights_log, beta)
        intercept = float(weights_log.mean() - heights.max()) + math.log(len(points))
        if intercept > best["intercept_nats"]:
            best = {"beta": beta, "intercept_nats": intercept, "power": power}
    return best


def _plain(found: DigitsMeasurement) -> dict[str, Any]:
    return {
        name: value.tolist() if isinstance(value, np.ndarray) else value
        for name, value in asdict(found).items()
    }


def _rung(points: Sequence[Any], name: str, kind: str, **more: Any) -> Rung:
    return Rung.of_points(
        points, name=name, kind=kind, distortion_name=SSE.name, convention=SSE.convention, **more
    )


def _from_json(content: Mapping[str, Any]) -> Rung:
    return rung_from_json(content, SSE.name, SSE.convention)
