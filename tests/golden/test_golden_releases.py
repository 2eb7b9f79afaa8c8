"""What releases wrote decodes to the same values for ever."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import codec
from bitstream.container import container_from_bytes
from codec.loading import ENVIRONMENT_VARIABLE
from tests.golden import releases

FOLDERS = sorted(releases.FOLDER.glob("*"))
FILES = [path for folder in FOLDERS for path in sorted(folder.iterdir()) if path.suffix != ".json"]


@pytest.fixture(autouse=True)
def without_the_users_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ENVIRONMENT_VARIABLE, raising=False)


def check(path: Path) -> None:
    record = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert releases.digest(releases.decoded(path)) == record["decoded_sha256"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_they_decode_as_ever(path: Path) -> None:
    check(path)


def test_a_release_has_golden_files() -> None:
    is_release = "dev" not in codec.__version__
    assert (codec.__version__ in {folder.name for folder in FOLDERS}) == is_release


def test_the_files_that_this_version_would_write(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    releases.write_release(folder)
    written = {path.stem: path for path in folder.iterdir() if path.suffix != ".json"}
    assert written.keys() == set(releases.CASES)
    for name, path in written.items():
        check(path)
        content = releases.content_of(name).astype(np.int64)
        values = releases.decoded(path)
        apart = np.abs(values.astype(np.int64).reshape(content.shape) - content)
        if not name.startswith("photo"):
            bound = releases.PICTURES[name][1].get("max_error", 0) if path.suffix == ".calo" else 0
            assert apart.max() == bound
        else:
            scale = 257 if values.dtype == np.uint16 else 1
            assert 0 < apart.mean() / scale < (30 if name == "photo-least" else 8)
    with pytest.raises(FileExistsError):
        releases.write_release(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    damaged = written["photo-psnr"]
    damaged.write_bytes(written["photo-visual"].read_bytes())
    with pytest.raises(AssertionError):
        check(damaged)


def test_cases_use_the_parts_of_the_format() -> None:
    def parts(name: str) -> tuple[int, int, bool]:
        found = container_from_bytes(releases.encoded(name))
        return found.header.layers, found.header.tile_count, found.alpha is not None

    assert parts("photo-visual") == (1, 1, False)
    assert parts("photo-layers") == (4, 1, False)
    assert parts("photo-tiles") == (1, 6, True)
    assert parts("pixel-tiles") == (1, 6, True)
    first_bytes = {
        name: container_from_bytes(releases.encoded(name)).payloads[0][0][0]
        for name in ("pixel", "pixel-map", "pixel-differences")
    }
    assert len(set(first_bytes.values())) == 3, first_bytes
