"""Benchmarks of the rate-distortion measurement: `python -m benchmarks.measurement PART …`."""

import sys
from functools import partial

from benchmarks.harness.command import main as run_room

PARTS = {
    "linear": "how close the annealed curve comes to closed forms, and at what cost",
    "sandwich": "bounds from both sides on sources whose R(D) is known",
    "mnist": "R_p(D) of one generative model on MNIST, kept for mnist-comparison",
    "references": "local references against annealing from the prior, for results of mnist",
    "bound-time": "how long calotype bound takes on the example of README.md",
    "mnist-comparison": "which of the models measured by mnist is better at which rate",
    "ladder": "all rungs of one VAE's ladder, and where the bits of its files go",
    "rae-codec": "files of a regularised autoencoder beside its R_p(D)",
    "autoregressive": "nats and files of the autoregressive models of binary digits",
    "class-channel": "whether a label lowers the rate: R_p(D) and files with and without, and M2",
    "signals": "lossless files of speech and music, compared with FLAC",
    "samples-to-bits": "five ways from a VAE's posterior to bits",
}
main = partial(run_room, "measurement", PARTS)

if __name__ == "__main__":
    sys.exit(main())
