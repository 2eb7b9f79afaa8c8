"""Files of photo parse alike with other threads, versions of NumPy and torch, and arithmetic.

    python -m benchmarks.photo exactness --python other/bin/python

Every configuration runs in a process of its own. It decodes files that this process wrote, and
writes files that this process decodes. All symbols, means, tables and pixels must be the same
integers. `--python` names interpreters with other versions of the libraries, `--bare-python` those
of other processors, which need only NumPy and safetensors, see `other_processor`. The exit status
is 1 if any file parses differently or a pixel differs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from argparse import SUPPRESS, ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.photographs import tiled_photo
from benchmarks.harness.results import ROOT, Measured, library_versions, provenance
from benchmarks.photo.other_processor import digests
from bitstream.arrays import Array, Uint8Array
from bitstream.container import container_from_bytes, container_to_bytes
from bitstream.errors import CalotypeError
from codec import loading
from codec.coding.tiling import TileGrid
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.config import TUNES
from codec.models.photo.numpy_backend import NumpyRenderer
from codec.models.photo.runtime import Transforms
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture

SCHEMA, RESULT = "calotype.photo_exactness/3", "photo_exactness.json"
CORNER = 128
QUALITIES = (5.0, 35.0, 62.5, 85.0, 100.0)
ARITHMETIC = ("onnxruntime int8", "numpy float32", "torch float32")
"""Arithmetic for the integers of the synthesis; this process uses the first one."""


def scenes() -> dict[str, Uint8Array]:
    """A photograph on four tiles, and noise, which no model can predict."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3))
    return {"photograph": tiled_photo(700, 600), "noise": noise.astype(np.uint8)}


def load_coder(arithmetic: str) -> PhotoCoder:
    """The default weights with transforms in the given arithmetic."""
    kind = arithmetic.split()[0]
    loaded = loading.load_model("photo", device="cuda" if kind == "cuda" else "cpu")
    assert isinstance(loaded, PhotoCoder)
    coder = copy.copy(loaded)  # the library's own is not changed
    if kind == "torch":
        coder.transforms = coder.torch_transforms
    elif kind == "numpy":
        transforms = Transforms(coder.arrays, coder.config)
        vars(transforms)["renderer"] = NumpyRenderer(transforms.weights)
        coder.transforms = transforms
    return coder


def digest(data: bytes, coder: PhotoCoder) -> str:
    """SHA-256 of all integers from parsing a file."""
    container, found = container_from_bytes(data), hashlib.sha256()
    grid = TileGrid(container.header, coder.stride)
    for number in range(grid.count):
        tile, payloads = grid.tile(number), [layer[number] for layer in container.payloads]
        parsed = coder.decode_symbols(payloads, tile.height, tile.width, container.header.quality)
        for array in (parsed.hyper_latents, parsed.symbols, parsed.indexes, parsed.means):
            found.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
    return found.hexdigest()


def write_files(folder: Path, coder: PhotoCoder) -> dict[str, str]:
    """Files of all scenes at all qualities, and the digest of each."""
    found = {}
    for scene, pixels in scenes().items():
        for quality in QUALITIES:
            picture = compress_picture(Picture(pixels), coder, quality=quality, tile_size=512)
            data, name = container_to_bytes(picture), f"{scene}-{quality:g}.calo"
            (folder / name).write_bytes(data)
            found[name] = digest(data, coder)
    return found


