"""Checks of the arguments of annealing and of the bounds that use torch.

Everything is checked before a long computation starts.  Errors are `UsageError` for arguments,
`InputError` for images and `MeasurementError` for the output of a decoder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from bitstream.errors import InputError, UsageError
from codec.priors import LatentPrior, StandardNormal
from codec.rate_distortion.array_checks import finite_array, whole_number
from codec.rate_distortion.distortions import Distortion
from codec.rate_distortion.errors import MeasurementError

Decode = Callable[[torch.Tensor], torch.Tensor]
"""Codes (m, k) to images (m, …), differentiable; a torch module or a function."""

PREPARED_AT_A_TIME = 256


class ShapedDecoder(nn.Module):
    """Wraps a decoder of codes (m, *shape) as a decoder of codes (m, k)."""

    def __init__(self, decode: Decode, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.decode, self.shape = decode, shape

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes (m, k) to images (m, …)."""
        return self.decode(codes.reshape(len(codes), *self.shape))


def decoder_of_flat_codes(decode: Decode, prior: LatentPrior) -> Decode:
    """The decoder itself, or a `ShapedDecoder` of it if the prior gives the shape of codes."""
    shape = prior.shape if isinstance(prior, StandardNormal) else ()
    return ShapedDecoder(decode, shape) if len(shape) > 1 else decode


SampleSource = Callable[[int, int], Any]
"""(count, seed) to fresh independent samples (count, d), like the sources' method `sample`."""


def image_tensor(name: str, images: Any, device: torch.device | str | None = None) -> torch.Tensor:
    """`images` (n, …) with n ≥ 1 as float32 on the device; uint8 is divided by 255.

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
    scale = 255 if tensor.dtype == torch.uint8 else 1
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
    """Decode two codes, and return the result if it is finite and has the shape of `images`.

    Raises `UsageError` for another shape or type, `MeasurementError` for NaN and infinity.
    """
    with torch.no_grad():
        made: Any = decode(codes[:2].to(images))
    if not isinstance(made, torch.Tensor) or not made.is_floating_point():
        raise UsageError("the decoder did not return a tensor of floats")
    if made.shape != (len(codes[:2]), *images.shape[1:]):
        raise UsageError(
            f"the decoder made {tuple(made.shape)} of {len(codes[:2])} codes, "
            f"but the images have the shape {tuple(images.shape[1:])}"
        )
    if not bool(torch.isfinite(made).all()):
        raise MeasurementError("the decoder gives NaN or infinity for codes of the prior")
    return made


def check_model(
    decode: Decode,
    prior: LatentPrior,
    distortion: Distortion,
    images: torch.Tensor,
    generator: torch.Generator,
) -> None:
    """Decode two codes of the prior and compare them with an image.

    Raises `UsageError` if the prior, the decoder or the distortion does not fit, and
    `MeasurementError` as `check_decoder` does.
    """
    if not (hasattr(prior, "sample") and hasattr(prior, "log_prob") and hasattr(prior, "dim")):
        raise UsageError(
            f"a prior of type {type(prior).__name__} was given: expected dim, sample and log_prob"
        )
    codes = prior.sample(2, generator)
    if codes.shape != (2, prior.dim):
        raise UsageError(
            f"two samples of the prior have the shape {tuple(codes.shape)}, "
            f"expected (2, {prior.dim})"
        )
    decoded = check_decoder(decode, codes, images)
    values = distortion(target_tensor(distortion, images[:1].expand_as(decoded)), decoded)
    if values.shape != (2,):
        raise UsageError(
            f"{distortion.name} of two images has the shape {tuple(values.shape)}, expected (2,)"
        )


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
