"""Files parse alike in a process with other threads and other arithmetic."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.photo import __main__ as photo
from benchmarks.photo import exactness as photo_exactness
from benchmarks.photo.other_processor import digests
from tests.codec.tiny import photographs


@pytest.mark.usefixtures("tiny_weights")
def test_other_processes_parse_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photo_exactness, "tiled_photo", lambda *_: photographs(1, side=96)[0])
    output = tmp_path / "out.json"
    arguments = ["--threads", "2", "--arithmetic", "torch float32", "--bare-python", sys.executable]
    assert photo.main(["exactness", *arguments, "-o", str(output)]) == 0
    content = json.loads(output.read_text("utf-8"))
    assert content["all_alike"] is True
    assert str(tmp_path) not in output.read_text("utf-8")
    found = content["found"][0]
    assert found["files_of_here_that_parse_alike_there"] == found["files"] == 10
    assert found["files_of_there_that_parse_alike_here"] == 10
    assert found["largest_difference_of_pixels"] == 0
    assert found["threads"] == 2
    (bare,) = content["other_processors"]
    assert bare["tiles_alike"] == bare["tiles"] == 20


@pytest.mark.usefixtures("tiny_weights")
def test_a_difference_is_seen(tmp_path: Path) -> None:
    coder = photo_exactness.load_coder(photo_exactness.ARITHMETIC[0])
    written = photo_exactness.write_files(tmp_path, coder)
    read, pixels = photo_exactness.read_files(tmp_path, coder)
    assert read == written
    assert {name: p.dtype for name, p in pixels.items()} == dict.fromkeys(written, np.uint8)
    name, other = sorted(written)[:2]
    (tmp_path / name).write_bytes((tmp_path / other).read_bytes())
    changed, _ = photo_exactness.read_files(tmp_path, coder)
    assert photo_exactness._same(written, changed) == len(written) - 1


@pytest.mark.usefixtures("tiny_weights")
def test_another_number_of_a_tile_is_another_digest() -> None:
    coder = photo_exactness.load_coder(photo_exactness.ARITHMETIC[0])
    tiles = photo_exactness.tiles_of(coder)
    before = list(digests(tiles))
    tiles["3.latents"][0, 0, 0] += 1
    tiles["5.hyper"][0, 0, 0] += 1
    after = list(digests(tiles))
    assert [k for k, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] == [3, 5]


@pytest.mark.usefixtures("tiny_weights")
def test_the_arithmetic_is_what_was_asked_for_and_draws_the_same_pixels() -> None:
    drawn, kinds = [], set()
    for arithmetic in photo_exactness.ARITHMETIC:
        coder = photo_exactness.load_coder(arithmetic)
        kinds.add((type(coder.transforms), type(coder.transforms.renderer)))
        latents = np.random.default_rng(2).normal(0, 3, (768, 3, 4)).astype(np.float32)
        decoded = coder.decode_tile(coder.encode_tile(latents, 60), 3, 4, 60)
        drawn.append(coder.synthesize(decoded, 60))
    assert len(kinds) == 3
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert drawn[0].std() > 10
