"""Fixtures and settings that several folders of tests share."""

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import settings

# Examples have no time limit, which a busy machine would break; see tests/limits.py.
settings.register_profile("calotype", deadline=None)
settings.load_profile("calotype")

# Tests often run on two cores, and on images of this size threads that wait for each other cost
# more time than they save.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for CALOTYPE_WEIGHTS with an untrained model, which is enough for tests."""
    from tests.codec.models.photo.tiny import write_tiny_weights

    folder = tmp_path_factory.mktemp("weights")
    write_tiny_weights(folder)
    return folder


@pytest.fixture
def tiny_weights(weights_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The untrained weights, in use for this test and the processes that it starts."""
    monkeypatch.setenv("CALOTYPE_WEIGHTS", str(weights_folder))
    return weights_folder


@pytest.fixture
def photograph() -> npt.NDArray[np.uint8]:
    """A small synthetic photograph, uint8 (48, 64, 3)."""
    from tests.codec.tiny import photographs

    return photographs(count=1, side=64)[0][:48]
