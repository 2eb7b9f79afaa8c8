"""The VAE models of the catalogue on digits: real files compared with theory.

The images of a set are put on one sheet, which is one file with one header; the file is decoded
again, and everything is counted per image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bitstream.arrays import Float64Array, Int32Array, Uint8Array
from bitstream.container import container_from_bytes, container_to_bytes
from bitstream.errors import UsageError
from bitstream.varint import read_varint
from codec import loading
from codec.coding.channel_simulation import kl_bits
from codec.coding.prior_tables import interval_masses, step_sizes, symbol_bits
from codec.models.sheets import BLOCK, MAX_SIDE, sheet_of
from codec.models.vae.archive import PIXELS, BitsBackCoder
from codec.models.vae.coder import VaeCoder
from codec.models.vae.sample_coders import (
    DitheringCoder,
    Posterior,
    RelativeEntropyCoder,
    RoundingCoder,
    inverse_temperature,
    rungs_at,
    tempered,
)
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture

REC_CONSTANT_BITS = 5.0
ARRAYS = ("ideal_bits", "kl_nats", "sampled_kl_nats", "posterior_sse", "uniform_rate_bits",
          "block_bound_bits", "negative_elbo_bits")  # fmt: skip
"""Measured without the file, each only if it is defined; see `DigitsMeasurement`."""
_NOISES = 64  # places in a step over which the rate of the uniform channel is averaged
_ELBO_SAMPLES = 8


@dataclass(frozen=True)
class DigitsMeasurement:
    """One model at one quality on n images; arrays are float64 (n,), NaN where undefined.

    ideal_bits           code length under the integer tables, before the coder; for the archive
                         the net length: what is pushed minus what is popped
    kl_nats              KL(q(z|x) ‖ p(z)), closed form; q is tempered by the quality's β, so it is
                         the encoder's posterior at quality 75 and for the archive
    sampled_kl_nats      log q(z|x) / p(z) at one sample z ~ q
    posterior_sse        squared error of the decoder's image of that sample
    sse                  squared error of the decoded file, 8-bit pixels; both are sums over the
                         pixels of an image, pixels in [0, 1]
    uniform_rate_bits    vae-round, vae-dither: −log₂ of the prior convolved with the uniform
                         noise of the steps, averaged over the noise: the uniform channel's KL
    block_bound_bits     vae-rec: Σ over blocks of KL + log₂(KL + 1) + 5
    negative_elbo_bits   vae-bits-back: KL − E log₂ p(x|z), z ~ q, of the integer networks
    blocks               vae-rec: number of blocks of an image; else 0
    file_bytes           bytes of the file that was written and decoded again
    payload_bytes        bytes of its coded symbols
    seed_bits            vae-bits-back: bits from which the stack starts, part of the payload
    """

    model: str
    quality: float
    ideal_bits: Float64Array
    kl_nats: Float64Array
    sampled_kl_nats: Float64Array
    posterior_sse: Float64Array
    sse: Float64Array
    uniform_rate_bits: Float64Array
    block_bound_bits: Float64Array
    negative_elbo_bits: Float64Array
    blocks: int
    file_bytes: int
    payload_bytes: int
    seed_bits: int

    @property
    def images(self) -> int:
        return len(self.ideal_bits)

    @property
    def header_bytes(self) -> int:
        return self.file_bytes - self.payload_bytes

    @property
    def coder_overhead_bits(self) -> float:
        """Bits of the payload beyond the ideal code length, for all images together.

        For an archive this includes the seed, whose popped part is subtracted in `ideal_bits`.
        """
        return 8 * self.payload_bytes - float(self.ideal_bits.sum())


def measure_digits(
    model_name: str, images: Uint8Array, quality: float = 75, *, seed: int = 0
) -> DigitsMeasurement:
    """Write images uint8 (n, 1, 28, 28) as one file, decode it, and measure.

    n must be rows × columns of at most 146 each (999 = 27 × 37 is, 1,009 is not). For
    vae-bits-back the pixels are 0 and 255. Runs on the CPU. Raises `UsageError`.
    """
    rows, columns = sheet_shape(len(images))
    pixels = sheet_of(images, rows, columns)[:, :, :1]
    model = loading.load_model(model_name, device="cpu")
    if not isinstance(model, (VaeCoder, BitsBackCoder)):
        raise UsageError(f"the model {model_name!r} is no VAE of digits")
    container = compress_picture(Picture(pixels), model, quality=quality)
    data = container_to_bytes(container)
    decoded = decompress_container(container_from_bytes(data), model).pixels
    errors = ((pixels.astype(np.float64) - decoded) / 255) ** 2
    cells = errors.reshape(rows, BLOCK, columns, BLOCK)
    payload = container.payloads[0][0]
    theory = (
        _archive(model, images, payload, seed)
        if isinstance(model, BitsBackCoder)
        else _lossy(model, images, container.header.quality, seed)
    )
    undefined = np.full(len(images), np.nan)
    found = dict.fromkeys(ARRAYS, undefined) | {"blocks": 0, "seed_bits": 0} | theory
    return DigitsMeasurement(
        model=model.name,
        quality=container.header.quality,
        sse=cells.sum(axis=(1, 3)).ravel(),
        file_bytes=len(data),
        payload_bytes=len(payload),
        **found,
    )


def sheet_shape(count: int) -> tuple[int, int]:
    """Rows and columns, as near to a square as possible, that hold exactly `count` blocks.

    Raises `UsageError` if no sheet of at most 4096 pixels on a side does.
    """
    largest = MAX_SIDE // BLOCK
    for columns in range(max(1, math.isqrt(max(count - 1, 0)) + 1), largest + 1):
        if count > 0 and count % columns == 0 and count // columns <= largest:
            return count // columns, columns
    raise UsageError(
        f"{count} images do not fill a sheet of rows × columns, at most {largest} each: "
        "take a few less, such as a multiple of 100"
    )


def posterior_of(model: VaeCoder, images: Uint8Array) -> Posterior:
    """The encoder's posterior of images uint8 (n, 1, 28, 28)."""
    column = np.repeat(images.reshape(-1, BLOCK, 1), 3, axis=2)
    return model.posterior(model.analyze(column, 75))


