"""The photographs of README.md, with figures from the results that they belong to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from benchmarks.readme.tables import Content, load, section


def gallery_section(folder: Path) -> str:
    """The photographs of README.md, each with what it shows."""
    return section(
        picture_with(
            "side_by_side",
            "A part of a photograph: the original, and AVIF, JPEG XL and Calotype at equal bytes",
            "A part of a photograph at equal bytes. SSIMULACRA2 measures how similar a picture "
            "looks to the original, which itself scores 100.",
        ),
        *realism_picture(load(folder, "realism_kodak").get("rates")),
        *layers_picture(load(folder, "layers").get("gb82")),
    )


def picture_with(name: str, alternative: str, sentence: str) -> str:
    """A picture of `benchmarks/results`, with its alternative text and a sentence below it."""
    return f"![{alternative}](benchmarks/results/{name}.png)\\\n{sentence}"


def realism_picture(rates: Content | None) -> Iterator[str]:
    if not rates:
        return
    one = rates["0.1"]
    rows = {row["realism"]: row for row in one["decoded"]}
    plain, real, avif = rows[0.0], rows[1.0], one["peers"]["avif"]
    yield picture_with(
        "realism",
        "A part of a photograph: the original, AVIF and JPEG XL at equal bytes, and Calotype's "
        "file without and with realism",
        "`decompress --realism 1` adds plausible texture where small files lose it: fur, but not "
        f"the exact hairs that were there. On Kodak at {one['mean_bpp']:.1f} bits per pixel, "
        f"LPIPS, a perceptual distance, falls from {plain['mean_lpips']:.3f} to "
        f"{real['mean_lpips']:.3f} (AVIF: {avif['mean_lpips']:.3f}), at the cost of "
        f"{plain['mean_psnr_db'] - real['mean_psnr_db']:.2f} dB of PSNR.",
    )


def layers_picture(part: Content | None) -> Iterator[str]:
    if not part:
        return
    found = part["quality 75"]
    half, second = found["half_of_the_bytes"], found["layers"][1]

    def scores(row: Content) -> list[str]:
        return [f"{row[f'{name}_ssimulacra2']:.0f}" for name in ("photo", "jxl", "jpeg")]

    (ours, jxl, jpeg), (ours_later, jxl_later, jpeg_later) = scores(half), scores(second)
    yield picture_with(
        "layers",
        "A photograph after each of four layers of a file, and files of JPEG XL and JPEG that are "
        "cut after as many bytes",
        "What `decompress --partial` draws from a file that is cut after its first, second, third "
        "or last layer, beside progressive JPEG XL and JPEG files that are cut at equal bytes. On "
        f"{len(found['pictures'])} pictures of gb82 at quality 75, SSIMULACRA2 is {ours} after "
        f"half of the bytes (JPEG XL: {jxl}, JPEG: {jpeg}), and {ours_later} after "
        f"{100 * second['share']:.0f} % (JPEG XL: {jxl_later}, JPEG: {jpeg_later}).",
    )
