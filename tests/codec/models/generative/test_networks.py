"""Generative models: shapes, names of the weights, and files that are restored or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bitstream.errors import ModelError, OutputError, UsageError, WeightsMismatchError
from codec.models.generative.networks import (
    Classifier,
    Decoder,
    Encoder,
    GenerativeConfig,
    GenerativeModel,
)
from codec.models.generative.weights_file import load_generative, save_generative
from codec.priors import GaussianMixture, StandardNormal

MLP = GenerativeConfig("vae", "mlp", (1, 4, 6), 3, (7, 5), "tanh", "gaussian")
CONV = GenerativeConfig("gan", "conv", (3, 8, 12), 3, (4, 6), "relu")
RAE = GenerativeConfig("rae", "mlp", (1, 4, 6), 3, (7, 5), "relu")
SIZES: dict[str, Any] = {"flow_blocks": 3, "flow_width": 5, "flow_steps": 2}
FLOW = replace(CONV, family="flow", code=4, **SIZES)
FLOWING = {"family": "flow", "likelihood": None, "code": 4, **SIZES}
LABELLED = replace(MLP, classes=4)


def mixture(dim: int) -> GaussianMixture:
    generator = torch.Generator().manual_seed(3)
    factors = torch.randn(2, dim, dim, generator=generator, dtype=torch.float64)
    covariances = factors @ factors.mT + 1e-9 * torch.eye(dim, dtype=torch.float64)
    means = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    return GaussianMixture(torch.tensor([0.3, 0.7], dtype=torch.float64), means, covariances)


def build(config: GenerativeConfig) -> GenerativeModel:
    torch.manual_seed(0)
    decoder = Decoder(config)
    if decoder.flow is not None:
        for parameter in decoder.flow.parameters():
            nn.init.normal_(parameter, 0, 0.3)  # untrained, it would be the identity
    encoder = Encoder(config) if config.has_encoder else None
    variance = 0.0123456789 if config.likelihood == "gaussian" else None
    prior = mixture(config.code) if config.family == "rae" else StandardNormal(config.code)
    card = {"data": "größe", "licence": "CC0-1.0"}
    classifier = Classifier(config) if config.classes else None
    return GenerativeModel(config, decoder, encoder, prior, variance, card, classifier)


@pytest.mark.parametrize("config", [MLP, CONV, RAE, replace(CONV, family="wae")])
def test_shapes_and_ranges(config: GenerativeConfig) -> None:
    torch.manual_seed(0)
    decoder, encoder = Decoder(config), Encoder(config)
    images = decoder(5 * torch.randn(11, config.code))
    assert images.shape == (11, *config.image_shape)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1
    mean, log_variance = encoder(images)
    assert mean.shape == (11, config.code)
    if config.family == "vae":
        assert log_variance is not None
        assert log_variance.shape == (11, config.code)
        assert (mean != log_variance).any()
    else:
        assert log_variance is None


def test_an_mlp_is_its_linear_layers_by_name() -> None:
    decoder = Decoder(MLP)
    state = decoder.state_dict()
    names = [f"layers.{i}.{kind}" for i in range(3) for kind in ("weight", "bias")]
    assert list(state) == names
    assert [tuple(state[f"layers.{i}.weight"].shape) for i in range(3)] == [(5, 3), (7, 5), (24, 7)]
    z = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    value = z
    for i in range(3):
        value = value @ state[f"layers.{i}.weight"].T + state[f"layers.{i}.bias"]
        value = value.tanh() if i < 2 else value
    torch.testing.assert_close(decoder.logits(z), value.reshape(6, 1, 4, 6))
    torch.testing.assert_close(decoder(z), value.sigmoid().reshape(6, 1, 4, 6))


def test_a_label_stands_beside_the_image_and_the_code() -> None:
    torch.manual_seed(0)
    decoder, encoder = Decoder(LABELLED), Encoder(LABELLED)
    x, z, every = torch.rand(6, 1, 4, 6), torch.randn(6, 3), torch.eye(4)
    first = encoder.layers[0]
    means, _ = encoder(x, every[:, None])
    assert means.shape == (4, 6, 3)
    for label, value in enumerate(every):
        beside = value.expand(6, 4)
        mean, log_variance = encoder(x, beside)
        whole = first(torch.cat([x.flatten(1), beside], 1))
        for layer in encoder.layers[1:]:
            whole = layer(whole.tanh())
        assert log_variance is not None
        torch.testing.assert_close(torch.cat([mean, log_variance], 1), whole)
        torch.testing.assert_close(means[label], mean)
        given = decoder.given(label)
        assert given.config == MLP
        torch.testing.assert_close(given(z), decoder(torch.cat([z, beside], 1)))
    assert Classifier(LABELLED)(x).shape == (6, 4)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"family": "ddpm"}, "family"),
        ({"architecture": "cnn"}, "architecture"),
        ({"activation": "gelu"}, "activation"),
        ({"likelihood": None}, "likelihood"),
        ({"family": "rae"}, "likelihood"),
        ({"image_shape": (4, 6)}, "image_shape"),
        ({"image_shape": (1, 0, 6)}, "image_shape"),
        ({"image_shape": (1, 4.0, 6)}, "image_shape"),
        ({"image_shape": (2**10, 2**10, 2**10)}, "image_shape"),
        ({"code": 0}, "code"),
        ({"classes": -1}, "classes"),
        ({"classes": 2, "family": "wae", "likelihood": None}, "conditional on a class"),
        ({"classes": 2, "architecture": "conv", "image_shape": (1, 8, 8)}, "conditional"),
        ({"flow_blocks": 2}, "flow_blocks 2, flow_width 0, flow_steps 0 of a vae"),
        ({"flow_width": 5}, "flow_width 5, flow_steps 0 of a vae"),
        ({"flow_steps": 5}, "flow_width 0, flow_steps 5 of a vae"),
        ({**FLOWING, "flow_blocks": 0}, "flow_blocks"),
        ({**FLOWING, "flow_blocks": 65}, "flow_blocks"),
        ({**FLOWING, "flow_blocks": True}, "flow_blocks"),
        ({**FLOWING, "flow_steps": 0}, "flow_steps"),
        ({**FLOWING, "flow_steps": 2000}, "flow_steps"),
        ({**FLOWING, "classes": 2}, "conditional on a class"),
        ({**FLOWING, "flow_width": 2**20}, "flow_width"),
        ({"code": True}, "code"),
        ({"hidden": ()}, "hidden"),
        ({"hidden": (2**20,)}, "hidden"),
        ({"hidden": [7, 5]}, "hidden"),
        ({"architecture": "conv", "image_shape": (1, 6, 8)}, "multiples of 4"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], word: str) -> None:
    with pytest.raises(UsageError, match=word):
        replace(MLP, **changes)


@pytest.mark.parametrize("half", [True, False])
@pytest.mark.parametrize("config", [MLP, CONV, RAE, FLOW, LABELLED])
def test_a_file_comes_back(tmp_path: Path, config: GenerativeConfig, half: bool) -> None:
    model, path = build(config), tmp_path / "model.safetensors"
    save_generative(path, model, half=half)
    with safe_open(path, framework="pt") as file:
        assert file.get_tensor("decoder.layers.0.weight").dtype == (
            torch.float16 if half else torch.float32
        )
    again = load_generative(path)
    assert again.config == config
    assert again.variance == model.variance
    assert again.card == model.card
    assert not again.decoder.training
    codes = model.prior.sample(9, generator=torch.Generator().manual_seed(1))
    one = (torch.eye(4)[[1] * 9],) if config.classes else ()
    seen = torch.cat([codes, *one], 1)
    with torch.no_grad():
        expected, found = model.decoder(seen), again.decoder(seen)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3 if half else 0)
    torch.testing.assert_close(
        again.prior.log_prob(codes), model.prior.log_prob(codes), rtol=1e-6, atol=1e-6
    )
    assert (again.encoder is None) == (model.encoder is None)
    if model.encoder is not None and again.encoder is not None:
        assert not again.encoder.training
        codes, expected_codes = again.encoder(found, *one)[0], model.encoder(found, *one)[0]
        torch.testing.assert_close(codes, expected_codes, atol=1e-2, rtol=0)
    assert (again.classifier is None) == (not config.classes)
    if model.classifier is not None and again.classifier is not None:
        logits, expected = again.classifier(found), model.classifier(found)
        torch.testing.assert_close(logits, expected, atol=1e-2, rtol=0)
    # After one rounding, the file is always the same.
    save_generative(tmp_path / "again.safetensors", again, half=half)
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_mixture_keeps_float64(tmp_path: Path) -> None:
    model = build(RAE)
    save_generative(tmp_path / "m", model)
    prior = load_generative(tmp_path / "m").prior
    assert isinstance(prior, GaussianMixture)
    assert isinstance(model.prior, GaussianMixture)
    for name in ("weights", "means", "covariances"):
        assert torch.equal(getattr(prior, name), getattr(model.prior, name))


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    path, model = tmp_path / "m", build(MLP)
    save_generative(path, model)
    before = path.read_bytes()
    large = build(MLP)
    with torch.no_grad():
        next(large.decoder.parameters())[0, 0] = 1e5
    with pytest.raises(UsageError, match=r"layers\.0\.weight"):
        save_generative(path, large)
    save_generative(tmp_path / "wide", large, half=False)

    model.prior = object()  # type: ignore[assignment]
    with pytest.raises(UsageError, match="prior"):
        save_generative(path, model)
    with pytest.raises(OutputError):
        save_generative(tmp_path / "none" / "m", build(MLP))
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "wide"]


def contents(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return arrays, dict(file.metadata())


Damage = Callable[[dict[str, Tensor], dict[str, str]], Any]


def with_config(**changes: Any) -> Damage:
    def damage(_: dict[str, Tensor], metadata: dict[str, str]) -> None:
        metadata["config"] = json.dumps({**asdict(RAE), **changes})

    return damage


DAMAGE: dict[str, Damage] = {
    "no metadata": lambda a, m: m.clear(),
    "another format": lambda a, m: m.update(format="calotype-generative-9"),
    "no config": lambda a, m: m.pop("config"),
    "config is no JSON": lambda a, m: m.update(config="{"),
    "config is a list": lambda a, m: m.update(config="[]"),
    "deep JSON": lambda a, m: m.update(config="[" * 100_000),
    "unknown field": with_config(depth=3),
    "a family unheard of": with_config(family=["rae"]),
    "widths are no list": with_config(hidden=5),
    "other sizes": with_config(code=4),
    "sizes without end": with_config(hidden=[2**14] * 32, code=2**14),
    "variance of a rae": lambda a, m: m.update(variance="0.5"),
    "card of numbers": lambda a, m: m.update(card='{"a": 1}'),
    "unknown prior": lambda a, m: m.update(prior='{"kind": "flow"}'),
    "prior is a list": lambda a, m: m.update(prior="[]"),
    "prior without arrays": lambda a, m: a.pop("prior.means"),
    "weights of the prior are a number": lambda a, m: a.update(
        {"prior.weights": torch.tensor(1.0)}
    ),
    "negative covariance": lambda a, m: a["prior.covariances"].neg_(),
    "an array is missing": lambda a, m: a.pop("decoder.layers.1.bias"),
    "an array too many": lambda a, m: a.update(other=torch.zeros(1)),
    "half an encoder": lambda a, m: a.pop("encoder.layers.0.weight"),
    "whole numbers": lambda a, m: a.update(
        {"decoder.layers.1.bias": torch.zeros(7, dtype=torch.int32)}
    ),
    "not a number": lambda a, m: a["decoder.layers.1.bias"].fill_(torch.nan),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_odd_files_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "m.safetensors"
    save_generative(path, build(RAE))
    arrays, metadata = contents(path)
    DAMAGE[name](arrays, metadata)
    save_file(arrays, path, metadata or None)
    with pytest.raises(WeightsMismatchError, match=r"m\.safetensors"):
        load_generative(path)


def test_a_classifier_without_classes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_generative(path, build(MLP))
    arrays, metadata = contents(path)
    save_file({**arrays, "classifier.layers.0.weight": torch.zeros(1)}, path, metadata)
    with pytest.raises(WeightsMismatchError, match="classifier without classes"):
        load_generative(path)


def test_files_of_before_classes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_generative(path, build(MLP))
    arrays, metadata = contents(path)
    config = json.loads(metadata["config"])
    assert config.pop("classes") == 0
    save_file(arrays, path, {**metadata, "config": json.dumps(config)})
    assert load_generative(path).config == MLP


@pytest.mark.parametrize("variance", ["null", "-1.0", "NaN", '"a"', "true", "0.0"])
def test_a_gaussian_needs_its_variance(tmp_path: Path, variance: str) -> None:
    path = tmp_path / "m.safetensors"
    save_generative(path, build(MLP))
    arrays, metadata = contents(path)
    save_file(arrays, path, {**metadata, "variance": variance})
    with pytest.raises(WeightsMismatchError, match="variance"):
        load_generative(path)


def test_an_encoder_in_a_gan_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_generative(path, build(CONV))
    arrays, metadata = contents(path)
    save_file({**arrays, "encoder.layers.0.weight": torch.zeros(1)}, path, metadata)
    with pytest.raises(WeightsMismatchError, match="no encoder"):
        load_generative(path)


def test_a_decoder_alone_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_generative(path, replace(build(MLP), encoder=None))
    assert load_generative(path).encoder is None


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(ModelError):
        load_generative(path)
    with pytest.raises(ModelError):
        load_generative(tmp_path)
    save_generative(path, build(MLP))
    data = path.read_bytes()
    for odd in (b"", b"no weights", data[:-1], data[:200], bytes(8) + data[8:], b"\xff" * 64):
        path.write_bytes(odd)
        with pytest.raises(ModelError):
            load_generative(path)
