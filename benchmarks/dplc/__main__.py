"""Benchmarks of the distribution-preserving codec: `python -m benchmarks.dplc PART …`.

All parts are stored in one result file under their name and that of the weights; parts that are not
measured again are kept.
"""

import sys
from functools import partial

from benchmarks.harness.command import main as run_room

PARTS = {
    "gaussian": "Gaussian numbers, whose optimum is known in closed form",
    "trellis": "the same numbers in real bytes, by vector quantisation",
    "rates": "error, realism, variety and bytes at each rate",
    "samples": "Fréchet distances of samples of generators",
    "sheet": "contact sheets of the rates, and of several decodings of one file",
    "rate": "R_p(D) of the generator beside the files",
    "probes": "content that codecs invent at low rates, on images of dots and pies",
}
main = partial(run_room, "dplc", PARTS)

if __name__ == "__main__":
    sys.exit(main())
