"""What releases wrote decodes to the same values for ever."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import codec
from tests.golden import releases

FOLDERS = sorted(releases.FOLDER.glob("*"))


def check(folder: Path, name: str) -> None:
    path = releases.path_of(folder, name)
    values = releases.decoded(name, path.read_bytes())
    record = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert releases.digest(values) == record["decoded_sha256"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
@pytest.mark.parametrize("name", releases.CASES)
def test_they_decode_as_ever(folder: Path, name: str) -> None:
    check(folder, name)


def test_a_release_has_golden_files() -> None:
    is_release = "dev" not in codec.__version__
    assert (codec.__version__ in {folder.name for folder in FOLDERS}) == is_release


def test_the_files_that_this_version_would_write(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    releases.write_release(folder)
    for name in releases.CASES:
        check(folder, name)
        content = releases.content_of(name).astype(np.int64)
        values = releases.decoded(name, releases.path_of(folder, name).read_bytes())
        apart = np.abs(values.astype(np.int64).reshape(content.shape) - content)
        if not name.startswith("photo"):
            assert apart.max() == (2 if name == "near-lossless" else 0)
        else:
            assert 0 < apart.mean() < (64 if name == "photo-deep" else 8)
    with pytest.raises(FileExistsError):
        releases.write_release(folder)
    damaged = releases.path_of(folder, "photo-psnr")
    damaged.write_bytes(releases.path_of(folder, "photo-visual").read_bytes())
    with pytest.raises(AssertionError):
        check(folder, "photo-psnr")
