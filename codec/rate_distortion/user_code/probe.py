"""Checks that a decoder, a prior and a distortion meet the requirements, before any long run.

Annealing moves codes along the gradient of β d(x, f(z)) − log p(z), so every function in it must be
finite, deterministic, independent of the rest of the batch, and differentiable.  There is no
fallback without gradients: a random walk in ten or more dimensions would not reach the certified
accuracy, so functions without gradients are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from codec.priors import LatentPrior
from codec.rate_distortion.tensor_checks import PROBES, TOLERANCE, is_flat, why_no_function
from codec.rate_distortion.user_code.load_file import UserCodeError, user_code_errors

WIDE = 4
"""Factor of the codes on which a decoder's input is compared, so that limits on codes show."""

RANGE_SLACK = 0.05
"""How far outside 0..1 the decoder's values may lie without a notice."""


def probe_prior(prior: LatentPrior, *, device: str = "cpu") -> torch.Tensor:
    """Codes drawn from the prior, float32 (8, k) on `device`, if the prior meets the requirements.

    Raises `UserCodeError` unless `dim` is a positive whole number, `sample(n, generator)` gives
    finite (n, dim), and `log_prob` gives finite (n,) with a finite gradient.
    """
    with user_code_errors("the prior"):
        usable = isinstance(prior, LatentPrior)
        dim = prior.dim if usable else 0
    if not usable:
        raise UserCodeError(
            f"the prior is {type(prior).__name__}, expected an object with dim, "
            "sample(count, generator) and log_prob(z)"
        )
    if type(dim) is not int or dim < 1:
        raise UserCodeError(f"the prior's dim is {dim!r}, expected a positive whole number")
    generator = torch.Generator(device=device).manual_seed(0)
    z = call_user_code("the prior's sample", prior.sample, PROBES, generator)
    if z.shape != (PROBES, dim) or not bool(torch.isfinite(z).all()):
        raise UserCodeError(
            f"the prior's sample({PROBES}) gave {_about(z)}, expected finite ({PROBES}, {dim})"
        )
    z = z.detach().to(device=device, dtype=torch.float32)
    probe = z.clone().requires_grad_(True)
    log_density = call_user_code("the prior's log_prob", prior.log_prob, probe)
    if log_density.shape != (PROBES,) or not bool(torch.isfinite(log_density).all()):
        raise UserCodeError(
            f"the prior's log_prob gave {_about(log_density)} for codes ({PROBES}, {dim}), "
            f"expected finite ({PROBES},)"
        )
    _gradient("the prior's log_prob", log_density.sum(), probe)
    return z


def probe_decoder(
    decode: Callable[[torch.Tensor], torch.Tensor], z: torch.Tensor
) -> tuple[tuple[int, ...], list[str]]:
    """Shape of one decoded image, and notices, if `decode` meets the requirements.

    z   float32 (n, k) with n ≥ 2, as `probe_prior` returns it

    Raises `UserCodeError` unless `decode` gives finite floating-point numbers with the batch
    first, the same ones when called again and for a code in any batch, and a gradient in z, and
    leaves its codes as they were.
    """
    for codes in (WIDE * z, z):
        probe = codes.clone().requires_grad_(True)
        images = call_user_code("the decoder", decode, probe)
        # The caller would take the image for that of another code.
        if not torch.equal(probe, codes):
            raise UserCodeError(
                "the decoder changed the codes that it was given: it has to make a new tensor, "
                "with z.clamp(-1, 1) for example instead of z.data.clamp_(-1, 1)"
            )
    if not images.is_floating_point():
        raise UserCodeError(f"the decoder gave {images.dtype}, expected floating point in 0..1")
    if images.ndim < 2 or len(images) != len(z):
        raise UserCodeError(
            f"the decoder gave {tuple(images.shape)} for {len(z)} codes {tuple(z.shape)}, "
            f"expected ({len(z)}, *image_shape)"
        )
    if images.device.type != z.device.type:
        raise UserCodeError(f"the decoder's images are on {images.device}, the codes on {z.device}")
    if not bool(torch.isfinite(images).all()):
        raise UserCodeError(
            f"the decoder gave NaN or infinite values for codes drawn from the prior: "
            f"{_about(images)}"
        )
    values = images.detach()
    again = partial(call_user_code, "the decoder", decode)
    inconsistent = why_no_function("the decoder's image of a code", again, z, values)
    if inconsistent:
        raise UserCodeError(inconsistent)
    _gradient("the decoder", images.float().sum(), probe)
    if is_flat(again, z):
        raise UserCodeError(
            "the decoder's gradient is zero for every code: does it round, or ignore its code?"
        )
    low, high = float(values.min()), float(values.max())
    notices = []
    if low < -RANGE_SLACK or high > 1 + RANGE_SLACK:
        notices.append(
            f"the decoder's values run from {low:.2f} to {high:.2f}, but images are 0..1: "
            "rescale in the factory if they are meant to be pixels"
        )
    return tuple(values.shape[1:]), notices


def probe_distortion(
    distortion: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    reconstructions: torch.Tensor,
) -> None:
    """Try a distortion on images and reconstructions, both float (n, *shape).

    Raises `UserCodeError` unless it gives finite (n,) with a gradient in the reconstructions.
    """
    name = f"the distortion {getattr(distortion, 'name', type(distortion).__name__)}"
    probe = reconstructions.detach().clone().requires_grad_(True)
    values = call_user_code(name, distortion, images, probe)
    if values.shape != (len(images),) or not bool(torch.isfinite(values).all()):
        raise UserCodeError(
            f"{name} gave {_about(values)} for {len(images)} images, expected finite "
            f"({len(images)},)"
        )
    gradient = _gradient(name, values.sum(), probe)
    if not bool((gradient != 0).any()):
        raise UserCodeError(
            f"{name} has a zero gradient everywhere: annealing needs one that is differentiable"
        )


def call_user_code(what: str, function: Callable[..., Any], *arguments: Any) -> torch.Tensor:
    """`function(*arguments)`; raises `UserCodeError` if it fails or gives no tensor."""
    with user_code_errors(what):
        value: object = function(*arguments)
    if not isinstance(value, torch.Tensor):
        raise UserCodeError(f"{what} gave {type(value).__name__}, expected a torch.Tensor")
    return value


def same_numbers(expected: Sequence[float], found: Sequence[float]) -> bool:
    """Whether two rows of numbers differ by rounding only."""
    largest = TOLERANCE * max(map(abs, expected))
    return len(expected) == len(found) and all(
        abs(a - b) <= largest for a, b in zip(expected, found, strict=True)
    )


def _gradient(what: str, value: torch.Tensor, probe: torch.Tensor) -> torch.Tensor:
    broken = (
        f"{what} has no gradient: it is cut somewhere on the way "
        "(no_grad, detach, numpy, argmax or rounding)"
    )
    if not value.requires_grad:
        raise UserCodeError(broken)
    with user_code_errors(f"the gradient of {what}"):
        (gradient,) = torch.autograd.grad(value, probe, allow_unused=True)
    if gradient is None:
        raise UserCodeError(broken)
    if not bool(torch.isfinite(gradient).all()):
        raise UserCodeError(f"{what} has a gradient with NaN or infinite values")
    return gradient


def _about(value: torch.Tensor) -> str:
    bad = int((~torch.isfinite(value)).sum())
    return f"{tuple(value.shape)} with {bad} of {value.numel()} values not finite"
