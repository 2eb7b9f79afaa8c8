"""The distortion that a user names on the command line: built in, or from a file of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import torch

from bitstream.errors import UsageError
from codec.rate_distortion.distortions import Distortion, GaussianNLL, find_distortion
from codec.rate_distortion.user_code.load_file import (
    UserCodeError,
    call_factory,
    different_model,
    is_object_spec,
    load_object,
    split_object_spec,
    user_code_errors,
)
from codec.rate_distortion.user_code.probe import call_user_code, same_numbers

OPTIONAL_PARTS = ("prepare", "simulate", "residual")
"""Methods that a distortion may have; see `codec.rate_distortion.distortions`."""


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
        found = _open(spec)
        return _FileDistortion(_recipe_of(spec, found), found)
    if spec == "nll":
        if variance is None:
            raise UsageError(
                "the distortion nll needs the variance of a Gaussian likelihood, and this model "
                "brings none: use sse, or a file FILE.py:NAME that makes GaussianNLL(variance)"
            )
        return GaussianNLL(variance)
    return find_distortion(spec)


@dataclass(frozen=True)
class _Recipe:
    """How to load a distortion again, and how to tell whether it is the same one.

    parts    the optional parts that it has
    shape    of an image, known once the distortion was used
    values   of a few images of that shape, see `_values`
    """

    spec: str
    name: str
    convention: str
    parts: tuple[str, ...]
    shape: tuple[int, ...] | None = None
    device: str = "cpu"
    values: tuple[float, ...] = ()


class _FileDistortion:
    """A distortion that another process loads when it first uses it.

    It is not loaded while it is unpickled, because an error there would end a pool's worker
    without a message.
    """

    def __init__(self, recipe: _Recipe, distortion: Distortion | None = None) -> None:
        self._recipe, self._distortion = recipe, distortion
        self.name, self.convention = recipe.name, recipe.convention

    def __call__(self, targets: torch.Tensor, reconstructions: torch.Tensor) -> torch.Tensor:
        if self._recipe.shape is None:
            shape, device = tuple(reconstructions.shape[1:]), str(reconstructions.device)
            self._recipe = replace(self._recipe, shape=shape, device=device)
        what = f"the distortion {self.name}"
        return call_user_code(what, self._loaded(), targets, reconstructions)

    def __getattr__(self, name: str) -> Callable[..., torch.Tensor]:
        # The optional parts exist only if the distortion has them.
        if name not in OPTIONAL_PARTS or name not in self._recipe.parts:
            raise AttributeError(name)
        what = f"{name} of the distortion {self.name}"
        return partial(call_user_code, what, getattr(self._loaded(), name))

    def _loaded(self) -> Distortion:
        if self._distortion is None:
            self._distortion = _open_again(self._recipe)
        return self._distortion

    def __reduce__(self) -> tuple[Any, ...]:
        if self._recipe.shape is not None and not self._recipe.values:
            self._recipe = replace(self._recipe, values=_values(self._recipe, self._loaded()))
        return _FileDistortion, (self._recipe,)


@lru_cache(maxsize=8)
def _open_again(recipe: _Recipe) -> Distortion:
    """The distortion of a recipe; in a worker, one load serves all tasks.

    Raises `UserCodeError` if it is not the distortion that the recipe was made for.
    """
    distortion = _open(recipe.spec)
    if recipe.values and not same_numbers(recipe.values, _values(recipe, distortion)):
        raise UserCodeError(different_model(recipe.spec, "distortion"))
    return distortion


def _values(recipe: _Recipe, distortion: Distortion) -> tuple[float, ...]:
    """The distortion of a few random images."""
    shape = (2, 2, *(recipe.shape or ()))
    generator = torch.Generator().manual_seed(0)
    images, others = torch.rand(shape, generator=generator).to(recipe.device)
    what = f"the distortion {recipe.name}"
    with torch.no_grad():
        if "prepare" in recipe.parts:
            images = call_user_code(f"prepare of {what}", distortion.prepare, images)  # type: ignore[attr-defined]
        values = call_user_code(what, distortion, images, others)
    return tuple(values.double().tolist())


def _open(spec: str) -> Distortion:
    path, name = split_object_spec(spec)
    found = load_object(path, name)
    # Parts of a user's object may be properties, which run the user's code.
    with user_code_errors(f"{path}: reading the parts of {name}"):
        if isinstance(found, type) or not isinstance(found, Distortion):
            found = call_factory(path, name, found)
        if not isinstance(found, Distortion) or not callable(found):
            raise UserCodeError(
                f"{spec} gave {type(found).__name__}, expected a distortion: a callable "
                "(images, reconstructions) → (n,) with name and convention"
            )
    return found


def _recipe_of(spec: str, distortion: Distortion) -> _Recipe:
    with user_code_errors(f"{spec}: reading the parts of the distortion"):
        parts = tuple(part for part in OPTIONAL_PARTS if hasattr(distortion, part))
        return _Recipe(spec, distortion.name, distortion.convention, parts)
