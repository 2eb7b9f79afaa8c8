"""Benchmarks of the pixel models: `python -m benchmarks.pixel PART …`."""

import sys
from functools import partial

from benchmarks.harness.command import main as run_room

PARTS = {
    "lossless": "bits of whole files beside JPEG XL, WebP and PNG, and the time that they take",
    "near_lossless": "bits of whole files at four bounds beside JPEG-LS and simpler closed loops",
}
main = partial(run_room, "pixel", PARTS)

if __name__ == "__main__":
    sys.exit(main())
