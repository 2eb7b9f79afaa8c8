"""Training of the photo model: rate and distortion at every quality, for both tunes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitstream.errors import UsageError
from codec.loading import hash_weights
from codec.models.photo.config import LATENT_STRIDE, TUNES, quality_position
from codec.models.photo.network import Forward, PhotoModel, lagrange_multiplier
from codec.models.photo.visual_error import VISUAL_SCALE, visual_error
from training.data.crops import (
    PLACES,
    CropSampler,
    Pixels,
    load_photographs,
    to_tensor,
    window_of,
)
from training.features.alexnet import SMALLEST_SIDE, AlexNet
from training.loop.optimise import MovingAverage, build_optimizer, compiled
from training.loop.process_group import ALONE, ProcessGroup
from training.loop.trainer import Learner, TrainOptions
from training.photo.config import PhotoPreset
from training.photo.warm_start import start_from_weights

VALIDATION_QUALITIES = (15, 30, 45, 60, 80, 95)
VISUAL = TUNES.index("visual")
# Number of the first batch for the data-dependent start, far beyond those of training.
FIT_BATCH = 10**9

# Bits per pixel of photographs at λ = 0.013, and how they grow with λ (measured on a pilot).
_REFERENCE_LAMBDA, _REFERENCE_BPP, _RATE_EXPONENT = 0.013, 0.5, 0.5

_LPIPS_SCALE = 1000.0
"""Brings LPIPS to the scale of 255²·MSE: in a pilot, three photographs at 0.5 bits per pixel had 16
to 86 of the latter, and an LPIPS of 0.03 to 0.11."""

_LEAST_COST = 0.02
"""Bits per pixel; crops that cost less do not get a larger weight."""


@dataclass(frozen=True)
class PerceptualError:
    """A part of the distortion for the tune "visual".

    share      of the distortion, 0 .. 1
    scale      brings the error to the scale of 255²·MSE
    error_of   the error of decoded pictures, from originals and decoded ones (n, 3, h, w): (n,)
    """

    share: float
    scale: float
    error_of: Callable[[Tensor, Tensor], Tensor]


def sample_positions(batch: int, generator: torch.Generator) -> Tensor:
    """Quality positions in [0, 1]: uniform, with the most used rates drawn more often."""
    wide = torch.rand(batch, generator=generator)
    usual = 0.15 + 0.6 * torch.rand(batch, generator=generator)
    return torch.where(torch.rand(batch, generator=generator) < 0.6, wide, usual)


def tunes(batch: int) -> Tensor:
    """The tune of each sample of a batch, in turn: int64 (batch,)."""
    return torch.arange(batch) % len(TUNES)


def common_pattern(original: Tensor, decoded: Tensor) -> Tensor:
    """Mean square of the error that all blocks of 16×16 pixels have in common, (n,).

    The error is averaged over the blocks of each picture; the mean of this average in each channel
    does not count.

    original, decoded   (n, c, h, w), of at least one block
    """
    side = LATENT_STRIDE
    rows, columns = (length // side for length in original.shape[2:])
    error = (decoded - original)[..., : rows * side, : columns * side]
    mean = error.reshape(*error.shape[:2], rows, side, columns, side).mean((2, 4))
    return (mean - mean.mean((2, 3), keepdim=True)).square().flatten(1).mean(1)


def rate_distortion_loss(
    output: Forward,
    pixels: Tensor,
    position: Tensor,
    tune: Tensor,
    perceptual: Sequence[PerceptualError],
    window: tuple[slice, slice] = (slice(None), slice(None)),
    pattern: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """λ·distortion + bits per pixel, weighted so that every quality counts alike.

    The distortion is 255²·MSE; for the tune "visual", `perceptual` errors replace their shares of
    it, which are at most 1 in all. They see the rows and columns of `window`. For both tunes,
    `pattern` · 255² · `common_pattern` is added, because a pattern that repeats from block to block
    is visible where a picture is smooth, though it is only a small part of the squared error.

    High qualities cost tens of times the bits of low ones, and textures tens of times the bits of
    skies. A Bjøntegaard difference, averaged over pictures, counts relative savings. So each
    sample is divided by the geometric mean of the rate expected at λ and of its own rate; if it
    were divided by its own rate alone, empty crops would outweigh their pictures.
    Returns (loss, bpp, mse) per sample, the last two detached.
    """
    lagrange = lagrange_multiplier(position)
    bpp = (output.latent_bits + output.hyper_bits) / (pixels.shape[2] * pixels.shape[3])
    mse = (output.reconstruction - pixels).square().flatten(1).mean(1)
    distortion = 255**2 * mse
    seen = tune == VISUAL
    if seen.any():
        squared, place = distortion[seen], (..., *window)
        pair = pixels[seen][place], output.reconstruction[seen][place]
        mixed = squared + sum(e.share * (e.scale * e.error_of(*pair) - squared) for e in perceptual)
        distortion = distortion.masked_scatter(seen, mixed)
    if pattern:
        distortion = distortion + pattern * 255**2 * common_pattern(pixels, output.reconstruction)
    expected = _REFERENCE_BPP * (lagrange / _REFERENCE_LAMBDA) ** _RATE_EXPONENT
    cost = lagrange * distortion + bpp
    loss = cost / ((expected + 0.1) * (cost.detach() + _LEAST_COST)).sqrt()
    return loss, bpp.detach(), mse.detach()


class PhotoLearner(Learner):
    """A `PhotoModel`, and the moving average of its weights that is exported.

    weights     an exported weights file to start from, instead of the untrained transform
    features    weights of LPIPS, which is then a part of the distortion for the tune "visual"
    validation  pictures uint8 (h, w, 3) with sides of at least 64 pixels
    group       the processes that train together; each takes its share of every batch

    Raises what `start_from_weights` and `AlexNet` raise, and `UsageError` if a batch cannot be
    divided, or crops are too small for LPIPS.
    """

    family = "photo"
    loss_must_fall = True

    def __init__(
        self,
        preset: PhotoPreset,
        sampler: CropSampler,
        *,
        autocast: bool = True,
        weights: Path | None = None,
        features: Path | None = None,
        validation: Sequence[Pixels] = (),
        group: ProcessGroup = ALONE,
    ) -> None:
        share = group.share(preset.batch)
        super().__init__(preset, autocast=autocast, device=group.device)
        self.preset: PhotoPreset = preset
        self.sampler, self.validation = sampler, validation
        self.group, self.share = group, share
        self.model = PhotoModel(preset.model)
        if weights is not None:
            start_from_weights(self.model, weights)
        else:
            samples = [to_tensor(sampler(FIT_BATCH + k), torch.device("cpu")) for k in range(4)]
            self.model.fit_scales(torch.cat(samples))
        self.model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = MovingAverage(self.model, preset.ema_decay)
        error_of: Callable[[Tensor, Tensor], Tensor] = visual_error
        if preset.compiled:
            error_of = compiled(visual_error)
            self.model.latent_bits = compiled(self.model.latent_bits)
        self.features_sha256 = hash_weights(features).hex() if features is not None else None
        self.perceptual = [PerceptualError(preset.visual, VISUAL_SCALE, error_of)]
        if features is not None:
            rest = preset.visual - preset.features
            smallest = SMALLEST_SIDE + PLACES - 1
            if preset.crop < smallest:
                raise UsageError(f"crops of {preset.crop} pixels: LPIPS needs {smallest} or more")
            lpips = AlexNet(features, self.device).distance
            self.perceptual = [
                PerceptualError(rest, VISUAL_SCALE, error_of),
                PerceptualError(preset.features, _LPIPS_SCALE, lpips),
            ]
        self.optimizers = {preset.optimizer: photo_optimizer(self.model, preset)}

    def fixed(self) -> dict[str, Any]:
        """The sizes, and the hash of the features."""
        return {**super().fixed(), "features_sha256": self.features_sha256}

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step; `psnr_db` is the PSNR of the batch's mean squared error.

        The figures are for the whole batch, whatever the number of processes.
        """
        preset = self.preset
        position = sample_positions(preset.batch, self.noise_of(step))[self.share].to(self.device)
        tune = tunes(preset.batch)[self.share].to(self.device)
        pixels = to_tensor(self.sampler(step, self.share), self.device)
        noise = SampleNoise(preset.seed, step, range(preset.batch)[self.share])
        optimizer = self.optimizers[preset.optimizer]
        optimizer.zero_grad(set_to_none=True)
        with self.mixed():
            output = self.model(
                pixels,
                position,
                tune,
                hard=fraction > 1 - preset.hard_tail,
                rounded=fraction > 1 - preset.rounded_tail,
                noise=noise,
            )
        losses, bpp, mse = rate_distortion_loss(
            output, pixels, position, tune, self.perceptual, window_of(step, preset.crop),
            preset.pattern,
        )  # fmt: skip
        loss = losses.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        # A tune has its share of the whole batch, but perhaps no sample in this process.
        share = len(losses) / len(TUNES)
        shares = [losses.detach()[tune == number].sum() / share for number in range(len(TUNES))]
        means = torch.stack([loss.detach(), *shares, bpp.mean(), mse.mean()])
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        self.group.average([*gradients, means])
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), preset.gradient_clip)
        if torch.isfinite(means[0]) and torch.isfinite(norm):
            optimizer.step()
            self.average.update_parameters(self.model)
        else:
            means[0] = torch.nan
        loss_mean, *by_tune, bpp_mean, mse_mean = means.tolist()
        return {
            "loss": loss_mean,
            **{f"loss_{name}": value for name, value in zip(TUNES, by_tune, strict=True)},
            "bpp": bpp_mean,
            "psnr_db": float(-10 * np.log10(mse_mean)),
        }

    @torch.no_grad()
    def validate(self) -> list[dict[str, float]]:
        """Estimated bpp, mean PSNR in dB and mean loss of the averaged weights, as in a file."""
        rows = []
        for quality in VALIDATION_QUALITIES if self.validation else ():
            for number in range(len(TUNES)):
                position = torch.tensor([quality_position(quality)], device=self.device)
                tune = torch.tensor([number], device=self.device)
                rates, psnrs, losses = [], [], []
                for image in self.validation:
                    height, width = (side // 64 * 64 for side in image.shape[:2])
                    pixels = to_tensor(image[None, :height, :width], self.device)
                    with self.mixed():
                        output = self.average(pixels, position, tune, hard=True, rounded=True)
                    rounded = output.reconstruction.clamp(0, 1).mul(255).round().div(255)
                    output = Forward(rounded, output.latent_bits, output.hyper_bits)
                    loss, bpp, mse = rate_distortion_loss(
                        output, pixels, position, tune, self.perceptual
                    )
                    rates.append(float(bpp))
                    losses.append(float(loss))
                    psnrs.append(float(-10 * torch.log10(mse)))
                rows.append(
                    {
                        "quality": quality,
                        "tune": number,
                        "estimated_bpp": float(np.mean(rates)),
                        "psnr_db": float(np.mean(psnrs)),
                        "loss": float(np.mean(losses)),
                    }
                )
        return rows


def photo_learner(preset: PhotoPreset, options: TrainOptions) -> PhotoLearner:
    """The learner that a command line asks for. Raises `InputError` and what the learner raises."""
    # Only the first process validates.
    held_out = options.validation if options.group.is_first else []
    return PhotoLearner(
        preset,
        preset.sampler(options.data),
        autocast=options.autocast,
        weights=options.weights,
        features=options.features,
        validation=load_photographs(held_out) if held_out else [],
        group=options.group,
    )


def photo_optimizer(model: torch.nn.Module, preset: PhotoPreset) -> torch.optim.Optimizer:
    """The preset's optimiser; raises `UsageError` for an unknown or missing one."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    # Preconditioners are worth their cost for dense matrices; for biases, tables and depthwise
    # filters they cost as much as the step itself, so these get plain Adam (dimension 1).
    dense = [p for p in parameters if p.ndim == 4 and p.shape[1] > 1]
    rest = [p for p in parameters if not (p.ndim == 4 and p.shape[1] > 1)]
    groups = [
        {"params": dense, "max_precondition_dim": 256},
        {"params": rest, "max_precondition_dim": 1},
    ]
    return build_optimizer(preset.optimizer, groups, preset.learning_rate)


class SampleNoise:
    """Noise in [0, 1), from a separate generator for every sample of a batch.

    It depends on the seed, the step, the sample's place in the whole batch and the number of the
    call, but not on the other samples that a process has. This costs a few microseconds per sample
    more than one draw for all.

    samples   places of the samples in the whole batch, in the order of the first dimension
    """

    def __init__(self, seed: int, step: int, samples: Sequence[int]) -> None:
        self.seed, self.step, self.samples = seed, step, samples
        self.draws = 0

    def __call__(self, values: Tensor) -> Tensor:
        """Uniform noise in the shape (samples, …) of `values`; new noise on every call."""
        self.draws += 1
        generator = torch.Generator(values.device)
        noise = torch.empty_like(values)
        for row, sample in zip(noise, self.samples, strict=True):
            key = np.random.SeedSequence((self.seed, self.step, sample, self.draws))
            generator.manual_seed(int(key.generate_state(1, np.uint64)[0]))
            # Drawn in a fixed layout, because that of a batch may depend on its size.
            row.copy_(
                torch.rand(row.shape, generator=generator, dtype=values.dtype, device=values.device)
            )
        return noise
