"""Exports a trained VAE of digits as a codec's weights file.

A Gaussian VAE becomes `digits-vae.safetensors`, which the models vae-round, vae-dither, vae-rec
and vae-vbq share: both networks in float16, the integer tables of the prior, and whatever is fitted
to posteriors of training images (steps, blocks, class tables). A Bernoulli VAE becomes
`digits-vae-binary.safetensors` for vae-bits-back: both networks in fixed point, integer tables.
A regularised autoencoder becomes `rae.safetensors` for vae-round: its networks, and the mixture
that is its prior, with integer tables for the labels and for each component's coordinates. A
class-conditional VAE becomes `digits-class-vae.safetensors` for vae-round.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.func import jacfwd, vmap

from bitstream.arrays import Array, Float64Array, Int32Array, Int64Array, Uint8Array
from bitstream.errors import UsageError
from bitstream.tables import TOTAL, TableSet, tables_from_pmfs
from codec.coding import bits_back_tables, channel_simulation
from codec.coding.exact_layers import ACTIVATION_BITS
from codec.coding.prior_tables import (
    dither_tables,
    dyadic_tables,
    normal_distribution,
    normal_quantile,
    rounding_tables,
    step_sizes,
)
from codec.datasets.arrays import read_images
from codec.models.generative.networks import Decoder, Encoder, GenerativeModel
from codec.models.generative.weights_file import load_generative
from codec.models.vae import ARCHIVE, LOSSY
from codec.models.vae import sample_coders as vae_coders
from codec.models.vae.exact_mlp import ExactLinear, mlp_to_arrays, to_fixed_point
from codec.models.vae.sample_coders import Posterior, RelativeEntropyCoder
from codec.priors import GaussianMixture, StandardNormal
from training.data.labels import labels_of
from training.loop.export import ExportOptions, write_weights_file
from training.loop.origin import write_card

QUALITY_SETS = 25
BINS = 2**10
DYADIC_ROUNDS = 12
TABLE_IMAGES = 10_000  # images whose posteriors determine steps and tables
REC_IMAGES = 300  # images for the statistics of the index tables
JACOBIAN_CODES = 200  # codes of each component of a rae's prior whose Jacobians determine steps
PRIOR_COUNT = 20.0  # weight of the theoretical distribution in a fitted table, in symbols


def lossy_arrays(
    model: GenerativeModel,
    images: Uint8Array,
    *,
    rec_images: int = REC_IMAGES,
    dyadic_rounds: int = DYADIC_ROUNDS,
) -> dict[str, Array]:
    """All arrays of the weights file of a Gaussian VAE.

    images         training images, uint8 (n, 1, 28, 28); their posteriors determine steps, tables
    rec_images     how many of them are coded to fit the tables of the indexes
    dyadic_rounds  rounds of fitting the tables of the dyadic grid

    Raises `UsageError` for another kind of model or prior.
    """
    encoder = _require(model, "gaussian")
    if model.config.classes:
        raise UsageError("a vae with classes: its tables are fitted with labels")
    posterior = _posterior(encoder, images)
    evidence = np.maximum(1 / posterior.variance - 1, 0).mean(axis=0)
    layouts, rec_tables = _rec_tables(posterior, rec_images)
    tables = {
        "round_tables.": rounding_tables(step_sizes()),
        "dither_tables.": dither_tables(step_sizes()),
        "rec_tables.": rec_tables,
        "vbq_tables.": dyadic_tables(step_sizes(), dyadic_rounds),
    }
    arrays = _network_arrays(encoder, model.decoder)
    arrays["rung_offsets"] = vae_coders.rung_offsets(evidence)
    arrays["rec_layouts"] = layouts
    for prefix, set_ in tables.items():
        arrays.update({prefix + name: array for name, array in set_.to_arrays().items()})
    return arrays


def class_arrays(
    model: GenerativeModel, images: Uint8Array, labels: Int64Array
) -> dict[str, Array]:
    """All arrays of the weights file of a class-conditional VAE with a Gaussian likelihood.

    images, labels   of the training part, uint8 (n, 1, 28, 28) and (n,): steps are fitted to the
                     posteriors given the labels, otherwise as for a VAE without labels

    Raises `UsageError` for another kind of model or prior.
    """
    encoder, config = _require(model, "gaussian"), model.config
    if not config.classes:
        raise UsageError("a vae without classes: expected a class-conditional one")
    uniform = tables_from_pmfs([(0, np.full(config.classes, 1 / config.classes))])
    return {
        **_network_arrays(encoder, model.decoder),
        **rounding_arrays(encoder, images, torch.eye(config.classes)[torch.from_numpy(labels)]),
        **{f"label_tables.{name}": array for name, array in uniform.to_arrays().items()},
        "pixel_variance": np.array(model.variance, dtype=np.float64),
    }


def rounding_arrays(
    encoder: Encoder, images: Uint8Array, values: Tensor | None = None
) -> dict[str, Array]:
    """Steps and tables of vae-round, fitted to the posteriors of images uint8 (n, 1, 28, 28).

    values   values of their labels, float (n, classes), if the encoder takes labels
    """
    evidence = np.maximum(1 / _posterior(encoder, images, values).variance - 1, 0).mean(axis=0)
    tables = rounding_tables(step_sizes()).to_arrays()
    return {
        "rung_offsets": vae_coders.rung_offsets(evidence),
        **{f"round_tables.{name}": array for name, array in tables.items()},
    }


def rae_arrays(model: GenerativeModel, images: Uint8Array) -> dict[str, Array]:
    """All arrays of the weights file of a regularised autoencoder.

    images   uint8 (n, 1, 28, 28), training images

    The coordinates u of a component j, z = m_j + T_j u, are those in which it is N(0, I) and the
    mean of JᵀJ over its codes is diagonal, with J = ∂f/∂z: then independent rounding errors of u
    give uncorrelated errors of the image.  At quality 75 each of them adds as much error as the
    reconstruction has in one pixel, as for a Gaussian VAE with that variance.

    Raises `UsageError` for another kind of model or prior.
    """
    encoder, mixture = model.encoder, model.prior
    if model.config.family != "rae" or encoder is None or not isinstance(mixture, GaussianMixture):
        raise UsageError(f"a {model.config.family} with the prior {mixture!r}: expected a rae")
    pixels = torch.from_numpy(np.array(images)).float() / 255
    with torch.inference_mode():
        codes, _ = encoder(pixels)
        variance = float((model.decoder(codes) - pixels).square().mean())
    parts = torch.stack([
        GaussianMixture(torch.ones(1), mean[None], covariance[None]).log_prob(codes.double())
        for mean, covariance in zip(mixture.means, mixture.covariances, strict=True)
    ])  # fmt: skip
    label = (parts + mixture.weights.log()[:, None]).argmax(0)
    turns, offsets = [], []
    for j, covariance in enumerate(mixture.covariances):
        own = codes[label == j][:JACOBIAN_CODES] if bool((label == j).any()) else codes[:1]
        jacobian = vmap(jacfwd(lambda z: model.decoder.logits(z).sigmoid().flatten()))(own.clone())
        root = torch.linalg.cholesky(covariance)
        turned = jacobian.detach().double().flatten(0, 1) @ root
        squares, axes = torch.linalg.eigh(turned.T @ turned / len(own))
        turns.append((root @ axes).float().numpy())
        offsets.append(vae_coders.rung_offsets(squares.clamp(min=0).numpy() / variance))
    weights = mixture.weights.numpy()
    arrays = _network_arrays(encoder, model.decoder) | {
        "mixture.means": mixture.means.float().numpy(),
        "mixture.turns": np.stack(turns),
        "mixture.offsets": np.stack(offsets),
    }
    for prefix, set_ in (
        ("label_tables.", tables_from_pmfs([(0, weights / weights.sum())])),
        ("round_tables.", rounding_tables(step_sizes())),
    ):
        arrays.update({prefix + name: array for name, array in set_.to_arrays().items()})
    return arrays


def _network_arrays(encoder: Encoder, decoder: Decoder) -> dict[str, Array]:
    """Both networks in float16."""
    return {
        f"{name}.{key}": value.detach().cpu().numpy().astype(np.float16)
        for name, network in (("encoder", encoder), ("decoder", decoder))
        for key, value in network.state_dict().items()
    }


def bits_back_arrays(model: GenerativeModel, *, bins: int = BINS) -> dict[str, Array]:
    """All arrays of the weights file of a Bernoulli VAE with ReLU.

    bins   number of intervals of the prior, a power of two

    Raises `UsageError` for another kind of model or prior.
    """
    encoder = _require(model, "bernoulli")
    if model.config.classes:
        raise UsageError("a vae with classes: vae-bits-back has none")
    if model.config.activation != "relu" or model.config.architecture != "mlp":
        raise UsageError(
            f"a {model.config.architecture} with {model.config.activation}: fixed point needs an "
            "mlp with relu"
        )
    arrays = {
        **mlp_to_arrays("encoder", _exact_layers(encoder)),
        **mlp_to_arrays("decoder", _exact_layers(model.decoder)),
        **{"posterior." + name: array for name, array in posterior_arrays(bins).items()},
    }
    tables = bits_back_tables.bit_tables().to_arrays()
    arrays.update({"pixel_tables." + n: a for n, a in tables.items()})
    return arrays


def posterior_arrays(bins: int) -> dict[str, Int32Array]:
    """The integer arrays of `codec.coding.bits_back_tables.PosteriorTables`, by name."""
    edges = normal_quantile(np.arange(1, bins) / bins)
    centres = normal_quantile((np.arange(bins) + 0.5) / bins)
    quarter = 2.0 ** (bits_back_tables.LOG_VARIANCE_BITS - ACTIVATION_BITS)
    levels = bits_back_tables.LOWEST_LOG_VARIANCE + quarter * np.arange(
        bits_back_tables.LOG_VARIANCE_LEVELS
    )
    half = bits_back_tables.GRID_REACH << bits_back_tables.GRID_BITS
    grid = np.arange(-half, half + 1, dtype=np.float64) / 2**bits_back_tables.GRID_BITS
    rising = normal_distribution(grid)
    rising = (rising - rising[0]) / (rising[-1] - rising[0])
    return {
        "edges": _integers(edges * 2**bits_back_tables.EDGE_BITS),
        "centres": _integers(centres * 2**ACTIVATION_BITS),
        "reciprocals": _integers(np.exp(-levels / 2) * 2**bits_back_tables.RECIPROCAL_BITS),
        "distribution": _integers(rising * (TOTAL - bins - 1)),
    }


def write_digits(
    folder: Path,
    name: str,
    arrays: dict[str, Array],
    model: GenerativeModel,
    codecs: Sequence[str],
) -> Path:
    """Write `<name>.safetensors`, its card and the registry; returns the weights file.

    codecs   names of the models in the catalogue that use this file
    """
    path = write_weights_file(folder, name, arrays, config=model.config, models=codecs)
    networks = ("encoder.", "decoder.")
    kind = (
        "Arrays `encoder.*` and `decoder.*` are fixed-point networks, and `posterior.*` and "
        "`pixel_tables.*` turn their outputs into integer frequencies."
        if model.config.likelihood == "bernoulli"
        else "Arrays `encoder.*` and `decoder.*` are float16, `*_tables.*` integer probability "
        "tables; steps, blocks and class tables are fitted to training images."
    )
    result = "samples_to_bits"
    if model.config.family == "rae":
        result = "rae_codec"
        kind = (
            "Arrays `encoder.*` and `decoder.*` are float16, `*_tables.*` integer probability "
            "tables; `mixture.*` is the prior, a mixture of Gaussians that was fitted to the codes "
            "of the training images, with the coordinates and the steps of each component."
        )
    if model.config.classes:
        result = "class_channel"
    plural = "s" if len(codecs) > 1 else ""
    write_card(
        path,
        f"Weights of the model{plural} {', '.join(f'`{codec}`' for codec in codecs)}",
        f"{kind}\nTheir measurements on MNIST are in `benchmarks/results/{result}.json`.\n",
        parameters=sum(a.size for key, a in arrays.items() if key.startswith(networks) and a.ndim),
        sizes=model.config,
        licence="apache-2.0",
        rows=model.card,
    )
    return path


def export_digits(path: Path, options: ExportOptions) -> Path:
    """Write the codec's weights file for a trained model, according to its family and likelihood;
    returns its path.

    path   weights file of the model; a Gaussian VAE and a rae need training images, `data`

    Raises `WeightsMismatchError` for another file, `UsageError` for another kind of model.
    """
    model, folder = load_generative(path), options.output
    if model.config.likelihood == "bernoulli":
        arrays = bits_back_arrays(model)
        return write_digits(folder, "digits-vae-binary", arrays, model, [ARCHIVE.name])
    if not options.data:
        raise UsageError("a Gaussian VAE needs training images for its tables: give --data")
    images = read_images(options.data[0], shape=model.config.image_shape, part="train")
    if classes := model.config.classes:
        labels = labels_of(options.data[0], len(images), classes)[: options.images or TABLE_IMAGES]
        arrays = class_arrays(model, images[: len(labels)], labels)
        return write_digits(folder, "digits-class-vae", arrays, model, [LOSSY[0].name])
    images = images[: options.images or TABLE_IMAGES]
    if model.config.family == "rae":
        return write_digits(folder, "rae", rae_arrays(model, images), model, [LOSSY[0].name])
    arrays = lossy_arrays(model, images)
    return write_digits(folder, "digits-vae", arrays, model, [model.name for model in LOSSY])


def _require(model: GenerativeModel, likelihood: str) -> Encoder:
    config = model.config
    if config.likelihood != likelihood or model.encoder is None:
        raise UsageError(
            f"a {config.family} with the likelihood {config.likelihood!r}: expected a vae with "
            f"{likelihood!r} and its encoder"
        )
    if not isinstance(model.prior, StandardNormal):
        raise UsageError(f"the prior {model.prior!r}: expected StandardNormal")
    return model.encoder


def _posterior(encoder: Encoder, images: Uint8Array, values: Tensor | None = None) -> Posterior:
    with torch.inference_mode():
        mean, log_variance = encoder(torch.from_numpy(np.array(images)).float() / 255, values)
    assert log_variance is not None  # a vae has one
    return vae_coders.posterior_from_network(mean.numpy(), log_variance.numpy())


def _set_hundredths(number: int) -> int:
    """The quality in the middle of a set of tables."""
    return 100 + round(9900 * number / (QUALITY_SETS - 1))


def _rec_tables(posterior: Posterior, images: int) -> tuple[Int32Array, TableSet]:
    """Block layouts (sets, k), and class tables `set · k + block`.

    A class gets the mean of the images' Zipf distributions, corrected by the encoder's choices.
    """
    dimensions = posterior.mean.shape[1]
    few = Posterior(posterior.mean[:images], posterior.variance[:images])
    layouts, pmfs = [], []
    for number in range(QUALITY_SETS):
        hundredths = _set_hundredths(number)
        coded = vae_coders.tempered(posterior, vae_coders.inverse_temperature(hundredths))
        bits = channel_simulation.kl_bits(coded.mean, coded.variance)
        layout = channel_simulation.balanced_blocks(
            bits.mean(axis=0), RelativeEntropyCoder.largest_block_bits
        )
        coder = _placeholder_rec(layout)
        classes = np.frexp(coder.indexes(few, hundredths) + 1.0)[1] - 1
        for block in range(dimensions):
            block_bits = bits[:images, layout == block].sum(axis=1)
            laws = [
                channel_simulation.zipf_class_masses(channel_simulation.zipf_exponent(value))
                for value in np.unique(np.round(block_bits, 1))
            ]
            counts = PRIOR_COUNT * np.mean(laws, axis=0)
            if block < classes.shape[1]:
                counts += np.bincount(classes[:, block], minlength=channel_simulation.INDEX_BITS)
            pmfs.append((0, counts / counts.sum()))
        layouts.append(layout)
    return np.stack(layouts), tables_from_pmfs(pmfs)


def _placeholder_rec(layout: Int32Array) -> RelativeEntropyCoder:
    flat = (0, np.full(channel_simulation.INDEX_BITS, 1 / channel_simulation.INDEX_BITS))
    return RelativeEntropyCoder(tables_from_pmfs([flat] * len(layout)), layout[None])


def _exact_layers(network: Encoder | Decoder) -> list[ExactLinear]:
    state = {name: value.cpu().double().numpy() for name, value in network.state_dict().items()}
    return [
        to_fixed_point(state[f"layers.{k}.weight"], state[f"layers.{k}.bias"])
        for k in range(len(network.layers))
    ]


def _integers(values: Float64Array) -> Int32Array:
    return np.rint(values).astype(np.int32)
