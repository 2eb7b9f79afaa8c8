"""The golden case of signals: lanes of unequal length, low bits, silence.

The JSON file has the digest of the samples, and how they were made. The weights beside it are
untrained.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from codec.signals import SignalArray, compress_signal
from tests.codec.models.signal.tiny import tone, write_tiny_signal

LANES = {"signal-v1": 5, "signal-bytes-v1": 1}
CASES = tuple(LANES)


def samples_of(name: str) -> SignalArray:
    """The samples of a case."""
    if "bytes" in name:
        return (128 + (tone(433, seed=2) >> 8)).astype(np.uint8)
    return tone(1203, seed=1, amplitude=30000.0)


def digest(samples: SignalArray) -> str:
    """SHA-256 of samples, little endian."""
    return hashlib.sha256(samples.astype(samples.dtype.newbyteorder("<")).tobytes()).hexdigest()


def write_signal_case(name: str, folder: Path) -> None:
    """Write a case that does not exist yet, and the weights if they do not exist."""
    if not (folder / "signal.safetensors").exists():
        write_tiny_signal(folder)
    samples = samples_of(name)
    (folder / f"{name}.signal").write_bytes(compress_signal(samples, lanes=LANES[name]))
    np.save(folder / f"{name}.npy", samples)
    record = {"lanes": LANES[name], "samples_sha256": digest(samples)}
    (folder / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
