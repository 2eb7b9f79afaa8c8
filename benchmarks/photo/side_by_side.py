"""One photograph four times: the original, and its files of AVIF, JPEG XL and photo at equal bytes.

    python -m benchmarks.photo side-by-side [--bpp 0.2] [--picture coffee]
    python -m benchmarks.photo side-by-side --bpp 0.1 --realism 1 --output realism.json

With `--realism` the file of photo is drawn a second time, by the realistic decoder.

AVIF (speed 6, default tuning) gets the file nearest to the rate, and the others at most as many
bytes.  An enlarged part of the picture is written beside the result file as PNG.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence

from PIL import Image, ImageDraw, ImageFont

import codec
from benchmarks.harness.photographs import load_photograph
from benchmarks.harness.results import Measured, provenance
from benchmarks.photo.equal_bytes import files_of
from bitstream.arrays import Uint8Array
from codec.rate_distortion import psnr_db, ssimulacra2

SCHEMA, RESULT = "calotype.side_by_side/1", "side_by_side.json"
ENLARGE, GAP = 2, 8
LINE, FONT = 20, 14
"""Height of a line of text and of its letters, in pixels before they are enlarged."""
TITLES = {"avif": "AVIF", "jxl": "JPEG XL", "photo": "Calotype"}


def panels(
    pictures: Sequence[tuple[str, Uint8Array]],
    crop: tuple[int, int, int, int],
    enlarge: int = ENLARGE,
) -> Image.Image:
    """Pictures uint8 (h, w, 3) beside each other, cropped to (left, top, right, bottom), enlarged.

    The text below each is enlarged as well, because pages show the panels smaller.
    """
    label = LINE * enlarge * max(1 + text.count("\n") for text, _ in pictures)
    width, height = ((crop[2] - crop[0]) * enlarge, (crop[3] - crop[1]) * enlarge)
    sheet = Image.new("RGB", (len(pictures) * (width + GAP) - GAP, height + label), "white")
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT * enlarge)
    for number, (text, pixels) in enumerate(pictures):
        left = number * (width + GAP)
        part = Image.fromarray(pixels).crop(crop)
        sheet.paste(part.resize((width, height), Image.Resampling.NEAREST), (left, 0))
        write.text((left, height + 2), text, fill="black", font=font)
    return sheet


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--picture", default="coffee", help="a photograph of the package")
    parser.add_argument("--bpp", type=float, default=0.2, help="bits per pixel to aim at")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--realism", type=float, default=0, help="draw the file with it as well")
    parser.set_defaults(tune=None)
    parser.add_argument(
        "--crop", type=int, nargs=4, default=(190, 110, 400, 320), metavar="EDGE",
        help="left, top, right and bottom of what is shown",
    )  # fmt: skip


def run(options: Namespace) -> Iterator[Measured]:
    pixels = load_photograph(options.picture)
    area = pixels.shape[0] * pixels.shape[1]
    files = files_of(pixels, options.bpp, options)
    shown, rows = [(f"original\n{pixels.size:,} bytes", pixels)], []
    decoded_by = [(name, title, 0.0, *files[name]) for name, title in TITLES.items()]
    if options.realism:
        data = files["photo"][0]
        again = codec.decompress(data, as_="numpy", realism=options.realism)
        title = f"Calotype, realism {options.realism:g}"
        decoded_by.append(("photo", title, options.realism, data, again))
    for name, title, realism, data, decoded in decoded_by:
        size = len(data)
        score = float(ssimulacra2(pixels, decoded) or 0)
        shown.append((f"{title}\n{size:,} bytes, SSIMULACRA2 {score:.0f}", decoded))
        rows.append(
            {
                "codec": name,
                "realism": realism,
                "bytes": size,
                "rate_bpp": 8 * size / area,
                "psnr_db": psnr_db(pixels, decoded),
                "ssimulacra2": score,
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
            "effort": options.effort,
            "psnr": "of the whole picture, RGB in 0 .. 255",
            "files": rows,
        },
        [text.replace("\n", ", ") for text, _ in shown],
    )