def read_files(folder: Path, coder: PhotoCoder) -> tuple[dict[str, str], dict[str, Uint8Array]]:
    """Digest and pixels of the files in a folder."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.glob("*.calo"))}
    pixels = {
        name: decompress_container(container_from_bytes(data), coder).pixels
        for name, data in contents.items()
    }
    return {name: digest(data, coder) for name, data in contents.items()}, pixels


def elsewhere(theirs: Path, ours: Path, arithmetic: str) -> None:
    """Run in another process: read the files of `theirs`, write `ours`, print the digests."""
    coder = load_coder(arithmetic)
    digests, pixels = read_files(theirs, coder)
    for name, drawn in pixels.items():
        np.save(ours / f"{name}.npy", drawn)
    written = write_files(ours, coder)
    versions = library_versions(("numpy", "torch", "onnxruntime"))
    print(json.dumps({"libraries": versions, "read": digests, "written": written}))


def check(python: str, threads: int, arithmetic: str, theirs: Path) -> dict[str, Any]:
    """A row of the result: one configuration compared with this process."""
    coder = load_coder(ARITHMETIC[0])
    expected, pixels = read_files(theirs, coder)
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "benchmarks.photo", "exactness"]
        command += ["--elsewhere", str(theirs), folder, arithmetic]
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(variables, str(threads))
        run = subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
        )
        if run.returncode:
            raise CalotypeError(f"{arithmetic} in another process failed:\n{run.stderr[-2000:]}")
        there = json.loads(run.stdout.splitlines()[-1])
        read_here, _ = read_files(Path(folder), coder)
        differences = [
            np.abs(np.load(Path(folder) / f"{name}.npy").astype(int) - own)
            for name, own in pixels.items()
        ]
    return {
        "arithmetic": arithmetic,
        "threads": threads,
        "libraries": there["libraries"],
        "files_of_here_that_parse_alike_there": _same(expected, there["read"]),
        "files_of_there_that_parse_alike_here": _same(there["written"], read_here),
        "files": len(expected),
        "largest_difference_of_pixels": max(int(d.max()) for d in differences),
    }


def tiles_of(coder: PhotoCoder) -> dict[str, Array]:
    """Input of `other_processor`: a corner of every scene, at all qualities, with both tunes."""
    found: dict[str, Array] = {}
    for tune, name in enumerate(TUNES):
        tuned = coder.with_tune(name)
        for pixels in scenes().values():
            for quality in QUALITIES:
                latents = tuned.analyze(pixels[:CORNER, :CORNER], quality)
                number = len(found) // 3
                found[f"{number}.latents"] = latents
                found[f"{number}.hyper"] = tuned.hyper_latents(latents, quality)
                found[f"{number}.condition"] = np.array([tune, quality])
    return found


def check_bare(python: str, coder: PhotoCoder) -> dict[str, Any]:
    """A row of the result: whether another processor computes the same for tiles."""
    tiles = tiles_of(coder)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiles.npz"
        np.savez(path, allow_pickle=False, **tiles)
        command = [python, "-m", "benchmarks.photo.other_processor", str(path)]
        run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if run.returncode:
        raise CalotypeError(f"NumPy of {python} failed:\n{run.stderr[-2000:]}")
    there = json.loads(run.stdout.splitlines()[-1])
    here = list(digests(tiles))
    return {
        "machine": there["machine"],
        "libraries": {"numpy": there["numpy"]},
        "tiles_alike": sum(a == b for a, b in zip(here, there["found"], strict=True)),
        "tiles": len(here),
    }


def _same(one: dict[str, str], other: dict[str, str]) -> int:
    return sum(other.get(name) == found for name, found in one.items())


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--python", nargs="*", default=[], help="other interpreters")
    parser.add_argument("--bare-python", nargs="*", default=[], help="those that have NumPy alone")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--arithmetic", nargs="+", default=list(ARITHMETIC))
    parser.add_argument("--elsewhere", nargs=3, help=SUPPRESS)


def run(options: Namespace) -> Iterator[Measured]:
    if options.elsewhere:
        theirs, ours, arithmetic = options.elsewhere
        elsewhere(Path(theirs), Path(ours), arithmetic)
        return
    import torch

    cuda = ["cuda float32"] if torch.cuda.is_available() else []
    with tempfile.TemporaryDirectory() as folder:
        here = load_coder(ARITHMETIC[0])
        write_files(Path(folder), here)
        rows = [
            check(python, threads, arithmetic, Path(folder))
            for python in (sys.executable, *options.python)
            for threads in options.threads
            for arithmetic in (*options.arithmetic, *cuda)
        ]
        others = [check_bare(python, here) for python in options.bare_python]
    alike = all(row["tiles_alike"] == row["tiles"] for row in others) and all(
        row["files_of_here_that_parse_alike_there"] == row["files"]
        and row["files_of_there_that_parse_alike_here"] == row["files"]
        and row["largest_difference_of_pixels"] == 0
        for row in rows
    )
    yield Measured(
        {
            **provenance(),
            "weights_hash": here.weights_hash.hex(),
            "pictures": {name: list(pixels.shape) for name, pixels in scenes().items()},
            "qualities": list(QUALITIES),
            "all_alike": alike,
            "found": rows,
            "other_processors": others,
        },
        [json.dumps(row) for row in (*rows, *others)],
        failure="" if alike else "a file decodes differently in another process",
    )
