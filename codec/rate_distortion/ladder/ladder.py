"""Bounds on the rate of one model on one data set, from the theoretical floor to real files.

    R lower bound ≤ R(D) ≤ R_p(D) by annealing ≤ amortised KL ≤ quantised code length ≤ bytes

Each rung is a rate at one or several distortions, nats per image.  All rungs of a ladder use one
distortion convention: a sum over pixels 0..1 and a mean over pixels 0..255 cannot be ordered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from bitstream.errors import UsageError
from codec.rate_distortion.errors import ResultFileError, reading
from codec.rate_distortion.ladder.rung import Rung, rung_from_json, rung_to_json

LADDER_SCHEMA = "calotype.ladder/1"
RATE_UNIT = "nats per image"

ORDER = (
    ("lower_bound", "generator", True),
    ("lower_bound", "model", True),
    ("lower_bound", "plug_in", True),
    ("lower_bound", "amortised", True),
    ("lower_bound", "code_length", True),
    ("lower_bound", "bytes", True),
    ("model", "plug_in", True),
    ("model", "amortised", True),
    ("model", "code_length", False),
    ("model", "bytes", False),
    ("amortised", "code_length", False),
    ("amortised", "bytes", False),
    ("code_length", "bytes", True),
)
"""(below, above, whether this order is a theorem).

A code with tables of its own is not bound to the prior p, and a quantised code is not bound to
the encoder's posterior, so there the order is expected but not proven.  A bound with a generator of
its own is not compared with the model's rungs.  A code length bounds only the files of its own
coder.
"""


@dataclass(frozen=True)
class Violation:
    """Two rungs in the wrong order at one distortion, beyond their intervals.

    size_nats    lower end of the rung that should be below, minus upper end of the one above
    is_theorem   whether the order is proven; otherwise it is only expected (see `ORDER`)
    """

    below: str
    above: str
    distortion: float
    size_nats: float
    is_theorem: bool

    def __str__(self) -> str:
        kind = "must" if self.is_theorem else "is expected to"
        return (
            f"{self.below} {kind} lie below {self.above}, but is {self.size_nats:.3g} nats "
            f"above it at distortion {self.distortion:.4g}"
        )


@dataclass(frozen=True)
class Ladder:
    """Rungs of one model on one data set.

    model, data_set   names for the title
    images            number of images on which every rung was measured
    rungs             in any order
    image_shape       shape of one image, height and width last; empty if unknown

    Raises `UsageError` for no rungs, rungs of different conventions, or two rungs of one name.
    """

    model: str
    data_set: str
    images: int
    rungs: tuple[Rung, ...]
    image_shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.rungs:
            raise UsageError("a ladder needs at least one rung")
        names = [rung.name for rung in self.rungs]
        if len(set(names)) < len(names):
            raise UsageError(f"two rungs have one name: {', '.join(sorted(names))}")
        conventions = {(rung.distortion_name, rung.convention) for rung in self.rungs}
        if len(conventions) > 1:
            listed = "; ".join(sorted(f"{name} ({rule})" for name, rule in conventions))
            raise UsageError(
                f"the rungs of a ladder use one distortion convention, not {len(conventions)}: "
                f"{listed}"
            )

    @property
    def distortion_name(self) -> str:
        """Name of the distortion of all rungs."""
        return self.rungs[0].distortion_name

    @property
    def convention(self) -> str:
        """Sum or mean, and the range of the pixels."""
        return self.rungs[0].convention

    def check(self) -> list[Violation]:
        """Where the order is broken beyond the 95 % intervals, largest first; empty if nowhere.

        The lower rung's `floor_nats` is compared with the upper end of the upper rung's interval,
        at the upper end of its distortion if that is known: at a slope of β nats, an error in the
        distortion is an error of β times as many nats.  Uncertified points are skipped.
        """
        found = []
        for below_kind, above_kind, is_theorem in ORDER:
            for below in self._of_kind(below_kind):
                for above in self._of_kind(above_kind):
                    if below.coder and below.coder != above.coder:
                        continue
                    for index, distortion in enumerate(above.distortion_high or above.distortion):
                        floor = below.floor_nats(distortion)
                        if floor is None or not above.certified[index]:
                            continue
                        size = floor - above.rate_high_nats[index]
                        if size > 1e-9 * max(1.0, abs(floor)):
                            found.append(
                                Violation(below.name, above.name, distortion, size, is_theorem)
                            )
        return sorted(found, key=lambda one: -one.size_nats)

    def _of_kind(self, kind: str) -> list[Rung]:
        return [rung for rung in self.rungs if rung.kind == kind]

    def to_json(self) -> dict[str, Any]:
        """Plain dict for `json.dumps`, with units and violations for human readers."""
        return {
            "schema": LADDER_SCHEMA,
            "model": self.model,
            "data_set": self.data_set,
            "images": self.images,
            **({"image_shape": list(self.image_shape)} if self.image_shape else {}),
            "distortion_name": self.distortion_name,
            "convention": self.convention,
            "rate_unit": RATE_UNIT,
            "violations": [asdict(violation) for violation in self.check()],
            "rungs": [rung_to_json(rung) for rung in self.rungs],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Ladder:
        """Rebuild a ladder from `to_json`; raises `ResultFileError` for anything else."""
        if content.get("schema") != LADDER_SCHEMA:
            raise ResultFileError(f"schema {content.get('schema')!r}, expected {LADDER_SCHEMA!r}")
        with reading("the ladder"):
            if content["rate_unit"] != RATE_UNIT:
                raise ValueError(f"rate_unit {content['rate_unit']!r}, expected {RATE_UNIT!r}")
            conventions = (str(content["distortion_name"]), str(content["convention"]))
            rungs = tuple(rung_from_json(rung, *conventions) for rung in content["rungs"])
            return cls(
                str(content["model"]),
                str(content["data_set"]),
                int(content["images"]),
                rungs,
                tuple(int(size) for size in content.get("image_shape", ())),
            )
