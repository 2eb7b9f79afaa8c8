"""Contact sheets: a row for each image, with the original first, then the decoded images."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from bitstream.arrays import Uint8Array

ENLARGE = 4
GAP, LABEL = 4, 12
PAPER, INK = "white", "black"


def contact_sheet(
    originals: list[Uint8Array], columns: list[list[Uint8Array]], labels: list[list[str]]
) -> Image.Image:
    """Rows of an original and its decoded images, each enlarged, with a label below."""
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
