"""Checks of the arguments of annealing and of the bounds that use torch.

Everything is checked before a long computation starts.  Errors are `UsageError` for arguments,
`InputError` for images and `MeasurementError` for the output of a decoder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from bitstream.errors import InputError, UsageError
from codec.priors import GaussianMixture, LatentPrior, StandardNormal
from codec.rate_distortion.array_checks import finite_array, whole_number
from codec.rate_distortion.distortions import Distortion
from codec.rate_distortion.errors import MeasurementError

STEIN_SAMPLES = 4000
STEIN_ERRORS = 8.0
"""In standard errors."""

Decode = Callable[[torch.Tensor], torch.Tensor]
"""Codes (m, k) to images (m, …), differentiable; a torch module or a function."""

PREPARED_AT_A_TIME = 256

PROBES = 8
TOLERANCE, ROUNDING = 1e-3, 1e-5
"""Largest difference between two calls, as a share of the spread of values over codes, and of the
largest value. Rounding stays below their sum, since other batches may take other kernels."""


class FlatDecoder(nn.Module):
    """A decoder of codes (m, *shape) as one of codes (m, k). It may change its input, a copy.

    Images in 16 bits become float32: noise is added to images that the model generates. Raises
    `MeasurementError` if there are not as many images as codes.
    """

    def __init__(self, decode: Decode, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.decode, self.shape = decode, shape

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (m, k) to images (m, …)."""
        codes = codes.clone()
        made: Any = self.decode(codes.reshape(len(codes), *self.shape) if self.shape else codes)
        if isinstance(made, torch.Tensor) and made.ndim:  # otherwise `check_decoder` refuses it
            if len(made) != len(codes):
                raise MeasurementError(f"the decoder made {len(made)} images of {len(codes)} codes")
            if made.dtype in (torch.float16, torch.bfloat16):
                made = made.float()
        return made  # type: ignore[no-any-return]


def decoder_of_flat_codes(decode: Decode, prior: LatentPrior) -> Decode:
    """The decoder itself, or a `FlatDecoder` of it if the prior gives the shape of codes."""
    shape = prior.shape if isinstance(prior, StandardNormal) else ()
    return FlatDecoder(decode, shape) if len(shape) > 1 else decode


SampleSource = Callable[[int, int], Any]
"""(count, seed) to fresh independent samples (count, d), like the sources' method `sample`."""


def image_tensor(name: str, images: Any, device: torch.device | str | None = None) -> torch.Tensor:
    """`images` (n, …) with n ≥ 1 as float32 on the device; uint8 is divided by 255.

    Other integers are refused, because nothing says what white is.

    Raises `UsageError` for other shapes or types, `InputError` if a pixel is NaN or infinite.
    """
    try:
        # NumPy arrays are copied, because torch warns about read-only ones.
        tensor = images if isinstance(images, torch.Tensor) else torch.tensor(np.asarray(images))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{name}: not an array of numbers ({error})") from error
    if tensor.ndim < 2 or tensor.numel() == 0:
        raise UsageError(f"{name} has shape {tuple(tensor.shape)}, expected (n, …) with n ≥ 1")
    if tensor.is_complex():
        raise UsageError(f"{name} is complex, expected real numbers")
    whole = not tensor.is_floating_point() and tensor.dtype != torch.bool
    if whole and tensor.dtype != torch.uint8:
        raise UsageError(
            f"{name} is {str(tensor.dtype).removeprefix('torch.')}: expected uint8, which is "
            "divided by 255, or floats in the units of the decoder"
        )
    scale = 255 if whole else 1
    tensor = tensor.detach().to(device=device, dtype=torch.float32) / scale
    odd = int((~torch.isfinite(tensor.flatten(1)).all(1)).sum())
    if odd:
        raise InputError(f"{name}: {odd} of {len(tensor)} hold NaN or infinity")
    return tensor


