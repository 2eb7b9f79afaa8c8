"""Mutated files of all models, with correct checksums: each must give a typed error or a picture.

    python -m benchmarks.speed mutations --count 100000

A file of a small picture, for every model that has weights, is split into its chunks, which are
changed at random: bits, bytes and pieces of their payloads, numbers in the header, their types and
their order. Every chunk gets a correct CRC, and every second file an index that fits, so that the
code behind the checksums is reached. A file goes through `decompress`, whole, partial, reduced or a
region of it, or through `verify`.

The counted failures are errors of types other than `CalotypeError`, processes that died, files that
took more than 2 seconds of CPU time, and files that took more than 50 MiB of additional memory. A
file may announce a large picture, and gets it if its payloads can be decoded, so the limits grow
with the picture's size by `SECONDS_PER_PIXEL` and `BYTES_PER_PIXEL`. A file can be made again from
the seed and its number, which the result lists for failures. The result keeps the runs with other
seeds.
"""

from __future__ import annotations

import io
import logging
import multiprocessing
import signal
import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import codec
from benchmarks.harness.photographs import shipped_photo
from benchmarks.harness.results import Measured, Report, load_average, provenance
from bitstream import CalotypeError
from bitstream.chunks import SIGNATURE, VERSION, ChunkReader, write_chunk
from bitstream.varint import write_varint

SCHEMA, RESULT = "calotype.mutations/2", "mutations.json"
MAX_CPU_SECONDS, MAX_BYTES = 2.0, 50 * 2**20
SECONDS_PER_PIXEL, BYTES_PER_PIXEL = 4e-6, 24
"""Allowed cost of a picture that can be decoded."""
HANGS_AFTER_SECONDS = 60
BATCH = 200

Chunk = tuple[bytes, bytes]
MODELS = (
    "photo", "draw", "draw-bits-back", "dplc", "vae-round", "vae-dither", "vae-rec",
    "vae-vbq", "vae-bits-back", "pixel", "near-lossless", "vq", "digits-fvsbn", "digits-made",
    "digits-pixelcnn",
)  # fmt: skip
"""All models except compressai, which has no weights of its own."""


def picture_for(model: str) -> Any:
    """A small picture that a model codes, with metadata and alpha if it is a photograph."""
    if model in ("photo", "draw", "pixel", "near-lossless", "vq"):
        # Only two tiles of 64 pixels, because drawing takes most of the time.
        pixels = shipped_photo(72, 40)
        alpha = np.tile(np.arange(72, dtype=np.uint8), (40, 1))[..., None]
        return np.concatenate([pixels, alpha], axis=2)
    rng = np.random.default_rng(0)
    side = 32 if model == "dplc" else 28
    rows = np.arange(2 * side)
    strokes = np.exp(-((rows[:, None] % side - side / 2 - 4 * np.sin(rows / 5)) ** 2) / 4)
    digits = np.round(255 * strokes).astype(np.uint8)
    if model in ("vae-bits-back", "draw-bits-back") or model.startswith("digits-"):
        return np.where(digits > rng.integers(64, 192, digits.shape), 255, 0).astype(np.uint8)
    return digits


@cache
def seeds(model: str) -> list[list[Chunk]]:
    """Files of a model as chunks, without DONE: with one tile, and with several if possible."""
    from bitstream import UsageError, container_to_bytes
    from codec.loading import load_model
    from codec.pictures.read import picture_from
    from codec.pipeline.encode import compress_picture

    loaded = load_model(model, device="cpu")
    picture = picture_from(picture_for(model))
    files = []
    for tile_size in (64, 4096):
        try:
            container = compress_picture(picture, loaded, quality=60, tile_size=tile_size)
        except UsageError:  # the model codes only one tile
            continue
        files.append(chunks_of(container_to_bytes(container)))
    return files


def chunks_of(data: bytes) -> list[Chunk]:
    """The chunks of a file except the last."""
    reader = ChunkReader(io.BytesIO(data))
    found: list[Chunk] = []
    while True:
        info, payload = reader.read()
        if info.type == b"DONE":
            return found
        found.append((info.type, payload))


