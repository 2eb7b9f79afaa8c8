"""The map from qualities to positions on the networks' scale, by the scores of pictures there.

A user who asks for a quality expects about the same result for every picture and tune. So the
qualities are spread by SSIMULACRA2, which agrees with most viewers: on average, quality 50 gives a
score of 65, 75 gives 80, and 90 gives 88; 1 and 100 are the ends of the scale.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bitstream.arrays import Float64Array, Int32Array
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.config import TUNES
from codec.models.photo.quality_map import HIGHEST, LOWEST, QUALITIES, identity_map
from codec.pictures.similarity import ssimulacra2
from training.data.crops import Pixels

ANCHORS = {50: 65.0, 75: 80.0, 90: 88.0}
"""Mean SSIMULACRA2 of pictures at these qualities."""
POSITIONS = np.linspace(LOWEST, HIGHEST, 12)
"""Positions, in hundredths, at which scores are measured."""


def measured_quality_map(coder: PhotoCoder, pictures: Sequence[Pixels]) -> Int32Array:
    """Positions in hundredths of the qualities 1 .. 100 for each tune, int32 (tunes, 100).

    coder      a coder whose qualities are positions
    pictures   uint8 (h, w, 3), sides multiples of 16; without any, qualities stay positions
    """
    if not pictures:
        return identity_map()
    rows = [spread(mean_scores(coder.with_tune(tune), pictures)) for tune in TUNES]
    return np.stack(rows)


def mean_scores(coder: PhotoCoder, pictures: Sequence[Pixels]) -> Float64Array:
    """Mean SSIMULACRA2 of decoded pictures at each of `POSITIONS`."""
    scores = []
    for quality in POSITIONS / 100:
        for pixels in pictures:
            height, width = (side // coder.stride for side in pixels.shape[:2])
            payloads = coder.encode_tile(coder.analyze(pixels, quality), quality)
            decoded = coder.decode_tile(payloads, height, width, quality)
            scores.append(ssimulacra2(pixels, coder.synthesize(decoded, quality)))
    means: Float64Array = np.reshape(scores, (len(POSITIONS), -1)).mean(axis=1)
    return means


def spread(scores: Float64Array) -> Int32Array:
    """Positions in hundredths of the qualities 1 .. 100, strictly rising, int32 (100,).

    scores   the score at each of `POSITIONS`; scores that do not rise are replaced by earlier ones
    """
    rising = np.maximum.accumulate(scores) + 1e-6 * np.arange(len(scores))
    known = {q: score for q, score in ANCHORS.items() if rising[0] < score < rising[-1]}
    qualities = np.arange(1, QUALITIES + 1)
    wanted = np.interp(qualities, [1, *known, QUALITIES], [rising[0], *known.values(), rising[-1]])
    positions = np.rint(np.interp(wanted, rising, POSITIONS)).astype(np.int32)
    # At least one hundredth apart, with the ends unchanged.
    steps = np.arange(QUALITIES, dtype=np.int32)
    positions = np.maximum.accumulate(positions - steps) + steps
    row: Int32Array = np.minimum(positions, HIGHEST - steps[::-1])
    return row
