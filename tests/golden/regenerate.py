"""Add golden cases: `python -m tests.golden.regenerate NAME`. Never changes one that exists.

A case is a `.calo` file, the PNG to which it decoded, and a JSON file with the digest of its
symbols; a case of signals is a `.signal` file with the samples as `.npy`. The weights with which it
was written are beside it, because a golden file must decode for ever. Each module beside this one
has the cases of a family.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from codec import loading
from tests.golden import autoregressive, digits, dplc, draw, draw_archive, photo, pixel, signal, vq

FOLDER = Path(__file__).resolve().parent
WRITERS = (
    (photo.CASES, photo.write_photo_case),
    (digits.CASES, digits.write_digits_case),
    (draw.CASES, draw.write_draw_case),
    (draw_archive.CASES, draw_archive.write_archive_case),
    (dplc.CASES, dplc.write_dplc_case),
    (vq.CASES, vq.write_vq_case),
    (autoregressive.CASES, autoregressive.write_autoregressive_case),
    (signal.CASES, signal.write_signal_case),
    ((*pixel.CASES, *pixel.MAX_ERRORS), pixel.write_pixel_case),
)


def main(name: str) -> int:
    paths = [FOLDER / f"{name}{suffix}" for suffix in (".calo", ".signal", ".png", ".json")]
    if any(path.exists() for path in paths):
        print(f"{name} exists: golden files are never written again", file=sys.stderr)
        return 1
    for cases, write in WRITERS:
        if name in cases:
            os.environ[loading.ENVIRONMENT_VARIABLE] = str(FOLDER)
            write(name, FOLDER)
            return 0
    print(f"no case is called {name}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