def _lossy(model: VaeCoder, images: Uint8Array, quality: float, seed: int) -> dict[str, Any]:
    hundredths = round(quality * 100)
    posterior = posterior_of(model, images)
    coded = tempered(posterior, inverse_temperature(hundredths))
    count = len(images)
    ideal = np.zeros(count)
    for message in model.coder.messages(posterior, hundredths):
        bits = symbol_bits(message.symbols, message.indexes, message.tables)
        ideal += bits.reshape(count, -1).sum(axis=1)
    noise = np.random.default_rng(seed).standard_normal(coded.mean.shape)
    codes = coded.mean + np.sqrt(coded.variance) * noise
    with torch.inference_mode():
        drawn = model.decoder(torch.from_numpy(codes.astype(np.float32))).numpy()
    found: dict[str, Any] = {
        "ideal_bits": ideal,
        "kl_nats": coded.kl_bits() * math.log(2),
        "sampled_kl_nats": _log_ratio(codes, coded),
        "posterior_sse": ((drawn - images / 255) ** 2).sum(axis=(1, 2, 3)),
    }
    if isinstance(model.coder, (RoundingCoder, DitheringCoder)):
        steps = step_sizes()[rungs_at(hundredths, model.coder.offsets)]
        found["uniform_rate_bits"] = uniform_channel_bits(posterior.mean, steps).sum(axis=1)
    if isinstance(model.coder, RelativeEntropyCoder):
        layout, tables = model.coder.layout(hundredths)
        each = kl_bits(coded.mean, coded.variance)
        totals = np.stack([each[:, layout == b].sum(axis=1) for b in range(len(tables))])
        found["block_bound_bits"] = (totals + np.log2(totals + 1) + REC_CONSTANT_BITS).sum(axis=0)
        found["blocks"] = len(tables)
    return found


def uniform_channel_bits(mean: Float64Array, steps: Float64Array) -> Float64Array:
    """Rate of the uniform channel: E −log₂ P([y − Δ/2, y + Δ/2]), y uniform around the mean.

    mean (n, k), steps (k,), to bits (n, k). This is log₂ of the ratio of the uniform density to the
    prior convolved with it, averaged over the noise: the cost of universal quantisation.
    """
    bits = np.zeros(mean.shape)
    for number in range(_NOISES):
        centre = mean + steps * ((number + 0.5) / _NOISES - 0.5)
        edges = np.stack([centre - steps / 2, centre + steps / 2])
        masses = np.maximum(interval_masses(edges)[0], 2.0**-60)
        bits -= np.log2(masses) / _NOISES
    return bits


def _archive(model: BitsBackCoder, images: Uint8Array, payload: bytes, seed: int) -> dict[str, Any]:
    count = len(images)
    flat = (images.reshape(count, PIXELS) >= 128).astype(np.int32)
    words, _ = read_varint(payload)
    net = np.zeros(count)

    def watch(rows: slice, codes: Int32Array) -> None:
        group = flat[rows]
        indexes = np.arange(len(codes), dtype=np.int32)
        popped = symbol_bits(codes, indexes, model.posterior_tables(group))
        pushed = symbol_bits(group.ravel(), model.pixel_indexes(codes), model.pixel_tables)
        prior_bits = model.dimensions * math.log2(model.posterior.bins)
        net[rows] = (
            pushed.reshape(len(group), -1).sum(axis=1)
            + prior_bits
            - popped.reshape(len(group), -1).sum(axis=1)
        )

    model.push_images(flat, words, watch)
    posterior, elbo, sample = integer_elbo(model, flat, seed)
    return {
        "ideal_bits": net,
        "kl_nats": posterior.kl_bits() * math.log(2),
        "sampled_kl_nats": _log_ratio(sample, posterior),
        "negative_elbo_bits": elbo,
        "seed_bits": 32 * words,
    }


def integer_elbo(
    model: BitsBackCoder, images: Int32Array, seed: int = 0
) -> tuple[Posterior, Float64Array, Float64Array]:
    """Posterior, negative ELBO in bits (n,), and a sample (n, k), of images int32 (n, 784).

    The networks are the integer ones; the posterior is the continuous Gaussian of their outputs,
    and the cost of pixels is that of their tables.
    """
    outputs = model.encoder(images << 10) / 1024
    mean, log_variance = np.split(outputs, 2, axis=1)
    posterior = Posterior(mean, np.exp(log_variance))
    rng = np.random.default_rng(seed)
    bits = posterior.kl_bits()
    for _ in range(_ELBO_SAMPLES):
        codes = mean + np.sqrt(posterior.variance) * rng.standard_normal(mean.shape)
        indexes = model.log_odds_indexes(np.rint(codes * 1024).astype(np.int32))
        costs = symbol_bits(images.ravel(), indexes.ravel(), model.pixel_tables)
        bits += costs.reshape(images.shape).sum(axis=1) / _ELBO_SAMPLES
    return posterior, bits, codes


def _log_ratio(codes: Float64Array, posterior: Posterior) -> Float64Array:
    """log q(z) / p(z) in nats, (n,)."""
    distance = (codes - posterior.mean) ** 2 / posterior.variance
    ratio: Float64Array = 0.5 * (codes**2 - distance - np.log(posterior.variance)).sum(axis=1)
    return ratio
