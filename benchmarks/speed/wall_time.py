"""Wall time of encoding and decoding a photograph: photo, AVIF and two codecs of CompressAI.

    python -m benchmarks.speed wall-time --threads 2 --rounds 9

Everything is loaded before the clock starts, and all coders take turns, so that a busy moment of
the machine affects all of them. AVIF is Pillow's, 4:4:4 at speed 6 unless an option says otherwise,
at the quality whose file is nearest in size to photo's. CompressAI's codecs have random weights:
the arithmetic is the same, and their latents are cheaper to code than trained ones, which favours
them. The large picture is coded fewer times, and not by cheng2020-anchor, whose decoder takes
minutes for it. With `--only-avif`, AVIF is the only peer.
"""

from __future__ import annotations

import io
import statistics
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness.photographs import nearest_quality, shipped_photo, tiled_photo
from benchmarks.harness.results import Measured, load_average, provenance
from bitstream.arrays import Uint8Array
from bitstream.errors import CalotypeError, UsageError
from codec.rate_distortion import find_codec
from codec.rate_distortion.errors import MissingExtraError

SCHEMA, RESULT = "calotype.speed/4", "speed.json"
WIDTH, HEIGHT = 768, 512
LARGE_WIDTH, LARGE_HEIGHT = 4000, 3000
PHOTO, AVIF = "photo", "avif"
MEAN, CHENG = "compressai mbt2018-mean", "compressai cheng2020-anchor"
TARGETS = {
    "decode_times_avif": ("at most", 8.0),
    "encode_times_avif": ("at most", 0.5),
    "times_faster_than_mbt2018_mean": ("at least", 10.0),
    "times_faster_than_cheng2020_anchor": ("at least", 10.0),
}

Coder = Callable[[Uint8Array], tuple[float, float, int]]
"""Codes pixels once: seconds to encode, seconds to decode, bytes in between."""
Times = dict[str, dict[str, Any]]


def photo_coder(quality: float, device: str) -> Coder:
    """The photo model through the library, from pixels to a file and back."""
    from codec import api

    return _timed(
        PHOTO,
        lambda pixels: api.compress(pixels, quality=quality, device=device),
        lambda data: api.decompress(data, as_="numpy", device=device),
    )


def _timed(
    name: str, encode: Callable[[Uint8Array], bytes], decode: Callable[[bytes], Uint8Array]
) -> Coder:
    def code(pixels: Uint8Array) -> tuple[float, float, int]:
        started = time.perf_counter()
        data = encode(pixels)
        encoded = time.perf_counter()
        decoded = decode(data)
        finished = time.perf_counter()
        if decoded.shape != pixels.shape:
            raise CalotypeError(f"{name} gave back {decoded.shape}, expected {pixels.shape}")
        return encoded - started, finished - encoded, len(data)

    return code


def avif_coder(pixels: Uint8Array, size_bytes: int, threads: int, speed: int = 6) -> Coder:
    """Pillow's AVIF at the integer quality whose file of these pixels is nearest in size."""

    def encode(pixels: Uint8Array, quality: int) -> bytes:
        data = io.BytesIO()
        settings = {"subsampling": "4:4:4", "speed": speed, "codec": "aom", "max_threads": threads}
        Image.fromarray(pixels).save(data, "AVIF", quality=quality, **settings)
        return data.getvalue()

    quality = nearest_quality(lambda quality: encode(pixels, quality), size_bytes)

    def decode(data: bytes) -> Uint8Array:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image)

    return _timed("AVIF", lambda pixels: encode(pixels, quality), decode)


def compressai_coder(name: str, quality: int, device: str) -> Coder:
    """A codec of CompressAI with random weights, from pixels to strings and back."""
    try:
        from compressai.zoo import image_models
    except ImportError as error:
        raise MissingExtraError("the peer of this benchmark", "compressai", "bench") from error
    import torch
    from torch.nn import functional as F

    torch.manual_seed(0)
    architecture = image_models[name]
    model = architecture(quality=quality, metric="mse", pretrained=False).eval().to(device)
    model.update()

    def code(pixels: Uint8Array) -> tuple[float, float, int]:
        height, width = pixels.shape[:2]
        with torch.inference_mode():
            started = time.perf_counter()
            tensor = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().div(255)
            padded = F.pad(tensor.to(device), (0, -width % 64, 0, -height % 64))
            coded = model.compress(padded)
            encoded = time.perf_counter()
            output = model.decompress(coded["strings"], coded["shape"])["x_hat"]
            output = output[0, :, :height, :width]
            rounded = output.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).cpu().numpy()
            finished = time.perf_counter()
        if rounded.shape != pixels.shape:
            raise CalotypeError(f"the peer gave back {rounded.shape}, expected {pixels.shape}")
        size_bytes = sum(
            len(string) for strings in coded["strings"] for string in _all_bytes(strings)
        )
        return encoded - started, finished - encoded, size_bytes

    return code


def _all_bytes(strings: Any) -> list[bytes]:
    return [strings] if isinstance(strings, bytes) else [b for s in strings for b in _all_bytes(s)]


