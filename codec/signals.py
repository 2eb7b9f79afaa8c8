"""Lossless coding of one-dimensional signals: an array of samples to bytes and back.

>>> import numpy as np
>>> from codec.signals import compress_signal, decompress_signal
>>> samples = (3000 * np.sin(np.arange(500) / 9)).astype(np.int16)
>>> data = compress_signal(samples)
>>> bool((decompress_signal(data) == samples).all())
True

The bytes are not a complete audio file: they hold one channel, without its sampling rate or any
other metadata. `bitstream/FORMAT.md` describes them.
"""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Int32Array
from bitstream.chunks import SIGNATURE, VERSION, ChunkReader, shown_type, write_chunk
from bitstream.errors import (
    DuplicateChunkError,
    HeaderError,
    LimitError,
    MissingChunkError,
    PayloadError,
    TableError,
    TruncatedError,
    UsageError,
    WeightsMismatchError,
)
from bitstream.grammar import SIGNAL_CHUNK
from bitstream.varint import read_varint, write_varint
from codec.models.signal import SIGNAL
from codec.models.signal.coder import SignalCoder, load_signal
from codec.models.weights_files import (
    HASH_BYTES,
    WeightsFile,
    cached_hash,
    find_weights,
    read_weights,
)
from codec.options import check_integer
from codec.pictures.from_arrays import plain_array

MAX_SAMPLES = 2**28
MAX_LANES = 256
LANE_SAMPLES = 4096
"""Samples per lane by default, until there are this many lanes:"""
DEFAULT_LANES = 64

_KINDS = (np.dtype(np.int16), np.dtype(np.uint8), np.dtype(np.int8))
"""Sample types; the file stores the index into this tuple."""
_FEWEST_BITS = 2.0**-11
"""The fewest bits that a sample can take."""

SignalArray = npt.NDArray[Any]
"""int16, uint8 or int8 (n,)."""


def compress_signal(samples: SignalArray, *, lanes: int | None = None) -> bytes:
    """Code a signal without loss.

    samples   int16, uint8 or int8 (n,): one channel, n ≤ 2²⁸
    lanes     parts of the signal that are decoded in parallel, 1 .. 256 and at most n. More lanes
              are faster, but each costs some tens of bytes, because its predictor starts untrained.
              None takes one for every 4096 samples, at most 64

    Raises `UsageError` for any other array, a masked array or a wrong number of lanes;
    `WeightsMissingError`.
    """
    given: object = samples
    if not isinstance(given, np.ndarray):
        raise UsageError(f"a signal is an array int16, uint8 or int8 (n,), not {type(given)}")
    samples = plain_array(samples)
    native = samples.dtype.newbyteorder("=")
    if native not in _KINDS or samples.ndim != 1:
        raise UsageError(
            f"an array {samples.dtype}{list(samples.shape)} was given, expected a signal int16, "
            "uint8 or int8 (n,)"
        )
    count = len(samples)
    if count > MAX_SAMPLES:
        raise UsageError(f"a signal of {count} samples was given, expected at most {MAX_SAMPLES}")
    if lanes is None:
        lanes = default_lanes(count)
    else:
        lanes = check_integer("lanes", lanes, 1, min(MAX_LANES, max(count, 1)))
    kind = _KINDS.index(native)
    values = samples.astype(np.int32) - _middle(kind)
    bits = int(np.bitwise_or.reduce(values)) if count else 0
    unused = (bits & -bits).bit_length() - 1 if bits else 0
    coder = _coder(None)
    coded = coder.encode(values >> unused, lanes, _limits(kind, unused)) if count else b""
    header = bytes([kind, unused]) + coder.weights_hash + write_varint(count) + write_varint(lanes)
    fo = io.BytesIO()
    fo.write(SIGNATURE + bytes([VERSION]))
    write_chunk(fo, SIGNAL_CHUNK, header + coded)
    return fo.getvalue()


