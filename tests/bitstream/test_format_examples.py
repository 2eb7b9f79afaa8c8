"""FORMAT.md is enough to write a decoder: one written from it reproduces its examples.

The text is compared with that decoder, to the last character, and the decoder with the product:
containers, messages and pixels.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import bitstream
import codec
from tests.bitstream.format_coder_examples import CODERS, whole_file_bytes
from tests.bitstream.format_examples import GOLDEN, WEIGHTS, Case, case_of, made_again
from tests.bitstream.format_reader import Table, read_alpha
from tests.bitstream.format_text import (
    Fields,
    document,
    hexadecimal,
    numbers_of,
    parse,
    pcg_starts,
    table_of,
)

EXAMPLES = parse(document())
# Those whose pixels are computed in floating point.
ROUNDED = {name for name in WEIGHTS if name.startswith(("dplc", "vae", "vq"))} - {
    "vae-bits-back-v1"
}


def changes(fields: Fields) -> Iterator[tuple[str, Fields]]:
    """The example with one of its numbers changed, once for every number."""
    for label, value in fields.items():
        words = value.split(" ")
        for place, word in enumerate(words):
            digit = re.search(r"[0-9a-f]", word)
            if digit is None:
                continue
            other = "1" if digit[0] != "1" else "2"
            changed = word[: digit.start()] + other + word[digit.end() :]
            value_then = " ".join([*words[:place], changed, *words[place + 1 :]])
            yield f"{label}: {value_then}", {**fields, label: value_then}


def agrees(name: str, fields: Fields) -> bool:
    """Whether an example is right; it is not if it cannot be decoded."""
    try:
        return made_again(name, fields) == fields
    except (AssertionError, ValueError, IndexError, KeyError, zlib.error):
        return False


def test_every_model_has_an_example() -> None:
    assert EXAMPLES.keys() == CODERS.keys() | WEIGHTS.keys()
    assert {case_of(name).file.header.model for name in WEIGHTS} == {*range(2, 10), *range(11, 18)}
    # All fenced blocks are examples, so all of them are tested.
    assert document().count("```") == 2 * len(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_decoder_written_from_the_text_finds_what_it_says(name: str) -> None:
    assert made_again(name, EXAMPLES[name]) == EXAMPLES[name]


@pytest.mark.parametrize("name", EXAMPLES)
def test_no_number_of_an_example_could_be_another(name: str) -> None:
    tried = 0
    for change, fields in changes(EXAMPLES[name]):
        assert not agrees(name, fields), change
        tried += 1
    assert tried > 5


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_product_reads_the_same_container(name: str) -> None:
    case = case_of(name)
    container = bitstream.container_from_bytes(case.path.read_bytes())
    assert [coded for layer in container.payloads for coded in layer] == case.file.coded
    ours, theirs = case.file.header, container.header
    assert (ours.width, ours.height, ours.channels) == (
        theirs.width,
        theirs.height,
        theirs.channels,
    )
    assert (ours.q, ours.model) == (round(100 * theirs.quality), theirs.model_id)
    assert (ours.tile, ours.layers) == (theirs.tile_size, theirs.layers)
    assert bytes.fromhex(ours.weights_hash) == theirs.weights_hash
    assert (ours.noise_seed, ours.free_noise) == (theirs.noise_seed, theirs.free_noise)
    assert (ours.machine_bound, ours.variant) == (theirs.machine_bound, theirs.variant)
    found = codec.inspect(case.path)
    assert [(c.type.decode(), c.length) for c in found.chunks] == [
        (kind, len(payload)) for kind, payload in case.file.chunks
    ]


def product_pixels(case: Case, monkeypatch: pytest.MonkeyPatch) -> npt.NDArray[Any]:
    monkeypatch.setenv("CALOTYPE_WEIGHTS", str(GOLDEN))
    pixels: npt.NDArray[Any] = codec.decompress(case.path, as_="numpy", device="cpu")
    return pixels.reshape(*pixels.shape[:2], -1)


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_product_draws_the_same_picture(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(name)
    drawn = product_pixels(case, monkeypatch)
    channels, height = case.file.header.channels, case.file.header.height
    colours, rest = drawn[:, :, :channels], drawn[:, :, channels:]
    largest = 1 if name in ROUNDED else 0
    for pixels in (case.decoded.pixels, colours):
        assert pixels.shape == case.picture.shape
        assert np.abs(pixels.astype(int) - case.picture).max() <= largest
    if rest.size:
        plane = read_alpha(case.file.payload("ALPH"), height, case.file.header.width)
        np.testing.assert_array_equal(rest[:, :, 0], plane)


def table_set(tables: list[Table]) -> bitstream.TableSet:
    starts = np.cumsum([0, *(len(table.frequencies) for table in tables)], dtype=np.int32)
    frequencies = np.concatenate([table.frequencies for table in tables]).astype(np.int32)
    minimums = np.array([table.minimum for table in tables], dtype=np.int32)
    return bitstream.TableSet(frequencies, starts, minimums)


def int32(numbers: list[int]) -> npt.NDArray[np.int32]:
    return np.array(numbers, dtype=np.int32)


def test_the_product_codes_the_escapes_alike() -> None:
    fields = EXAMPLES["escape"]
    symbols = int32(numbers_of(fields["symbols"]))
    encoder = bitstream.SymbolEncoder()
    encoder.put(symbols, np.zeros_like(symbols), table_set([table_of(fields["table 0"])]))
    assert hexadecimal(encoder.finish()) == fields["coded bytes"]


def test_the_product_decodes_the_entries_alike() -> None:
    fields = EXAMPLES["range coder"]
    tables = table_set([table_of(fields[f"table {n}"]) for n in (0, 1)])
    indexes = int32(numbers_of(fields["tables"]))
    decoder = bitstream.SymbolDecoder(bytes.fromhex(fields["coded bytes"]))
    entries = decoder.get(indexes, tables) - tables.minimums[indexes]
    decoder.finish()
    assert entries.tolist() == numbers_of(fields["entries"])


def test_the_product_pushes_and_pops_alike() -> None:
    fields = EXAMPLES["stack"]
    tables = table_set([table_of(fields["table 0"])])
    stack = bitstream.AnsCoder(bytes.fromhex(fields["stack"]))
    zero = int32([0])
    for label, after in fields.items():
        if push := re.fullmatch(r"entry (\d+) pushed, number \d+", label):
            stack.push(int32([int(push[1])]) + tables.minimums[0], zero, tables)
            assert hexadecimal(stack.to_bytes()) == after
    popped = numbers_of(fields["popped"])
    assert [int(stack.pop(zero, tables)[0] - tables.minimums[0]) for _ in popped] == popped
    assert hexadecimal(stack.to_bytes()) == fields["stack"]


def test_numpy_has_the_same_raw_numbers() -> None:
    for label, numbers in EXAMPLES["raw numbers"].items():
        place = re.fullmatch(r"seed (0xCA1\d), offset (\d+)", label)
        assert place is not None
        generator = np.random.PCG64(int(place[1], 16))
        generator.advance(int(place[2]))
        assert [f"{n:016x}" for n in generator.random_raw(3).tolist()] == numbers.split()
    seeds = {int(label[5:11], 16) for label in EXAMPLES["raw numbers"]}
    assert seeds == pcg_starts(document()).keys()


def test_the_whole_file_is_one_that_the_product_reads() -> None:
    fields, container = EXAMPLES["whole file"], bitstream.container_from_bytes(whole_file_bytes())
    decoder = bitstream.SymbolDecoder(container.payloads[0][0])
    tables = table_set([table_of(fields[f"table {n}"]) for n in (0, 1)])
    symbols = decoder.get(int32(numbers_of(fields["tables"])), tables)
    decoder.finish()
    assert symbols.tolist() == numbers_of(fields["symbols"])
