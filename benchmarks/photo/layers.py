"""Pictures from a photo file after each layer, compared with progressive files at equal bytes.

    python -m benchmarks.photo layers --data gb82.tar --name gb82 --limit 4

JPEG XL (`cjxl -p` and `djxl --allow_partial_files` of Debian's package `libjxl-tools`) and
progressive JPEG (Pillow) get a file of at most as many bytes as photo's, or their smallest one. It
is cut after as many bytes as photo has after a layer; a cut file that shows nothing gets the score
of a gray picture. Scores are means over pictures of SSIMULACRA2 and PSNR in dB, and a Fréchet
distance of all patches (`benchmarks.photo.realism`). `sample` is a layer whose missing symbols are
drawn from the tables. Files are also cut after half of the bytes, regardless of layers. With
`--shown` a sheet beside the result shows the middle of a picture at the default quality.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

import codec
from benchmarks.harness.photographs import add_data, largest_within
from benchmarks.harness.results import Measured, Report, provenance
from benchmarks.photo.realism import FEATURES, patches
from benchmarks.photo.side_by_side import panels
from bitstream import Container, container_from_bytes, container_to_bytes, scan
from bitstream.arrays import Float64Array, Uint8Array
from bitstream.chunks import chunk_bytes
from bitstream.errors import InputError, TruncatedError
from codec.options import DEFAULT_QUALITY
from codec.pictures.similarity import psnr_db
from codec.rate_distortion import find_images, ssimulacra2
from codec.rate_distortion.metrics import frechet_distance
from training.features.train import FeatureNetwork, extract, load_features

SCHEMA, RESULT = "calotype.layers/1", "layers.json"
QUALITIES = (50, round(DEFAULT_QUALITY), 90)
SEED = 0
TARGET_COST, TARGET_QUALITY = 0.01, 50
"""The largest share of a file that its layers may cost, at this quality."""
SHOWN = 256, 192
"""Width and height of the part that the sheet shows, in pixels."""
TITLES = {"photo": "Calotype", "jxl": "JPEG XL", "jpeg": "JPEG"}
JPEG_TABLES_BYTES = 512
"""About the largest size of the tables of a scan."""
JXL_DISTANCES = np.geomspace(25, 0.1, 101)

Draw = Callable[[bytes], Uint8Array | None]


def _run(command: str, *arguments: str) -> bool:
    path = shutil.which(command)
    if path is None:
        raise InputError(f"the command {command} is missing: apt install libjxl-tools")
    return subprocess.run([path, *arguments], capture_output=True, check=False).returncode == 0


def progressive_jxl(pixels: Uint8Array, size: int) -> tuple[bytes, Draw]:
    """The largest progressive JPEG XL file within a size, and a function that draws a prefix."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "in.png"), Path(folder, "out.jxl")
        Image.fromarray(pixels).save(source, compress_level=1)

        @cache
        def encode(index: int) -> bytes:
            distance = f"{JXL_DISTANCES[index]:.4f}"
            if not _run("cjxl", "-p", "-d", distance, str(source), str(target)):
                raise InputError(f"cjxl -p -d {distance} failed")
            return target.read_bytes()

        data = encode(largest_within(encode, size))

    def draw(part: bytes) -> Uint8Array | None:
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder, "in.jxl"), Path(folder, "out.png")
            source.write_bytes(part)
            if not _run("djxl", str(source), str(target), "--allow_partial_files"):
                return None
            return np.asarray(Image.open(target).convert("RGB"))

    return data, draw


def progressive_jpeg(pixels: Uint8Array, size: int) -> tuple[bytes, Draw]:
    """The same for progressive JPEG."""

    def encode(quality: int) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels).save(
            file, "JPEG", quality=quality, progressive=True, optimize=True, subsampling=0
        )
        return file.getvalue()

    def draw(part: bytes) -> Uint8Array | None:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            # Pillow draws black if a file is cut inside the tables of a scan.
            for end in range(len(part), max(0, len(part) - JPEG_TABLES_BYTES), -16):
                picture = np.asarray(Image.open(io.BytesIO(part[:end])).convert("RGB"))
                if picture.any():
                    return picture
        except OSError:
            pass
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False
        return None

    return encode(largest_within(encode, size)), draw


def bytes_after_layers(data: bytes) -> list[int]:
    """How many bytes a file has up to the end of each layer."""
    found = scan(io.BytesIO(data))
    ends = [c.offset + chunk_bytes(c.length) for c in found.chunks if c.type == b"DATA"]
    count = found.header.tile_count
    return ends[count - 1 :: count]


def joined_size(container: Container) -> int:
    """How many bytes a file would have in one layer."""
    header = replace(container.header, layers=1)
    tiles = tuple(b"".join(layers) for layers in zip(*container.payloads, strict=True))
    return len(container_to_bytes(replace(container, header=header, payloads=(tiles,))))


def complete_layers(part: bytes, seed: int | None = None) -> Uint8Array | None:
    """The picture from the first bytes of a photo file, or None."""
    try:
        return codec.decompress(part, partial=True, seed=seed, as_="numpy")
    except TruncatedError:
        return None


