"""Files of several layers: decoding some of them, with the missing ones drawn at random or not."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import codec
from bitstream import PayloadError, TruncatedError, UsageError, container_from_bytes
from bitstream.chunks import chunk_bytes
from codec.api import decompress_to_picture
from codec.cli import app
from codec.models.base import LayeredModel
from codec.pipeline.decode import LayerDecoder, decompress_container
from codec.pipeline.encode import compress_picture
from tests.codec.tiny_layers import (
    DATA,
    ENDS,
    LAYERS,
    TILES,
    Blocks,
    has_alpha,
    picture,
    pixels_of,
)

pytestmark = pytest.mark.usefixtures("blocks")

Pixels = npt.NDArray[np.uint8]

REGION = (50, 30, 40, 50)  # of four tiles
# The place after the first tile of the first layer.
FIRST_TILE_ENDS = next(
    chunk.offset + chunk_bytes(chunk.length)
    for chunk in codec.inspect(DATA).chunks
    if chunk.type == b"DATA"
)


class AllOrNothing(Blocks):
    """Three layers that cannot be decoded one by one."""

    tile_decoder = None  # type: ignore[assignment]


def crop(pixels: Pixels) -> Pixels:
    x, y, width, height = REGION
    return pixels[y : y + height, x : x + width]


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == code, (result.output, result.stderr, result.exception)
    return result


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with whole.calo and cut.calo, which has two layers and a bit more."""
    monkeypatch.chdir(tmp_path)
    Path("whole.calo").write_bytes(DATA)
    Path("cut.calo").write_bytes(DATA[: ENDS[1] + 3])
    return tmp_path


def test_the_made_up_model_is_what_the_pipeline_asks_for(blocks: Blocks) -> None:
    assert isinstance(blocks, LayeredModel)
    header = container_from_bytes(DATA).header
    assert (header.layers, header.tile_count) == (LAYERS, TILES)


def test_every_layer_brings_the_picture_nearer() -> None:
    whole = pixels_of(DATA)
    errors = [np.abs(pixels_of(DATA, layers=k).astype(int) - whole).mean() for k in (1, 2)]
    assert errors[0] > 2 * errors[1] > 0
    assert np.array_equal(pixels_of(DATA, layers=LAYERS), whole)


def test_layers_on_request_are_no_news() -> None:
    for layers in (1, 2, 3, None):
        again = decompress_to_picture(DATA, layers=layers)
        assert again.notices == ()
        assert (again.icc, again.exif, again.xmp) == (b"icc", b"II*\0exif", b"<x/>")
        assert has_alpha(again)


@pytest.mark.parametrize("layers", [0, 4, 65, True, 1.0])
@pytest.mark.parametrize("region", [None, REGION])
def test_a_wrong_number_of_layers_is_refused(layers: Any, region: Any) -> None:
    for partial in (False, True):
        with pytest.raises(UsageError, match=f"layers {layers}"):
            codec.decompress(DATA, layers=layers, region=region, partial=partial)


def test_layers_need_no_byte_of_the_later_ones() -> None:
    for layers, end in enumerate(ENDS, 1):
        fo = io.BytesIO(DATA)
        expected = pixels_of(DATA, layers=layers)
        assert np.array_equal(codec.decompress(fo, as_="numpy", layers=layers), expected)
        assert fo.tell() == end
        assert np.array_equal(pixels_of(DATA[:end], layers=layers), expected)
        with pytest.raises(TruncatedError):
            codec.decompress(DATA[: end - 1], layers=layers)


def test_only_the_tiles_of_a_region_are_decoded(blocks: Blocks) -> None:
    pixels_of(DATA, layers=2, region=(0, 0, 10, 10))
    assert (blocks.payloads_read, blocks.latents_asked) == (2, 1)
    blocks.payloads_read = 0
    pixels_of(DATA, layers=2, region=REGION)
    assert blocks.payloads_read == 2 * 4


