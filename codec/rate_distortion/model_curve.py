"""The rate-distortion curve of a generative model, as measured by annealing.

    R_p(D) = min over q(z|x) with E d(x, f(z)) ≤ D of  E KL(q(z|x) ‖ p(z))  =  sup_β L(β) − βD,
    L(β)   = E_x −log ∫ p(z) exp(−β d(x, f(z))) dz

after Huang, Makhzani, Cao and Grosse (ICML 2020).  One record holds one run: a row for each β,
and the settings.  Rates are in nats per image; divide by ln 2 for bits.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import MeasurementError, ResultFileError, reading

CURVE_SCHEMA = "calotype.model_curve/1"
NATS_PER_BIT = math.log(2)

NOT_ASKED = "no certificate was asked for"
NOT_SIMULATED = "no certificate: exp(-beta d) of this distortion cannot be simulated"
ONE_IMAGE = "no interval from one image"
FEW_CHAINS = "too few chains for an effective sample size to mean anything"
_UNMEASURED = frozenset({NOT_ASKED, NOT_SIMULATED, ONE_IMAGE, FEW_CHAINS})


def failed_checks(reasons: Iterable[str]) -> set[str]:
    """Those of the reasons why a point is not certified that speak against its value."""
    return set(reasons) - _UNMEASURED


ROW_FIELDS = (
    "beta", "log_partition_nats", "distortion", "rate_nats", "rate_direct_nats", "rate_low_nats",
    "rate_high_nats", "bdmc_gap_nats", "ess_fraction", "acceptance", "certified",
)  # fmt: skip
"""Fields with one entry for each β, in the order of the CSV's columns."""


