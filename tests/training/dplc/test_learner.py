"""Training of the distribution-preserving codec: it learns, resumes, and keeps its generator."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bitstream.errors import UsageError, WeightsMismatchError
from codec.datasets.arrays import Images
from codec.models.dplc.networks import DplcNetworks, StochasticMap
from codec.models.generative.networks import Decoder, Encoder, GenerativeConfig, GenerativeModel
from codec.models.generative.weights_file import save_generative
from codec.priors import GaussianMixture, StandardNormal
from tests.training.generative.test_learners import strokes
from training.data.small_images import to_tensor
from training.dplc.config import DPLC_PRESETS, DplcPreset
from training.dplc.figures import draw_noise, rate_figures
from training.dplc.generator import load_decoder, load_generator
from training.dplc.learner import DplcLearner, fold_batch_norm, soft_to_hard
from training.generative.wae import inverse_multiquadric_mmd
from training.loop.trainer import Budget, Trainer

TINY = DPLC_PRESETS["dplc-tiny"]
CODES = dataclasses.replace(
    TINY,
    model=dataclasses.replace(TINY.model, flow_blocks=2, flow_width=8, flow_steps=2, codes_from=4),
)
PLAIN = dataclasses.replace(
    TINY, model=dataclasses.replace(TINY.model, noise=0, rates=(4,)), mmd_weights=()
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int, seed: int = 0) -> Images:
    return np.pad(strokes(count, seed=seed), ((0, 0), (0, 0), (2, 2), (2, 2)))


def generator(preset: DplcPreset = TINY) -> Decoder:
    """G: untrained, but with pictures that differ."""
    torch.manual_seed(5)
    found = Decoder(preset.model.generator)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(3)
        if found.flow is not None:
            for parameter in found.flow.parameters():
                parameter.normal_(0, 0.3)  # untrained, it would be the identity
    return found


def save_generator(path: Path, config: GenerativeConfig, decoder: Decoder | None = None) -> Path:
    torch.manual_seed(5)
    encoder = Encoder(config) if config.has_encoder else None
    prior = StandardNormal(config.code)
    save_generative(path, GenerativeModel(config, decoder or Decoder(config), encoder, prior))
    return path


def learner_of(preset: DplcPreset = TINY, **changes: Any) -> DplcLearner:
    preset = dataclasses.replace(preset, **changes)
    given = None if preset.is_plain else generator(preset)
    return DplcLearner(preset, autocast=False, generator=given)


@torch.no_grad()
def generated(count: int, preset: DplcPreset = TINY) -> Images:
    """Images that G makes from N(0, I)."""
    codes = torch.randn(count, preset.model.code, generator=seeded(8))
    found: Images = (generator(preset)(codes) * 255).round().to(torch.uint8).numpy()
    return found


def trainer(
    folder: Path, preset: DplcPreset = TINY, steps: int = 20, *, with_generator: bool = True
) -> Trainer:
    data = images(256) if preset.is_plain else generated(256, preset)
    given = generator(preset) if with_generator and not preset.is_plain else None
    learner = DplcLearner(preset, generator=given)
    learner.take(data)
    return Trainer(learner, folder, budget=Budget(steps=steps))


@pytest.mark.parametrize("name", sorted(DPLC_PRESETS))
def test_presets_fit_their_networks(name: str) -> None:
    preset = DPLC_PRESETS[name]
    config = preset.model
    assert len(preset.mmd_weights) == (0 if preset.is_plain else len(config.rates))
    assert preset.is_plain == ("plain" in name)
    _, word, *_ = name.split("-")
    assert preset.image_shape[1] - 2 * preset.pad == (int(word) if word.isdecimal() else 28)
    with torch.device("meta"):
        networks, x = DplcNetworks(config), torch.zeros(2, *preset.image_shape)
        for rate in range(len(config.rates)):
            values = networks.analyze(x, rate)
            noise = draw_noise(networks, 2, rate, None).to("meta")  # type: ignore[arg-type]
            assert networks.synthesize(values, noise, rate).shape == x.shape


def test_plain_autoencoders_have_the_same_sizes_but_no_flow() -> None:
    for name, preset in DPLC_PRESETS.items():
        start, word, symbols = name.partition("-plain-")
        if word:
            whole = DPLC_PRESETS[start].model
            assert int(symbols) in whole.rates
            plain = dataclasses.replace(
                whole, noise=0, flow_blocks=0, flow_width=0, flow_steps=0, codes_from=0
            )
            assert preset.model == dataclasses.replace(plain, rates=(int(symbols),))


def test_the_quantiser_takes_the_nearest_level_and_the_upper_of_two() -> None:
    x = torch.tensor([-3.0, -1e-9, -0.0, 0.0, 1e-9, 0.4, 9.0])
    assert soft_to_hard(x).tolist() == [-0.5, -0.5, 0.5, 0.5, 0.5, 0.5, 0.5]
    grid = (-1.0, 0.0, 0.5, 4.0)
    x = torch.tensor([[-9.0, -0.51, -0.5, 0.25], [0.2, 2.2, 2.25, 7.0]])
    expected = [[-1.0, -1.0, 0.0, 0.5], [0.0, 0.5, 4.0, 4.0]]
    assert soft_to_hard(x, grid).tolist() == expected


@pytest.mark.parametrize("softness", [0.3, 1.0, 5.0])
def test_the_quantisers_gradient_is_that_of_the_soft_choice(softness: float) -> None:
    x = torch.randn(50, generator=seeded(), dtype=torch.float64, requires_grad=True)
    soft_to_hard(x, softness=softness).sum().backward()  # type: ignore[no-untyped-call]
    # For two levels ±½ the soft choice is ½ tanh(σ x).
    expected = 0.5 * softness / torch.cosh(softness * x.detach()).square()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, expected)
    grid = torch.tensor([-1.0, 0.0, 0.5, 4.0], dtype=torch.float64)
    (found,) = torch.autograd.grad(
        soft_to_hard(x, tuple(grid.tolist()), softness=softness).sum(), x
    )
    distances = (x[:, None] - grid).square()
    soft = (torch.exp(-softness * distances) * grid).sum(1) / torch.exp(-softness * distances).sum(
        1
    )
    (expected,) = torch.autograd.grad(soft.sum(), x)
    torch.testing.assert_close(found, expected)


def test_a_folded_batch_norm_is_the_same_map() -> None:
    linear, norm = nn.Linear(6, 4), nn.BatchNorm1d(4, affine=False)
    for seed in range(5):
        norm(3 + linear(5 * torch.randn(64, 6, generator=seeded(seed))))
    norm.eval()
    x = torch.randn(9, 6, generator=seeded(9))
    expected = norm(linear(x))
    fold_batch_norm(linear, norm)
    torch.testing.assert_close(linear(x), expected)


@pytest.mark.parametrize("preset", [TINY, CODES], ids=["z", "codes"])
def test_folded_networks_are_those_that_were_trained(tmp_path: Path, preset: DplcPreset) -> None:
    run = trainer(tmp_path, preset)
    for _ in range(10):
        run.train_step(0.5)
    found = run.learner
    assert isinstance(found, DplcLearner)
    found.autocast = False
    folded, x = found.eval().requires_grad_(False).folded(), to_tensor(images(9))
    for rate in (1, 2):
        decoded, normal = found(x, rate, seeded(rate))
        signs = torch.where(folded.analyze(x, rate) >= 0, 0.5, -0.5)
        noise = draw_noise(folded, 9, rate, seeded(rate))
        mapped = folded.mapped(signs, noise, rate)
        if preset.model.gives_codes(rate):
            mapped = (mapped - found.codes.mean) / found.codes.scale
        torch.testing.assert_close(mapped, normal, atol=1e-5, rtol=1e-4)
        again = folded.synthesize(signs, noise, rate)
        torch.testing.assert_close(again, decoded, atol=1e-5, rtol=1e-4)
        trained = found.networks.maps[rate]
        assert isinstance(trained, StochasticMap)
        assert not torch.equal(trained.last.weight, folded.maps[rate].last.weight)  # type: ignore[arg-type,union-attr]
    # In training, they have the mean and the variance of what they are compared with.
    found.train()
    for rate in (1, 2):
        for values in (
            found(to_tensor(images(200)), rate, seeded())[1],
            found.aim(rate, 10_000, seeded()),
        ):
            torch.testing.assert_close(values.mean(0), torch.zeros(4), atol=0.05, rtol=0)
            variances = values.var(0, correction=0)
            torch.testing.assert_close(variances, torch.ones(4), atol=0.05, rtol=0)


def test_the_loss_is_made_of_the_figures() -> None:
    figures = learner_of(mmd_weights=(0.0, 3.0, 7.0)).train_step(
        lambda: to_tensor(images(16)), seeded(), 0.5
    )
    parts = figures["rmse_s1"] + figures["rmse_s4"] + 3 * figures["mmd_s1"] + 7 * figures["mmd_s4"]
    assert figures["loss"] == pytest.approx(parts, rel=1e-5)
    plain = learner_of(PLAIN).train_step(lambda: to_tensor(images(16)), seeded(), 0.5)
    assert plain.keys() == {"loss", "rmse_s4"}
    assert plain["loss"] == plain["rmse_s4"]


def changed(learner: DplcLearner, before: dict[str, Tensor]) -> set[str]:
    after = learner.state_dict()
    return {".".join(k.split(".")[:3]) for k, v in before.items() if not torch.equal(v, after[k])}


def test_the_generator_stays_and_everything_else_learns() -> None:
    found = learner_of()
    before = {k: v.clone() for k, v in found.state_dict().items()}
    for key, value in generator().state_dict().items():
        assert torch.equal(before[f"networks.generator.{key}"], value)
    for step in range(3):
        found.train_step(lambda: to_tensor(images(16)), seeded(step), 0.5)
    learned = changed(found, before)
    parts = {f"networks.{name}.{rate}" for name in ("encoders", "maps") for rate in (1, 2)}
    assert parts <= learned
    assert not any("generator" in name for name in learned)
    assert all(p.grad is None for p in found.networks.generator.parameters())
    plain = learner_of(PLAIN)
    before = {k: v.clone() for k, v in plain.state_dict().items()}
    plain.train_step(lambda: to_tensor(images(16)), seeded(), 0.5)
    assert "networks.generator.layers" in changed(plain, before)


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    found = learner_of()
    x = to_tensor(images(16))
    found.train_step(lambda: x, seeded(), 0.5)
    before = {k: v.clone() for k, v in found.state_dict().items()}
    assert math.isnan(found.train_step(lambda: x * math.nan, seeded(), 0.5)["loss"])
    assert not changed(found, before)


@pytest.mark.parametrize("preset", [TINY, CODES, PLAIN], ids=["codec", "codes", "plain"])
def test_it_learns(tmp_path: Path, preset: DplcPreset) -> None:
    # After 80 steps four symbols are hardly better than one; which is better depends on the CPU.
    steps = 40 if preset.is_plain else 120
    run = trainer(tmp_path, preset, steps)
    (before,) = run.learner.validate()
    (after,) = run.run()
    assert all(math.isfinite(value) for value in after.values())
    assert run.learner.validate() == [after]  # the same noise every time
    if preset.is_plain:
        assert after.keys() == {"mse_s4"}
        assert after["mse_s4"] < 0.5 * before["mse_s4"]
        return
    assert after["mse_s4"] < 0.8 * after["mse_s0"]
    assert after["mse_s4"] < after["mse_s1"] < after["mse_s0"] == before["mse_s0"]
    for rate, symbols in ((1, 1), (2, 4)):
        # Codes have another distribution, of which less is learned in so few steps.
        most = 0.25 if preset.model.gives_codes(rate) else 0.15
        assert abs(after[f"mmd_s{symbols}"]) < most
    assert after["pixel_variance_s4"] < after["pixel_variance_s0"]


@pytest.mark.parametrize("preset", [TINY, CODES, PLAIN], ids=["codec", "codes", "plain"])
def test_a_resumed_run_goes_on_as_if_never_stopped(tmp_path: Path, preset: DplcPreset) -> None:
    def losses(run: Trainer, count: int) -> list[float]:
        return [run.train_step(0.5)["loss"] for _ in range(count)]

    whole, first = (trainer(tmp_path / name, preset) for name in ("whole", "cut"))
    losses(whole, 5)
    losses(first, 5)
    first.learner.validate()
    first.save()
    torch.manual_seed(77)
    # Without its generator, because that is in the checkpoint.
    second = trainer(tmp_path / "cut", preset, with_generator=False)
    second.resume()
    expected = losses(whole, 4)
    assert losses(second, 4) == expected
    assert len(set(expected)) > 1
    state = whole.learner.state_dict()
    for name, value in second.learner.state_dict().items():
        assert torch.equal(value, state[name])


class Coin(nn.Module):
    """A generator of grey levels: z > 0 is white."""

    flow = None

    def logits(self, z: Tensor) -> Tensor:
        return (1000 * z[:, :1].sign())[:, :, None, None].expand(-1, 1, 32, 32)


def test_figures_of_a_generator_that_is_known() -> None:
    networks = DplcNetworks(TINY.model)
    networks.generator = Coin()  # type: ignore[assignment]
    with torch.no_grad():
        for rate in (1, 2):
            found = networks.maps[rate]
            assert isinstance(found, StochasticMap)
            found.last.weight.zero_()
            found.last.bias.fill_(-1.0 if rate == 1 else 1.0)
    figures = rate_figures(networks, torch.full((600, 1, 32, 32), 0.25))
    assert figures["mse_s1"] == pytest.approx(0.25**2)
    assert figures["mse_s4"] == pytest.approx(0.75**2)
    assert figures["pixel_variance_s1"] == figures["pixel_variance_s4"] == 0
    # At 0 symbols pictures are black or white, with even odds.
    assert figures["mse_s0"] == pytest.approx((0.25**2 + 0.75**2) / 2, abs=0.03)
    assert figures["pixel_variance_s0"] == pytest.approx(0.25, abs=0.01)
    assert abs(figures["mmd_s0"]) < 0.02
    samples = torch.randn(600, 4, generator=seeded(1))
    expected = inverse_multiquadric_mmd(torch.full((600, 4), -1.0), samples)
    assert figures["mmd_s1"] == pytest.approx(float(expected), abs=1e-4)


def test_generators_of_every_family_with_a_normal_prior_are_taken(tmp_path: Path) -> None:
    for family in ("gan", "wae"):
        config = dataclasses.replace(TINY.model.generator, family=family)
        decoder = generator()
        path = save_generator(tmp_path / f"{family}.safetensors", config, decoder)
        found = load_generator(path, TINY.model.generator)
        for key, value in decoder.state_dict().items():
            torch.testing.assert_close(found.state_dict()[key], value, atol=1e-3, rtol=1e-3)


def test_wrong_generators_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    for change in ({"code": 5}, {"hidden": (4, 8)}, {"activation": "tanh"}):
        save_generator(path, dataclasses.replace(TINY.model.generator, **change))
        with pytest.raises(UsageError, match="expected GenerativeConfig"):
            load_generator(path, TINY.model.generator)
    config = dataclasses.replace(TINY.model.generator, family="rae")
    mixture = GaussianMixture(torch.ones(1), torch.zeros(1, 4), torch.eye(4)[None])
    save_generative(path, GenerativeModel(config, generator(), None, mixture))
    with pytest.raises(UsageError, match="expected a standard normal"):
        load_generator(path, TINY.model.generator)
    path.write_bytes(b"nothing")
    with pytest.raises(WeightsMismatchError):
        load_generator(path, TINY.model.generator)


def test_a_decoder_is_taken_whatever_flow_is_before_it(tmp_path: Path) -> None:
    decoder, config = generator(CODES), CODES.model.generator
    path = save_generator(tmp_path / "flow.safetensors", config, decoder)
    wider = dataclasses.replace(CODES, model=dataclasses.replace(CODES.model, flow_width=9))
    for wanted in (TINY, CODES, wider):
        found = load_decoder(path, wanted.model.generator)
        for key, value in decoder.layers.state_dict().items():
            torch.testing.assert_close(found.layers.state_dict()[key], value, atol=1e-3, rtol=1e-3)
    with pytest.raises(UsageError, match="expected GenerativeConfig"):
        load_decoder(path, dataclasses.replace(config, code=6))
    with pytest.raises(UsageError, match="expected GenerativeConfig"):
        load_generator(path, wider.model.generator)


def test_discrepancies_of_codes_are_those_from_the_flow() -> None:
    found = DplcLearner(CODES, generator=generator(CODES)).folded()
    held_out = to_tensor(images(400))

    def discrepancy() -> float:
        return rate_figures(found, held_out)["mmd_s4"]

    class Flowing(nn.Module):
        """A map that gives what the flow makes of noise, whatever the symbols are."""

        def forward(self, symbols: Tensor, noise: Tensor) -> Tensor:
            found: Tensor = samples[: len(symbols)]
            return found

    flow = found.generator.flow
    assert flow is not None
    with torch.no_grad():
        samples = flow(torch.randn(400, CODES.model.code, generator=seeded(9)))
        before = discrepancy()
        found.maps[2] = Flowing()
        assert abs(discrepancy()) < 0.02 < before
        samples = samples + 3 * samples.std(0)
        assert discrepancy() > 0.1
