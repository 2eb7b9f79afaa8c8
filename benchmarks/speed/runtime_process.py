"""One runtime of the photo model's synthesis, timed in a process of its own.

    python -m benchmarks.speed.runtime_process numpy --threads 2 --latents latents.npy --runs 9

Prints JSON. The part `runtimes` starts it, with the files that it needs. It imports nothing of the
harness, since the time of its imports is measured.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Synthesis = Callable[[Any], Any]
"""Latents float32 (C, h, w) to pixels uint8 (16·h, 16·w, 3), NumPy arrays."""


class Clock:
    """Seconds of the wall and of the processor (all threads), from one call to the next."""

    def __init__(self) -> None:
        self._before = self._now()

    def lap(self) -> dict[str, float]:
        """What went by since the last call, or since the clock was made."""
        before, self._before = self._before, self._now()
        wall, cpu = (after - then for after, then in zip(self._before, before, strict=True))
        return {"seconds": wall, "cpu_seconds": cpu}

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.perf_counter(), time.process_time()


def import_runtime(name: str) -> None:
    """Import what the runtime needs to read weights and to draw an image."""
    import numpy as np

    del np
    if name == "numpy":
        import codec.models.photo.coder
    elif name.startswith("torch"):
        import codec.models.photo.torch_network  # noqa: F401
    else:
        from codec.models.photo.openvino_network import load_library

        load_library()


def load(name: str, quality: float, threads: int) -> Synthesis:
    """The synthesis of the default weights at a quality, ready to run."""
    from codec import loading

    kind, _, dtype = name.partition("-")
    coder: Any = loading.load_model("photo", device="openvino" if kind == "openvino" else "cpu")
    if kind == "torch":
        import torch

        torch.set_num_threads(threads)
        coder.transforms = coder.torch_transforms
        coder.transforms.dtype = getattr(torch, dtype or "float32")
    return lambda latents: coder.synthesize(latents, quality)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("runtime", help="one of `benchmarks.speed.runtimes.RUNTIMES`")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quality", type=float, default=75)
    parser.add_argument("--latents", type=Path, required=True)
    parser.add_argument("--pixels", type=Path, help="where to leave what was drawn")
    parser.add_argument("--runs", type=int, default=9)
    options = parser.parse_args()
    clock = Clock()
    import_runtime(options.runtime)
    imported = clock.lap()
    draw = load(options.runtime, options.quality, options.threads)
    loaded = clock.lap()

    import numpy as np

    latents = np.load(options.latents)
    clock.lap()
    pixels = draw(latents)
    first = clock.lap()
    warm = []
    for _ in range(options.runs):
        draw(latents)
        warm.append(clock.lap())
    if options.pixels is not None:
        np.save(options.pixels, pixels)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    times = {"import": imported, "load": loaded, "first": first, "warm": warm}
    print(json.dumps({**times, "peak_mib": peak_mib}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
