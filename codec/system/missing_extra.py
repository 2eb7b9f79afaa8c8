"""The error for an optional library that is not installed: it names the extra that installs it.

    with extra_needed_by("The model 'draw'"):
        import torch

The base installation codes photographs and needs none of these libraries.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bitstream.errors import UsageError

DISTRIBUTION = "calotype"

EXTRAS = {
    "bjontegaard": ("bjontegaard", "bench"),
    "compressai": ("compressai", "zoo"),
    "imagecodecs": ("imagecodecs", "bench"),
    "matplotlib": ("matplotlib", "plot"),
    "numcodecs": ("numcodecs", "zarr"),
    "openvino": ("openvino", "openvino"),
    "pytorch_msssim": ("pytorch-msssim", "metrics"),
    "pytorch_optimizer": ("pytorch-optimizer", "train"),
    "skimage": ("scikit-image", "bench"),
    "sklearn": ("scikit-learn", "train"),
    "ssimulacra2": ("ssimulacra2", "metrics"),
    "torch": ("torch", "torch"),
    "zarr": ("zarr", "zarr"),
}
"""Module to the distribution that holds it, and the extra that installs this."""


class MissingExtraError(UsageError, ImportError):
    """An optional library is needed and not installed; the message names the extra."""

    def __init__(self, purpose: str, library: str, extra: str) -> None:
        super().__init__(
            f"{purpose} needs the library {library}, which is not installed; "
            f"install the extra {extra!r}: {install_command(extra)}"
        )
        self._parts = purpose, library, extra

    def __reduce__(self) -> tuple[type[MissingExtraError], tuple[str, str, str]]:
        # Errors come back from the processes of executors, where they are made a second time.
        return type(self), self._parts


@contextmanager
def extra_needed_by(purpose: str, extra: str | None = None) -> Iterator[None]:
    """Turn the failed import of a library of `EXTRAS` into a `MissingExtraError`.

    purpose   what needs the library, as the subject of a sentence: "The model 'draw'"
    extra     another extra than that of `EXTRAS` which holds the library
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        library, usual = EXTRAS[module]
        raise MissingExtraError(purpose, library, extra or usual) from error


def install_command(extra: str) -> str:
    """The command that adds an extra to this installation, wherever it came from.

    A checkout is named by its folder alone, and the command is to be run there.
    """
    origin = _origin()
    url = origin.get("url", "")
    name = Path(unquote(urlsplit(url).path)).name
    if "dir_info" in origin:
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f'pip install {editable}".[{extra}]" (in the folder {name})'
    if "vcs_info" in origin:
        return f'pip install "{DISTRIBUTION}[{extra}] @ {origin["vcs_info"]["vcs"]}+{url}"'
    if url.startswith("file:"):
        return f'pip install "./{name}[{extra}]" (in the folder that holds this file)'
    if "archive_info" in origin:
        return f'pip install "{DISTRIBUTION}[{extra}] @ {url}"'
    return f'pip install "{DISTRIBUTION}[{extra}]"'


def _origin() -> dict[str, Any]:
    """The PEP 610 record of a package that came from no index: `url`, and what is there."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        return json.loads(text) if text else {}
    except metadata.PackageNotFoundError:
        # Run from the source tree, without an installation.
        root = Path(__file__).resolve().parents[2]
        return {"url": root.as_uri(), "dir_info": {"editable": True}}
