"""Whole files of the lossless model compared with JPEG XL, WebP and PNG, on all pictures of a set.

    python -m benchmarks.pixel lossless --data validation.tar --name gb82

Rates are bits of whole files per sub-pixel, which is a value of one colour. Every file is decoded
again, and the exit status is 1 if any picture differs. Seconds are CPU time of this process. For
the first few pictures, files are compared with −log₂ p of their content under the integer tables.
With --jpeg, pictures are first coded as JPEG files of that quality, like most photographs.
"""

from __future__ import annotations

import io
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

import codec
from benchmarks.harness.photographs import add_data
from benchmarks.harness.results import Measured, Report, load_average, provenance
from bitstream.arrays import Uint8Array
from codec.loading import load_model
from codec.models.pixel.coder import PixelCoder
from codec.rate_distortion import find_images

SCHEMA, RESULT = "calotype.lossless/1", "lossless_{name}.json"
TARGETS_PERCENT = {"webp": -8.0, "jxl": 2.0}
"""By how much files of the model may exceed these codecs' files of photographs."""
LIKELIHOOD = "−log₂ p of what is coded, by the integer tables"
TARGETS_OF_SCREENSHOTS = {"webp": 0.0}
"""The same for the set "screenshots"."""
DECODE_TARGET_SECONDS, DECODE_PIXELS = 6.0, 768 * 512
"""Time to decode a picture of that many pixels."""


def _jxl(pixels: Uint8Array) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpegxl_encode(pixels, lossless=True, effort=7, numthreads=1))


def _pillow(pixels: Uint8Array, image_format: str, **options: object) -> bytes:
    fo = io.BytesIO()
    Image.fromarray(pixels).save(fo, image_format, **options)
    return fo.getvalue()


PEERS: Mapping[str, tuple[str, Callable[[Uint8Array], bytes]]] = {
    "jxl": ("JPEG XL lossless, effort 7, imagecodecs", _jxl),
    "webp": (
        "WebP lossless, method 5, effort 100, Pillow",
        lambda pixels: _pillow(pixels, "WEBP", lossless=True, quality=100, method=5),
    ),
    "png": ("PNG, optimize, Pillow", lambda pixels: _pillow(pixels, "PNG", optimize=True)),
}


def likelihood_bytes(coder: PixelCoder, pixels: Uint8Array) -> float:
    """−log₂ p of a picture of one tile, uint8 (h, w, 3), in bytes."""
    return round(coder.code_length_bits(coder.analyze(pixels, 100)) / 8, 1)


def above_likelihood(rows: Sequence[Report]) -> float | None:
    """How far the bytes of files are above −log₂ p, in percent, for all pictures together."""
    if not rows:
        return None
    files, likelihoods = (
        float(sum(row[key] for row in rows)) for key in ("bytes", "likelihood_bytes")
    )
    return round(100 * (files / likelihoods - 1), 3)


def measure(pixels: Uint8Array, coder: PixelCoder | None = None) -> Report:
    """A row of the result: rates, seconds, and whether the decoded picture is equal.

    coder   for −log₂ p of the picture, which is not measured without it
    """
    begin = time.process_time()
    data = codec.compress(pixels, lossless=True)
    middle = time.process_time()
    decoded = codec.decompress(data, as_="numpy")
    end = time.process_time()
    rates = {"pixel": len(data)} | {name: len(code(pixels)) for name, (_, code) in PEERS.items()}
    row = {
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "bpsp": {name: round(8 * size / pixels.size, 4) for name, size in rates.items()},
        "encode_seconds": round(middle - begin, 2),
        "decode_seconds": round(end - middle, 2),
        "same": bool(np.array_equal(decoded, pixels)),
    }
    if coder is None:
        return row
    return {**row, "bytes": len(data), "likelihood_bytes": likelihood_bytes(coder, pixels)}


def summary(rows: Sequence[Report]) -> Report:
    """Means over pictures, and by how much the model's files exceed others', in percent."""
    means = {
        name: float(np.mean([row["bpsp"][name] for row in rows])) for name in ("pixel", *PEERS)
    }
    pixels = sum(row["height"] * row["width"] for row in rows)
    few = [row for row in rows if "likelihood_bytes" in row]
    return {
        "pictures": len(rows),
        "above_likelihood_percent": above_likelihood(few),
        "pictures_of_likelihood": len(few),
        "came_back_different": sum(not row["same"] for row in rows),
        "mean_bpsp": {name: round(mean, 4) for name, mean in means.items()},
        "more_than_percent": {
            name: round(100 * (means["pixel"] / means[name] - 1), 2) for name in PEERS
        },
        "seconds_for_768x512": {
            kind: round(sum(row[f"{kind}_seconds"] for row in rows) * DECODE_PIXELS / pixels, 2)
            for kind in ("encode", "decode")
        },
    }


def add_arguments(parser: ArgumentParser) -> None:
    add_data(parser)
    parser.add_argument("--jpeg", type=int, help="quality of JPEG files that pictures come from")
    parser.add_argument("--few", type=int, default=4, help="pictures of likelihood (4)")


def run(options: Namespace) -> Iterator[Measured]:
    coder = load_model("pixel", device="cpu")
    assert isinstance(coder, PixelCoder)
    targets = TARGETS_OF_SCREENSHOTS if options.name == "screenshots" else TARGETS_PERCENT
    rows: dict[str, Report] = {}
    for source in find_images(options.data)[: options.limit]:
        with Image.open(io.BytesIO(source.data())) as image:
            pixels = np.asarray(image.convert("RGB"))
        if options.jpeg is not None:
            data = _pillow(pixels, "JPEG", quality=options.jpeg)
            with Image.open(io.BytesIO(data)) as image:
                pixels = np.asarray(image.convert("RGB"))
        row = rows[source.name] = measure(pixels, coder if len(rows) < options.few else None)
        found = summary(list(rows.values()))
        different = found["came_back_different"]
        yield Measured(
            {
                **provenance(),
                "load_average": load_average(),
                "set": options.name,
                "jpeg_quality": options.jpeg,
                "weights": coder.weights_hash.hex(),
                "likelihood": LIKELIHOOD,
                "encoders": {name: title for name, (title, _) in PEERS.items()},
                "targets_percent": targets,
                "decode_target_seconds": DECODE_TARGET_SECONDS,
                **found,
                "rows": rows,
            },
            [f"{source.name}: {row}", str(found)],
            failure=f"{different} pictures came back different" if different else "",
        )
