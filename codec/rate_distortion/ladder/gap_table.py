"""Where the bits go between the minimum rate of a model and its files on disk.

    total = bits of the file − R_p(D_file)      both at the distortion of the decoded file

    prior mismatch   KL(q(z) ‖ p(z)) of the aggregated posterior q(z) = E_x q(z|x)
    amortisation     E KL(q(z|x) ‖ p(z)) − R_p(D_posterior) − prior mismatch
    quantiser        (ideal code length − E KL) + (R_p(D_posterior) − R_p(D_file))
                     (or simulation of the channel): its cost net of the change in distortion
    coder            bits of the payload − ideal code length under the integer tables
    header           bits of the file that are not payload

With one value for each quantity, the five terms telescope and would sum to the total whatever was
measured.  Three quantities are therefore measured in two ways, and `residual_bits` sums the
differences: the file's size against its parts counted one by one, the posterior's KL in closed form
against samples of it, and the change of R_p with distortion as a difference of rates (the Legendre
envelope) against the integral of the slope β along the curve.

R_p is the minimum rate with the prior p itself, so it too contains prior mismatch: an encoder
cannot avoid all of KL(q(z) ‖ p(z)).  The amortisation term is net of the mismatch and may be
negative; the sum of the two, E KL − R_p(D_posterior), may not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from bitstream.errors import UsageError
from codec.rate_distortion.errors import ResultFileError, reading
from codec.rate_distortion.model_curve import NATS_PER_BIT, RDCurve

GAP_SCHEMA = "calotype.gap_table/1"
RATE_UNIT = "bits per image"
AGREEMENT_PERCENT = 1.0
"""Measurements agree if the residual is at most this share of the total."""

_PIECES = 512
_TITLES = {
    "model": str, "data_set": str, "images": int, "distortion_name": str, "convention": str,
}  # fmt: skip


@dataclass(frozen=True)
class GapMeasurements:
    """Means over the same images; every entry is measured independently of the others.

    file_bits                    8 × length of the whole file
    header_bits                  8 × bytes of the file outside the payload, counted in the file
    payload_bits                 8 × bytes of coded symbols
    ideal_code_bits              Σ −log₂ of the symbols' frequencies in the integer tables
    posterior_kl_bits            E KL(q(z|x) ‖ p(z)), in closed form
    sampled_kl_bits              E log₂ q(z|x) / p(z) over samples z ~ q(z|x)
    aggregated_kl_bits           KL(q(z) ‖ p(z)), an estimate
    posterior_distortion         E d(x, f(z)), z ~ q(z|x)
    file_distortion              mean distortion of the decoded files
    rate_at_posterior_bits       R_p at `posterior_distortion`
    rate_at_file_bits            R_p at `file_distortion`
    rate_change_bits             R_p(D_posterior) − R_p(D_file) from the slope: `rate_change_nats`

    Raises `UsageError` for a number that is not finite.
    """

    file_bits: float
    header_bits: float
    payload_bits: float
    ideal_code_bits: float
    posterior_kl_bits: float
    sampled_kl_bits: float
    aggregated_kl_bits: float
    posterior_distortion: float
    file_distortion: float
    rate_at_posterior_bits: float
    rate_at_file_bits: float
    rate_change_bits: float

    def __post_init__(self) -> None:
        for item in fields(self):
            if not math.isfinite(getattr(self, item.name)):
                raise UsageError(f"{item.name} is {getattr(self, item.name)}, expected a number")


@dataclass(frozen=True)
class GapTable:
    """The five terms of one model's files on one data set, bits per image; see the module.

    distortion_name, convention   for both distortions: what is compared, sum or mean, range
    """

    model: str
    data_set: str
    images: int
    distortion_name: str
    convention: str
    measured: GapMeasurements

    @property
    def total_bits(self) -> float:
        """Bits of the file − R_p(D_file)."""
        return self.measured.file_bits - self.measured.rate_at_file_bits

    @property
    def terms_bits(self) -> dict[str, float]:
        """The five terms by name, from the model to the file."""
        m = self.measured
        return {
            "prior mismatch": m.aggregated_kl_bits,
            "amortisation": m.posterior_kl_bits - m.rate_at_posterior_bits - m.aggregated_kl_bits,
            "quantiser or simulation": m.ideal_code_bits - m.sampled_kl_bits + m.rate_change_bits,
            "coder": m.payload_bits - m.ideal_code_bits,
            "header": m.header_bits,
        }

    @property
    def residual_parts_bits(self) -> dict[str, float]:
        """How much the two measurements of each quantity differ; the sum is `residual_bits`."""
        m = self.measured
        return {
            "size of the file against its parts": m.file_bits - m.header_bits - m.payload_bits,
            "sampled KL against its closed form": m.sampled_kl_bits - m.posterior_kl_bits,
            "R_p difference against its slope": (
                m.rate_at_posterior_bits - m.rate_at_file_bits - m.rate_change_bits
            ),
        }

    @property
    def residual_bits(self) -> float:
        """Total minus the sum of the terms."""
        return self.total_bits - math.fsum(self.terms_bits.values())

    @property
    def residual_percent(self) -> float:
        """`residual_bits` as a share of the total; NaN if the total is zero."""
        total = self.total_bits
        return 100 * self.residual_bits / abs(total) if total else math.nan

    @property
    def agrees(self) -> bool:
        """Whether the measurements agree within 1 % of the total."""
        return abs(self.residual_percent) <= AGREEMENT_PERCENT

    def to_markdown(self) -> str:
        """The terms as a Markdown table: bits per image, and the share of the total."""
        total = self.total_bits
        rows = [*self.terms_bits.items(), ("total: file − R_p(D_file)", total)]
        lines = ["| where the bits go | bits per image | share |", "|---|---:|---:|"]
        for name, bits in rows:
            share = f"{100 * bits / total:.1f} %" if total else "—"
            lines.append(f"| {name} | {bits:.2f} | {share} |")
        lines.append(
            f"| not accounted for | {self.residual_bits:.2f} | {self.residual_percent:.2f} % |"
        )
        return "\n".join(lines) + "\n"

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`: the measurements, and the terms derived from them."""
        percent = self.residual_percent
        return {
            "schema": GAP_SCHEMA,
            **{name: getattr(self, name) for name in _TITLES},
            "rate_unit": RATE_UNIT,
            "total_bits": self.total_bits,
            "terms_bits": self.terms_bits,
            "residual_parts_bits": self.residual_parts_bits,
            "residual_percent": percent if math.isfinite(percent) else None,
            "measured": asdict(self.measured),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> GapTable:
        """Rebuild a table from its measurements; raises `ResultFileError` for anything else."""
        if content.get("schema") != GAP_SCHEMA:
            raise ResultFileError(f"schema {content.get('schema')!r}, expected {GAP_SCHEMA!r}")
        with reading("the gap table"):
            if content["rate_unit"] != RATE_UNIT:
                raise ValueError(f"rate_unit {content['rate_unit']!r}, expected {RATE_UNIT!r}")
            names = [item.name for item in fields(GapMeasurements)]
            titles: dict[str, Any] = {name: kind(content[name]) for name, kind in _TITLES.items()}
            measured = {name: float(content["measured"][name]) for name in names}
            return cls(**titles, measured=GapMeasurements(**measured))


def rate_change_nats(curve: RDCurve, start: float, end: float) -> float:
    """R_p(start) − R_p(end) as ∫ β dD from `start` to `end`, since dR_p/dD = −β.

    β is taken to follow a power law in D between the measured points (k / 2D for a smooth decoder
    of a k-dimensional code at high rate).  This uses only the column `beta` and D(β), so it is
    independent of the rates.  Nats per image.

    Raises `UsageError` for a distortion outside the measured range, or fewer than two points with
    positive β and D.
    """
    pairs = sorted(
        (distortion, beta)
        for distortion, beta in zip(curve.distortion, curve.beta, strict=True)
        if distortion > 0 and beta > 0 and math.isfinite(distortion)
    )
    if len({distortion for distortion, _ in pairs}) < 2:
        raise UsageError("the curve has fewer than two points with positive distortion and beta")
    distortion, beta = np.array(pairs).T
    for value in (start, end):
        if not distortion[0] <= value <= distortion[-1]:
            raise UsageError(
                f"distortion {value:.6g} lies outside the measured "
                f"{distortion[0]:.6g} to {distortion[-1]:.6g}"
            )
    logs = np.linspace(math.log(start), math.log(end), _PIECES + 1)
    slopes = np.exp(np.interp(logs, np.log(distortion), np.log(beta)))
    # ∫ β dD = ∫ β D d(log D), by the trapezoidal rule.
    heights = slopes * np.exp(logs)
    return float(np.sum((heights[1:] + heights[:-1]) / 2 * np.diff(logs)))


def rates_for_gap_bits(
    curve: RDCurve,
    posterior_distortion: float,
    file_distortion: float,
    *,
    allow_uncertified: bool = False,
) -> dict[str, float]:
    """The three entries of `GapMeasurements` that come from R_p(D), by name, in bits per image.

    allow_uncertified   use points of the curve that failed a check

    Raises `UsageError` as `rate_change_nats` does, and if the points around the two distortions
    are not certified.
    """
    change = rate_change_nats(curve, posterior_distortion, file_distortion)
    rows = sorted(zip(curve.distortion, curve.certified, strict=True))
    low, high = sorted((posterior_distortion, file_distortion))
    below = sum(distortion <= low for distortion, _ in rows)
    above = sum(distortion < high for distortion, _ in rows)
    used = rows[max(0, below - 1) : above + 1]
    if not allow_uncertified and not all(certified for _, certified in used):
        raise UsageError(
            f"the curve is not certified between the distortions {used[0][0]:.4g} and "
            f"{used[-1][0]:.4g}: measure it with more temperatures, or allow uncertified points"
        )
    return {
        "rate_at_posterior_bits": curve.rate_at(posterior_distortion) / NATS_PER_BIT,
        "rate_at_file_bits": curve.rate_at(file_distortion) / NATS_PER_BIT,
        "rate_change_bits": change / NATS_PER_BIT,
    }
