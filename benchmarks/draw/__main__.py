"""Benchmarks of DRAW: `python -m benchmarks.draw PART --weights FILE --data DATA …`.

All parts are kept in one result file under their name and that of the weights; what is not measured
again stays as it was.
"""

import sys
from functools import partial

from benchmarks.harness.command import main as run_room

PARTS = {
    "likelihood": "the negative ELBO of test images, and a tighter bound",
    "files": "bytes of files against the bits that their symbols should cost",
    "prefix": "files that break off, beside other codecs' of equal bytes",
    "sheet": "contact sheets of images after each layer",
    "rate": "R_p(D) beside the encoder and the files",
    "archive": "a lossless archive against its bound",
    "collapse": "remedies against codes that say nothing: nats and active units",
    "exactness": "whether symbols are the same wherever they are computed",
}
main = partial(run_room, "draw", PARTS)

if __name__ == "__main__":
    sys.exit(main())
