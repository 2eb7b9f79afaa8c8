"""Put the figures of `benchmarks/results` between the marks in RESULTS.md and README.md.

python -m benchmarks.readme            rewrites the tables
python -m benchmarks.readme --check    exits with 1 if a table does not match the results
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.harness.results import RESULTS, ROOT
from benchmarks.readme.dplc import dplc_section
from benchmarks.readme.draw import draw_section
from benchmarks.readme.gallery import gallery_section
from benchmarks.readme.measurement import measurement_section
from benchmarks.readme.photo import (
    headline_section,
    layers_section,
    photo_section,
    realism_section,
)
from benchmarks.readme.pixel import near_lossless_section, pixel_section
from benchmarks.readme.vq import vq_section

Sections = Mapping[str, Callable[[Path], str]]

PAGES: dict[Path, Sections] = {
    ROOT / "README.md": {"gallery": gallery_section, "figures": headline_section},
    ROOT / "benchmarks" / "RESULTS.md": {
        "figures": photo_section,
        "realism": realism_section,
        "layers": layers_section,
        "lossless": pixel_section,
        "near-lossless": near_lossless_section,
        "draw": draw_section,
        "dplc": dplc_section,
        "vq": vq_section,
        "measurement": measurement_section,
    },
}
"""For each page, what makes the text between `<!-- NAME -->` and `<!-- /NAME -->`."""


def filled(text: str, sections: Sections, folder: Path = RESULTS) -> str:
    """The text with every section made afresh."""
    for name, make in sections.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = text.split(begin)
        _, after = rest.split(end)
        text = f"{before}{begin}{make(folder)}\n{end}{after}"
    return text


def main(words: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(
        prog="python -m benchmarks.readme",
        description=__doc__,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="only compare, change nothing")
    is_check = parser.parse_args(words).check
    different = 0
    for page, sections in PAGES.items():
        text = page.read_text("utf-8")
        wanted = filled(text, sections)
        if is_check and wanted != text:
            print(f"{page.name} does not match the figures of benchmarks/results", file=sys.stderr)
            different = 1
        elif not is_check:
            page.write_text(wanted, "utf-8")
    return different


if __name__ == "__main__":
    sys.exit(main())
