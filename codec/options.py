"""What a person may ask of compression, checked before any file is read."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from bitstream import UsageError
from codec.models.catalog import FOREIGN, find_model, find_variant, split_name

DEFAULT_QUALITY = 75.0
DEVICES = ("auto", "cpu", "openvino", "cuda")


@dataclass(frozen=True)
class CompressOptions:
    """The keyword arguments of ``codec.compress``; see there.

    Raises UsageError for values out of range or two targets at once, UnknownModelError.
    """

    quality: float | None = None
    model: str = "photo"
    effort: int = 1
    bpp: float | None = None
    size: int | None = None
    psnr: float | None = None
    strip: bool = False
    reduce_depth: bool = False
    apply_orientation: bool = False
    device: str = "auto"
    noise_seed: int | None = 0
    checkpoint: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        targets = {
            "quality": self.quality,
            "bpp": self.bpp,
            "size": self.size,
            "psnr": self.psnr,
        }
        given = [name for name, value in targets.items() if value is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} were given, expected only one of them")
        for name in given:
            check_number(name, targets[name])
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality:g} was given, expected 1 .. 100")
        for name in ("bpp", "size", "psnr"):
            value = targets[name]
            if value is not None and value <= 0:
                raise UsageError(f"{name} {value:g} was given, expected a positive number")
        check_integer("effort", self.effort, 1, 9)
        check_device(self.device)
        check_seed(self.noise_seed, "noise_seed")
        name, detail = split_name(self.model)
        if find_model(name).name == FOREIGN:
            self._check_foreign(detail, given)
        elif self.checkpoint is not None:
            raise UsageError(
                f"a checkpoint was given for the model {name!r}, which has weights of its own: "
                f"leave it out, or take the model {FOREIGN}:ARCHITECTURE"
            )

    def _check_foreign(self, architecture: str | None, targets: Sequence[str]) -> None:
        find_variant(architecture)
        if targets:
            raise UsageError(
                f"{targets[0]} was given, but a checkpoint of {FOREIGN} has one rate: leave it "
                "out, and choose the checkpoint that was trained for the rate you want"
            )
        if self.checkpoint is None:
            raise UsageError(
                f"the model {FOREIGN!r} has no weights of its own: give a checkpoint of "
                f"{architecture} (checkpoint=PATH, or --checkpoint FILE)"
            )
        if not isinstance(self.checkpoint, (str, os.PathLike)):
            raise UsageError(f"checkpoint {self.checkpoint!r} was given, expected a path")

    @property
    def asked_quality(self) -> float:
        """The quality to code at where no other target is given."""
        return DEFAULT_QUALITY if self.quality is None else float(self.quality)


def check_number(name: str, value: object) -> None:
    """Raise UsageError unless ``value`` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UsageError(f"{name} {value!r} was given, expected a finite number")


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Raise UsageError unless ``value`` is an integer, low .. high."""
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UsageError(f"{name} {value!r} was given, expected an integer, {low} .. {high}")


def check_seed(seed: object, name: str = "seed") -> None:
    """Raise UsageError unless ``seed`` is None or an integer, 0 .. 2⁶³ − 1."""
    if seed is not None:
        check_integer(name, seed, 0, 2**63 - 1)


def check_realism(realism: object) -> None:
    """Raise UsageError unless ``realism`` is a number, 0 .. 1."""
    number = not isinstance(realism, bool) and isinstance(realism, (int, float))
    if not number or not 0 <= realism <= 1:  # type: ignore[operator]
        raise UsageError(f"realism {realism!r} was given, expected a number, 0 .. 1")


def check_device(device: str) -> None:
    """Raise UsageError for an unknown device name."""
    if device not in DEVICES:
        raise UsageError(f"device {device!r} was given, expected one of {', '.join(DEVICES)}")


def check_region(region: Sequence[object]) -> None:
    """Raise UsageError unless ``region`` is four integers; the decoder checks them further."""
    if len(region) != 4 or not all(type(value) is int for value in region):
        raise UsageError(
            f"region {region!r} was given, expected four integers: x, y, width, height"
        )
