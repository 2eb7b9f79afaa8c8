"""Checkpoints of CompressAI in .calo files: bytes and times compared with its own compress().

    python -m benchmarks.photo compressai [IMAGE...] [--architectures NAME...] [--checkpoint FILE]

Both sides code the same pixels with the same checkpoint.  The image's last rows and columns are
repeated up to multiples of 64, which CompressAI needs.  Without a checkpoint the networks are
random, with the sizes of the zoo, and their last layers are set so that latents are about as wide
as trained ones and their tables fit.  Figures then only describe the coding, not a trained codec.
Seconds are CPU time over all threads, so other work on the machine is not counted; they are medians
over the rounds.  The exit status is 1 if our payload is more than 0.5 % larger.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.harness.photographs import shipped_photo
from benchmarks.harness.results import Measured, load_average, provenance
from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec import api
from codec.models.compressai import ARCHITECTURES, COMPRESSAI
from codec.pictures.read import picture_from
from codec.rate_distortion import MissingExtraError

SCHEMA, RESULT = "calotype.zoo/1", "zoo.json"
MOST_PERCENT = 0.5
CHANNEL_STEPS = (0.1, 3.0)  # smallest and largest standard deviation of channels, in steps


def library() -> Any:
    """The package compressai; raises `MissingExtraError`."""
    try:
        with warnings.catch_warnings():  # of deprecated parts of torch that it uses
            warnings.simplefilter("ignore")
            import compressai.zoo
    except ImportError as error:
        raise MissingExtraError("the peer of this benchmark", "compressai", "zoo") from error
    return compressai


def zoo_model(architecture: str, channels: Sequence[int]) -> Any:
    """A model of CompressAI with random weights, on the CPU, in evaluation mode.

    channels   N and M of its constructor; only N for cheng2020
    """
    model = library().registry.MODELS[architecture](*channels)
    return model.eval().requires_grad_(False)


def zoo_channels(architecture: str, quality: int) -> tuple[int, ...]:
    """The sizes of an architecture in the zoo at a quality, 1 .. 8, or 1 .. 6 for cheng2020."""
    sizes: tuple[int, ...] = library().zoo.image.cfgs[architecture][quality]
    return sizes


@torch.inference_mode()
def fit(architecture: str, model: Any, pixels: Uint8Array) -> None:
    """Make a random model's latents as wide as those of a trained one, and its scales fit them.

    pixels   uint8 (H, W, 3), multiples of 64, to fit to
    """
    images = _tensor(pixels)
    _widen(model.g_a, model.g_a(images))
    if not hasattr(model, "h_a"):
        return
    latents = model.g_a(images)
    features = latents.abs() if architecture == "bmshj2018-hyperprior" else latents
    _widen(model.h_a, model.h_a(features))
    # Scales, and after them means, vary a little around those of the channels.
    steps = latents[0].flatten(1)
    last = _last(getattr(model, "entropy_parameters", model.h_s))
    last.weight.mul_(0.1)
    last.bias.copy_(torch.cat([steps.std(1), steps.mean(1)])[: len(last.bias)])


def _widen(network: nn.Module, outputs: torch.Tensor) -> None:
    """Give the channels of `outputs`, (1, C, h, w), widths spread evenly on a logarithmic scale."""
    last = _last(network)
    narrow, wide = CHANNEL_STEPS
    widths = torch.logspace(np.log10(narrow), np.log10(wide), outputs.shape[1])
    gains = widths / outputs[0].flatten(1).std(1).clamp(min=1e-9)
    last.weight.mul_(gains[:, None, None, None])
    last.bias.mul_(gains)


def _last(network: nn.Module) -> Any:
    return [module for module in network.children() if isinstance(module, nn.Conv2d)][-1]


def _tensor(pixels: Uint8Array) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float().div(255)


def padded(pixels: Uint8Array) -> Uint8Array:
    """Pixels uint8 (H, W, 3) with the last rows and columns repeated up to multiples of 64."""
    height, width = pixels.shape[:2]
    return np.pad(pixels, ((0, -height % 64), (0, -width % 64), (0, 0)), mode="edge")


@torch.inference_mode()
def code_peer(model: Any, pixels: Uint8Array) -> tuple[float, float, int, Uint8Array]:
    """CompressAI: CPU seconds to encode, and to decode, bytes of its strings, decoded pixels."""
    started = time.process_time()
    coded = model.compress(_tensor(pixels))
    encoded = time.process_time()
    output = model.decompress(coded["strings"], coded["shape"])["x_hat"]
    decoded = output.clamp(0, 1).mul(255).round().byte()[0].permute(1, 2, 0).numpy()
    finished = time.process_time()
    size_bytes = sum(len(string) for strings in coded["strings"] for string in strings)
    return encoded - started, finished - encoded, size_bytes, decoded


def code_ours(name: str, path: Path, pixels: Uint8Array) -> tuple[float, float, bytes, Uint8Array]:
    """The library: CPU seconds to encode, and to decode, the file, decoded pixels."""
    started = time.process_time()
    data = api.compress(pixels, model=name, checkpoint=path, device="cpu")
    encoded = time.process_time()
    decoded = api.decompress(data, checkpoint=path, device="cpu", as_="numpy")
    return encoded - started, time.process_time() - encoded, data, decoded


def measure(
    architecture: str, model: Any, path: Path, pictures: dict[str, Uint8Array], rounds: int
) -> dict[str, Any]:
    """Code every picture with both, in turn, after one round that is not counted."""
    rows = []
    for name, original in pictures.items():
        pixels = padded(original)
        times: list[tuple[float, float, float, float]] = []
        for turn in range(-1, rounds):
            ours = code_ours(f"{COMPRESSAI.name}:{architecture}", path, pixels)
            peer = code_peer(model, pixels)
            if turn >= 0:
                times.append((*ours[:2], *peer[:2]))
        payload_bytes, peer_bytes = api.inspect(ours[2]).payload_bytes, peer[2]
        seconds = [round(statistics.median(column), 4) for column in zip(*times, strict=True)]
        levels = np.abs(ours[3].astype(int) - peer[3])
        rows.append(
            {
                "picture": name,
                "pixels": pixels.shape[0] * pixels.shape[1],
                "file_bytes": len(ours[2]),
                "payload_bytes": payload_bytes,
                "compressai_bytes": peer_bytes,
                "payload_more_percent": round(100 * (payload_bytes / peer_bytes - 1), 3),
                "largest_difference_levels": int(levels.max()),
                "samples_that_differ": int((levels > 0).sum()),
                "encode_cpu_seconds": seconds[0],
                "decode_cpu_seconds": seconds[1],
                "compressai_encode_cpu_seconds": seconds[2],
                "compressai_decode_cpu_seconds": seconds[3],
            }
        )
    ours_bytes = sum(row["payload_bytes"] for row in rows)
    more = round(100 * (ours_bytes / sum(row["compressai_bytes"] for row in rows) - 1), 3)
    return {"payload_more_percent": more, "met": more <= MOST_PERCENT, "pictures": rows}


def load_peer(architecture: str, path: Path) -> Any:
    """CompressAI's model from the same checkpoint."""
    from codec.models.compressai.checkpoint import read_state

    state = library().zoo.load_state_dict(read_state(path.read_bytes()))
    peer = library().registry.MODELS[architecture].from_state_dict(state).eval()
    peer.update()
    return peer


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("images", type=Path, nargs="*", help="default: scikit-image's coffee")
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--checkpoint", type=Path, help="of the one architecture that is named")
    parser.add_argument("--quality", type=int, default=4, help="sizes of random models, 1..6")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)


