"""The value of a label for a model where it is known exactly, and a small run of the benchmark."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.measurement.__main__ import main
from benchmarks.measurement.class_curves import (
    CodedImages,
    compared,
    curve_given_labels,
    curve_of_any_label,
    rate_at,
)
from benchmarks.readme.measurement import class_rows, class_table
from bitstream.arrays import Array
from codec.models.generative.networks import Classifier, Decoder, Encoder, GenerativeModel
from codec.models.generative.weights_file import save_generative
from codec.priors import StandardNormal
from codec.rate_distortion.annealing.rd_curve import rd_samples
from codec.rate_distortion.annealing.summary import CurveSamples
from codec.rate_distortion.known.linear_decoder import LinearGaussianDecoder
from tests.benchmarks.tiny_dplc_set import write_idx
from tests.codec.models.vae import tiny

CLASSES, PIXELS, CODE = 3, 12, 2
BETAS = np.geomspace(0.05, 20, 12)
DISTORTIONS = np.array([3.0, 1.0, 0.3])


class LinearClasses:
    """x = W z + c_y + noise: without the label, a linear decoder whose code also has to give c_y.

    The plain decoder has the same W and in addition the columns c_y, so it reaches every image.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        weight = rng.standard_normal((PIXELS, CODE))
        offsets = 3 * rng.standard_normal((CLASSES, PIXELS))
        self.labels = rng.integers(CLASSES, size=24)
        noise = 0.05 * rng.standard_normal((24, PIXELS))
        self.images = rng.standard_normal((24, CODE)) @ weight.T + offsets[self.labels] + noise
        self.given = [LinearGaussianDecoder(weight, offset) for offset in offsets]
        centre = offsets.mean(0)
        joined = np.concatenate([weight, (offsets - centre).T], 1)
        self.plain = LinearGaussianDecoder(joined, centre)

    def exact_difference(self) -> list[float]:
        """log(classes) + R_p(D | y) − R_p(D) at the distortions, from exact curves at the β."""
        curves = np.empty((2, len(BETAS), 24))
        for at, beta in enumerate(BETAS):
            curves[0, at] = -self.plain.log_partition(self.images, beta)
            for label, decoder in enumerate(self.given):
                own = self.labels == label
                partition = decoder.log_partition(self.images[own], beta)
                curves[1, at, own] = math.log(CLASSES) - partition
        plain, labelled = curves.mean(2)
        return [
            float((labelled - BETAS * d).max() - max((plain - BETAS * d).max(), 0))
            for d in DISTORTIONS
        ]


def annealed(decoder: LinearGaussianDecoder, images: Array) -> CurveSamples:
    layer = torch.nn.Linear(decoder.dim, PIXELS)
    layer.load_state_dict({
        "weight": torch.from_numpy(decoder.weight).float(),
        "bias": torch.from_numpy(decoder.offset).float(),
    })  # fmt: skip
    return rd_samples(
        layer, StandardNormal(decoder.dim), images.astype(np.float32), distortion="sse",
        betas=BETAS.tolist(), chains=6, simulations=2, reference="local", modes=1,
    )  # fmt: skip


def test_a_labels_worth_is_that_of_the_closed_form() -> None:
    model = LinearClasses()
    plain = annealed(model.plain, model.images)
    labelled = curve_given_labels(
        lambda label, own: annealed(model.given[label], own), model.images, model.labels, CLASSES
    )
    curves = {"without": partial(rate_at, plain), "with": partial(rate_at, labelled)}
    rows = compared(curves, DISTORTIONS.tolist(), len(model.images))
    exact = model.exact_difference()
    found = [row["above_first"]["with"]["estimate"] for row in rows]
    assert found == pytest.approx(exact, abs=0.02)
    # Here the label saves most of the bits that a code needs to tell the class.
    assert exact[-1] < exact[0] < -1
    for row, value in zip(rows, exact, strict=True):
        low, high = row["above_first"]["with"]["interval_95"]
        assert low < value < high
    assert labelled.gap is not None
    assert labelled.gap.shape == (2 * CLASSES, len(BETAS))
    assert labelled.gradients > plain.gradients / 2


def test_any_label_is_the_mixture_over_labels() -> None:
    """For a source of one pixel, −log Z is that of Gaussians with several means; D is its slope."""
    model = LinearClasses()

    def exact(label: int, betas: Array) -> CurveSamples:
        columns = [
            (-model.given[label].log_partition(model.images, beta),
             model.given[label].image_distortions(model.images, beta))
            for beta in betas.tolist()
        ]  # fmt: skip
        partition, distortion = (np.stack(c, 1) for c in zip(*columns, strict=True))
        return CurveSamples(
            np.array(betas), partition, distortion, np.ones_like(partition), np.ones(len(betas)),
            None, "none", "sse", "", 1, 1, 0, 0,
        )  # fmt: skip

    step = 1e-5
    betas = np.array([0.1, 0.1 + step])
    of_each = [exact(label, betas) for label in range(CLASSES)]
    joined = curve_of_any_label(of_each)
    sums = sum(np.exp(-samples.log_partition) for samples in of_each)
    assert joined.log_partition == pytest.approx(-np.log(sums / CLASSES))
    slope = np.diff(joined.log_partition)[:, 0] / step
    assert joined.distortion.mean(1) == pytest.approx(slope, rel=1e-4)
    told = curve_given_labels(
        lambda label, own: exact_of(exact(label, betas), model, label),
        model.images, model.labels, CLASSES,
    )  # fmt: skip
    assert (joined.log_partition <= told.log_partition + 1e-9).all()


