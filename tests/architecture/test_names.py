"""The public names: to add or remove one is a deliberate decision, made in this list."""

import re
from pathlib import Path

import bitstream
import codec

CODEC = {
    "CalotypeError", "Compression", "Decompression", "FileInfo", "FileResult", "InputError",
    "LimitError", "MissingExtraError", "ModelEntry", "ModelError", "OutputError", "StreamError",
    "UnknownModelError", "UsageError", "Verification", "WeightsEntry", "WeightsMismatchError",
    "WeightsMissingError", "WorkerError", "__version__", "compress", "compress_files",
    "compress_to_file", "decompress", "decompress_file", "decompress_files",
    "decompress_progressive", "inspect", "list_models", "verify",
}  # fmt: skip

BITSTREAM = {
    "CALOTYPE_BITSTREAM", "PRECISION", "SIGNATURE", "VERSION", "AnsCoder", "CalotypeError",
    "ChecksumError", "ChunkIndexError", "ChunkInfo", "ChunkOrderError", "Container",
    "DuplicateChunkError", "EmptyFileError", "Header", "HeaderError", "InputError", "LimitError",
    "MissingChunkError", "ModelError", "NotACaloFileError", "OutputError", "PayloadError",
    "RangeDecoder", "RangeEncoder", "Scan", "StreamError", "SymbolDecoder", "SymbolEncoder",
    "TableError", "TableSet", "TextModeDamageError", "TileSelection", "TrailingDataError",
    "TruncatedError", "UnknownCriticalChunkError", "UnknownModelError",
    "UnsupportedVersionError", "UsageError", "WeightsMismatchError", "WeightsMissingError",
    "container_from_bytes", "container_to_bytes", "gaussian_tables", "read_container",
    "read_layers", "read_tiles", "read_varint", "scan", "tables_from_pmfs",
    "write_container", "write_varint",
}  # fmt: skip


def test_codec() -> None:
    assert set(codec.__all__) == CODEC
    assert set(dir(codec)) == CODEC
    for name in CODEC:
        assert getattr(codec, name) is not None


def test_errors_that_docstrings_name_are_public() -> None:
    texts = [getattr(codec, name).__doc__ or "" for name in CODEC if name != "__version__"]
    named = set(re.findall(r"\b[A-Z]\w*Error\b", " ".join(texts)))
    assert {"MissingExtraError", "UsageError", "WorkerError"} <= named
    assert named <= CODEC


def test_bitstream() -> None:
    assert set(bitstream.__all__) == BITSTREAM
    for name in BITSTREAM:
        assert getattr(bitstream, name) is not None


def test_unknown_names() -> None:
    assert not hasattr(codec, "encode")


def test_the_version_is_that_of_the_distribution() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8")
    assert f'\nversion = "{codec.__version__}"\n' in text


def test_errors_are_one_tree() -> None:
    errors = [
        value
        for value in (getattr(bitstream, name) for name in BITSTREAM)
        if isinstance(value, type) and issubclass(value, Exception)
    ]
    tree = [error for error in errors if issubclass(error, codec.CalotypeError)]
    assert tree == errors
    assert {error.exit_code for error in tree} == {1, 2, 3, 4, 5, 6}
