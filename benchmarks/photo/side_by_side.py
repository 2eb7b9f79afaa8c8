"""One photograph three times: the original, and its files of AVIF and photo at equal bytes.

    python -m benchmarks.photo side-by-side [--bpp 0.2] [--picture coffee]

AVIF gets the file that comes nearest to the rate, photo then as many bytes as that at most.  A part
of the picture, enlarged, is drawn beside the result file as PNG.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator

from PIL import Image, ImageDraw, ImageFont

import codec
from benchmarks.harness.photographs import load_photograph, nearest_quality
from benchmarks.harness.results import Measured, provenance
from bitstream.arrays import Uint8Array
from codec.rate_distortion import find_codec, psnr_db

SCHEMA, RESULT = "calotype.side_by_side/1", "side_by_side.json"
ENLARGE, GAP, LABEL = 2, 8, 22


def panels(pictures: list[tuple[str, Uint8Array]], crop: tuple[int, int, int, int]) -> Image.Image:
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


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--picture", default="coffee", help="a photograph of the package")
    parser.add_argument("--bpp", type=float, default=0.2, help="bits per pixel to aim at")
    parser.add_argument("--effort", type=int, default=9)
    parser.add_argument(
        "--crop", type=int, nargs=4, default=(180, 100, 420, 340), metavar="EDGE",
        help="left, top, right and bottom of what is shown",
    )  # fmt: skip


def run(options: Namespace) -> Iterator[Measured]:
    pixels = load_photograph(options.picture)
    area = pixels.shape[0] * pixels.shape[1]
    peer = find_codec("avif")
    quality = nearest_quality(lambda q: peer.encode(pixels, q), round(options.bpp * area / 8))
    avif = peer.encode(pixels, quality)
    ours = codec.compress(pixels, size=len(avif), effort=options.effort)
    files = [
        ("AVIF", "avif", f"q {quality}", avif, peer.decode(avif)),
        ("Calotype", "calotype", f"effort {options.effort}", ours,
         codec.decompress(ours, as_="numpy")),
    ]  # fmt: skip
    shown, rows = [(f"original, {pixels.size:,} bytes", pixels)], []
    for title, name, setting, data, decoded in files:
        decibels = psnr_db(pixels, decoded)
        shown.append((f"{title}, {len(data):,} bytes, {decibels:.2f} dB", decoded))
        rows.append(
            {
                "codec": name,
                "setting": setting,
                "bytes": len(data),
                "rate_bpp": 8 * len(data) / area,
                "psnr_db": decibels,
            }
        )
    options.output.parent.mkdir(parents=True, exist_ok=True)
    panels(shown, tuple(options.crop)).save(options.output.with_suffix(".png"), optimize=True)
    yield Measured(
        {
            "provenance": provenance(),
            "picture": options.picture,
            "width": pixels.shape[1],
            "height": pixels.shape[0],
            "psnr": "of the whole picture, RGB in 0 .. 255",
            "files": rows,
        },
        [text for text, _ in shown],
    )