def mutate(chunks: list[Chunk], rng: np.random.Generator) -> bytes:
    """Change one to three things; return a file with correct checksums."""
    chunks = list(chunks)
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(chunks)))
        if place == 0 and rng.random() < 0.7:  # most changed headers are refused at once
            place = len(chunks) - 1
        kind, payload = chunks[place]
        what = rng.random()
        if what < 0.9 or len(chunks) < 3:
            chunks[place] = kind, edited(payload, rng, chunks)
        elif what < 0.93:
            chunks.insert(int(rng.integers(len(chunks))), chunks[place])
        elif what < 0.96:
            del chunks[place]
        else:
            other = int(rng.integers(len(chunks)))
            names = [name for name, _ in chunks] + [b"exif", b"phys", b"cicp", b"zzzz", b"ZZZZ"]
            chunks[place] = names[int(rng.integers(len(names)))], chunks[other][1]
    if rng.random() < 0.5:
        lengths = [len(payload) for kind, payload in chunks if kind == b"DATA"]
        index = b"".join(write_varint(length) for length in lengths)
        chunks = [(k, index if k == b"INDX" else payload) for k, payload in chunks]
    fo = io.BytesIO()
    fo.write(SIGNATURE + bytes([VERSION]))
    for kind, payload in (*chunks, (b"DONE", b"")):
        write_chunk(fo, kind, payload)
    return fo.getvalue()


def edited(payload: bytes, rng: np.random.Generator, chunks: list[Chunk]) -> bytes:
    """A payload with a piece of it changed."""
    data = bytearray(payload)
    # The bytes that determine what follows are mostly at the beginning.
    end = min(len(data), 8) if rng.random() < 0.3 else len(data)
    place = int(rng.integers(end + 1))
    kind = int(rng.integers(7))
    if kind == 0 and place < len(data):
        data[place] ^= 1 << int(rng.integers(8))
    elif kind == 1:
        data[place : place + 1] = rng.bytes(1)
    elif kind == 2:
        data[place : place + int(rng.integers(1, 9))] = rng.bytes(int(rng.integers(9)))
    elif kind == 3:
        del data[place:]
    elif kind == 4:
        data += rng.bytes(int(rng.integers(1, 200)))
    elif kind == 5:
        piece = bytes([int(rng.choice([0, 127, 128, 255]))])
        data[place : place + 4] = piece * int(rng.integers(1, 64))
    else:
        other = chunks[int(rng.integers(len(chunks)))][1]
        data[place:] = other[int(rng.integers(len(other) + 1)) :]
    return bytes(data)


def call_for(rng: np.random.Generator) -> tuple[str, Callable[[bytes], object]]:
    """The function that gets a file, and its name."""
    decompress = codec.decompress
    calls: list[tuple[str, Callable[[bytes], object]]] = [
        ("decompress", lambda data: decompress(data, as_="numpy", device="cpu")),
        ("partial", lambda data: decompress(data, as_="numpy", device="cpu", partial=True)),
        ("reduce", lambda data: decompress(data, as_="numpy", device="cpu", reduce=4)),
        ("region", lambda d: decompress(d, as_="numpy", device="cpu", region=(20, 20, 9, 9))),
        ("verify", lambda data: codec.verify(data, device="cpu")),
    ]
    return calls[int(rng.choice(len(calls), p=[0.5, 0.2, 0.1, 0.1, 0.1]))]


def pixels_announced(data: bytes) -> int:
    """Number of pixels that the header of a file announces; 0 if it cannot be read."""
    try:
        info = codec.inspect(data)
    except CalotypeError:
        return 0
    return info.width * info.height


