"""Compresses and decompresses every picture of a set, and some awkward ones, with the command.

    python -m benchmarks.speed round-trip --data validation.tar --name validation

The awkward pictures are 1×1, 17×4000, 12 megapixels, gray, and RGBA whose alpha must be exactly the
same.  Each is compressed and decompressed by `python -m codec`; size and mode must agree.  The exit
status is 1 if any picture fails.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.harness.photographs import shipped_photo, tiled_photo
from benchmarks.harness.results import ROOT, Measured, provenance
from codec.rate_distortion import find_images, psnr_db

SCHEMA, RESULT = "calotype.round_trip/1", "round_trip_{name}.json"


@dataclass(frozen=True)
class RoundTrip:
    """One picture and its file; `problem` is None if size, mode and alpha are the same."""

    name: str
    width: int
    height: int
    mode: str
    coded_bytes: int | None
    bpp: float | None
    psnr_db: float | None
    problem: str | None


@dataclass(frozen=True)
class Batch:
    """Pictures that go through one call of each command; seconds include starting Python."""

    compress_seconds: float
    decompress_seconds: float
    pictures: list[RoundTrip]


def awkward_pictures() -> dict[str, Image.Image]:
    """Extreme pictures that the codec must accept, made from a shipped photograph."""
    small = shipped_photo(65, 43)
    alpha = np.linspace(0, 255, 65 * 43).astype(np.uint8).reshape(43, 65, 1)
    return {
        "one-pixel": Image.fromarray(shipped_photo(1, 1)),
        "17x4000": Image.fromarray(tiled_photo(17, 4000)),
        "gray": Image.fromarray(small).convert("L"),
        "rgba": Image.fromarray(np.concatenate([small, alpha], axis=2)),
        "12-megapixels": Image.fromarray(tiled_photo(4000, 3000)),
    }


def run_codec(*arguments: str | Path) -> tuple[float, str | None]:
    """Run `python -m codec`; returns wall seconds, and the end of its stderr if it failed."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "codec", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode == 0:
        return seconds, None
    return seconds, f"exit {done.returncode}: {done.stderr.strip()[-300:]}"


def judge(original: Path, coded: Path, decoded: Path, failure: str | None) -> RoundTrip:
    """Compare a picture with its decoding: size, mode, exact alpha, and PSNR of the colours."""
    with Image.open(original) as image:
        image.load()
    size_bytes = coded.stat().st_size if coded.exists() else None
    quality_db: float | None = None
    problem = None
    if not decoded.exists():
        problem = failure or "nothing was decoded"
    else:
        with Image.open(decoded) as back:
            back.load()
        if (back.size, back.mode) != (image.size, image.mode):
            problem = f"came back as {back.size} {back.mode}"
        else:
            first, second = (np.asarray(one.convert("RGB")) for one in (image, back))
            quality_db = psnr_db(first, second)
            if "A" in image.mode and image.getchannel("A").tobytes() != (
                back.getchannel("A").tobytes()
            ):
                problem = "alpha changed"
    return RoundTrip(
        name=original.stem,
        width=image.width,
        height=image.height,
        mode=image.mode,
        coded_bytes=size_bytes,
        bpp=None if size_bytes is None else round(8 * size_bytes / (image.width * image.height), 4),
        # An unchanged picture has an infinite PSNR, which JSON cannot hold.
        psnr_db=None if quality_db in {None, float("inf")} else round(float(quality_db or 0), 3),
        problem=problem,
    )


def round_trip(sources: Sequence[Path], folder: Path, quality: int) -> Batch:
    """Send PNG files through one compress and one decompress call, inside `folder`."""
    coded, decoded = folder / "coded", folder / "decoded"
    for made in (coded, decoded):
        made.mkdir(parents=True)
    compress_seconds, failure = run_codec("compress", *sources, "-o", coded, "-q", str(quality))
    files = sorted(coded.glob("*.calo"))
    decompress_seconds = 0.0
    if files:
        decompress_seconds, later = run_codec("decompress", *files, "-o", decoded)
        failure = failure or later
    pictures = [
        judge(path, coded / f"{path.stem}.calo", decoded / f"{path.stem}.png", failure)
        for path in sources
    ]
    return Batch(round(compress_seconds, 3), round(decompress_seconds, 3), pictures)


def export(paths: Sequence[Path], folder: Path) -> list[Path]:
    """Write every picture of the set as a PNG file into `folder`, in its own mode."""
    folder.mkdir(parents=True)
    exported: list[Path] = []
    for source in find_images(paths):
        target = folder / f"{Path(source.name).stem}.png"
        with Image.open(io.BytesIO(source.data())) as image:
            image.save(target)
        exported.append(target)
    return exported


def line(picture: RoundTrip) -> str:
    quality_db = "—" if picture.psnr_db is None else f"{picture.psnr_db:.2f} dB"
    return (
        f"{picture.name:24} {picture.width}×{picture.height} {picture.mode:5} "
        f"{picture.coded_bytes} bytes {quality_db} {picture.problem or 'ok'}"
    )


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folder, tar or files")
    parser.add_argument("--name", default="shipped", help="name of the set")
    parser.add_argument("-q", "--quality", type=int, default=75)


def run(options: Namespace) -> Iterator[Measured]:
    with tempfile.TemporaryDirectory() as temporary:
        room = Path(temporary)
        batches: list[Batch] = []
        if options.data:
            batches.append(
                round_trip(export(options.data, room / "set"), room / "set-work", options.quality)
            )
        for name, image in awkward_pictures().items():
            path = room / f"{name}.png"
            image.save(path)
            batches.append(round_trip([path], room / f"{name}-work", options.quality))
    pictures = [picture for batch in batches for picture in batch.pictures]
    failed = sum(picture.problem is not None for picture in pictures)
    yield Measured(
        {
            **provenance(),
            "set": options.name,
            "quality": options.quality,
            "pictures": len(pictures),
            "failed": failed,
            "batches": [asdict(batch) for batch in batches],
        },
        [line(picture) for picture in pictures],
        failure=f"{failed} of {len(pictures)} pictures came back different" if failed else "",
    )
