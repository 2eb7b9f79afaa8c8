"""Fixtures that the tests of the benchmarks share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.benchmarks.tiny_dplc_set import write_all


@pytest.fixture(scope="package")
def dplc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of untrained networks and small data sets, see `tiny_dplc_set`."""
    made = tmp_path_factory.mktemp("dplc")
    write_all(made)
    return made
