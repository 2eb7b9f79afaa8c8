"""Large images through the command line: memory, seams, and the bytes read for a region.

    python -m benchmarks.speed large-images

Pictures of 12, 50 and 100 megapixels are made from a shipped photograph by a seeded procedure, and
saved as JPEG. Each is compressed and decompressed by `python -m codec` in a process of its own; the
peak is that of the process according to the system. Times are given only as ratios.
"""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness.photographs import tiled_photo
from benchmarks.harness.results import ROOT, Measured, load_average, provenance
from bitstream import Header, read_container, read_tiles
from bitstream.arrays import Uint8Array
from codec import loading
from codec.coding.tiling import TileGrid
from codec.models.base import LoadedModel
from codec.options import Region
from codec.pictures.picture import Picture
from codec.pipeline.decode import decode_bands, tiles_of_region
from codec.pipeline.encode import compress_picture
from codec.system.processors import thread_count

SCHEMA, RESULT = "calotype.large_images/1", "large_images.json"

SIDES = ((4000, 3000), (8192, 6144), (10_000, 10_000))
REGION_SIDE = 512
SEAM_SIDE = 2048
SEED = 1841

# A small process between this one and the command, because the reported peak of a process includes
# the size of the process that started it.
LAUNCHER = """
import json, os, subprocess, sys
child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), usage.ru_maxrss,
                  usage.ru_utime + usage.ru_stime]))
"""


@dataclass(frozen=True)
class Run:
    """One process: its peak resident memory in MiB, and its CPU seconds."""

    peak_mib: float
    cpu_seconds: float


@dataclass(frozen=True)
class MeasuredPicture:
    """One picture. Time ratios are CPU time per pixel relative to that of the first picture."""

    width: int
    height: int
    megapixels: float
    pixels_mib: float
    coded_bytes: int
    bpp: float
    compress_peak_mib: float
    decompress_peak_mib: float
    compress_time_ratio: float
    decompress_time_ratio: float


def photo_bands(width: int, height: int, seed: int = SEED, rows: int = 500) -> Iterator[Uint8Array]:
    """An artificial photograph in bands uint8 (≤ rows, width, 3): the same for the same arguments.

    It is a shipped photograph, repeated and mirrored, with slowly changing light and sensor noise,
    so that no two places are alike.
    """
    rng = np.random.default_rng(seed)
    waves = rng.uniform(1, 4, (3, 2)) * 2 * math.pi, rng.uniform(0, 2 * math.pi, 3)
    across = np.linspace(0, 1, width)
    block = tiled_photo(width, 2 * 400)  # the photograph has 400 rows, and is mirrored once
    for top in range(0, height, rows):
        own = np.arange(top, min(top + rows, height))
        light = np.ones((len(own), width))
        for (down, right), phase in zip(*waves, strict=True):
            light += 0.1 * np.sin(down * own[:, None] / height + right * across + phase)
        grain = rng.normal(0, 2, (len(own), width, 1))
        levels = block[own % len(block)] * light[..., None] + grain
        yield np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def measured(*command: str) -> Run:
    """Run a command in a process of its own; raises RuntimeError if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the launcher failed: {done.stderr.strip()[-300:]}")
    code, peak, seconds = json.loads(done.stdout)
    if code != 0:
        raise RuntimeError(f"exit {code} of {command[:4]}: {done.stderr.strip()[-300:]}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # getrusage(2) of each system
    return Run(round(peak / unit, 1), seconds)


def codec_run(*arguments: str | Path) -> Run:
    return measured(sys.executable, "-m", "codec", *map(str, arguments))


def jump_ratio(
    original: Uint8Array, decoded: Uint8Array, tile: int, cell: int, shift: int
) -> float:
    """Mean jump of the error across tile borders, relative to that across other cell borders.

    original, decoded   uint8 (height, width, 3)
    tile, cell          sides in pixels; a tile has several cells
    shift               how many pixels the borders lie above and left of multiples of `tile`

    It is 1 if tile borders look like those between two latents of the same tile.
    """
    errors = decoded.astype(np.int16) - original
    inside: list[float] = []
    borders: list[float] = []
    for axis in (0, 1):
        size = errors.shape[axis]
        for place in range(cell, size, cell):
            pair = np.take(errors, [place - 1, place], axis=axis)
            jump = float(np.abs(np.diff(pair, axis=axis)).mean())
            (borders if (place + shift) % tile == 0 else inside).append(jump)
    return float(np.mean(borders) / np.mean(inside))


def seam(model: LoadedModel, quality: float, side: int = SEAM_SIDE) -> dict[str, Any]:
    """Compare pixels that are drawn tile by tile with those drawn from all latents at once."""
    pixels = np.concatenate(list(photo_bands(side, side)))
    container = compress_picture(Picture(pixels), model, quality=quality)
    header = container.header
    tiled = decode_bands(container, model).picture().pixels
    grid = TileGrid(header, model.stride)
    rows = []
    for numbers in grid.rows_overlapping(grid.latents):
        windows = [grid.tile(number) for number in numbers]
        decoded = [
            model.decode_tile(
                [layer[n] for layer in container.payloads], window.height, window.width, quality
            )
            for n, window in zip(numbers, windows, strict=True)
        ]
        rows.append(np.concatenate(decoded, axis=2))
    whole = model.synthesize(np.concatenate(rows, axis=1), quality)[:side, :side]
    difference = np.abs(tiled.astype(np.int16) - whole)
    return {
        "width": side,
        "height": side,
        "tiles": header.tile_count,
        "largest_level_difference": int(difference.max()),
        "share_of_samples_that_differ": float((difference > 0).mean()),
    }


def overlap(header: Header, model: LoadedModel) -> dict[str, float]:
    """Latents that the analysis computes for tiles with margins, relative to the picture's."""
    grid = TileGrid(header, model.stride)
    windows = [grid.tile(n).grow(model.context).intersect(grid.latents) for n in range(grid.count)]
    done = sum(window.height * window.width for window in windows)
    inner = 1 + 2 * model.context * model.stride / header.tile_size
    return {
        "tile_size": header.tile_size,
        "context_latents": model.context,
        "work_ratio": round(done / (grid.latents.height * grid.latents.width), 4),
        "work_ratio_of_an_inner_tile": round(inner**2, 4),
    }


