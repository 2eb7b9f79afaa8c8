"""The error for an optional library that is not installed: it names the extra that installs it.

    with extra_needed_by("the model 'draw'"):
        import torch

The base installation codes photographs and needs none of these libraries.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bitstream.errors import UsageError

DISTRIBUTION = "calotype"

EXTRAS = {
    "bjontegaard": ("bjontegaard", "bench"),
    "compressai": ("compressai", "zoo"),
    "imagecodecs": ("imagecodecs", "bench"),
    "matplotlib": ("matplotlib", "plot"),
    "numcodecs": ("numcodecs", "zarr"),
    "pytorch_msssim": ("pytorch-msssim", "metrics"),
    "pytorch_optimizer": ("pytorch-optimizer", "train"),
    "skimage": ("scikit-image", "bench"),
    "sklearn": ("scikit-learn", "train"),
    "ssimulacra2": ("ssimulacra2", "metrics"),
    "torch": ("torch", "torch"),
    "zarr": ("zarr", "zarr"),
}
"""Module name to the distribution that provides it and the extra that installs it."""

WITH_PYTORCH = frozenset({"bench", "metrics", "test", "torch", "train", "zoo"})
"""Extras that install PyTorch, which is large."""


class MissingExtraError(UsageError, ImportError):
    """A required optional library is not installed; the message names the extra."""

    def __init__(self, purpose: str, library: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs the library {library}, which is not installed; {_advice(extra)}"
        )
        self.purpose, self.library, self.extra = purpose, library, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        # Errors are pickled on their way back from worker processes.
        return type(self), (self.purpose, self.library, self.extra)


@contextmanager
def extra_needed_by(purpose: str, extra: str | None = None) -> Iterator[None]:
    """Turn the failed import of a library of `EXTRAS` into a `MissingExtraError`.

    purpose   what needs the library, as the subject of a sentence: "the model 'draw'"
    extra     the extra to name, if not the one in `EXTRAS`
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        library, usual = EXTRAS[module]
        raise MissingExtraError(purpose, library, extra or usual) from error


def missing(purpose: str, module: str) -> MissingExtraError | None:
    """The error for a module of `EXTRAS` that is not installed; None if it is installed.

    purpose   as for `extra_needed_by`

    Nothing is imported, so an option can be refused early, before the library is needed.
    """
    return None if find_spec(module) else MissingExtraError(purpose, *EXTRAS[module])


def in_few_words(errors: Iterable[MissingExtraError]) -> list[str]:
    """One short line per extra: what is missing without it, and its name.

    For features that the user did not ask for; the errors themselves say how to install an extra.
    """
    purposes: dict[str, dict[str, None]] = {}  # dicts as ordered sets
    for error in errors:
        purposes.setdefault(error.extra, {})[error.purpose] = None
    return [
        f"without {_listed(list(found))}: install the extra {extra!r}"
        for extra, found in purposes.items()
    ]


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _advice(extra: str) -> str:
    brings = " (it brings PyTorch)" if extra in WITH_PYTORCH else ""
    return f"install the extra {extra!r}{brings}: {install_command(extra)}"


def install_command(extra: str) -> str:
    """The command that adds an extra to this installation, wherever it came from.

    It works in any folder, so it names this interpreter and the source by absolute paths; if the
    source is no longer there, the text says in which folder to run the command.
    """
    # Imported here because only commands that end with the error need them.
    import shlex
    from urllib.parse import unquote, urlsplit

    origin = _origin()
    url = origin.get("url", "")
    options, note = [], ""
    if url.startswith("file:") and "vcs_info" not in origin:
        path = Path(unquote(urlsplit(url).path))
        if origin.get("dir_info", {}).get("editable"):
            options = ["-e"]
        source = f"{path}[{extra}]"
        if not path.exists():
            source = f"./{path.name}[{extra}]"
            note = f" (in the folder where {path.name} is now; it was in {path.parent})"
    elif "vcs_info" in origin:
        source = f"{DISTRIBUTION}[{extra}] @ {origin['vcs_info']['vcs']}+{url}"
    elif url:
        source = f"{DISTRIBUTION}[{extra}] @ {url}"
    else:
        source = f"{DISTRIBUTION}[{extra}]"
    words = [sys.executable or "python", "-m", "pip", "install", *options, source]
    return shlex.join(words) + note


def _origin() -> dict[str, Any]:
    """The PEP 610 record of how this package was installed; empty if it came from an index."""
    import json  # as above
    from importlib import metadata

    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return json.loads(text) if text else {}
    except metadata.PackageNotFoundError:
        # It runs from the source tree, without an installation.
        root = Path(__file__).resolve().parents[2]
        return {"url": root.as_uri(), "dir_info": {"editable": True}}
