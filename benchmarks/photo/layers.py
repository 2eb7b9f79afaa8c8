"""What a photo file shows after each of its layers, beside progressive files cut at equal bytes.

    python -m benchmarks.photo layers --data gb82.tar --name gb82 --limit 4

JPEG XL (`cjxl -p` and `djxl --allow_partial_files` of Debian's package `libjxl-tools`) and
progressive JPEG (Pillow) get the file of a picture that is nearest in bytes to that of photo, cut
after as many bytes as photo has after a layer; where a cut file shows nothing, it scores as a gray
picture does. Scores are means over pictures of SSIMULACRA2 and PSNR in dB. `sample` is a layer
whose missing symbols are drawn from the tables.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

import codec
from benchmarks.harness.photographs import add_data, nearest_quality
from benchmarks.harness.results import Measured, Report, provenance
from bitstream import Container, container_from_bytes, container_to_bytes, scan
from bitstream.arrays import Uint8Array
from bitstream.chunks import chunk_bytes
from bitstream.errors import InputError
from codec.pictures.similarity import psnr_db
from codec.rate_distortion import find_images, ssimulacra2

SCHEMA, RESULT = "calotype.layers/1", "layers.json"
QUALITIES = (50, 75, 90)
SEED = 0
JXL_DISTANCES = np.geomspace(25, 0.1, 101)

Draw = Callable[[bytes], Uint8Array | None]


def _run(command: str, *arguments: str) -> bool:
    path = shutil.which(command)
    if path is None:
        raise InputError(f"the command {command} is missing: apt install libjxl-tools")
    return subprocess.run([path, *arguments], capture_output=True, check=False).returncode == 0


def progressive_jxl(pixels: Uint8Array, size: int) -> tuple[bytes, Draw]:
    """The progressive JPEG XL file nearest to a size, and what draws its first bytes."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.png"), Path(folder, "out.jxl")
        Image.fromarray(pixels).save(source, compress_level=1)

        def encode(index: int) -> bytes:
            distance = f"{JXL_DISTANCES[index]:.4f}"
            if not _run("cjxl", "-p", "-d", distance, str(source), str(target)):
                raise InputError(f"cjxl -p -d {distance} failed")
            return target.read_bytes()

        data = encode(nearest_quality(encode, size))

    def draw(part: bytes) -> Uint8Array | None:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.jxl"), Path(folder, "out.png")
            source.write_bytes(part)
            if not _run("djxl", str(source), str(target), "--allow_partial_files"):
                return None
            return np.asarray(Image.open(target).convert("RGB"))

    return data, draw


def progressive_jpeg(pixels: Uint8Array, size: int) -> tuple[bytes, Draw]:
    """The same of progressive JPEG."""

    def encode(quality: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(
            file, "JPEG", quality=quality, progressive=True, optimize=True, subsampling=0
        )
        return file.getvalue()

    def draw(part: bytes) -> Uint8Array | None:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            return np.asarray(Image.open(io.BytesIO(part)).convert("RGB"))
        except OSError:
            return None
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False

    return encode(nearest_quality(encode, size)), draw


def bytes_after_layers(data: bytes) -> list[int]:
    """How many bytes of a file there are up to the end of each layer."""
    found = scan(io.BytesIO(data))
    ends = [c.offset + chunk_bytes(c.length) for c in found.chunks if c.type == b"DATA"]
    count = found.header.tile_count
    return ends[count - 1 :: count]


def joined_size(container: Container) -> int:
    """How many bytes a file would have in one layer."""
    header = replace(container.header, layers=1)
    tiles = tuple(b"".join(layers) for layers in zip(*container.payloads, strict=True))
    return len(container_to_bytes(replace(container, header=header, payloads=(tiles,))))


def scores(original: Uint8Array, drawn: Uint8Array | None) -> tuple[float, float]:
    """SSIMULACRA2, and PSNR in dB."""
    if drawn is None:
        drawn = np.full_like(original, 128)
    return float(ssimulacra2(original, drawn) or 0), psnr_db(original, drawn)


def measure(pixels: Uint8Array, quality: int) -> tuple[float, list[dict[str, float]]] | None:
    """The share of the file that its layers cost, and a row for each layer.

    None for a picture so small that its file has one layer.
    """
    data = codec.compress(pixels, quality=quality)
    container = container_from_bytes(data)
    if container.header.layers == 1:
        return None
    peers = {"jxl": progressive_jxl(pixels, len(data)), "jpeg": progressive_jpeg(pixels, len(data))}
    rows = []
    for layers, end in enumerate(bytes_after_layers(data), 1):
        drawn = {
            "photo": codec.decompress(data, layers=layers, as_="numpy"),
            "sample": codec.decompress(data, layers=layers, seed=SEED, as_="numpy"),
            **{name: draw(file[:end]) for name, (file, draw) in peers.items()},
        }
        row = {"share": end / len(data), "bpp": 8 * end / (pixels.shape[0] * pixels.shape[1])}
        for name, picture in drawn.items():
            row[f"{name}_ssimulacra2"], row[f"{name}_psnr_db"] = scores(pixels, picture)
        rows.append(row)
    return 1 - joined_size(container) / len(data), rows


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)


def run(options: Namespace) -> Iterator[Measured]:
    images = find_images(options.data)[: options.limit]
    for quality in QUALITIES:
        by_name = {image.name: measure(image.pixels(), quality) for image in images}
        measured = [found for found in by_name.values() if found is not None]
        if not measured:
            raise InputError(f"no file of quality {quality} has layers: give larger pictures")
        table: list[Report] = [
            {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
            for rows in zip(*(rows for _, rows in measured), strict=True)
        ]
        content = {
            **provenance(),
            "weights_hash": codec.inspect(codec.compress(images[0].pixels())).weights_hash,
            "pictures": [name for name, found in by_name.items() if found is not None],
            "without_layers": [name for name, found in by_name.items() if found is None],
            "cost_of_layers": round(float(np.mean([cost for cost, _ in measured])), 5),
            "layers": table,
        }
        lines = [f"{options.name} quality {quality}, cost {content['cost_of_layers']}"]
        lines += [str(row) for row in table]
        yield Measured({options.name: {f"quality {quality}": content}}, lines, keep_others=True)
