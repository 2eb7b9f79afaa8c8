"""The encoder in ONNX Runtime computes the same as the trained networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitstream.arrays import Float32Array, Uint8Array, Uint16Array
from codec.models.photo.onnx_encoder import OnnxEncoder
from codec.models.photo.torch_network import read_model
from tests.codec.models.photo.float_products import use_float_products
from tests.codec.models.photo.tiny import TINY, tiny_arrays

CONDITIONS = [(100, 0), (4321, 1), (10000, 1)]


Pixels = Uint8Array | Uint16Array
Depth = type[np.uint8] | type[np.uint16]


def noise(dtype: Depth) -> Pixels:
    white = np.iinfo(dtype).max
    found: Pixels = np.random.default_rng(7).integers(0, white, (48, 96, 3), dtype, endpoint=True)
    return found


def of_torch(pixels: Pixels, hundredths: int, tune: int) -> tuple[Float32Array, Float32Array]:
    """Latents and hyper-latents of the trained networks."""
    model = read_model(tiny_arrays(), TINY)
    mix = model.mix(torch.tensor([(hundredths - 100) / 9900]), torch.tensor([tune]))
    with torch.no_grad():
        images = torch.from_numpy(pixels / np.float32(np.iinfo(pixels.dtype).max))
        latents = model.analyze(images.permute(2, 0, 1)[None], mix)
        hyper = model.hyper_analyze(latents, mix)
    return latents[0].numpy(), hyper[0].numpy()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16], ids=["uint8", "uint16"])
@pytest.mark.parametrize(("hundredths", "tune"), CONDITIONS)
def test_latents_and_hyper_latents_are_those_of_torch(
    dtype: type[np.uint8] | type[np.uint16],
    hundredths: int,
    tune: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use_float_products(monkeypatch)
    pixels, encoder = noise(dtype), OnnxEncoder(tiny_arrays(), TINY)
    latents, hyper = of_torch(pixels, hundredths, tune)
    found = encoder.analyze(pixels, hundredths, tune)
    scale = float(np.abs(latents).max())
    assert scale > 1
    np.testing.assert_allclose(found, latents, atol=1e-4 * scale)
    hyper_found = encoder.hyper_analyze(latents, hundredths, tune)
    np.testing.assert_allclose(hyper_found, hyper, atol=1e-4 * np.abs(hyper).max())


@pytest.mark.parametrize(("hundredths", "tune"), CONDITIONS)
def test_eight_bits_change_the_networks_little(
    hundredths: int, tune: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(np.uint8)
    latents, hyper = of_torch(pixels, hundredths, tune)
    encoder = OnnxEncoder(tiny_arrays(), TINY)
    found = (
        encoder.analyze(pixels, hundredths, tune),
        encoder.hyper_analyze(latents, hundredths, tune),
    )
    # The part of the latents that the network adds to the transform.
    monkeypatch.setattr(OnnxEncoder, "_stage", lambda self, graph, name, blocks, features: features)
    without = OnnxEncoder(tiny_arrays(), TINY)
    others = (
        without.analyze(pixels, hundredths, tune),
        without.hyper_analyze(latents, hundredths, tune),
    )
    for values, expected, other in zip(found, (latents, hyper), others, strict=True):
        error, whole = (np.square(v - expected).mean() for v in (values, other))
        assert 0 < error < 1e-3 * whole
