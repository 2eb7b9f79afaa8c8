"""Functions and classes whose options are the fields of a dataclass: signatures, and errors that
suggest the nearest name.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from typing import Any, TypeVar, cast

T = TypeVar("T")
Function = TypeVar("Function", bound=Callable[..., Any])


def takes_options(options: type) -> Callable[[Function], Function]:
    """Show the fields of an options class in the signature of a function that takes ``**options``.

    ``help``, notebooks and documentation then list every option with its default, and an unknown
    name raises a TypeError that suggests the nearest one.
    """

    def decorate(function: Function) -> Function:
        own = inspect.signature(function)
        shown = [one for one in own.parameters.values() if one.kind is not one.VAR_KEYWORD]
        for field in fields(options):
            shown.append(
                inspect.Parameter(
                    field.name,
                    inspect.Parameter.KEYWORD_ONLY,
                    default=field.default,
                    annotation=field.type,
                )
            )
        keywords = [one.name for one in shown if one.kind is not one.POSITIONAL_ONLY]

        @functools.wraps(function)
        def checked(*arguments: Any, **given: Any) -> Any:
            _check_names(function.__name__, given, keywords)
            return function(*arguments, **given)

        checked.__signature__ = own.replace(parameters=shown)  # type: ignore[attr-defined]
        return cast(Function, checked)

    return decorate


def names_options(cls: type[T]) -> type[T]:
    """Let a class raise a TypeError that suggests the nearest name for a misspelt option."""
    owner: Any = cls
    initialize, known = owner.__init__, list(inspect.signature(cls).parameters)

    @functools.wraps(initialize)
    def checked(self: T, *arguments: Any, **given: Any) -> None:
        _check_names(cls.__name__, given, known)
        initialize(self, *arguments, **given)

    owner.__init__ = checked
    return cls


def _check_names(caller: str, given: Iterable[str], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise TypeError(f"{caller}() has no option {name!r}{hint}")