@dataclass(frozen=True)
class RDCurve:
    """R_p(D) of one model on one set of images; tuples have one entry for each β, ascending.

    beta                β, inverse units of the distortion
    log_partition_nats  L(β) = mean over images of −log Ẑ_β, nats per image
    distortion          D(β) = mean over images of the expected distortion under the posterior
    rate_nats           R_p at that distortion by the Legendre envelope sup_β' [L(β') − β' D] over
                        the point's own β and those that passed every check that was made
    rate_direct_nats    L(β) − β D(β), the estimate of the published method
    rate_low_nats, rate_high_nats   95 % bootstrap interval of the rate at the slope −β, over
                        images and the sampler's random numbers
    bdmc_gap_nats       upper minus lower bound on log Z_β on simulated data; the mean with up to
                        two β on either side, at most 6 times larger or smaller; NaN if not measured
    ess_fraction        smallest effective sample size up to this β, over the number of chains
    excess_nats         by how much L is too high on these images, by the weights of the chains; NaN
                        if not measured
    acceptance          mean acceptance of the moves at this β, 0..1
    certified           whether the point passed every check
    failures            for each β the checks that it failed; empty if it is certified
    distortion_name     such as "sum of squared errors"
    convention          units and ranges in words: sum or mean, range of the pixels
    gradients           decoder gradients of all rounds, counted for each code
    reference           for each β where the passes started: "prior", or "local" for a Gaussian
                        fitted to each image's posterior
    jacobian_products   products of the decoder's Jacobian and a vector, counted for each code: one
                        costs about half a gradient
    no_local_reference  why local references could not be used; empty if they could
    modes               Gaussians of a local reference for each component of the prior; 0 if no
                        reference is local
    """

    beta: tuple[float, ...]
    log_partition_nats: tuple[float, ...]
    distortion: tuple[float, ...]
    rate_nats: tuple[float, ...]
    rate_direct_nats: tuple[float, ...]
    rate_low_nats: tuple[float, ...]
    rate_high_nats: tuple[float, ...]
    bdmc_gap_nats: tuple[float, ...]
    ess_fraction: tuple[float, ...]
    acceptance: tuple[float, ...]
    certified: tuple[bool, ...]
    failures: tuple[tuple[str, ...], ...]
    distortion_name: str
    convention: str
    images: int
    chains: int
    temperatures: int
    seed: int
    gradients: int
    reference: tuple[str, ...] = ()
    jacobian_products: int = 0
    no_local_reference: str = ""
    modes: int = 1
    excess_nats: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.reference:  # an older file: all passes started at the prior
            object.__setattr__(self, "reference", ("prior",) * len(self.beta))
        if not self.excess_nats:
            object.__setattr__(self, "excess_nats", (math.nan,) * len(self.beta))
        for name in (*ROW_FIELDS, "failures", "reference", "excess_nats"):
            if len(getattr(self, name)) != len(self.beta):
                raise UsageError(
                    f"a curve with {len(self.beta)} values of beta has "
                    f"{len(getattr(self, name))} of {name}"
                )

    @property
    def rate_bits(self) -> tuple[float, ...]:
        """`rate_nats` in bits per image."""
        return tuple(rate / NATS_PER_BIT for rate in self.rate_nats)

    def rate_at(self, distortion: float) -> float:
        """R_p at a distortion, nats per image: sup over the measured β of L(β) − β D, at least 0.

        Between measured β this is below the curve by a little, never above it; below the smallest
        measured distortion, by any amount. Values of β that failed a check are left out, unless all
        did: one whose L is too high would raise the rate everywhere. Raises `UsageError` if the
        distortion is NaN.
        """
        if math.isnan(distortion):
            raise UsageError("the rate at a distortion of nan was asked for")
        trusted = [not failed_checks(reasons) for reasons in self.failures]
        rates = (
            log_partition - beta * distortion
            for beta, log_partition, kept in zip(
                self.beta, self.log_partition_nats, trusted, strict=True
            )
            if kept or not any(trusted)
        )
        return max(0.0, *rates)

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`; what was not measured (NaN) is null."""
        content: dict[str, Any] = {"schema": CURVE_SCHEMA}
        for item in fields(self):
            content[item.name] = _plain(getattr(self, item.name))
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> RDCurve:
        """Rebuild a curve from `to_json`; raises `ResultFileError` for anything else."""
        if content.get("schema") != CURVE_SCHEMA:
            raise ResultFileError(
                f"schema {content.get('schema')!r}, expected {CURVE_SCHEMA!r}: "
                "not the curve of a generative model"
            )
        with reading("a curve in the result file"):
            values: dict[str, Any] = {
                name: tuple(math.nan if v is None else float(v) for v in content[name])
                for name in ROW_FIELDS
            }
            values["certified"] = tuple(bool(v) for v in content["certified"])
            values["failures"] = tuple(tuple(map(str, v)) for v in content["failures"])
            for name in ("distortion_name", "convention"):
                values[name] = str(content[name])
            for name in ("images", "chains", "temperatures", "seed", "gradients"):
                values[name] = int(content[name])
            values["reference"] = tuple(map(str, content.get("reference", ())))
            values["jacobian_products"] = int(content.get("jacobian_products", 0))
            values["no_local_reference"] = str(content.get("no_local_reference", ""))
            values["modes"] = int(content.get("modes", 1))
            excess = content.get("excess_nats", ())
            values["excess_nats"] = tuple(math.nan if v is None else float(v) for v in excess)
            return cls(**values)

    def to_csv(self) -> str:
        """CSV text with a header line and one row for each β; what was not measured is empty.

        Rates are given in nats and in bits.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        in_bits = [name for name in ROW_FIELDS if name.startswith("rate_")]
        bits = [name.replace("_nats", "_bits") for name in in_bits]
        writer.writerow((*ROW_FIELDS, *bits, "excess_nats", "reference", "failures"))
        for index in range(len(self.beta)):
            row = [_cell(getattr(self, name)[index]) for name in ROW_FIELDS]
            row += [_cell(getattr(self, name)[index] / NATS_PER_BIT) for name in in_bits]
            row.append(_cell(self.excess_nats[index]))
            writer.writerow([*row, self.reference[index], "; ".join(self.failures[index])])
        return text.getvalue()


class UntrustedCurveError(MeasurementError):
    """Every point of a curve failed a check.

    curve   the curve, whose rates may all be far too high
    """

    def __init__(self, message: str, curve: RDCurve) -> None:
        super().__init__(message)
        self.curve = curve

    def __reduce__(self) -> tuple[type[UntrustedCurveError], tuple[str, RDCurve]]:
        return type(self), (str(self), self.curve)


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _cell(value: float | bool) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.10g}" if math.isfinite(value) else ""
