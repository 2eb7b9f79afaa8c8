"""The options of compression and decompression, checked before any file is read."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypedDict

from bitstream import OutputError, UsageError, limits
from bitstream.foreign import attribute_of, has, shown
from codec.models.catalog import find_model, split_name
from codec.models.spec import MAX_ERROR, ModelSpec
from codec.system.missing_extra import missing
from codec.system.source import path_of

PathName = str | os.PathLike[str]
Region = tuple[int, int, int, int]

DEFAULT_MODEL = "photo"
LOSSLESS_MODEL = "pixel"
NEAR_LOSSLESS_MODEL = "near-lossless"
DEFAULT_QUALITY = 75.0
HIGHEST_QUALITY = 100.0
DEFAULT_ROI_QUALITY = 20
"""How much higher the quality of a region of interest is by default."""
DEVICES = ("auto", "cpu", "cuda")
MAX_SEED = 2**63 - 1
REDUCTIONS = (1, 2, 4, 8)
"""Factors by which a picture can be reduced when it is decoded, in each direction."""
SSIMULACRA2_RANGE = (-50, 100)
"""Targets: 100 is an unchanged picture, and scores below −50 are meaningless."""


@dataclass(frozen=True)
class CompressOptions:
    """The keyword arguments of ``codec.compress``, which describes them.

    NumPy scalars become Python numbers.  If no model was named, it is the one that the other
    options ask for.  Raises UsageError for values out of range or two targets at once,
    MissingExtraError for a target whose library is not installed, UnknownModelError.
    """

    model_was_named: ClassVar[bool] = True
    quality: float | None = None
    model: str | None = None
    lossless: bool = False
    max_error: int | None = None
    effort: int = 1
    bpp: float | None = None
    size: int | None = None
    psnr: float | None = None
    ssimulacra2: float | None = None
    tune: str | None = None
    roi: Sequence[int] | None = None
    strip: bool = False
    reduce_depth: bool = False
    apply_orientation: bool = False
    bit_depth: int | None = None
    device: str = "auto"
    noise_seed: int | None = 0
    checkpoint: PathName | None = None

    def __post_init__(self) -> None:
        targets = ("quality", "bpp", "size", "psnr", "ssimulacra2")
        given = [name for name in targets if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} were given, expected only one of them")
        for name in given:
            _replace(self, name, check_number(name, getattr(self, name)))
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise UsageError(f"quality {self.quality:g} was given, expected 1 .. 100")
        for name in given:
            if name != "ssimulacra2" and getattr(self, name) <= 0:
                raise UsageError(
                    f"{name} {getattr(self, name):g} was given, expected a positive number"
                )
        if self.ssimulacra2 is not None:
            low, high = SSIMULACRA2_RANGE
            if not low <= self.ssimulacra2 <= high:
                raise UsageError(
                    f"ssimulacra2 {self.ssimulacra2:g} was given, expected {low} .. {high}"
                )
            error = missing("the target ssimulacra2", "ssimulacra2")
            if error is not None:
                raise error
        _replace(self, "effort", check_integer("effort", self.effort, 1, 9))
        for name in ("lossless", "strip", "reduce_depth", "apply_orientation"):
            _replace(self, name, check_switch(name, getattr(self, name)))
        if self.bit_depth is not None:
            _replace(self, "bit_depth", check_integer("bit_depth", self.bit_depth, 8, 16))
            if self.bit_depth not in limits.BIT_DEPTHS:
                raise UsageError(
                    f"bit_depth {self.bit_depth} was given, expected one of "
                    f"{', '.join(map(str, limits.BIT_DEPTHS))}"
                )
        check_device(self.device)
        if self.noise_seed is not None:
            _replace(self, "noise_seed", check_integer("noise_seed", self.noise_seed, 0, MAX_SEED))
        check_path("checkpoint", self.checkpoint)
        if self.model is not None and not isinstance(self.model, str):
            raise UsageError(f"model {shown(self.model)} was given, expected a name: 'photo'")
        if self.max_error is not None:
            _replace(self, "max_error", check_integer("max_error", self.max_error, 0, MAX_ERROR))
        if self.model is None:
            _replace(self, "model", self._usual_model())
            _replace(self, "model_was_named", False)
        name, detail = split_name(self.model_name)
        spec = find_model(name)
        if self.roi is not None:
            _replace(self, "roi", _check_roi(self.roi))
            given = [*given, "roi"]
        self._check_lossless(spec, given)
        self._check_bound(spec, given)
        if self.tune is not None and not isinstance(self.tune, str):
            raise UsageError(f"tune {shown(self.tune)} was given, expected a name: 'visual'")
        spec.check_tune(self.tune)
        if spec.variants:
            self._check_foreign(spec, detail, given)
        elif self.checkpoint is not None:
            raise UsageError(
                f"a checkpoint was given for the model {name!r}, which has weights of its own: "
                "leave it out"
            )

    def _usual_model(self) -> str:
        """The model that is used if none was named."""
        if self.lossless:
            return LOSSLESS_MODEL
        if self.max_error is None:
            return DEFAULT_MODEL
        # The lossless model writes smaller files than the near-lossless one with an error of 0.
        return NEAR_LOSSLESS_MODEL if self.max_error else LOSSLESS_MODEL

    def _check_lossless(self, spec: ModelSpec, targets: Sequence[str]) -> None:
        if self.lossless and not spec.lossless:
            raise UsageError(
                f"lossless was given with the model {spec.name!r}, which is lossy: leave one of "
                f"them out; {LOSSLESS_MODEL!r} is lossless"
            )
        if spec.lossless and targets:
            raise UsageError(
                f"{targets[0]} was given, but the model {spec.name!r} keeps every pixel, so "
                "its file has one size: leave it out, or choose another model"
            )

    def _check_bound(self, spec: ModelSpec, targets: Sequence[str]) -> None:
        bound = self.max_error
        if bound is None:
            if spec.bounded:
                raise UsageError(
                    f"no max_error was given for the model {spec.name!r}, expected 1 .. {MAX_ERROR}"
                    ": how far a pixel value may be off"
                )
            return
        if self.lossless and bound:
            raise UsageError(
                f"max_error {bound} and lossless were given, expected only one of them"
            )
        if spec.lossless if bound else spec.bounded:
            raise UsageError(
                f"max_error {bound} was given for the model {spec.name!r}: 0 is for the model "
                f"{LOSSLESS_MODEL!r}, and 1 .. {MAX_ERROR} are for {NEAR_LOSSLESS_MODEL!r}"
            )
        if not (spec.lossless or spec.bounded):
            raise UsageError(
                f"max_error was given with the model {spec.name!r}, which keeps no bound: leave "
                f"one of them out; {NEAR_LOSSLESS_MODEL!r} keeps one"
            )
        if targets and spec.bounded:
            raise UsageError(
                f"{targets[0]} and max_error were given: the file is as small as the bound allows, "
                "and has one size: leave one of them out"
            )

    def _check_foreign(
        self, spec: ModelSpec, architecture: str | None, targets: Sequence[str]
    ) -> None:
        spec.variant(architecture)
        if targets:
            raise UsageError(
                f"{targets[0]} was given, but a checkpoint of {spec.name} has one rate: leave it "
                "out, and choose the checkpoint that was trained for the rate you want"
            )
        if self.checkpoint is None:
            raise UsageError(
                f"the model {spec.name!r} has no weights of its own: give a checkpoint of "
                f"{architecture} (checkpoint=PATH, or --checkpoint FILE)"
            )

    @property
    def model_name(self) -> str:
        """The model, whether it was named or not."""
        return DEFAULT_MODEL if self.model is None else self.model

    @property
    def has_quality(self) -> bool:
        """Whether files of the model have a quality."""
        return find_model(split_name(self.model_name)[0]).has_quality

    @property
    def stored_quality(self) -> float | None:
        """The quality as it was given, the default if none was; None if the model has none."""
        if self.quality is None and self.has_quality:
            return DEFAULT_QUALITY
        return self.quality

    @property
    def asked_quality(self) -> float:
        """The quality to code at if no other target is given."""
        if not self.has_quality:
            return HIGHEST_QUALITY
        return DEFAULT_QUALITY if self.quality is None else float(self.quality)


@dataclass(frozen=True)
class DecompressOptions:
    """The keyword arguments of ``codec.decompress``, which describes them, except ``as_``.

    NumPy scalars become Python numbers.  Raises UsageError for values out of range.  Whether a
    region lies inside the image and the file has enough layers is checked when the file is read.
    """

    region: Region | None = None
    reduce: int = 1
    layers: int | None = None
    partial: bool = False
    seed: int | None = None
    realism: float = 0.0
    reduce_depth: bool = False
    device: str = "auto"
    checkpoint: PathName | None = None

    def __post_init__(self) -> None:
        if self.region is not None:
            _replace(self, "region", _check_region(self.region))
        reduce = _plain(self.reduce)
        if type(reduce) is not int or reduce not in REDUCTIONS:
            raise UsageError(
                f"reduce {shown(self.reduce)} was given, expected one of "
                f"{', '.join(map(str, REDUCTIONS))}"
            )
        _replace(self, "reduce", reduce)
        if self.layers is not None:
            _replace(self, "layers", check_integer("layers", self.layers, 1, limits.MAX_LAYERS))
        for name in ("partial", "reduce_depth"):
            _replace(self, name, check_switch(name, getattr(self, name)))
        if self.seed is not None:
            _replace(self, "seed", check_integer("seed", self.seed, 0, MAX_SEED))
        _replace(self, "realism", check_number("realism", self.realism))
        if not 0 <= self.realism <= 1:
            raise UsageError(f"realism {self.realism:g} was given, expected a number, 0 .. 1")
        check_device(self.device)
        check_path("checkpoint", self.checkpoint)


class CompressArguments(TypedDict, total=False):
    """The fields of `CompressOptions` as keyword arguments, for type checkers and editors."""

    quality: float | None
    model: str | None
    lossless: bool
    max_error: int | None
    effort: int
    bpp: float | None
    size: int | None
    psnr: float | None
    ssimulacra2: float | None
    tune: str | None
    roi: Sequence[int] | None
    strip: bool
    reduce_depth: bool
    apply_orientation: bool
    bit_depth: int | None
    device: str
    noise_seed: int | None
    checkpoint: PathName | None


class DecompressArguments(TypedDict, total=False):
    """The fields of `DecompressOptions` as keyword arguments, for type checkers and editors."""

    region: Region | None
    reduce: int
    layers: int | None
    partial: bool
    seed: int | None
    realism: float
    reduce_depth: bool
    device: str
    checkpoint: PathName | None


def check_number(name: str, value: object) -> int | float:
    """Return ``value`` as a Python number; raise UsageError unless it is one, and finite."""
    number = _plain(value)
    if isinstance(number, (int, float)) and not isinstance(number, bool):
        try:
            if abs(float(number)) < float("inf"):  # NaN fails as well
                return number
        except OverflowError:  # an integer too large for a float
            pass
    raise UsageError(f"{name} {shown(value)} was given, expected a finite number")


def check_integer(name: str, value: object, low: int, high: int) -> int:
    """Return ``value`` as a Python integer; raise UsageError unless it is one, low .. high."""
    number = _plain(value)
    if isinstance(number, int) and not isinstance(number, bool) and low <= number <= high:
        return number
    raise UsageError(f"{name} {shown(value)} was given, expected an integer, {low} .. {high}")


def check_device(device: object) -> None:
    """Raise UsageError for an unknown device name."""
    if not isinstance(device, str) or device not in DEVICES:
        raise UsageError(f"device {shown(device)} was given, expected one of {', '.join(DEVICES)}")


def check_switch(name: str, value: object) -> bool:
    """Return ``value`` as a bool; raise UsageError unless it is one, or 0 or 1."""
    switch = _plain(value)
    if not isinstance(switch, int) or switch not in (0, 1):
        raise UsageError(f"{name} {shown(value)} was given, expected True or False")
    return bool(switch)


def check_path(name: str, value: object) -> None:
    """Raise UsageError unless ``value`` is None or a path: a string, or has ``__fspath__``."""
    if isinstance(value, (str, os.PathLike)):
        try:
            can_be = b"\0" not in os.fsencode(path_of(value))
        except UnicodeEncodeError:  # a lone UTF-16 surrogate
            can_be = False
        if not can_be:
            raise UsageError(f"{name} {shown(value)} was given, which cannot be a file name")
    elif value is not None:
        raise UsageError(f"{name} {shown(value)} was given, expected a path")


def check_writable(name: str, value: object) -> None:
    """Raise UsageError unless ``value`` is a file object for bytes, and OutputError if closed."""
    is_text = isinstance(value, io.TextIOBase)
    is_read = isinstance(value, io.BufferedReader)
    if not callable(attribute_of(value, "write")) or is_text or is_read:
        raise UsageError(
            f"{name} {shown(value)} was given, expected a binary file object: open it with 'wb'"
        )
    if attribute_of(value, "closed") is True:
        raise OutputError(f"{name} {shown(value)} is closed, expected an open binary file")


def _check_region(region: object) -> Region:
    values = _integers(region)
    if len(values) != 4:
        raise UsageError(
            f"region {shown(region)} was given, expected four integers below 2³¹: x, y, width, "
            "height"
        )
    x, y, width, height = values
    return x, y, width, height


def _check_roi(roi: object) -> tuple[int, int, int, int, int]:
    values = _integers(roi)
    if len(values) == 4:
        values.append(DEFAULT_ROI_QUALITY)
    if len(values) == 5:
        x, y, width, height, more = values
        if min(x, y) >= 0 and min(width, height) > 0 and 1 <= more <= 99:
            return x, y, width, height, more
    raise UsageError(
        f"roi {shown(roi)} was given, expected four integers, or five: x and y of at least 0, "
        "width and height of at least 1, and how much higher the quality is there, 1 .. 99"
    )


def _integers(values: object) -> list[int]:
    """Several 32-bit integers as Python integers; empty if the values are anything else."""
    try:
        found = [_plain(value) for value in values]  # type: ignore[attr-defined]
    except TypeError:  # not iterable
        return []
    return found if all(type(v) is int and abs(v) < 2**31 for v in found) else []


def _plain(value: object) -> Any:
    """A NumPy scalar as a Python number; every other value unchanged."""
    is_scalar = attribute_of(value, "shape") == () and has(value, "item")
    return value.item() if is_scalar else value  # type: ignore[attr-defined]


def _replace(options: object, name: str, value: object) -> None:
    """Replace a given value by the checked one, in a frozen dataclass under construction."""
    object.__setattr__(options, name, value)