def target_tensor(distortion: Distortion, images: torch.Tensor) -> torch.Tensor:
    """What the distortion compares with: the images, or the result of its `prepare`."""
    prepare: Callable[[torch.Tensor], torch.Tensor] | None = getattr(distortion, "prepare", None)
    if prepare is None:
        return images
    return torch.cat([prepare(part) for part in row_blocks(images, PREPARED_AT_A_TIME)])


def source_tensor(
    sample: SampleSource, count: int, seed: int, device: torch.device | str | None
) -> torch.Tensor:
    """`count` samples as float32 (count, d); raises `UsageError` for another shape or a NaN."""
    points = finite_array("the source's samples", sample(count, seed), 2)
    if len(points) != count:
        raise UsageError(f"the source gave {len(points)} samples, expected {count}")
    return torch.tensor(points, dtype=torch.float32, device=device)


def seeded_generator(seed: int, device: torch.device) -> torch.Generator:
    """A generator on the device that starts from `seed`, at least 0."""
    return torch.Generator(device=device).manual_seed(whole_number("seed", seed, at_least=0))


def row_blocks(tensor: torch.Tensor, rows: int) -> Iterator[torch.Tensor]:
    """Views of at most `rows` rows each, in order."""
    for begin in range(0, len(tensor), rows):
        yield tensor[begin : begin + rows]