def test_every_tile_is_decoded_once_whatever_the_context(blocks: Blocks) -> None:
    blocks.context = 9  # more than two tiles
    pixels_of(DATA)
    assert (blocks.payloads_read, blocks.latents_asked) == (LAYERS * TILES, TILES)


def test_another_number_of_layers_than_the_models_is_refused(blocks: Blocks) -> None:
    blocks.layers = 2
    for decode in (codec.decompress, lambda data: list(codec.decompress_progressive(data))):
        with pytest.raises(PayloadError, match="3 layers, expected 2 of blocks"):
            decode(DATA)
    assert (blocks.decoders_made, blocks.payloads_read) == (0, 0)


def test_layers_that_do_not_stand_alone_are_refused() -> None:
    model = AllOrNothing()
    container = container_from_bytes(DATA)
    part = dataclasses.replace(container, payloads=container.payloads[:2], complete=False)
    with pytest.raises(UsageError, match="blocks needs them all"):
        decompress_container(part, model)
    with pytest.raises(UsageError, match="blocks needs them all"):
        LayerDecoder(container.header, model).decode(part)


def test_a_seed_draws_the_missing_layers() -> None:
    mean = pixels_of(DATA, layers=1)
    drawn = pixels_of(DATA, layers=1, seed=3)
    assert np.array_equal(drawn, pixels_of(DATA, layers=1, seed=3))
    assert not np.array_equal(drawn, mean)
    assert not np.array_equal(drawn, pixels_of(DATA, layers=1, seed=4))
    assert np.array_equal(drawn, pixels_of(DATA[: ENDS[0]], partial=True, seed=3))
    assert not np.array_equal(drawn, pixels_of(DATA, layers=2, seed=3))


@pytest.mark.parametrize("options", [{}, {"layers": LAYERS}, {"partial": True}])
def test_nothing_is_drawn_for_a_whole_file(options: dict[str, Any]) -> None:
    whole = pixels_of(DATA)
    assert np.array_equal(whole, pixels_of(DATA, seed=3, **options))
    assert np.array_equal(crop(whole), pixels_of(DATA, seed=3, region=REGION, **options))


@pytest.mark.parametrize("seed", [None, 0, 2**63 - 1])
@pytest.mark.parametrize("options", [{"layers": 1}, {"layers": 2, "partial": True}])
def test_a_region_is_a_crop(options: dict[str, Any], seed: int | None) -> None:
    whole = pixels_of(DATA, seed=seed, **options)
    assert np.array_equal(crop(whole), pixels_of(DATA, seed=seed, region=REGION, **options))
    cut = DATA[: ENDS[0]]
    part = pixels_of(cut, seed=seed, region=REGION, partial=True)
    assert np.array_equal(part, crop(pixels_of(cut, seed=seed, partial=True)))


def test_each_tile_has_a_generator_of_its_own(blocks: Blocks) -> None:
    # All tiles are grey, so only what was drawn at random differs.
    container = compress_picture(
        dataclasses.replace(picture(), pixels=np.full((64, 128, 3), 128, np.uint8), alpha=None),
        blocks,
        quality=50,
        tile_size=64,
    )
    first = dataclasses.replace(container, payloads=container.payloads[:1], complete=False)
    blocks.context = 0
    drawn = decompress_container(first, blocks, seed=7).pixels
    assert not np.array_equal(drawn[:, :64], drawn[:, 64:])
    for tile, left in enumerate((0, 64)):
        generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence((7, tile))))
        decoder = blocks.tile_decoder(4, 4, 50)
        decoder.read(container.payloads[0][tile])
        expected = blocks.synthesize(decoder.latents(generator), 50)
        # The outer latents have other neighbours here.
        np.testing.assert_array_equal(drawn[16:48, left + 16 : left + 48], expected[16:48, 16:48])


