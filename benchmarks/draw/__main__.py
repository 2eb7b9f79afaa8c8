"""Benchmarks of DRAW: `python -m benchmarks.draw PART --weights FILE --data DATA …`.

All parts are stored in one result file under their name and that of the weights; parts that are not
measured again are kept.
"""

import sys
from functools import partial

from benchmarks.harness.command import main as run_room

PARTS = {
    "likelihood": "the negative ELBO of test images, and a tighter bound",
    "files": "sizes of files compared with their ideal code length",
    "prefix": "files cut after each layer, compared with other codecs at equal bytes",
    "sheet": "contact sheets of images after each layer",
    "rate": "R_p(D) beside the encoder and the files",
    "reference": "how far Gaussians of several structures are from the posterior of a code",
    "archive": "size of a lossless archive compared with its bound",
    "collapse": "remedies against posterior collapse: nats and active units",
    "exactness": "whether threads, order of summation and integers give the same symbols",
}
main = partial(run_room, "draw", PARTS)

if __name__ == "__main__":
    sys.exit(main())