def memory_bytes(key: str) -> int:
    """A value of the kernel's report on this process: VmRSS is the current, VmHWM the peak size."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {key} in /proc/self/status")


def judge(model: str, seed: int, number: int) -> tuple[str, Report | None]:
    """Run one file: the name of the outcome, and a report if it is a failure."""
    rng = np.random.default_rng([seed, MODELS.index(model), number])
    files = seeds(model)
    data = mutate(files[int(rng.integers(len(files)))], rng)
    name, call = call_for(rng)
    outcome, problem = "drawn", None
    Path("/proc/self/clear_refs").write_text("5", "ascii")  # resets the peak
    before, begin = memory_bytes("VmRSS"), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, HANGS_AFTER_SECONDS)
    try:
        call(data)
    except CalotypeError as error:
        outcome = type(error).__name__
    except Exception as error:  # noqa: BLE001 - what this benchmark looks for
        outcome, problem = "untyped", f"{type(error).__name__}: {error}"[:300]
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    seconds = time.process_time() - begin
    grown = memory_bytes("VmHWM") - before
    pixels = pixels_announced(data)
    if outcome != "untyped" and seconds > MAX_CPU_SECONDS + SECONDS_PER_PIXEL * pixels:
        outcome, problem = "slow", outcome
    elif outcome != "untyped" and grown > MAX_BYTES + BYTES_PER_PIXEL * pixels:
        outcome, problem = "large", outcome
    if problem is None:
        return outcome, None
    return outcome, {
        "model": model, "number": number, "call": name, "what": problem, "pixels": pixels,
        "seconds": round(seconds, 2), "bytes": grown,
    }  # fmt: skip


def prepare() -> None:
    """Set up a new process: no log, an end to calls that hang, and torch, which is large.

    Torch is imported because a changed header may name another model.
    """
    import torch  # noqa: F401

    logging.getLogger("codec").setLevel(logging.ERROR)

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {HANGS_AFTER_SECONDS} s of CPU time")

    signal.signal(signal.SIGPROF, stop)


def judge_batch(model: str, seed: int, numbers: range) -> tuple[Counter[str], list[Report]]:
    """`judge` of several files, in a process of its own."""
    for file in seeds(model):  # so that what is loaded once does not count as memory of a file
        fo = io.BytesIO()
        fo.write(SIGNATURE + bytes([VERSION]))
        for chunk in (*file, (b"DONE", b"")):
            write_chunk(fo, *chunk)
        for reduce in (1, 4):
            codec.decompress(fo.getvalue(), as_="numpy", device="cpu", reduce=reduce)
    outcomes: Counter[str] = Counter()
    problems = []
    for number in numbers:
        outcome, problem = judge(model, seed, number)
        outcomes[outcome] += 1
        if problem is not None:
            problems.append(problem)
    return outcomes, problems


class Processes:
    """A process for each model, which is replaced if it dies."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._pools: dict[str, ProcessPoolExecutor] = {}

    def judge(self, model: str, seed: int, numbers: range) -> tuple[Counter[str], list[Report]]:
        """`judge_batch` in the model's process."""
        if model not in self._pools:
            self._pools[model] = ProcessPoolExecutor(1, self._context, prepare)
        try:
            return self._pools[model].submit(judge_batch, model, seed, numbers).result()
        except BrokenProcessPool:
            self._pools.pop(model).shutdown()
            return Counter({"died": 1}), [{"model": model, "number": f"{numbers}", "what": "died"}]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--count", type=int, default=100_000, help="files, of all models together")
    parser.add_argument("--minutes", type=float, help="stop after so long")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--seed", type=int, default=0)


def run(options: Namespace) -> Iterator[Measured]:
    outcomes: dict[str, Counter[str]] = {model: Counter() for model in options.models}
    problems: list[Report] = []
    begin, processes = time.perf_counter(), Processes()
    files = 0
    for first in range(0, -(-options.count // len(outcomes)), BATCH):
        for model, found in outcomes.items():
            done, wrong = processes.judge(model, options.seed, range(first, first + BATCH))
            found += done
            problems += wrong
            files += BATCH
        seconds = time.perf_counter() - begin
        totals = sum(outcomes.values(), Counter[str]())
        wrongs = {kind: totals[kind] for kind in ("untyped", "died", "slow", "large")}
        is_last = files >= options.count or seconds > 60 * (options.minutes or np.inf)
        yield Measured(
            {
                "runs": {
                    f"seed {options.seed}": {
                        **provenance(),
                        "load_average": load_average(),
                        "seconds": round(seconds, 1),
                        "seed": options.seed,
                        "files": files,
                        "limits": {"cpu_seconds": MAX_CPU_SECONDS, "bytes": MAX_BYTES},
                        "wrong": wrongs,
                        "outcomes": {
                            name: dict(sorted(found.items())) for name, found in outcomes.items()
                        },
                        "problems": problems[:100],
                    }
                }
            },
            [f"{files} files, {seconds:.0f} s: {wrongs}"],
            failure=f"{wrongs}" if is_last and problems else "",
            keep_others=True,
        )
        if is_last:
            break
