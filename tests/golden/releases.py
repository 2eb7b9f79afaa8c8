"""Files of releases, coded with the weights in their packages, which later releases must decode.

    python -m tests.golden.releases

writes the folder of the current version, which must not exist. Beside each file is a record with
the SHA-256 of what it decodes to, which is the same on every machine, because these models compute
in integers. The header of a file names its weights.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import codec
from bitstream.arrays import Array
from bitstream.container import container_to_bytes
from codec.loading import ENVIRONMENT_VARIABLE, load_model
from codec.pictures.depth import rescale
from codec.pictures.read import picture_from
from codec.pipeline.encode import compress_picture
from codec.signals import compress_signal, decompress_signal
from tests.codec.models.autoregressive.tiny import CONFIGS, pictures
from tests.codec.models.pixel.tiny import drawing, from_chroma
from tests.codec.models.signal.tiny import tone
from tests.codec.tiny import photographs

FOLDER = Path(__file__).parent / "releases"


def _scene(depth: int = 8, height: int = 80, width: int = 96) -> Array:
    scene = photographs(1, side=max(height, width), seed=4)[0][:height, :width]
    return rescale(scene, 8, depth) if depth > 8 else scene


def _grey(depth: int = 8) -> Array:
    return np.ascontiguousarray(_scene(depth)[:, :, :1])


def _transparent() -> Array:
    scene = _scene(height=70, width=150)
    return np.concatenate([scene, scene[:, ::-1, :1]], axis=2)


PICTURES: dict[str, tuple[Callable[[], Array], dict[str, Any]]] = {
    "photo-visual": (_scene, {"quality": 60}),
    "photo-psnr": (_scene, {"quality": 90, "tune": "psnr"}),
    "photo-effort": (_scene, {"quality": 30, "effort": 3}),
    "photo-least": (_scene, {"quality": 1}),
    "photo-finest": (_scene, {"quality": 100, "tune": "psnr"}),
    "photo-layers": (lambda: _scene(height=176, width=208), {"quality": 95}),
    "photo-tiles": (_transparent, {"quality": 70, "tile_size": 64}),
    "photo-grey": (_grey, {"quality": 50}),
    "photo-10": (lambda: _scene(10), {"quality": 95, "bit_depth": 10}),
    "photo-12": (lambda: _grey(12), {"quality": 80, "tune": "psnr", "bit_depth": 12}),
    "photo-16": (lambda: _scene(16), {"quality": 99}),
    "pixel": (_scene, {"lossless": True}),
    "pixel-tiles": (_transparent, {"model": "pixel", "tile_size": 64}),
    "pixel-map": (lambda: drawing(40, 70), {"lossless": True}),
    "pixel-differences": (lambda: from_chroma(40, 60, seed=6), {"lossless": True}),
    "near-lossless": (_scene, {"max_error": 2}),
    "near-lossless-grey": (_grey, {"max_error": 16}),
    "near-lossless-alpha": (_transparent, {"max_error": 1}),
    **{name: (lambda: pictures(2, 3, seed=80), {"model": name}) for name in CONFIGS},
}
"""The picture of each case, and what it is compressed with."""
SIGNALS: dict[str, Callable[[], Array]] = {
    "signal": lambda: tone(1203, seed=1, amplitude=30000.0),
    "signal-bytes": lambda: tone(601, seed=2, amplitude=120.0).astype(np.int8),
    "signal-unsigned": lambda: (tone(601, seed=3, amplitude=120.0) + 128).astype(np.uint8),
}
CASES = (*PICTURES, *SIGNALS)


def content_of(name: str) -> Array:
    """The picture or the signal of a case."""
    return SIGNALS[name]() if name in SIGNALS else PICTURES[name][0]()


def encoded(name: str) -> bytes:
    """The file of a case, written by this version."""
    content = content_of(name)
    if name in SIGNALS:
        return compress_signal(content)
    options = dict(PICTURES[name][1])
    tile_size = options.pop("tile_size", None)
    if tile_size is None:
        return codec.compress(content, **options)
    model = load_model(options.get("model", "photo"), device="cpu")
    quality = float(options.get("quality", 100))
    return container_to_bytes(
        compress_picture(picture_from(content), model, quality=quality, tile_size=tile_size)
    )


def decoded(path: Path) -> Array:
    """What a golden file decodes to."""
    data = path.read_bytes()
    if path.suffix == ".signal":
        return decompress_signal(data)
    return codec.decompress(data, as_="numpy")


def digest(values: Array) -> str:
    """SHA-256 of the shape and of integers, little endian."""
    told = f"{values.dtype.kind}{values.dtype.itemsize}{values.shape}".encode()
    little = values.astype(values.dtype.newbyteorder("<"))
    return hashlib.sha256(told + np.ascontiguousarray(little).tobytes()).hexdigest()


def write_release(folder: Path) -> None:
    """Write all cases to a folder, which must not exist; all of them or none."""
    folder.parent.mkdir(exist_ok=True)
    if folder.exists():
        raise FileExistsError(folder)
    # It is renamed in the end, so there may be nothing to clean up.
    with TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as unfinished:
        for name in CASES:
            suffix = ".signal" if name in SIGNALS else ".calo"
            path = Path(unfinished, name).with_suffix(suffix)
            path.write_bytes(encoded(name))
            record = {"decoded_sha256": digest(decoded(path))}
            path.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", "utf-8")
        Path(unfinished).rename(folder)


if __name__ == "__main__":
    # Weights of the user's would not be in the package.
    os.environ.pop(ENVIRONMENT_VARIABLE, None)
    try:
        write_release(FOLDER / codec.__version__)
    except FileExistsError:
        sys.exit(f"{codec.__version__} exists: golden files are never written again")