class CountingFile(io.FileIO):
    """A file that counts the bytes that are read from it."""

    bytes_read = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data: bytes = super().read(-1 if size is None else size) or b""
        self.bytes_read += len(data)
        return data


def region_read(path: Path, model: LoadedModel, side: int = REGION_SIDE) -> dict[str, Any]:
    """How much of a file is read to decode a square in its middle."""
    with CountingFile(path) as file:
        chosen: list[int] = []

        def choose(header: Header) -> list[int]:
            chosen.extend(tiles_of_region(header, model, _middle(header, side)))
            return chosen

        selection = read_tiles(file, choose)
        region = _middle(selection.header, side)
        part = decode_bands(selection, model, region=region).picture()
        size_bytes = path.stat().st_size
        tiles = selection.header.tile_count
        return {
            "region": [*region[:2], part.width, part.height],
            "file_bytes": size_bytes,
            "bytes_read": file.bytes_read,
            "share_of_bytes": round(file.bytes_read / size_bytes, 5),
            "tiles": tiles,
            "tiles_read": len(chosen),
            "share_of_tiles": round(len(chosen) / tiles, 5),
        }


def _middle(header: Header, side: int) -> Region:
    return (header.width - side) // 2, (header.height - side) // 2, side, side


def measure(
    sides: Sequence[tuple[int, int]], quality: int, folder: Path, model: LoadedModel
) -> dict[str, Any]:
    """Send every picture through the command line; the last one is examined further."""
    pictures: list[MeasuredPicture] = []
    first: tuple[float, float] | None = None
    details: dict[str, Any] = {}
    for width, height in sides:
        source, coded, decoded = (
            folder / f"{width}x{height}{s}" for s in (".jpg", ".calo", ".png")
        )
        pixels = np.concatenate(list(photo_bands(width, height)))
        Image.fromarray(pixels).save(source, quality=95, subsampling=0)
        del pixels
        words = ["-m", model.name, "-q", str(quality), "--device", "cpu"]
        there = codec_run("compress", source, "-o", coded, *words)
        back = codec_run("decompress", coded, "-o", decoded, "--device", "cpu")
        size_bytes, count = coded.stat().st_size, width * height
        times = there.cpu_seconds / count, back.cpu_seconds / count
        first = first or times
        pictures.append(
            MeasuredPicture(
                width=width,
                height=height,
                megapixels=round(count / 1e6, 1),
                pixels_mib=round(3 * count / 2**20, 1),
                coded_bytes=size_bytes,
                bpp=round(8 * size_bytes / count, 4),
                compress_peak_mib=there.peak_mib,
                decompress_peak_mib=back.peak_mib,
                compress_time_ratio=round(times[0] / first[0], 3),
                decompress_time_ratio=round(times[1] / first[1], 3),
            )
        )
        print(pictures[-1], flush=True)
        if (width, height) == sides[-1]:
            with coded.open("rb") as fo:
                header = read_container(fo).header
            one, two = (np.asarray(Image.open(path)) for path in (source, decoded))
            tile, shift = header.tile_size, model.context * model.stride
            details = {
                "error_jump_ratio_at_tiles": jump_ratio(one, two, tile, model.stride, 0),
                "error_jump_ratio_at_windows": jump_ratio(one, two, tile, model.stride, shift),
                "overlap": overlap(header, model),
                "region": region_read(coded, model),
            }
        source.unlink()
        decoded.unlink()
    return {"pictures": [asdict(picture) for picture in pictures], **details}


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("-q", "--quality", type=int, default=75)


def run(options: Namespace) -> Iterator[Measured]:
    Image.MAX_IMAGE_PIXELS = None  # the pictures are our own
    threads, busy_before = thread_count(), load_average()  # of the command's processes as well
    import_torch = measured(sys.executable, "-c", "import torch")
    model = loading.load_model("photo", device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        found = measure(SIDES, options.quality, Path(folder), model)
    yield Measured(
        {
            **provenance(),
            "load_average_before": busy_before,
            "threads": threads,
            "device": "cpu",
            "model": model.name,
            "weights_hash": model.weights_hash.hex(),
            "quality": options.quality,
            "seed": SEED,
            "import_torch_peak_mib": import_torch.peak_mib,
            **found,
            "seam": seam(model, float(options.quality)),
        }
    )
