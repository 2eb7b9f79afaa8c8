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
    "realism": "error and realism with several --realism",
    "exactness": "whether files parse alike in other versions, threads and arithmetic",
    "compressai": "checkpoints of CompressAI in .calo files beside its own files",
    "layers": "what a file shows after each layer, beside progressive JPEG XL and JPEG",
    "previews": "pictures of --reduce beside the whole picture: nearness, and time",
    "roi": "what a region of interest gains at equal bytes",
    "side-by-side": "a picture of the original, AVIF, JPEG XL and photo at equal bytes",
}
main = partial(run_room, "photo", PARTS)

if __name__ == "__main__":
    sys.exit(main())