def exact_of(samples: CurveSamples, model: LinearClasses, label: int) -> CurveSamples:
    """The samples of the images with a label."""
    return samples.of_images(model.labels == label)


def test_joined_samples_keep_the_order_of_the_images() -> None:
    """The results show from which label's decoder each image comes."""
    labels = np.array([2, 0, 1, 0, 2])
    images = np.arange(5.0)

    def made(label: int, own: Array) -> CurveSamples:
        value = np.repeat(own.astype(np.float64)[:, None] + 100 * label, 2, 1)
        return CurveSamples(
            np.array([1.0, 2.0]), value, value + 0.5, value, np.ones(2), None, "none",
            "sse", "", 1, 1, 0, 7, ("local", "prior" if label else "local"), 1, "", np.zeros(2),
            1 + label,
        )  # fmt: skip

    joined = curve_given_labels(made, images, labels, 3)
    expected = images + 100 * labels
    assert joined.distortion[:, 1] == pytest.approx(expected + 0.5)
    assert joined.log_partition[:, 0] == pytest.approx(expected + math.log(3))
    assert (joined.gap, joined.gradients, joined.modes) == (None, 21, 3)
    assert joined.reference == ("local", "prior")


def test_bits_between_qualities_are_linear_in_the_logarithm() -> None:
    sse = np.array([[40.0, 24.0], [20.0, 12.0], [10.0, 6.0]])
    bits = -3 * np.log2(sse.mean(1, keepdims=True)) + np.array([[-1.0, 1.0]])
    coded = CodedImages((1.0, 2.0, 3.0), (1, 2, 3), bits, sse)
    wanted = np.array([9.0, 11.3, 30.0])
    assert coded.at(wanted, np.ones((1, 2)))[0] == pytest.approx(-3 * np.log2(wanted))
    # Only the first image: its bits are 1 below and its errors those of the first column.
    alone = coded.at(np.array([20.0]), np.array([[2.0, 0.0]]))[0]
    assert alone == pytest.approx(bits[1, 0])


def write_models(folder: Path) -> list[str]:
    """Digits with labels, a VAE, a conditional one and two classifiers, all untrained."""
    vae = tiny.generative("gaussian")
    config = replace(vae.config, classes=10)
    encoder, decoder, classifier = Encoder(config), Decoder(config), Classifier(config)
    assert vae.encoder is not None
    for network, plain in ((encoder, vae.encoder), (decoder, vae.decoder)):
        state = dict(plain.state_dict())
        weight = state["layers.0.weight"]
        state["layers.0.weight"] = torch.cat([weight, torch.zeros(len(weight), 10)], 1)
        network.load_state_dict(state)
    save_generative(folder / "plain.safetensors", vae)
    labelled = replace(vae, config=config, encoder=encoder, decoder=decoder)
    save_generative(folder / "labelled.safetensors", labelled)
    binary = replace(config, likelihood="bernoulli")
    m2 = GenerativeModel(binary, decoder, encoder, vae.prior, classifier=classifier)
    for seed in range(2):
        torch.manual_seed(seed)
        for layer in classifier.layers:
            layer.reset_parameters()  # type: ignore[operator]
        save_generative(folder / f"m2-{seed}.safetensors", m2)
    for part, count in (("train", 200), ("t10k", 60)):
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", tiny.digits(count)[:, 0])
        labels = (np.arange(count) % 10).astype(np.uint8)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return [
        "--plain", str(folder / "plain.safetensors"),
        "--conditional", str(folder / "labelled.safetensors"),
        "--m2", *(str(folder / f"m2-{seed}.safetensors") for seed in range(2)),
    ]  # fmt: skip


def test_a_small_run(tmp_path: Path) -> None:
    models, result = write_models(tmp_path), tmp_path / "result.json"
    words = ["class-channel", "--data", str(tmp_path), *models, "-o", str(result)]
    small = (
        "--images 60 --rate-images 20 --any-label-images 20 --betas 2 --low-beta 0.02 "
        "--high-beta 0.5 --temperatures 40 --chains 4 --simulations 1 --qualities 20 60 90 "
        "--distortions 67 68"
    )
    assert main([*words, *small.split()]) == 0
    found = json.loads(result.read_text("utf-8"))
    files = found["files"]["run 0"]["found"]
    # A label that the networks ignore costs its bits, and nothing else changes.
    for name in ("true labels", "chosen labels"):
        without, with_labels = files["files"]["without labels"], files["files"][name]
        assert with_labels["sse"] == pytest.approx(without["sse"], abs=1e-3)
        for row in files["rows"]:
            difference = row["above_first"][name]
            assert difference["estimate"] == pytest.approx(math.log2(10), abs=0.6)
    for row in found["rate"]["run 0"]["found"]["rows_nats"]:
        low, high = row["above_first"]["true labels"]["interval_95"]
        assert low - 1 < math.log(10) < high + 1
    for row in found["any_label"]["run 0"]["found"]["rows_nats"]:
        assert row["above_first"]["any label"]["estimate"] == pytest.approx(0, abs=0.5)
    (row,) = class_rows(found)
    assert "M2" in row[0]
    assert row[2].endswith("**missed**")
    text = class_table(found)
    assert "include its log₂ 10 = 3.32 bits" in text
    assert "files with the true label, more at " in text
    assert "If any label is allowed, R_p of" in text
    assert class_table({}) == ""
    assert not list(class_rows({}))
