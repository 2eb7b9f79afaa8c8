"""Whole nearly lossless files compared with JPEG-LS, a simple closed loop, and photo + residual.

    python -m benchmarks.pixel near_lossless --data validation.tar --name gb82

Rates are bits of whole files per sub-pixel, which is a value of one colour. Every file is decoded
again, and the exit status is 1 if a pixel value is outside the bound. Seconds are CPU time of this
process. The median predictor has no files, see `benchmarks.pixel.closed_loop`. The last alternative
is a file of photo, tuned for PSNR, and the picture's difference from it, coded as a picture by the
same model; this is measured on a square in the middle of each picture.
"""

from __future__ import annotations

import io
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

import codec
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, Report, load_average, provenance
from benchmarks.pixel.closed_loop import med_bits
from benchmarks.pixel.lossless import (
    DECODE_PIXELS,
    LIKELIHOOD,
    above_likelihood,
    likelihood_bytes,
)
from bitstream.arrays import Uint8Array
from codec.loading import load_model
from codec.models.pixel.coder import NearLosslessCoder
from codec.rate_distortion import find_images

SCHEMA, RESULT = "calotype.near-lossless/1", "near_lossless_{name}.json"
BOUNDS = (1, 2, 4, 8)
TARGETS_PERCENT = {1: 2.0, 2: -9.0, 4: -25.0, 8: -39.0}
"""By how much files may exceed a closed loop with the median predictor."""
PHOTO_QUALITIES = (25, 50, 75)
SQUARE = 240


def jpeg_ls(pixels: Uint8Array, max_error: int) -> int:
    """Bytes of JPEG-LS with the same bound."""
    import imagecodecs

    data = imagecodecs.jpegls_encode(pixels, level=max_error)
    found = largest_error(imagecodecs.jpegls_decode(data), pixels)
    if found > max_error:
        raise ArithmeticError(f"JPEG-LS with the bound {max_error} was {found} off")
    return len(data)


def largest_error(decoded: Uint8Array, pixels: Uint8Array) -> int:
    return int(np.abs(decoded.astype(np.int32) - pixels).max())


def measure(pixels: Uint8Array, max_error: int, coder: NearLosslessCoder) -> Report:
    """Rates of a picture at one bound, in bits per sub-pixel, and the error of its decoded file."""
    begin = time.process_time()
    data = codec.compress(pixels, max_error=max_error)
    middle = time.process_time()
    decoded = codec.decompress(data, as_="numpy")
    end = time.process_time()
    bits = {
        "near-lossless": 8 * len(data),
        "jpeg-ls": 8 * jpeg_ls(pixels, max_error),
        "median predictor, ideal": med_bits(pixels, max_error),
    }
    return {
        "bpsp": {name: round(found / pixels.size, 4) for name, found in bits.items()},
        "largest_error": largest_error(decoded, pixels),
        "encode_seconds": round(middle - begin, 2),
        "decode_seconds": round(end - middle, 2),
        "bytes": len(data),
        "likelihood_bytes": likelihood_bytes(coder.with_max_error(max_error), pixels),
    }


def with_photo(pixels: Uint8Array) -> Report:
    """Bits per sub-pixel of the middle, by bound: alone, and as photo files with a residual."""
    top, left = ((side - min(side, SQUARE)) // 2 for side in pixels.shape[:2])
    middle = np.ascontiguousarray(pixels[top : top + SQUARE, left : left + SQUARE])

    def bits(image: Uint8Array, first_bytes: int = 0) -> dict[str, float]:
        sizes = {n: first_bytes + len(codec.compress(image, max_error=n)) for n in BOUNDS}
        return {str(n): round(8 * size / image.size, 4) for n, size in sizes.items()}

    first = {}
    for quality in PHOTO_QUALITIES:
        data = codec.compress(middle, quality=quality, tune="psnr")
        photo = codec.decompress(data, as_="numpy")
        # Hardly any difference is larger, and clipping it favours this alternative.
        difference = np.clip(middle.astype(np.int32) - photo + 128, 0, 255).astype(np.uint8)
        first[str(quality)] = bits(difference, len(data))
    return {"alone": bits(middle), "photo": first}


def summary(rows: Sequence[Report]) -> Report:
    """By bound: means over pictures, and by how much files exceed others', in percent."""
    pixels = sum(row["height"] * row["width"] for row in rows)
    found: Report = {"pictures": len(rows), "bounds": {}}
    for bound in map(str, BOUNDS):
        parts = [row["bounds"][bound] for row in rows]
        means = {
            name: float(np.mean([part["bpsp"][name] for part in parts]))
            for name in parts[0]["bpsp"]
        }
        alone = np.mean([row["with_photo"]["alone"][bound] for row in rows])
        found["bounds"][bound] = {
            "beyond_the_bound": sum(part["largest_error"] > int(bound) for part in parts),
            "above_likelihood_percent": above_likelihood(parts),
            "mean_bpsp": {name: round(mean, 4) for name, mean in means.items()},
            "more_than_percent": {
                name: round(100 * (means["near-lossless"] / mean - 1), 2)
                for name, mean in means.items()
                if name != "near-lossless"
            },
            "photo_first_costs_percent": {
                quality: round(100 * float(np.mean(
                    [row["with_photo"]["photo"][quality][bound] for row in rows]
                ) / alone - 1), 2)
                for quality in map(str, PHOTO_QUALITIES)
            },
            "seconds_for_768x512": {
                kind: round(
                    sum(part[f"{kind}_seconds"] for part in parts) * DECODE_PIXELS / pixels, 2
                )
                for kind in ("encode", "decode")
            },
        }  # fmt: skip
    return found


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)


def run(options: Namespace) -> Iterator[Measured]:
    coder = load_model("near-lossless", device="cpu")
    assert isinstance(coder, NearLosslessCoder)
    rows: dict[str, Report] = {}
    for source in find_images(options.data)[: options.limit]:
        with Image.open(io.BytesIO(source.data())) as image:
            pixels = np.asarray(image.convert("RGB"))
        row = rows[source.name] = {
            "height": pixels.shape[0],
            "width": pixels.shape[1],
            "bounds": {str(bound): measure(pixels, bound, coder) for bound in BOUNDS},
            "with_photo": with_photo(pixels),
        }
        found = summary(list(rows.values()))
        broken = sum(part["beyond_the_bound"] for part in found["bounds"].values())
        yield Measured(
            {
                **provenance(),
                "load_average": load_average(),
                "set": options.name,
                "weights": coder.weights_hash.hex(),
                "likelihood": LIKELIHOOD,
                "targets_percent": {str(n): target for n, target in TARGETS_PERCENT.items()},
                **found,
                "rows": rows,
            },
            [f"{source.name}: {row}", str(found)],
            failure=f"{broken} files were further off than their bounds" if broken else "",
        )
