"""Safe access to objects of a caller, whose own code may raise any exception."""

import operator
from typing import Any

_SHOWN = 80  # characters


def attribute_of(value: object, name: str, default: Any = None) -> Any:
    """Return an attribute, or the default if it is missing or reading it raises."""
    try:
        return getattr(value, name, default)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return default


def has(value: object, *names: str) -> bool:
    """Whether an object has all these attributes, and none of them is None."""
    return all(attribute_of(value, name) is not None for name in names)


def integer_of(value: object) -> int | None:
    """Return an integer, of Python or NumPy, as an int; None for anything else."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - as above
        return None


def shown(value: object) -> str:
    """Return a value's repr for a message, cut if it is long; its type if repr raises.

    It raises for values that are nested too deeply and for integers of more than 4,300 digits.
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - as above
        return f"of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def reason_of(error: BaseException) -> str:
    """Return the text of an exception for a message; its type if it has none."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