def run(options: Namespace) -> Iterator[Measured]:
    if options.checkpoint is not None and len(options.architectures) != 1:
        raise UsageError("a checkpoint is of one architecture: name it with --architectures")
    torch.set_num_threads(options.threads)
    pictures = {path.name: picture_from(path).pixels for path in options.images}
    pictures = {
        name: np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
        for name, pixels in pictures.items()
    } or {"scikit-image's coffee, resampled": shipped_photo(768, 512)}
    busy_before = load_average()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for architecture in options.architectures:
            path = options.checkpoint
            if path is None:
                torch.manual_seed(0)
                model = zoo_model(architecture, zoo_channels(architecture, options.quality))
                fit(architecture, model, padded(next(iter(pictures.values()))))
                model.update()
                path = Path(folder) / f"{architecture}.pth"
                torch.save(model.state_dict(), path)
            peer = load_peer(architecture, path)
            found[architecture] = measure(architecture, peer, path, pictures, options.rounds)
    met = all(one["met"] for one in found.values())
    weights = "random: trained ones of the zoo were not at hand"
    yield Measured(
        {
            **provenance(),
            "weights": weights if options.checkpoint is None else options.checkpoint.name,
            "threads": options.threads,
            "rounds": options.rounds,
            "load_average_before": busy_before,
            "target_more_percent": MOST_PERCENT,
            "measured": found,
            "met": met,
        },
        [line(name, row) for name, one in found.items() for row in one["pictures"]],
        failure="" if met else f"a payload is more than {MOST_PERCENT} % larger",
    )


def line(architecture: str, row: dict[str, Any]) -> str:
    return (
        f"{architecture:25} {row['payload_bytes']:8} bytes, CompressAI "
        f"{row['compressai_bytes']:8} ({row['payload_more_percent']:+.2f} %), levels "
        f"{row['largest_difference_levels']}; encode {row['encode_cpu_seconds']} / "
        f"{row['compressai_encode_cpu_seconds']} s, decode "
        f"{row['decode_cpu_seconds']} / {row['compressai_decode_cpu_seconds']} s"
    )