def check_decoder(decode: Decode, codes: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Decode codes (2 or more, k), and return the result if it is finite and fits `images`.

    Raises `UsageError` for another shape or type, and `MeasurementError` for NaN and infinity, or
    if the images of a code differ between calls or depend on the rest of the batch.
    """
    codes = codes.to(images)
    count = len(codes)
    with torch.no_grad():
        made: Any = decode(codes)
    if not isinstance(made, torch.Tensor) or not made.is_floating_point():
        raise UsageError("the decoder did not return a tensor of floats")
    if made.shape != (count, *images.shape[1:]):
        raise UsageError(
            f"the decoder made {tuple(made.shape)} of {count} codes, "
            f"but the images have the shape {tuple(images.shape[1:])}"
        )
    if not bool(torch.isfinite(made).all()):
        raise MeasurementError("the decoder gives NaN or infinity for codes of the prior")
    inconsistent = why_no_function("the decoder's image of a code", decode, codes, made)
    if inconsistent:
        raise MeasurementError(inconsistent)
    return made


def why_no_function(
    what: str, function: Decode, inputs: torch.Tensor, outputs: torch.Tensor
) -> str:
    """Why each output is not determined by its input alone; empty if it seems to be.

    inputs, outputs   (n, …) with n ≥ 2, and what `function` made of them
    """
    half = len(inputs) // 2
    with torch.no_grad():
        again, fewer = function(inputs), function(inputs[:half])
    spread = float((outputs - outputs.mean(0)).abs().max())
    largest = TOLERANCE * spread + ROUNDING * float(outputs.abs().max())
    if again.shape != outputs.shape or not float((again - outputs).abs().max()) <= largest:
        return (
            f"{what} changes from call to call: it has to be deterministic "
            "(call eval() on a module; draw no noise)"
        )
    if fewer.shape != outputs[:half].shape or not (
        float((fewer - outputs[:half]).abs().max()) <= largest
    ):
        return (
            f"{what} depends on the rest of the batch "
            "(call eval() on a module with batch normalisation)"
        )
    return ""


def is_flat(decode: Decode, codes: torch.Tensor) -> bool:
    """Whether the gradient of a decoder is zero for all codes (n, k); not if it has none at all."""
    probe = codes.detach().clone().requires_grad_(True)
    with torch.enable_grad():
        images = decode(probe)
        if not images.requires_grad:
            return False
        # Unequal weights, because the sum over an image may be constant (as with a softmax).
        weights = torch.linspace(1, 2, images[0].numel(), device=images.device)
        value = (images.float().flatten(1) * weights).sum()
        found: tuple[torch.Tensor | None, ...] = torch.autograd.grad(
            value, probe, allow_unused=True
        )
    return found[0] is not None and not bool((found[0] != 0).any())


def check_log_density(prior: LatentPrior, generator: torch.Generator) -> None:
    """Compare the samples of a prior with its log_prob by Stein's identities.

    E [φ ∇log p(z) + ∇φ] = 0 for a density that is smooth and positive everywhere; one that is zero
    somewhere is not checked. With φ = 1 and φ = z this compares mean and variance, with
    φ = u exp(−u²/2), u = z in standard deviations, the shape. Raises `MeasurementError` if an
    average is further away than chance explains, or if log_prob ignores the codes.
    """
    codes = prior.sample(STEIN_SAMPLES, generator).detach()
    with torch.no_grad():
        far = prior.log_prob(4 * codes)
    if not bool(torch.isfinite(far).all()):
        return
    codes = codes.clone().requires_grad_(True)
    with torch.enable_grad():
        density = prior.log_prob(codes)
        if not density.requires_grad:
            return  # the measurement says so
        (gradient,) = torch.autograd.grad(density.sum(), codes, allow_unused=True)
    if gradient is None:
        raise MeasurementError("the prior's log_prob does not depend on the codes")
    gradient, codes = gradient.double(), codes.detach().double()
    radial = (codes * gradient).sum(1) + codes.shape[1]
    spread = codes.std(0) + 1e-30
    scaled = (codes - codes.mean(0)) / spread
    hump = (-scaled.square() / 2).exp()
    shape = hump * (scaled * gradient * spread + 1 - scaled.square())
    for values in (radial[:, None], gradient, shape):
        error = values.std(0) / math.sqrt(len(values)) + 1e-9
        if float((values.mean(0).abs() / error).max()) > STEIN_ERRORS:
            raise MeasurementError(
                "the prior's log_prob is not the density of its samples: "
                "the curve would belong to neither"
            )


def check_model(
    decode: Decode,
    prior: LatentPrior,
    distortion: Distortion,
    images: torch.Tensor,
    generator: torch.Generator,
) -> None:
    """Decode codes of the prior and compare them with an image.

    Raises `UsageError` if the prior, the decoder or the distortion does not fit, and
    `MeasurementError` as `check_decoder` does, also for the distortion, or if the decoder has the
    gradient 0.
    """
    if not (hasattr(prior, "sample") and hasattr(prior, "log_prob") and hasattr(prior, "dim")):
        raise UsageError(
            f"a prior of type {type(prior).__name__} was given: expected dim, sample and log_prob"
        )
    codes = prior.sample(PROBES, generator)
    if codes.shape != (PROBES, prior.dim):
        raise UsageError(
            f"{PROBES} samples of the prior have the shape {tuple(codes.shape)}, "
            f"expected ({PROBES}, {prior.dim})"
        )
    density = prior.log_prob(codes)
    if density.shape != (PROBES,):
        raise UsageError(
            f"the prior's log_prob of {PROBES} codes has the shape {tuple(density.shape)}, "
            f"expected ({PROBES},)"
        )
    if type(prior) not in (StandardNormal, GaussianMixture):
        check_log_density(prior, generator)
    decoded = check_decoder(decode, codes, images)
    if is_flat(decode, codes.to(images)):
        raise MeasurementError(
            "the decoder's gradient is zero for every code: does it round, or ignore its code?"
        )

    def compare(images_of_codes: torch.Tensor) -> torch.Tensor:
        one = images[:1].expand_as(images_of_codes)
        return distortion(target_tensor(distortion, one), images_of_codes)

    values = compare(decoded)
    if values.shape != (PROBES,):
        raise UsageError(
            f"{distortion.name} of {PROBES} images has the shape {tuple(values.shape)}, "
            f"expected ({PROBES},)"
        )
    inconsistent = why_no_function(f"the {distortion.name}", compare, decoded, values)
    if inconsistent:
        raise MeasurementError(inconsistent)


@contextmanager
def evaluation_mode(decode: Decode) -> Iterator[None]:
    """Put a module's layers (dropout, batch norm) in evaluation mode, and restore it afterwards."""
    modules = list(decode.modules()) if isinstance(decode, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
