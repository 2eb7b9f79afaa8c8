"""Files of releases, coded with the weights in their packages, which later releases must decode.

    python -m tests.golden.releases

writes the folder of the current version, which must not exist. Beside each file is a record with
the SHA-256 of what it decodes to, which is the same on every machine, because these models compute
in integers. The header of a file names its weights.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import codec
from bitstream.arrays import Array
from codec.pictures.depth import rescale
from codec.signals import compress_signal, decompress_signal
from tests.codec.models.autoregressive.tiny import CONFIGS, pictures
from tests.codec.models.signal.tiny import tone
from tests.codec.tiny import photographs

FOLDER = Path(__file__).parent / "releases"
PICTURES: dict[str, dict[str, Any]] = {
    "photo-visual": {"quality": 60},
    "photo-psnr": {"quality": 90, "tune": "psnr"},
    "photo-effort": {"quality": 30, "effort": 3},
    "photo-deep": {"quality": 95, "bit_depth": 12},
    "pixel": {"lossless": True},
    "near-lossless": {"max_error": 2},
    **{name: {"model": name} for name in CONFIGS},
}
"""What each picture is compressed with."""
SIGNAL = "signal"
CASES = (*PICTURES, SIGNAL)


def content_of(name: str) -> Array:
    """The picture or the signal of a case."""
    if name == SIGNAL:
        return tone(1203, seed=1, amplitude=30000.0)
    if name in CONFIGS:
        return pictures(2, 3, seed=80)
    photograph = photographs(1, side=96, seed=4)[0][:80]
    return rescale(photograph, 8, 12) if name == "photo-deep" else photograph


def path_of(folder: Path, name: str) -> Path:
    """The file of a case."""
    return folder / f"{name}.{'signal' if name == SIGNAL else 'calo'}"


def decoded(name: str, data: bytes) -> Array:
    """What the bytes of a case decode to."""
    return decompress_signal(data) if name == SIGNAL else codec.decompress(data, as_="numpy")


def digest(values: Array) -> str:
    """SHA-256 of the shape and of integers, little endian."""
    told = f"{values.dtype.kind}{values.dtype.itemsize}{values.shape}".encode()
    little = values.astype(values.dtype.newbyteorder("<"))
    return hashlib.sha256(told + np.ascontiguousarray(little).tobytes()).hexdigest()


def write_release(folder: Path) -> None:
    """Write all cases to a folder, which must not exist."""
    folder.mkdir(parents=True)
    for name in CASES:
        content = content_of(name)
        data = (
            compress_signal(content)
            if name == SIGNAL
            else codec.compress(content, **PICTURES[name])
        )
        path = path_of(folder, name)
        path.write_bytes(data)
        record = {"decoded_sha256": digest(decoded(name, data))}
        path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        write_release(FOLDER / codec.__version__)
    except FileExistsError:
        sys.exit(f"{codec.__version__} exists: golden files are never written again")
