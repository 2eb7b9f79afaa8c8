"""One photograph three times: the original, and its files of AVIF and photo at equal bytes.

    python benchmarks/photo/side_by_side.py [--bpp 0.2] [--picture coffee]

AVIF gets the file that comes nearest to the rate, photo then as many bytes as that at most.  Writes
`benchmarks/results/side_by_side.png`, a part of the picture enlarged, and `side_by_side.json`.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

import codec
from benchmarks.harness.provenance import provenance
from codec.cli.demo import DemoFile, load_picture, nearest_in_size
from codec.rate_distortion import find_codec, psnr_db
from codec.rate_distortion.files.result_file import format_json, write_text

RESULTS = Path(__file__).resolve().parents[1] / "results"
SCHEMA = "calotype.side_by_side/1"
ENLARGE, GAP, LABEL = 2, 8, 22

Pixels = NDArray[np.uint8]


def panels(pictures: list[tuple[str, Pixels]], crop: tuple[int, int, int, int]) -> Image.Image:
    """Pictures uint8 (h, w, 3) beside each other, cut to (left, top, right, bottom), enlarged."""
    width, height = ((crop[2] - crop[0]) * ENLARGE, (crop[3] - crop[1]) * ENLARGE)
    sheet = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height + LABEL), "white")
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for number, (text, pixels) in enumerate(pictures):
        left = number * (width + GAP)
        part = Image.fromarray(pixels).crop(crop)
        sheet.paste(part.resize((width, height), Image.Resampling.NEAREST), (left, 0))
        write.text((left, height + 2), text, fill="black", font=font)
    return sheet


def at_most(pixels: Pixels, size: int, effort: int) -> DemoFile:
    """The file of photo that comes nearest to `size` bytes from below."""
    data = codec.compress(pixels, size=size, effort=effort)
    decoded = np.asarray(codec.decompress(data, as_="numpy"))
    return DemoFile("calotype", f"effort {effort}", data, decoded)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--picture", default="coffee", help="of those of the demonstration")
    parser.add_argument("--bpp", type=float, default=0.2, help="bits per pixel to aim at")
    parser.add_argument("--effort", type=int, default=9)
    parser.add_argument(
        "--crop", type=int, nargs=4, default=(180, 100, 420, 340), metavar="EDGE",
        help="left, top, right and bottom of what is shown",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=RESULTS / "side_by_side.png")
    options = parser.parse_args()

    pixels = load_picture(options.picture)
    area = pixels.shape[0] * pixels.shape[1]
    avif = nearest_in_size(find_codec("avif"), pixels, round(options.bpp * area / 8))
    ours = at_most(pixels, len(avif.data), options.effort)
    rows = [(file, psnr_db(pixels, file.pixels)) for file in (avif, ours)]
    shown = [(f"original, {pixels.size:,} bytes", pixels)]
    shown += [
        (f"{name}, {len(file.data):,} bytes, {decibels:.2f} dB", file.pixels)
        for name, (file, decibels) in zip(("AVIF", "Calotype"), rows, strict=True)
    ]
    data = io.BytesIO()
    panels(shown, tuple(options.crop)).save(data, "PNG", optimize=True)
    options.output.write_bytes(data.getvalue())
    found = {
        "schema": SCHEMA,
        "provenance": provenance(),
        "picture": options.picture,
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "psnr": "of the whole picture, RGB in 0 .. 255",
        "files": [
            {
                "codec": file.codec,
                "setting": file.setting,
                "bytes": len(file.data),
                "rate_bpp": 8 * len(file.data) / area,
                "psnr_db": decibels,
            }
            for file, decibels in rows
        ],
    }
    write_text(options.output.with_suffix(".json"), format_json(found) + "\n")
    for text, _ in shown:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
