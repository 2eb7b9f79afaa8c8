"""Benchmarks of the photo model: `python -m benchmarks.photo PART …`."""

import sys
from functools import partial

from benchmarks.harness.command import main as run_room

PARTS = {
    "rate-distortion": "curves of photo and its peers on a set of pictures, with BD-rates",
    "visual": "rate against other codecs at equal SSIMULACRA2, and at equal PSNR",
    "equal-bytes": "MS-SSIM, Butteraugli and LPIPS beside AVIF and JPEG XL at equal bytes",
    "effort": "rate saved and time spent by higher efforts",
    "ablations": "rate saved by each part of the model",
    "realism": "error and realism at several values of --realism",
    "exactness": "whether files decode alike with other versions, threads and arithmetic",
    "compressai": "CompressAI checkpoints: .calo files beside CompressAI's own files",
    "layers": "what a file shows after each layer, beside progressive JPEG XL and JPEG",
    "previews": "previews of --reduce compared with the whole picture: PSNR and time",
    "training-time": "how much longer training helps",
    "roi": "how much a region of interest gains at equal bytes",
    "pattern": "the error that all blocks have in common, beside AVIF and JPEG XL",
    "side-by-side": "a picture of the original, AVIF, JPEG XL and photo at equal bytes",
}
main = partial(run_room, "photo", PARTS)

if __name__ == "__main__":
    sys.exit(main())
