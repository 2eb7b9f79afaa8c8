"""The result files, as far as they can be checked without measuring again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.results import RESULTS
from codec.models.weights_files import WEIGHTS_FOLDER

KEYS = ("photo_weights", "weights_hash", "weights_of_peers")
"""Keys under which result files name weights that ship; weights of a study have others."""


def named_weights(content: Any) -> Iterator[str]:
    """The hashes of weights in a result file, at any depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key in KEYS:
                yield from value.values() if isinstance(value, dict) else [value]
            else:
                yield from named_weights(value)
    elif isinstance(content, list):
        for value in content:
            yield from named_weights(value)


def probed_weights(content: Any) -> Iterator[str]:
    """Those of the models whose decoded dots are counted."""
    for part in content.get("probes", {}).values():
        yield part["weights"]


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*.json")), ids=lambda path: path.stem)
def test_results_are_of_the_weights_that_ship(path: Path) -> None:
    registry = json.loads((WEIGHTS_FOLDER / "registry.json").read_text("utf-8"))
    shipped = [entry["sha256"] for entries in registry.values() for entry in entries]
    content = json.loads(path.read_text("utf-8"))
    for found in {*named_weights(content), *probed_weights(content)}:
        assert any(digest.startswith(found) for digest in shipped), (
            f"measured with the weights {found}, which do not ship: measure again, or remove it"
        )
