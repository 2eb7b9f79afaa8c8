"""What a known codec makes of a picture within a number of bytes: its best file that fits.

Every file is complete, with all of its headers.  Where even the smallest is too large there is
none, and that is what is reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.harness.small_images import Uint8Array
from codec.rate_distortion import find_codec
from codec.rate_distortion.files.measure import OperationalCodec

RATE_STEP = 1.005
SETTINGS: dict[str, tuple[float, ...]] = {
    "jpeg": tuple(range(1, 101)),
    "jpeg2000": tuple(float(v) for v in 0.01 * RATE_STEP ** np.arange(1500)),
    "avif": tuple(range(101)),
}
"""All settings of each peer, from the smallest files to the largest."""

LOOK_BEYOND = 2
"""A finer setting may give a smaller file: so many beyond the last that fits are tried."""


@dataclass
class PeerFiles:
    """Files of one codec of one picture, each made once."""

    codec: OperationalCodec
    pixels: Uint8Array
    settings: Sequence[float]
    made: dict[int, bytes] = field(default_factory=dict)

    def file(self, index: int) -> bytes:
        """The file at a setting of this number."""
        if index not in self.made:
            self.made[index] = self.codec.encode(self.pixels, self.settings[index])
        return self.made[index]

    def smallest_bytes(self) -> int:
        """Bytes of the file at the first setting."""
        return len(self.file(0))

    def within(self, limit_bytes: int) -> bytes | None:
        """The file of the finest setting found whose bytes are at most the limit, or None."""
        low, high = -1, len(self.settings)  # `low` fits, `high` does not
        while high - low > 1:
            middle = (low + high) // 2
            if len(self.file(middle)) <= limit_bytes:
                low = middle
            else:
                high = middle
        for index in range(min(high + LOOK_BEYOND, len(self.settings) - 1), low, -1):
            if len(self.file(index)) <= limit_bytes:
                return self.file(index)
        return self.file(low) if low >= 0 else None

    def decoded_within(self, limit_bytes: int) -> tuple[int, Uint8Array] | None:
        """Bytes and pixels (h, w, 3) of that file."""
        data = self.within(limit_bytes)
        if data is None:
            return None
        pixels = self.codec.decode(data)
        if len(data) > limit_bytes or pixels.shape != self.pixels.shape:
            raise SystemExit(f"{self.codec.name}: {len(data)} bytes, shape {pixels.shape}")
        return len(data), pixels


def peer_files(name: str, pixels: Uint8Array) -> PeerFiles:
    """Files of a peer of a picture uint8 (h, w, 3). Raises `UsageError` where it is missing."""
    codec = find_codec(name)
    codec.require()
    return PeerFiles(codec, pixels, SETTINGS[name])
