"""The distortion that a user names on the command line: built in, or from a file of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch

from bitstream.errors import UsageError
from codec.rate_distortion.distortions import Distortion, GaussianNLL, find_distortion
from codec.rate_distortion.user_code.load_file import (
    UserCodeError,
    call_factory,
    is_object_spec,
    load_object,
    split_object_spec,
)


def load_distortion(spec: str, *, variance: float | None = None) -> Distortion:
    """The distortion with a name, or from `FILE.py:NAME`.

    spec       a name that `find_distortion` knows; "nll" for the Gaussian negative log-likelihood
               of a model that has a `variance`; or FILE.py:NAME, where NAME is a distortion, or a
               class or function without arguments that makes one
    variance   variance of a pixel given z, pixels 0..1, or None

    A distortion from a file can be pickled: another process loads the file again.

    Raises `UsageError` for an unknown name, or "nll" without a variance; `UserCodeError` for a
    file that cannot be used.
    """
    if is_object_spec(spec):
        return _FileDistortion(spec, _open(spec))
    if spec == "nll":
        if variance is None:
            raise UsageError(
                "the distortion nll needs the variance of a Gaussian likelihood, and this model "
                "brings none: use sse, or a file FILE.py:NAME that makes GaussianNLL(variance)"
            )
        return GaussianNLL(variance)
    return find_distortion(spec)


class _FileDistortion:
    """A distortion that another process can load; `prepare` and `simulate` are passed on."""

    def __init__(self, spec: str, distortion: Distortion) -> None:
        self._spec, self._distortion = spec, distortion
        self.name, self.convention = distortion.name, distortion.convention

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        return self._distortion(targets, reconstructions)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        # The optional parts exist only if the distortion has them.
        if name not in ("prepare", "simulate"):
            raise AttributeError(name)
        part: Callable[..., Any] = getattr(self._distortion, name)
        return part

    def __reduce__(self) -> tuple[Any, ...]:
        return _reload, (self._spec,)


@lru_cache(maxsize=8)
def _reload(spec: str) -> Distortion:
    return _FileDistortion(spec, _open(spec))


def _open(spec: str) -> Distortion:
    path, name = split_object_spec(spec)
    found = load_object(path, name)
    if isinstance(found, type) or not isinstance(found, Distortion):
        found = call_factory(path, name, found)
    if not isinstance(found, Distortion) or not callable(found):
        raise UserCodeError(
            f"{spec} gave {type(found).__name__}, expected a distortion: a callable "
            "(images, reconstructions) → (n,) with name and convention"
        )
    return found
