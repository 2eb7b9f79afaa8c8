"""Calotype's bit stream: symbols to bytes, and bytes to a file.  Needs NumPy and constriction only.

FORMAT.md, beside this file, describes the format to the byte.
"""

import importlib
from typing import TYPE_CHECKING

from bitstream.chunks import SIGNATURE, VERSION, ChunkInfo
from bitstream.container import (
    Container,
    Scan,
    TileSelection,
    container_from_bytes,
    container_to_bytes,
    read_container,
    read_layers,
    read_tiles,
    scan,
    write_container,
)
from bitstream.errors import (
    CalotypeError,
    ChecksumError,
    ChunkIndexError,
    ChunkOrderError,
    DuplicateChunkError,
    EmptyFileError,
    HeaderError,
    InputError,
    LimitError,
    MissingChunkError,
    ModelError,
    NotACaloFileError,
    OutputError,
    PayloadError,
    StreamError,
    TableError,
    TextModeDamageError,
    TrailingDataError,
    TruncatedError,
    UnknownCriticalChunkError,
    UnknownModelError,
    UnsupportedVersionError,
    UsageError,
    WeightsMismatchError,
    WeightsMissingError,
)
from bitstream.header import Header
from bitstream.varint import read_varint, write_varint

if TYPE_CHECKING:
    from bitstream.ans_coder import AnsCoder
    from bitstream.range_coder import RangeDecoder, RangeEncoder
    from bitstream.symbols import SymbolDecoder, SymbolEncoder
    from bitstream.tables import (
        PRECISION,
        TableSet,
        gaussian_tables,
        tables_from_pmfs,
    )

# Imported on first use: NumPy and constriction take longer to import than a header takes to read.
_CODERS = {
    "AnsCoder": "ans_coder",
    "PRECISION": "tables",
    "RangeDecoder": "range_coder",
    "RangeEncoder": "range_coder",
    "SymbolDecoder": "symbols",
    "SymbolEncoder": "symbols",
    "TableSet": "tables",
    "gaussian_tables": "tables",
    "tables_from_pmfs": "tables",
}

# Identifies this package, since another distribution may install one of the same name.
CALOTYPE_BITSTREAM = 1

__all__ = [
    "CALOTYPE_BITSTREAM",
    "PRECISION",
    "SIGNATURE",
    "VERSION",
    "AnsCoder",
    "CalotypeError",
    "ChecksumError",
    "ChunkIndexError",
    "ChunkInfo",
    "ChunkOrderError",
    "Container",
    "DuplicateChunkError",
    "EmptyFileError",
    "Header",
    "HeaderError",
    "InputError",
    "LimitError",
    "MissingChunkError",
    "ModelError",
    "NotACaloFileError",
    "OutputError",
    "PayloadError",
    "RangeDecoder",
    "RangeEncoder",
    "Scan",
    "StreamError",
    "SymbolDecoder",
    "SymbolEncoder",
    "TableError",
    "TableSet",
    "TextModeDamageError",
    "TileSelection",
    "TrailingDataError",
    "TruncatedError",
    "UnknownCriticalChunkError",
    "UnknownModelError",
    "UnsupportedVersionError",
    "UsageError",
    "WeightsMismatchError",
    "WeightsMissingError",
    "container_from_bytes",
    "container_to_bytes",
    "gaussian_tables",
    "read_container",
    "read_layers",
    "read_tiles",
    "read_varint",
    "scan",
    "tables_from_pmfs",
    "write_container",
    "write_varint",
]


def __getattr__(name: str) -> object:
    if name not in _CODERS:
        raise AttributeError(f"module 'bitstream' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_CODERS[name]}", __name__), name)
    globals()[name] = value
    return value
