"""VAEs of digits small enough for tests: untrained, with real tables and real exact networks."""

from __future__ import annotations

import functools
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from bitstream.arrays import Array
from codec.models.generative.networks import Decoder, Encoder, GenerativeConfig, GenerativeModel
from codec.models.vae.archive import BitsBackCoder, load_bits_back
from codec.models.vae.coder import VaeCoder, vae_loader
from codec.priors import GaussianMixture, StandardNormal
from training.generative import digits_export

LOSSY = ("vae-round", "vae-dither", "vae-rec", "vae-vbq")
NAMES = (*LOSSY, "vae-bits-back")
CODE = 4

Pixels = npt.NDArray[np.uint8]


def digits(count: int, seed: int = 0) -> Pixels:
    """Soft blobs on black, uint8 (count, 1, 28, 28)."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform(8, 20, (2, count, 1, 1))
    width = rng.uniform(2, 6, (2, count, 1, 1))
    rows, columns = np.mgrid[:28, :28]
    distance = ((rows - centre[0]) / width[0]) ** 2 + ((columns - centre[1]) / width[1]) ** 2
    images: Pixels = np.rint(255 * np.exp(-(distance**2)))[:, None].astype(np.uint8)
    return images


def sheet(images: Pixels, columns: int) -> Pixels:
    """Images (n, 1, 28, 28) side by side, uint8 (rows · 28, columns · 28)."""
    cells = images.reshape(-1, columns, 28, 28).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(cells).reshape(-1, columns * 28)


def binary(pixels: Pixels) -> Pixels:
    """The same pixels binarised by a threshold: 0 and 255."""
    return np.where(pixels >= 128, 255, 0).astype(np.uint8)


@functools.cache
def generative(likelihood: str) -> GenerativeModel:
    """Random networks whose posteriors are spread over the prior and a tenth as wide."""
    torch.manual_seed(11)
    activation = "tanh" if likelihood == "gaussian" else "relu"
    config = GenerativeConfig("vae", "mlp", (1, 28, 28), CODE, (24,), activation, likelihood)
    encoder, decoder = Encoder(config), Decoder(config)
    with torch.no_grad():
        images = torch.from_numpy(digits(200, seed=5)).float() / 255
        mean, _ = encoder(images)
        parameters = dict(encoder.named_parameters())
        weight, bias = parameters["layers.1.weight"], parameters["layers.1.bias"]
        weight[:CODE] /= mean.std(dim=0)[:, None]
        bias[:CODE] = 0
        bias[:CODE] = -encoder(images)[0].mean(dim=0)
        weight[CODE:] *= 0.3
        bias[CODE:] = -4.6
        dict(decoder.named_parameters())["layers.1.bias"].sub_(1)
    variance = 0.01 if likelihood == "gaussian" else None
    for network in (encoder, decoder):
        network.eval().requires_grad_(False)
    return GenerativeModel(config, decoder, encoder, StandardNormal(CODE), variance)


@functools.cache
def lossy_arrays() -> dict[str, Array]:
    """The arrays of the four lossy models, fitted with little effort."""
    images = digits(300, seed=6)
    return digits_export.lossy_arrays(
        generative("gaussian"), images, rec_images=20, dyadic_rounds=1
    )


@functools.cache
def rae() -> GenerativeModel:
    """The same networks with a prior of three components, far apart and of different shapes."""
    vae = generative("gaussian")
    config = GenerativeConfig("rae", "mlp", (1, 28, 28), CODE, (24,), "tanh")
    encoder = Encoder(config)
    encoder.load_state_dict({
        name: value[:CODE] if name.startswith("layers.1.") else value
        for name, value in vae.encoder.state_dict().items()
    } if vae.encoder else {})  # fmt: skip
    generator = torch.Generator().manual_seed(2)
    root = torch.randn(3, CODE, CODE, generator=generator) / 2
    covariances = 0.02 * torch.eye(CODE) + root @ root.mT
    means = 3 * torch.randn(3, CODE, generator=generator)
    prior = GaussianMixture(torch.tensor([0.7, 0.2, 0.1]), means, covariances)
    return GenerativeModel(config, vae.decoder, encoder.eval().requires_grad_(False), prior)


@functools.cache
def rae_arrays() -> dict[str, Array]:
    """The arrays of the weights file of `rae`."""
    return digits_export.rae_arrays(rae(), digits(200, seed=6))


def rae_coder(**changes: Array) -> VaeCoder:
    """`vae-round` with these weights, some of which may be replaced."""
    config = json.dumps(asdict(rae().config))
    return vae_loader("vae-round")(
        {**rae_arrays(), **changes}, {"config": config}, bytes(8), device=torch.device("cpu")
    )


@functools.cache
def lossy(name: str) -> VaeCoder:
    """One of the four lossy models."""
    config = json.dumps(asdict(generative("gaussian").config))
    return vae_loader(name)(
        lossy_arrays(), {"config": config}, bytes(8), device=torch.device("cpu")
    )


@functools.cache
def bits_back() -> BitsBackCoder:
    """The archive, with 256 bins."""
    model = generative("bernoulli")
    arrays = digits_export.bits_back_arrays(model, bins=256)
    metadata = {"config": json.dumps(asdict(model.config))}
    return load_bits_back(arrays, metadata, bytes(8), device=torch.device("cpu"))


def write_tiny_digits(folder: Path) -> None:
    """Weights files of all five models, in a folder for CALOTYPE_WEIGHTS."""
    lossy_model, binary_model = generative("gaussian"), generative("bernoulli")
    names = list(LOSSY)
    digits_export.write_digits(folder, "digits-vae", lossy_arrays(), lossy_model, names)
    arrays = digits_export.bits_back_arrays(binary_model)
    digits_export.write_digits(folder, "digits-vae-binary", arrays, binary_model, ["vae-bits-back"])
