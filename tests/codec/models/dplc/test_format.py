"""A file of the distribution-preserving codec means what FORMAT.md says."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest

from codec.models.dplc.networks import DplcConfig
from tests.codec.models.dplc.oracle import decode_bits, noise
from tests.codec.models.dplc.tiny import COLOUR, GREY, arrays, coder, scene

ROWS, COLUMNS = 2, 3


@pytest.mark.parametrize("config", [COLOUR, GREY], ids=["colour", "grey"])
@pytest.mark.parametrize("quality", [1.0, 33.34, 66.67, 100.0])
def test_a_reader_written_from_the_text_agrees(config: DplcConfig, quality: float) -> None:
    model, q = coder(config), round(100 * quality)
    pixels = scene(ROWS * config.side, COLUMNS * config.side)
    latents = model.analyze(pixels, quality)
    (payload,) = model.encode_tile(latents, quality)
    sizes = dataclasses.asdict(config)
    bits: npt.NDArray[np.int64] = np.array(
        decode_bits(payload, sizes, arrays(config), ROWS * COLUMNS, q), dtype=np.int64
    )
    rows = bits.T.reshape(-1, ROWS, COLUMNS)
    decoded = model.decode_tile([payload], ROWS, COLUMNS, quality)
    np.testing.assert_array_equal(rows - 0.5, decoded)
    np.testing.assert_array_equal(rows, latents >= 0)
    found = model.add_noise(decoded, quality, 2**40 + 3)[len(decoded) :]
    expected = np.array(noise(sizes, ROWS * COLUMNS, q, 2**40 + 3))
    assert expected.size
    np.testing.assert_allclose(found.reshape(len(found), -1).T, expected, atol=1e-6)
