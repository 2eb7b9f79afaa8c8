"""The photo model as a codec: coded symbols are decoded, and nothing else is accepted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bitstream.errors import PayloadError, UsageError, WeightsMismatchError
from bitstream.varint import read_varint, write_varint
from codec.models.photo.coder import PhotoCoder, TileSymbols, hyper_indexes
from codec.models.photo.config import COEFFICIENTS, TUNES
from codec.models.photo.exact_context import VALUE_LIMIT
from codec.models.photo.quality_map import checked_map, identity_map, position_at
from tests.codec.models.photo.tiny import TINY, tiny_arrays, tiny_coder
from tests.codec.tiny import photographs
from tests.limits import cpu_limit

QUALITIES = (1.0, 37.31, 75.0, 100.0)


@pytest.fixture(params=TUNES)
def coder(request: pytest.FixtureRequest) -> PhotoCoder:
    return tiny_coder().with_tune(request.param)


def encode(coder: PhotoCoder, quality: float) -> tuple[tuple[bytes, ...], TileSymbols]:
    """Payloads, and the symbols of all channels."""
    tile = coder.symbols(coder.analyze(photographs(1)[0], quality), quality)
    return coder.encode_symbols(tile, quality), tile


def assert_same(one: TileSymbols, two: TileSymbols) -> None:
    for name in ("hyper_latents", "decoded", "symbols", "indexes", "means"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)


@pytest.mark.parametrize("quality", QUALITIES)
def test_decodes_the_symbols_that_were_coded(coder: PhotoCoder, quality: float) -> None:
    payloads, written = encode(coder, quality)
    read = coder.decode_symbols(payloads, 8, 8, quality)
    assert_same(written.first(read.channels), read)
    assert not written.symbols[read.channels :].any()
    assert len(np.unique(read.symbols)) > 5
    assert len(np.unique(read.indexes)) > 5


def test_low_qualities_code_few_channels(coder: PhotoCoder) -> None:
    counts = []
    for quality in (5, 30, 100):
        payloads, tile = encode(coder, quality)
        channels, _ = read_varint(payloads[0])
        used = np.flatnonzero(tile.symbols.any(axis=(1, 2)))
        assert channels == max(used.max() + 1, TINY.groups[0])
        counts.append(channels)
    assert counts[0] < counts[1] <= counts[2]


def test_channels_that_cost_more_than_they_bring_are_left_out(coder: PhotoCoder) -> None:
    latents = coder.analyze(photographs(1)[0], 30)
    tile = coder.symbols(latents, 30)
    payloads = coder.encode_tile(latents, 30)
    read = coder.decode_symbols(payloads, 8, 8, 30)
    assert TINY.groups[0] < read.channels <= coder.coded_channels(tile)
    assert_same(tile.first(read.channels), read)
    assert sum(map(len, payloads)) <= sum(map(len, coder.encode_symbols(tile, 30)))

    kept = []
    for value in (0.6, 30.0):
        other = np.zeros_like(latents)
        other[:100] = latents[:100]
        other[700, 3, 3] = value
        kept.append(coder.useful_channels(coder.symbols(other, 30), other))
    assert kept[0] <= 100
    assert kept[1] == 701
    silent = np.zeros_like(latents)
    assert coder.useful_channels(coder.symbols(silent, 30), silent) < COEFFICIENTS


def test_what_is_decoded_is_latents_and_hidden_features(coder: PhotoCoder) -> None:
    payloads, _ = encode(coder, 10)
    read = coder.decode_symbols(payloads, 8, 8, 10)
    channels = read.channels
    assert channels < COEFFICIENTS
    decoded = coder.decode_tile(payloads, 8, 8, 10)
    assert decoded.dtype == np.int32
    assert decoded.shape == (COEFFICIENTS + TINY.hidden, 8, 8)
    np.testing.assert_array_equal(decoded[:channels], (read.symbols << 10) + read.means)
    assert not decoded[channels:COEFFICIENTS].any()
    assert decoded[COEFFICIENTS:].any()
    assert decoded[COEFFICIENTS:].min() >= 0


def test_more_channels_than_needed_may_be_coded(coder: PhotoCoder) -> None:
    _, tile = encode(coder, 10)
    last = tile.parts[-1]
    row = 500 - last.place.channels.start
    symbols = last.symbols.copy()
    # Certain tables have only the symbol zero.
    certain = coder.latent_tables.certain[last.indexes[row]]
    assert not certain.all()
    symbols[row, certain.argmin()] = 1
    decoded = tile.decoded.copy()
    decoded[500].ravel()[certain.argmin()] = 1024
    parts = [*tile.parts[:-1], replace(last, symbols=symbols)]
    wider = TileSymbols(tile.hyper_latents, parts, decoded)
    read = coder.decode_symbols(coder.encode_symbols(wider, 10), 8, 8, 10)
    assert_same(wider.first(501), read)


def test_an_empty_tile_codes_the_first_group(coder: PhotoCoder) -> None:
    zeros = np.zeros((COEFFICIENTS, 3, 5), dtype=np.float32)
    payloads = coder.encode_symbols(
        coder.symbols(zeros, 50, choose=lambda residuals, indexes, _: np.zeros_like(indexes)), 50
    )
    assert read_varint(payloads[0])[0] == TINY.groups[0]
    read = coder.decode_symbols(payloads, 3, 5, 50)
    assert read.symbols.shape == (TINY.groups[0], 3, 5)
    assert not read.symbols.any()


def test_coarse_latents_of_any_value_have_symbols(coder: PhotoCoder) -> None:
    for value in (np.nan, np.inf, -np.inf, 1e30):
        latents = np.full((COEFFICIENTS, 3, 5), value, dtype=np.float32)
        payloads = coder.encode_tile(latents, 50)
        read = coder.decode_tile(payloads, 3, 5, 50)
        assert np.abs(read[:COEFFICIENTS]).max() <= VALUE_LIMIT
        assert coder.synthesize(read, 50).shape == (48, 80, 3)


@pytest.mark.parametrize("cut", [0, 1, 5, -4])
def test_damaged_payloads_are_refused(coder: PhotoCoder, cut: int) -> None:
    payload = b"".join(encode(coder, 75)[0])
    with pytest.raises(PayloadError):
        coder.decode_tile([payload[:cut]], 8, 8, 75)
    with pytest.raises(PayloadError):
        coder.decode_tile([payload + b"\x01\x02\x03\x04\x05"], 8, 8, 75)


@pytest.mark.parametrize(
    "number", [b"", b"\x00", b"\x1f", b"\x81\x06", b"\xff\xff\x7f", b"\x80\x00", b"\xff" * 10]
)
def test_impossible_numbers_of_channels_are_refused(coder: PhotoCoder, number: bytes) -> None:
    payload = b"".join(encode(coder, 10)[0])
    _, offset = read_varint(payload)
    rest = payload[offset:] if number else b""
    with cpu_limit(2), pytest.raises(PayloadError):
        coder.decode_tile([number + rest], 8, 8, 10)


@pytest.mark.parametrize("change", [-1, 1, 200])
def test_another_number_of_channels_is_refused(coder: PhotoCoder, change: int) -> None:
    payload = b"".join(encode(coder, 40)[0])
    channels, offset = read_varint(payload)
    other = min(channels + change, COEFFICIENTS)
    if other == channels:
        other -= 100
    # If all symbols of these channels are certain, this is another encoding of the same tile.
    try:
        read = coder.decode_symbols([write_varint(other) + payload[offset:]], 8, 8, 40)
    except PayloadError:
        return
    assert other > channels
    assert not read.symbols[channels:].any()


@pytest.mark.parametrize("payload", [b"", b"\x01", bytes(range(32, 200)), b"\x80\x06" * 150])
def test_a_large_tile_of_few_bytes_is_refused_at_once(payload: bytes) -> None:
    with cpu_limit(2), pytest.raises(PayloadError):
        tiny_coder().decode_tile([payload], 256, 256, 50)


@settings(
    max_examples=100,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_payload_is_refused_or_decodes_to_pixels(
    coder: PhotoCoder, data: st.DataObject
) -> None:
    height, width = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9))
    quality = data.draw(st.integers(100, 10000)) / 100
    if data.draw(st.booleans()):
        channels = data.draw(st.integers(0, COEFFICIENTS + 1))
        payload = write_varint(channels) + data.draw(st.binary(max_size=400))
    else:
        good = bytearray(b"".join(encode(coder, quality)[0]))
        start = data.draw(st.integers(0, len(good)))
        good[start : start + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
        payload, height, width = bytes(good), 8, 8
    try:
        with cpu_limit(2):
            decoded = coder.decode_tile([payload], height, width, quality)
    except PayloadError:
        return
    pixels = coder.synthesize(decoded, quality)
    assert pixels.shape == (16 * height, 16 * width, 3)


def test_torch_draws_the_same_pixels_of_the_same_file(coder: PhotoCoder) -> None:
    latents = coder.analyze(photographs(1)[0], 60)
    payloads = coder.encode_tile(latents, 60)
    decoded = coder.decode_tile(payloads, 8, 8, 60)
    torch_transforms = coder.torch_transforms
    position = coder.position(60)
    drawn = torch_transforms.synthesize(decoded, position, coder.tune_number)
    np.testing.assert_array_equal(drawn, coder.synthesize(decoded, 60))
    found = torch_transforms.analyze(photographs(1)[0], position, coder.tune_number)
    np.testing.assert_allclose(found, latents, atol=2e-3, rtol=1e-4)
    hyper = torch_transforms.hyper_analyze(latents, position, coder.tune_number)
    np.testing.assert_array_equal(
        np.rint(hyper), coder.decode_symbols(payloads, 8, 8, 60).hyper_latents
    )


def test_tunes_differ_and_are_the_same_object_each_time() -> None:
    coder = tiny_coder()
    assert coder.tune == "visual"
    psnr = coder.with_tune("psnr")
    assert psnr.with_tune("visual") is coder
    assert coder.with_tune("psnr") is psnr
    payloads, _ = encode(psnr, 50)
    assert payloads != encode(coder, 50)[0]
    with pytest.raises(UsageError, match="psnr, visual"):
        coder.with_tune("loud")


def test_hyper_indexes_pick_the_nearest_set() -> None:
    sets = [int(hyper_indexes(p, 12, 8, 1, 1)[0]) // 8 for p in (100, 540, 560, 1000, 9990, 10000)]
    assert sets == [0, 0, 1, 1, 11, 11]
    np.testing.assert_array_equal(hyper_indexes(100, 12, 2, 1, 2), [0, 0, 1, 1])


def test_the_quality_map_is_interpolated_with_integers_and_rises() -> None:
    identity = identity_map()[0]
    assert [position_at(identity, h) for h in (100, 101, 5050, 9999, 10000)] == [
        100, 101, 5050, 9999, 10000,
    ]  # fmt: skip
    rng = np.random.default_rng(0)
    row = np.sort(rng.choice(np.arange(100, 10001), 100, replace=False)).astype(np.int32)
    found = [position_at(row, hundredths) for hundredths in range(100, 10001)]
    assert found[::100] == row.tolist()
    assert all(type(position) is int for position in found)
    assert (np.diff(found) >= 0).all()


def test_the_quality_map_of_a_tune_moves_its_qualities() -> None:
    table = identity_map()
    table[1] = 100 + (table[1] - 100) // 2
    arrays = {**tiny_arrays(), "quality_map": table}
    coder = PhotoCoder(arrays, TINY, bytes(8))
    assert (coder.position(100), coder.with_tune("psnr").position(100)) == (5050, 10000)
    pixels = photographs(1)[0]
    moved = coder.encode_tile(coder.analyze(pixels, 100), 100)
    plain = tiny_coder()
    assert moved == plain.encode_tile(plain.analyze(pixels, 50.5), 50.5)


@pytest.mark.parametrize(
    "table",
    [
        None,
        identity_map()[0],
        identity_map().astype(np.int64),
        identity_map()[:, ::-1].copy(),
        identity_map() - 1,
        np.minimum(identity_map(), 9900),
    ],
)
def test_other_quality_maps_are_refused(table: object) -> None:
    with pytest.raises(WeightsMismatchError, match="quality_map"):
        checked_map(table)  # type: ignore[arg-type]