@dataclass(frozen=True)
class Layers:
    """The results for one picture.

    cost    share of the file that its layers cost
    rows    figures after each layer, and then after half of the bytes
    drawn   pictures uint8 (h, w, 3) of each row, by name
    """

    pixels: Uint8Array
    cost: float
    rows: list[dict[str, float]]
    drawn: list[dict[str, Uint8Array]]


def measure(pixels: Uint8Array, quality: int) -> Layers | None:
    """Measure a picture; None if it is so small that its file has only one layer."""
    data = codec.compress(pixels, quality=quality)
    container = container_from_bytes(data)
    if container.header.layers == 1:
        return None
    peers = {"jxl": progressive_jxl(pixels, len(data)), "jpeg": progressive_jpeg(pixels, len(data))}
    files: dict[str, tuple[bytes, Draw]] = {
        "photo": (data, complete_layers),
        "sample": (data, partial(complete_layers, seed=SEED)),
        **peers,
    }
    rows, shown = [], []
    for end in (*bytes_after_layers(data), len(data) // 2):
        drawn = {}
        for name, (file, draw) in files.items():
            picture = draw(file[:end])
            drawn[name] = np.full_like(pixels, 128) if picture is None else picture
        row = {"share": end / len(data), "bpp": 8 * end / (pixels.shape[0] * pixels.shape[1])}
        for name, picture in drawn.items():
            row[f"{name}_ssimulacra2"] = float(ssimulacra2(pixels, picture) or 0)
            row[f"{name}_psnr_db"] = psnr_db(pixels, picture)
        rows.append(row)
        shown.append(drawn)
    return Layers(pixels, 1 - joined_size(container) / len(data), rows, shown)


def frechet_distances(found: Sequence[Layers], network: FeatureNetwork) -> list[dict[str, float]]:
    """Fréchet distances of the patches of all pictures, after each layer that all of them have."""

    def features(pictures: Iterable[Uint8Array]) -> Float64Array:
        return np.concatenate([extract(network, patches(p)) for p in pictures])

    original = features(one.pixels for one in found)
    return [
        {
            f"{name}_frechet": frechet_distance(original, features(drawn[name] for drawn in layer))
            for name in layer[0]
        }
        for layer in zip(*(one.drawn for one in found), strict=False)
    ]


def sheet(found: Layers) -> Image.Image:
    """A row for each codec, a column for each layer: the middle of the picture."""
    height, width, _ = found.pixels.shape
    left, top = max(0, (width - SHOWN[0]) // 2), max(0, (height - SHOWN[1]) // 2)
    crop = left, top, min(width, left + SHOWN[0]), min(height, top + SHOWN[1])

    def label(name: str, row: dict[str, float]) -> str:
        score = row[f"{name}_ssimulacra2"]
        return f"{TITLES[name]}, {100 * row['share']:.0f} %, SSIMULACRA2 {score:.0f}"

    layers = list(zip(found.rows, found.drawn, strict=True))[:-1]
    rows = [
        panels([(label(name, row), drawn[name]) for row, drawn in layers], crop, enlarge=1)
        for name in TITLES
    ]
    return Image.fromarray(np.concatenate([np.asarray(row) for row in rows]))


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--features", type=Path, default=FEATURES, help="classifier's weights")
    parser.add_argument("--shown", help="name of the picture of which a sheet is drawn")


def run(options: Namespace) -> Iterator[Measured]:
    images = find_images(options.data)[: options.limit]
    network = load_features(options.features)
    for quality in QUALITIES:
        by_name = {image.name: measure(image.pixels(), quality) for image in images}
        measured = [found for found in by_name.values() if found is not None]
        if not measured:
            raise InputError(f"no file of quality {quality} has layers: give larger pictures")
        distances = frechet_distances(measured, network)
        table: list[Report] = [
            {key: round(float(np.mean([row[key] for row in rows])), 3) for key in rows[0]}
            | {key: round(distance, 3) for key, distance in of_layer.items()}
            for *rows, of_layer in zip(*(one.rows for one in measured), distances, strict=True)
        ]
        shown = by_name.get(options.shown)
        if quality == DEFAULT_QUALITY and shown is not None:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            sheet(shown).save(options.output.with_suffix(".png"), optimize=True)
        content = {
            **provenance(),
            "weights_hash": codec.inspect(codec.compress(images[0].pixels())).weights_hash,
            "pictures": [name for name, found in by_name.items() if found is not None],
            "without_layers": [name for name, found in by_name.items() if found is None],
            "cost_of_layers": round(float(np.mean([one.cost for one in measured])), 5),
            "layers": table[:-1],
            "half_of_the_bytes": table[-1],
        }
        if quality == TARGET_QUALITY:
            content["target_cost"] = TARGET_COST
            content["cost_is_met"] = content["cost_of_layers"] <= TARGET_COST
        lines = [f"{options.name} quality {quality}, cost {content['cost_of_layers']}"]
        lines += [str(row) for row in table]
        yield Measured({options.name: {f"quality {quality}": content}}, lines, keep_others=True)
