"""What the bounds made with torch ask of their arguments.

Everything is checked before a long computation starts; errors are `UsageError` for arguments and
`MeasurementError` for what a decoder returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from bitstream.errors import UsageError
from codec.rate_distortion.array_checks import finite_array, whole_number
from codec.rate_distortion.distortions import Distortion
from codec.rate_distortion.errors import MeasurementError

Decode = Callable[[torch.Tensor], torch.Tensor]
"""Codes (m, k) to images (m, …), differentiable; a torch module or a function."""

SampleSource = Callable[[int, int], Any]
"""(count, seed) to fresh independent samples (count, d), as the sources' method `sample`."""


def image_tensor(name: str, images: Any, device: torch.device | str | None) -> torch.Tensor:
    """`images` as float32 (n, …) with n ≥ 1 and every entry finite, on the device."""
    try:
        # NumPy's arrays are copied: torch warns of those that cannot be written to.
        tensor = images if isinstance(images, torch.Tensor) else torch.tensor(np.asarray(images))
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{name}: not an array of numbers ({error})") from error
    if tensor.ndim < 2 or tensor.numel() == 0:
        raise UsageError(f"{name} has shape {tuple(tensor.shape)}, expected (n, …) with n > 0")
    if tensor.is_complex():
        raise UsageError(f"{name} is complex, expected real numbers")
    tensor = tensor.detach().to(device=device, dtype=torch.float32)
    if not bool(torch.isfinite(tensor).all()):
        odd = int((~torch.isfinite(tensor)).sum())
        raise UsageError(f"{name}: {odd} of {tensor.numel()} entries are NaN or infinite")
    return tensor


def target_tensor(distortion: Distortion, images: torch.Tensor) -> torch.Tensor:
    """What the distortion compares with: the images, or what its `prepare` makes of them."""
    prepare: Callable[[torch.Tensor], torch.Tensor] | None = getattr(distortion, "prepare", None)
    return images if prepare is None else prepare(images)


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


def check_decoder(decode: Decode, codes: torch.Tensor, images: torch.Tensor) -> None:
    """Decode two codes; raise `UsageError` unless they come back as finite images like ours."""
    with torch.no_grad():
        made: Any = decode(codes[:2].to(images))
    if not isinstance(made, torch.Tensor) or made.shape != (len(codes[:2]), *images.shape[1:]):
        shape = tuple(made.shape) if isinstance(made, torch.Tensor) else type(made).__name__
        raise UsageError(
            f"the decoder made {shape} of codes {tuple(codes[:2].shape)}, expected "
            f"{(len(codes[:2]), *images.shape[1:])} as the images"
        )
    if not bool(torch.isfinite(made).all()):
        raise MeasurementError("the decoder returns NaN or infinite pixels for codes of the prior")


@contextmanager
def evaluation_mode(decode: Decode) -> Iterator[None]:
    """Put a module's layers (dropout, batch norm) in evaluation mode, and back afterwards."""
    modules = list(decode.modules()) if isinstance(decode, nn.Module) else []
    modes = [module.training for module in modules]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode
