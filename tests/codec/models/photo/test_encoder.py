"""The encoder in ONNX Runtime computes the same as the trained networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from codec.models.photo.onnx_encoder import OnnxEncoder
from codec.models.photo.torch_network import read_model
from tests.codec.models.photo.tiny import TINY, tiny_arrays


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize(("hundredths", "tune"), [(100, 0), (4321, 1), (10000, 1)])
def test_latents_and_hyper_latents_are_those_of_torch(
    dtype: str, hundredths: int, tune: int
) -> None:
    rng = np.random.default_rng(7)
    white = int(np.iinfo(dtype).max)
    pixels = rng.integers(0, white + 1, (48, 96, 3)).astype(dtype)
    encoder = OnnxEncoder(tiny_arrays(), TINY)
    model = read_model(tiny_arrays(), TINY)
    mix = model.mix(torch.tensor([(hundredths - 100) / 9900]), torch.tensor([tune]))
    with torch.no_grad():
        images = torch.from_numpy(pixels.astype(np.float32) / white).permute(2, 0, 1)[None]
        latents = model.analyze(images, mix)
        hyper = model.hyper_analyze(latents, mix)[0].numpy()
    found = encoder.analyze(pixels, hundredths, tune)
    scale = float(latents.abs().max())
    assert scale > 1
    np.testing.assert_allclose(found, latents[0].numpy(), atol=1e-4 * scale)
    hyper_found = encoder.hyper_analyze(latents[0].numpy(), hundredths, tune)
    np.testing.assert_allclose(hyper_found, hyper, atol=1e-4 * np.abs(hyper).max())
