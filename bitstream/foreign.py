"""Objects of a caller, whose own code may raise anything: what can be asked of them safely."""

import operator
from typing import Any

_SHOWN = 80  # characters


def attribute_of(value: object, name: str, default: Any = None) -> Any:
    """Return an attribute, and a default where there is none or asking for it fails."""
    try:
        return getattr(value, name, default)
    except Exception:  # noqa: BLE001 - a property has exceptions of its own
        return default


def has(value: object, *names: str) -> bool:
    """Whether an object has attributes, none of which is None."""
    return all(attribute_of(value, name) is not None for name in names)


def integer_of(value: object) -> int | None:
    """An integer as Python's own, also one of NumPy; None for what is none."""
    try:
        return operator.index(value)  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001 - as above
        return None


def shown(value: object) -> str:
    """A value for a message, cut where it is long; its type if it cannot be shown.

    Python shows neither what is nested too deeply nor integers of more than 4,300 digits.
    """
    try:
        text = repr(value)
    except Exception:  # noqa: BLE001 - as above
        return f"of type {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def reason_of(error: BaseException) -> str:
    """What an exception says, for a message; its type if it says nothing."""
    return str(getattr(error, "strerror", None) or error) or type(error).__name__