def decompress_signal(data: bytes) -> SignalArray:
    """Decode what `compress_signal` wrote: int16, uint8 or int8 (n,), as it was given.

    Raises a `StreamError` for damaged or unrelated bytes, `UsageError` if `data` is not bytes,
    `WeightsMissingError`, `WeightsMismatchError`.
    """
    try:
        memoryview(data)
    except TypeError as error:
        raise UsageError(
            f"data of type {type(data).__name__}, expected the bytes of a signal"
        ) from error
    payload = _signal_chunk(data)
    start = 2 + HASH_BYTES
    if len(payload) < start:
        raise TruncatedError(f"the header of a signal has {len(payload)} bytes, expected {start}")
    kind, unused = payload[:2]
    if kind >= len(_KINDS) or unused >= 8 * _KINDS[kind].itemsize:
        raise HeaderError(
            f"samples of type {kind} with {unused} unused bits, expected a type 0 .. "
            f"{len(_KINDS) - 1}, and fewer unused bits than a sample has"
        )
    count, place = read_varint(payload, start)
    lanes, place = read_varint(payload, place)
    coded = payload[place:]
    if count > MAX_SAMPLES:
        raise LimitError(f"a signal of {count} samples, but the limit is {MAX_SAMPLES}")
    if not 1 <= lanes <= min(MAX_LANES, max(count, 1)):
        raise HeaderError(f"{lanes} lanes for {count} samples, expected 1 .. {MAX_LANES}")
    if count * _FEWEST_BITS > 8 * len(coded) or (coded and not count):
        raise PayloadError(f"{count} samples cannot be in {len(coded)} bytes")
    values: Int32Array = np.zeros(0, np.int32)
    coder = _coder(payload[2:start])
    if count:
        values = coder.decode(coded, count, lanes, _limits(kind, unused))
    samples: SignalArray = ((values << unused) + _middle(kind)).astype(_KINDS[kind])
    return samples


def _signal_chunk(data: bytes) -> bytes:
    """The payload of the only critical chunk. Ancillary ones are for later versions to add."""
    found, fo = None, io.BytesIO(data)
    reader = ChunkReader(fo)
    while found is None or fo.tell() < fo.getbuffer().nbytes:
        info, payload = reader.read()
        if not info.critical:
            continue
        if info.type != SIGNAL_CHUNK:
            raise MissingChunkError(
                f"the bytes have a chunk {shown_type(info.type)}, expected only "
                f"{shown_type(SIGNAL_CHUNK)}: they are not of a signal, or of a later version"
            )
        if found is not None:
            raise DuplicateChunkError("a second signal follows the first, expected one")
        found = payload
    return found


def default_lanes(count: int) -> int:
    """The number of lanes for a signal of `count` samples if the caller gives none."""
    return max(1, min(count // LANE_SAMPLES, DEFAULT_LANES))


def _middle(kind: int) -> int:
    """The sample value of silence."""
    return 128 if _KINDS[kind] == np.uint8 else 0


def _limits(kind: int, unused: int) -> tuple[int, int]:
    """Range of the samples after the middle is subtracted and unused bits are shifted out."""
    most = 1 << (8 * _KINDS[kind].itemsize - 1)
    return -most >> unused, (most - 1) >> unused


def _coder(weights_hash: bytes | None) -> SignalCoder:
    file = find_weights(SIGNAL, weights_hash, None)
    return _loaded(file, cached_hash(file.path))


@lru_cache(maxsize=2)
def _loaded(file: WeightsFile, digest: bytes) -> SignalCoder:
    arrays, metadata = read_weights(file)
    try:
        return load_signal(arrays, metadata, digest[:HASH_BYTES], device="cpu")
    except (TableError, WeightsMismatchError) as error:
        raise WeightsMismatchError(
            f"{file.path} was taken for weights of {SIGNAL.name!r}: {error}"
        ) from error
