"""Parses values of options: sizes, regions and seeds."""

import re
from collections.abc import Sequence

from bitstream import UsageError

_UNITS = {
    "": 1,
    "b": 1,
    "k": 10**3,
    "kb": 10**3,
    "m": 10**6,
    "mb": 10**6,
    "g": 10**9,
    "gb": 10**9,
    "ki": 2**10,
    "kib": 2**10,
    "mi": 2**20,
    "mib": 2**20,
    "gi": 2**30,
    "gib": 2**30,
}


def parse_size(text: str) -> int:
    """Return bytes for "12345", "20k", "20kB", "50KiB", "1.5 MiB"; raises UsageError.

    k, M and G are 1000, 1000² and 1000³, Ki, Mi and Gi powers of 1024; a B may follow.
    """
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,9})?)\s*([A-Za-z]*)\s*", text, re.ASCII)
    factor = _UNITS.get(match[2].lower()) if match else None
    size = 0 if match is None or factor is None else int(float(match[1]) * factor)
    if size < 1:
        raise UsageError(
            f"size {text!r} was given, expected a size such as 12345, 20k, 20kB, 50KiB or 1.5MiB"
        )
    return size


def only_one(name: str, given: Sequence[str] | None) -> str | None:
    """The value of an option that may be given at most once; raises UsageError.

    For other options the last one counts, as is usual; with regions, a user may expect all to.
    """
    if given and len(given) > 1:
        raise UsageError(f"{name} was given {len(given)} times, expected once: it is one region")
    return given[0] if given else None


def parse_names(option: str, text: str) -> list[str]:
    """The names in "a, b": at least one; raises UsageError."""
    names = [part.strip() for part in text.split(",") if part.strip()]
    if not names:
        raise UsageError(f"{option} {text!r} was given, expected names with commas between them")
    return names


def parse_region(text: str) -> tuple[int, int, int, int]:
    """Return (x, y, width, height) for "X,Y,W,H" in pixels; raises UsageError."""
    parts = text.split(",")
    if len(parts) == 4 and all(re.fullmatch(r"\s*\d{1,9}\s*", part, re.ASCII) for part in parts):
        x, y, width, height = (int(part) for part in parts)
        if width and height:
            return x, y, width, height
    raise UsageError(f"region {text!r} was given, expected X,Y,W,H in pixels, such as 0,0,256,256")


def parse_roi(text: str) -> tuple[int, ...]:
    """Return (x, y, width, height), or with a fifth number for "X,Y,W,H:DQ"; raises UsageError."""
    region, colon, more = text.partition(":")
    try:
        values = parse_region(region)
    except UsageError:
        values = None
    if values is None or (colon and not re.fullmatch(r"\s*\d{1,9}\s*", more, re.ASCII)):
        raise UsageError(
            f"roi {text!r} was given, expected X,Y,W,H in pixels, or X,Y,W,H:DQ to say how much "
            "higher the quality is there, such as 0,0,256,256:20"
        )
    return (*values, int(more)) if colon else values


def parse_noise_seed(text: str) -> int | None:
    """Return a seed for "0", "12345", and None for "free"; raises UsageError."""
    if text.strip().lower() == "free":
        return None
    if re.fullmatch(r"\s*\d{1,19}\s*", text, re.ASCII):
        return int(text)
    raise UsageError(f"noise seed {text!r} was given, expected 0 .. 2⁶³ − 1, or free")
