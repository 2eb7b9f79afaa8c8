"""Calotype: a neural lossy image codec.

    import codec
    data = codec.compress("photo.png", quality=75)
    image = codec.decompress(data)

Importing this package does not import torch: every name is loaded when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

import bitstream

if getattr(bitstream, "CALOTYPE_BITSTREAM", None) != 1:
    raise ImportError(
        f"the package 'bitstream' at {getattr(bitstream, '__file__', 'an unknown place')} is "
        "not Calotype's, expected the one that is installed with calotype: another distribution "
        "of that name is in the way; 'pip uninstall bitstream', then install calotype again"
    )

if TYPE_CHECKING:
    from bitstream import (
        CalotypeError,
        InputError,
        LimitError,
        ModelError,
        OutputError,
        StreamError,
        UnknownModelError,
        UsageError,
        WeightsMismatchError,
        WeightsMissingError,
    )
    from codec.api import (
        compress,
        compress_to_file,
        decompress,
        decompress_file,
        inspect,
        verify,
    )
    from codec.batch import FileResult, compress_files, decompress_files
    from codec.models.catalog import ModelEntry, WeightsEntry, list_models
    from codec.progressive import decompress_progressive
    from codec.results import Compression, Decompression, FileInfo, Verification
    from codec.system.missing_extra import MissingExtraError
    from codec.system.workers import WorkerError

__version__ = "0.2.0.dev0"

_HOMES = {
    "bitstream": (
        "CalotypeError InputError LimitError ModelError OutputError StreamError UnknownModelError "
        "UsageError WeightsMismatchError WeightsMissingError"
    ),
    "codec.api": "compress compress_to_file decompress decompress_file inspect verify",
    "codec.batch": "FileResult compress_files decompress_files",
    "codec.models.catalog": "ModelEntry WeightsEntry list_models",
    "codec.progressive": "decompress_progressive",
    "codec.results": "Compression Decompression FileInfo Verification",
    "codec.system.missing_extra": "MissingExtraError",
    "codec.system.workers": "WorkerError",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "CalotypeError",
    "Compression",
    "Decompression",
    "FileInfo",
    "FileResult",
    "InputError",
    "LimitError",
    "MissingExtraError",
    "ModelEntry",
    "ModelError",
    "OutputError",
    "StreamError",
    "UnknownModelError",
    "UsageError",
    "Verification",
    "WeightsEntry",
    "WeightsMismatchError",
    "WeightsMissingError",
    "WorkerError",
    "__version__",
    "compress",
    "compress_files",
    "compress_to_file",
    "decompress",
    "decompress_file",
    "decompress_files",
    "decompress_progressive",
    "inspect",
    "list_models",
    "verify",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'codec' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