def test_a_file_cut_anywhere_gives_its_complete_layers() -> None:
    expected = [pixels_of(DATA, layers=k) for k in (1, 2, 3)]
    for length in range(len(DATA)):
        cut = DATA[:length]
        with pytest.raises(codec.StreamError) as caught:
            codec.decompress(cut)
        assert isinstance(caught.value, TruncatedError) or length == 0
        layers = sum(length >= end for end in ENDS)
        if length < FIRST_TILE_ENDS:
            with pytest.raises(codec.StreamError):
                codec.decompress(cut, partial=True)
            continue
        if layers == 0:
            again = decompress_to_picture(cut, partial=True)
            assert np.array_equal(again.pixels[:32, :32], expected[0][:32, :32, :3])
            assert "tiles are damaged or missing, and grey" in again.notices[1]
            continue
        again = decompress_to_picture(cut, partial=True)
        assert np.array_equal(again.pixels, expected[layers - 1][..., :3])
        assert again.notices == (f"{layers} of 3 layers were decoded: the file is cut",)
        assert has_alpha(again)
    assert decompress_to_picture(DATA, partial=True).notices == ()


def test_layers_of_a_cut_file() -> None:
    cut = DATA[: ENDS[1] + 1]
    for layers in (1, 2):
        again = decompress_to_picture(cut, partial=True, layers=layers)
        assert np.array_equal(again.pixels, pixels_of(DATA, layers=layers)[..., :3])
        assert again.notices == ()
    again = decompress_to_picture(cut, partial=True, layers=3)
    assert again.notices == ("2 of 3 layers were decoded: the file is cut",)
    with pytest.raises(TruncatedError):
        decompress_to_picture(cut, layers=3)


def test_the_command_decodes_layers(folder: Path) -> None:
    result = run("decompress", "whole.calo", "-o", "a.png", "--layers", 1, "--seed", 3)
    assert result.stderr == ""
    with Image.open("a.png") as image:
        assert np.array_equal(np.asarray(image), pixels_of(DATA, layers=1, seed=3))
    for option, value, message in (("--layers", 4, "layers 4"), ("--seed", -1, "seed -1")):
        again = run("decompress", "whole.calo", "-fo", "a.png", option, value, code=2)
        assert message in again.stderr


def test_the_command_decodes_what_a_cut_file_holds(folder: Path) -> None:
    run("decompress", "cut.calo", code=4)
    assert not Path("cut.png").exists()
    result = run("decompress", "cut.calo", "--partial")
    assert "notice: cut.calo: 2 of 3 layers were decoded" in result.stderr
    with Image.open("cut.png") as image:
        assert np.array_equal(np.asarray(image), pixels_of(DATA, layers=2))
    Path("short.calo").write_bytes(DATA[: FIRST_TILE_ENDS - 1])
    error = run("decompress", "short.calo", "--partial", code=4).stderr
    assert "no layer is complete, so nothing can be decoded" in error
    assert "(--partial, partial=True)" in run("decompress", "short.calo", code=4).stderr
    assert "--partial" not in error
    # The file is complete enough for the requested layers, so the cut does not matter.
    assert run("decompress", "cut.calo", "-fo", "cut.png", "--layers", 2).stderr == ""


def test_json_of_layers(folder: Path) -> None:
    arguments = ("decompress", "cut.calo", "-o", "a.png", "--partial", "--json")
    (done,) = json.loads(run(*arguments).stdout)["files"]
    assert done["notices"] == ["2 of 3 layers were decoded: the file is cut"]
    info = json.loads(run("inspect", "whole.calo", "--json").stdout)
    assert (info["layers"], len(info["layer_bytes"])) == (3, 3)
    assert sum(info["layer_bytes"]) == info["payload_bytes"]
    (found,) = json.loads(run("verify", "whole.calo", "--json").stdout)["files"]
    assert (found["ok"], found["tiles"], found["layers"]) == (True, TILES, LAYERS)


def test_bytes_of_each_layer(folder: Path) -> None:
    container = container_from_bytes(DATA)
    # Two bytes of each chunk are its numbers of layer and tile.
    expected = tuple(sum(len(data) + 2 for data in layer) for layer in container.payloads)
    assert codec.inspect(DATA).layer_bytes == expected
    line = "layers    3: " + ", ".join(str(size) for size in expected) + " bytes"
    assert line in run("inspect", "whole.calo").stdout
