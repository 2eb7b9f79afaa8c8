"""The error of a library that comes with an extra and is not installed."""

from __future__ import annotations

from bitstream.errors import UsageError


class MissingExtraError(UsageError):
    """An optional library is needed and not installed; the message names the extra."""

    def __init__(self, purpose: str, library: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs the library {library}, which is not installed; "
            f'install it with: pip install "calotype[{extra}]"'
        )
        self._parts = purpose, library, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        # Errors come back from the processes of executors, where they are made a second time.
        return type(self), self._parts