def measure(
    coders: Mapping[str, Coder], pixels: Uint8Array, rounds: int, warm_up: int = 2
) -> Times:
    """Let the coders take turns for `rounds` rounds, after `warm_up` that are not counted."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in coders}
    sizes: dict[str, int] = {}
    for turn in range(-warm_up, rounds):
        for name, code in coders.items():
            encode_seconds, decode_seconds, sizes[name] = code(pixels)
            if turn >= 0:
                times[name].append((encode_seconds, decode_seconds))
    return {
        name: {
            "median_encode_seconds": round(statistics.median(e for e, _ in pairs), 5),
            "median_decode_seconds": round(statistics.median(d for _, d in pairs), 5),
            "median_total_seconds": round(statistics.median(e + d for e, d in pairs), 5),
            "coded_bytes": sizes[name],
            "encode_seconds": [round(e, 5) for e, _ in pairs],
            "decode_seconds": [round(d, 5) for _, d in pairs],
        }
        for name, pairs in times.items()
    }


def ratios(measured: Times) -> dict[str, dict[str, Any]]:
    """Photo's time relative to each measured peer, and whether the target is met."""

    def share(time: str, one: str, other: str) -> float | None:
        if one not in measured or other not in measured:
            return None
        key = f"median_{time}_seconds"
        return round(float(measured[one][key] / measured[other][key]), 3)

    values = {
        "decode_times_avif": share("decode", PHOTO, AVIF),
        "encode_times_avif": share("encode", PHOTO, AVIF),
        "times_faster_than_mbt2018_mean": share("total", MEAN, PHOTO),
        "times_faster_than_cheng2020_anchor": share("total", CHENG, PHOTO),
    }
    found: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        sense, target = TARGETS[name]
        if value is not None:
            met = value <= target if sense == "at most" else value >= target
            found[name] = {"measured": value, sense.replace(" ", "_"): target, "met": met}
    return found


def measure_picture(
    pixels: Uint8Array, options: Namespace, rounds: int, warm_up: int, peers: list[str]
) -> dict[str, Any]:
    """The entry of one picture in the result."""
    coders: dict[str, Coder] = {PHOTO: photo_coder(options.quality, options.device)}
    size_bytes = coders[PHOTO](pixels)[2]
    coders[AVIF] = avif_coder(pixels, size_bytes, options.threads, options.avif_speed)
    for name in peers:
        architecture = name.removeprefix("compressai ")
        coders[name] = compressai_coder(architecture, options.peer_quality, options.device)
    busy_before = load_average()
    measured = measure(coders, pixels, rounds, warm_up)
    return {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "rounds": rounds,
        "load_average_before": busy_before,
        "ratios": ratios(measured),
        "measured": measured,
    }


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9, help="counted rounds, at least 7")
    parser.add_argument("--large-rounds", type=int, default=3, help="of the large picture, or 0")
    parser.add_argument("--quality", type=float, default=50, help="quality of photo, 1..100")
    parser.add_argument("--avif-speed", type=int, default=6, help="of AVIF's encoder, 0..10")
    parser.add_argument("--only-avif", action="store_true", help="leave CompressAI's codecs out")
    parser.add_argument("--peer-quality", type=int, default=4, help="size of CompressAI's, 1..6")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))


def run(options: Namespace) -> Iterator[Measured]:
    if options.rounds < 7:
        raise UsageError(f"{options.rounds} rounds: a median of fewer than 7 says little")

    import torch

    torch.set_num_threads(options.threads)
    peers = [] if options.only_avif else [MEAN, CHENG]
    small = shipped_photo(WIDTH, HEIGHT)
    pictures = [measure_picture(small, options, options.rounds, 2, peers)]
    if options.large_rounds:
        large = tiled_photo(LARGE_WIDTH, LARGE_HEIGHT)
        pictures.append(measure_picture(large, options, options.large_rounds, 1, peers[:1]))
    about = f"scikit-image's coffee, resampled to {WIDTH}×{HEIGHT}; the large one repeats it"
    yield Measured(
        {
            **provenance(),
            "image": about,
            "threads": options.threads,
            "device": options.device,
            "avif_speed": options.avif_speed,
            "photo_weights": find_codec(PHOTO).weights(),
            "photo_quality": options.quality,
            "peer_quality": options.peer_quality,
            "peer_weights": "random",
            "pictures": pictures,
        },
        [line for picture in pictures for line in lines_of(picture)],
    )


def lines_of(picture: dict[str, Any]) -> list[str]:
    lines = [f"{picture['width']}×{picture['height']}:"]
    for name, row in picture["measured"].items():
        lines.append(
            f"  {name}: encode {1000 * row['median_encode_seconds']:.1f} ms, "
            f"decode {1000 * row['median_decode_seconds']:.1f} ms, {row['coded_bytes']} bytes"
        )
    for name, row in picture["ratios"].items():
        verdict = "met" if row["met"] else "missed"
        lines.append(f"  {name}: {row['measured']} ({verdict})")
    return lines
