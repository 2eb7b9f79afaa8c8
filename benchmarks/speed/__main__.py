"""Benchmarks of time and memory: `python -m benchmarks.speed PART …`."""

import sys
from functools import partial

from benchmarks.harness.command import main as run_room

PARTS = {
    "wall-time": "encoding and decoding a photograph, beside AVIF and CompressAI",
    "start-up": "whole commands in new processes",
    "install": "time and disk space of the README's demonstration on a fresh machine",
    "entropy-coding": "size and speed of the entropy coder",
    "large-images": "memory, seams, and bytes read for a region",
    "mutations": "mutated files of all models: errors, time and memory",
    "round-trip": "every picture of a set through the command line and back",
}
main = partial(run_room, "speed", PARTS)

if __name__ == "__main__":
    sys.exit(main())
