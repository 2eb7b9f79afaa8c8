"""Files of photo parse alike: other threads, versions of NumPy and torch, and other arithmetic.

    python -m benchmarks.photo exactness --python other/bin/python

Every configuration decodes files that this process wrote, and writes files that this process
decodes; each in a process of its own. Symbols, means and tables must be the same integers to the
last one; pixels may differ by rounding, and bfloat16 moves them. Pixels of photo-next (`--model`)
are integers, and must be the same as well. `--python` names interpreters with other versions of the
libraries. The exit status is 1 if any file parses differently, or such pixels differ.
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

from benchmarks.harness.model_option import add_model
from benchmarks.harness.photographs import tiled_photo
from benchmarks.harness.results import ROOT, Measured, library_versions, provenance
from bitstream.arrays import Uint8Array
from bitstream.container import container_from_bytes, container_to_bytes
from bitstream.errors import CalotypeError
from codec import loading
from codec.coding.tiling import TileGrid
from codec.models.photo.coder import PhotoCoder
from codec.models.photo_next.coder import PhotoCoder as PhotoNextCoder
from codec.models.photo_next.numpy_backend import NumpyRenderer
from codec.models.photo_next.runtime import Transforms
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture

SCHEMA, RESULT = "calotype.photo_exactness/2", "photo_exactness{model.suffix}.json"
QUALITIES = (5.0, 35.0, 62.5, 85.0, 100.0)
ARITHMETIC = ("numpy float32", "torch float32", "torch bfloat16", "openvino bfloat16")
INTEGERS = ("onnxruntime int8", "numpy float32", "torch float32")
"""Of photo-next: what holds the integers of its synthesis."""

Coder = PhotoCoder | PhotoNextCoder


def scenes() -> dict[str, Uint8Array]:
    """A photograph on four tiles, and noise, which no model foresees."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3))
    return {"photograph": tiled_photo(700, 600), "noise": noise.astype(np.uint8)}


def arithmetic_of(model: str) -> tuple[str, ...]:
    """What a model is computed with, the first one here."""
    return ARITHMETIC if model == "photo" else INTEGERS


def load_coder(arithmetic: str, model: str = "photo") -> Coder:
    """The default weights of a photo model with transforms in some arithmetic."""
    kind, dtype = arithmetic.split()
    if model != "photo":
        return _next_coder(kind, model)
    loaded = loading.load_model("photo", device="cpu" if kind in ("numpy", "torch") else kind)
    assert isinstance(loaded, PhotoCoder)
    coder = copy.copy(loaded)  # that of the library stays as it is
    if kind == "torch":
        import torch

        coder.transforms = transforms = coder.torch_transforms
        transforms.dtype = getattr(torch, dtype)
    return coder


def _next_coder(kind: str, model: str) -> PhotoNextCoder:
    loaded = loading.load_model(model, device="cuda" if kind == "cuda" else "cpu")
    assert isinstance(loaded, PhotoNextCoder)
    coder = copy.copy(loaded)
    if kind == "torch":
        coder.transforms = coder.torch_transforms
    elif kind == "numpy":
        transforms = Transforms(coder.arrays, coder.config)
        vars(transforms)["_renderer"] = NumpyRenderer(transforms.weights)
        coder.transforms = transforms
    return coder


def digest(data: bytes, coder: Coder) -> str:
    """SHA-256 of all integers that parsing a file yields."""
    container, found = container_from_bytes(data), hashlib.sha256()
    grid = TileGrid(container.header, coder.stride)
    for number in range(grid.count):
        tile, payloads = grid.tile(number), [layer[number] for layer in container.payloads]
        parsed = coder.decode_symbols(payloads, tile.height, tile.width, container.header.quality)
        for array in (parsed.hyper_latents, parsed.symbols, parsed.indexes, parsed.means):
            found.update(np.ascontiguousarray(array, dtype="<i4").tobytes())
    return found.hexdigest()


def write_files(folder: Path, coder: Coder) -> dict[str, str]:
    """Files of all scenes at all qualities, and the digest of each."""
    found = {}
    for scene, pixels in scenes().items():
        for quality in QUALITIES:
            picture = compress_picture(Picture(pixels), coder, quality=quality, tile_size=512)
            data, name = container_to_bytes(picture), f"{scene}-{quality:g}.calo"
            (folder / name).write_bytes(data)
            found[name] = digest(data, coder)
    return found


def read_files(folder: Path, coder: Coder) -> tuple[dict[str, str], dict[str, Uint8Array]]:
    """Digest and pixels of the files in a folder."""
    contents = {path.name: path.read_bytes() for path in sorted(folder.glob("*.calo"))}
    pixels = {
        name: decompress_container(container_from_bytes(data), coder).pixels
        for name, data in contents.items()
    }
    return {name: digest(data, coder) for name, data in contents.items()}, pixels


def elsewhere(theirs: Path, ours: Path, arithmetic: str, model: str) -> None:
    """Run in another process: read the files of `theirs`, write `ours`, print the digests."""
    coder = load_coder(arithmetic, model)
    digests, pixels = read_files(theirs, coder)
    for name, drawn in pixels.items():
        np.save(ours / f"{name}.npy", drawn)
    written = write_files(ours, coder)
    versions = library_versions(("numpy", "torch"))
    print(json.dumps({"libraries": versions, "read": digests, "written": written}))


def check(
    python: str, threads: int, arithmetic: str, theirs: Path, model: str = "photo"
) -> dict[str, Any]:
    """A row of the result: one configuration against this process."""
    coder = load_coder(arithmetic_of(model)[0], model)
    expected, pixels = read_files(theirs, coder)
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "benchmarks.photo", "exactness"]
        command += ["--model", model, "--elsewhere", str(theirs), folder, arithmetic]
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
        "mean_difference_of_pixels": round(float(np.mean([d.mean() for d in differences])), 6),
    }


def _same(one: dict[str, str], other: dict[str, str]) -> int:
    return sum(other.get(name) == found for name, found in one.items())


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--python", nargs="*", default=[], help="other interpreters")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--arithmetic", nargs="+", help="all that the model has by default")
    add_model(parser)
    parser.add_argument("--elsewhere", nargs=3, help=SUPPRESS)


def run(options: Namespace) -> Iterator[Measured]:
    if options.elsewhere:
        theirs, ours, arithmetic = options.elsewhere
        elsewhere(Path(theirs), Path(ours), arithmetic, options.model)
        return
    import torch

    cuda = ["cuda float32"] if torch.cuda.is_available() else []
    with tempfile.TemporaryDirectory() as folder:
        here = load_coder(arithmetic_of(options.model)[0], options.model)
        write_files(Path(folder), here)
        rows = [
            check(python, threads, arithmetic, Path(folder), options.model)
            for python in (sys.executable, *options.python)
            for threads in options.threads
            for arithmetic in (*(options.arithmetic or arithmetic_of(options.model)), *cuda)
        ]
    alike = all(
        row["files_of_here_that_parse_alike_there"] == row["files"]
        and row["files_of_there_that_parse_alike_here"] == row["files"]
        and (options.model == "photo" or row["largest_difference_of_pixels"] == 0)
        for row in rows
    )
    yield Measured(
        {
            **provenance(),
            "model": options.model,
            "weights_hash": here.weights_hash.hex(),
            "pictures": {name: list(pixels.shape) for name, pixels in scenes().items()},
            "qualities": list(QUALITIES),
            "all_parse_alike": alike,
            "found": rows,
        },
        [json.dumps(row) for row in rows],
        failure="" if alike else "a file parses differently in another process",
    )
