"""Contact sheets: what images look like when their file breaks off after each layer.

One row an image, one column a layer; the original comes first, and the bytes stand below.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from benchmarks.harness.small_images import DrawModel, Uint8Array, decode_prefixes, write_file
from codec.datasets.arrays import Images

ENLARGE = 4
GAP, LABEL = 4, 12
PAPER, INK = "white", "black"


def contact_sheet(
    originals: list[Uint8Array], columns: list[list[Uint8Array]], labels: list[list[str]]
) -> Image.Image:
    """Rows of an original and what was decoded, each picture enlarged, with a label below."""
    side = originals[0].shape[0] * ENLARGE
    across, down = side + GAP, side + LABEL + GAP
    size = (GAP + across * (1 + len(columns[0])), GAP + down * len(originals))
    sheet = Image.new("RGB", size, PAPER)
    write, font = ImageDraw.Draw(sheet), ImageFont.load_default(10)
    for row, (original, decoded, texts) in enumerate(zip(originals, columns, labels, strict=True)):
        top = GAP + down * row
        for column, (pixels, text) in enumerate(
            zip([original, *decoded], ["original", *texts], strict=True)
        ):
            left = GAP + across * column
            picture = Image.fromarray(pixels).resize((side, side), Image.Resampling.NEAREST)
            sheet.paste(picture, (left, top))
            write.text((left, top + side), text, fill=INK, font=font)
    return sheet


def draw_contact_sheets(
    model: DrawModel, images: Images, output: Path, *, quality: float = 75, seed: int = 0
) -> dict[str, Any]:
    """The part `sheet`: OUTPUT-mean.png and OUTPUT-sampled.png, of images uint8 (n, 3, s, s)."""
    coder = model.file_coder()
    pictures = [np.ascontiguousarray(image.transpose(1, 2, 0)) for image in images]
    files = [write_file(coder, picture, quality) for picture in pictures]
    labels = [[f"{end} bytes" for end in file.layer_ends] for file in files]
    output.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for name, chosen in (("mean", None), ("sampled", seed)):
        decoded = [
            list(decode_prefixes(coder, file, None if chosen is None else chosen + number))
            for number, file in enumerate(files)
        ]
        path = output.with_name(f"{output.stem}-{name}.png")
        contact_sheet(pictures, decoded, labels).save(path, optimize=True)
        written.append(path.name)
    return {
        "model": model.name,
        "weights_sha256": model.weights_sha256,
        "quality": quality,
        "images": len(images),
        "seed": seed,
        "files": written,
        "found": {"mean_bytes_of_each_prefix": _means([file.layer_ends for file in files])},
    }


def _means(ends: list[tuple[int, ...]]) -> list[float]:
    return [round(float(value), 2) for value in np.mean(ends, axis=0)]
