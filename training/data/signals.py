"""One-dimensional signals from WAV files, and their division into training and held-out parts."""

from __future__ import annotations

import hashlib
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bitstream.errors import InputError
from codec.signals import SignalArray

_TEST, _VALIDATION = 26, 39


@dataclass(frozen=True)
class Signal:
    """One channel of a WAV file.

    name      path below the folder that was read, without suffix; ends in `:1` for a second channel
    rate      samples per second
    samples   int16 (n,); −128 .. 127 for files of 8 bits
    """

    name: str
    rate: int
    samples: SignalArray


def part_of(name: str) -> str:
    """Whether a file is for training, validation or test, by its path without suffix.

    The first byte of the SHA-256 of the name decides: below 26 is the test part, below 39 the
    validation part. All channels of a file are in the same part.
    """
    first = hashlib.sha256(name.encode()).digest()[0]
    return "test" if first < _TEST else "validation" if first < _VALIDATION else "train"


def read_signals(folders: Sequence[Path], part: str) -> list[Signal]:
    """The signals of one part from all WAV files below folders, in the order of their names.

    Files with other than 8 or 16 bits, and others that `wave` cannot read, are skipped. Raises
    `InputError` if none are left.
    """
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*.wav")):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if part_of(name) == part:
                found += _channels(path, name)
    if not found:
        listed = ", ".join(map(str, folders))
        raise InputError(f"{listed}: no WAV files of 8 or 16 bits of the {part} part")
    return found


def _channels(path: Path, name: str) -> list[Signal]:
    try:
        with wave.open(str(path)) as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            data = file.readframes(file.getnframes()) if width <= 2 else b""
    except (wave.Error, EOFError):
        return []
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if width == 1:
        samples = (np.frombuffer(data, np.uint8).astype(np.int16) - 128).reshape(-1, channels)
    else:
        samples = np.frombuffer(data, "<i2").astype(np.int16).reshape(-1, channels)
    return [
        Signal(name + f":{number}" * bool(number), rate, np.ascontiguousarray(samples[:, number]))
        for number in range(channels)
        if len(samples)
    ]
