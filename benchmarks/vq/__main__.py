"""Benchmarks of the codec of vector quantisation: `python -m benchmarks.vq PART …`.

All parts are stored in one result file under their name and that of the weights; parts that are not
measured again are kept.
"""

import sys
from functools import partial

from benchmarks.harness.command import main as run_room

PARTS = {"curve": "rate and distortion of files, beside other codecs at equal bytes"}
main = partial(run_room, "vq", PARTS)

if __name__ == "__main__":
    sys.exit(main())
