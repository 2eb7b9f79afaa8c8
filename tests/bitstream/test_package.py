"""The public face of the package."""

import doctest
import inspect
import subprocess
import sys

import bitstream
import bitstream.errors
import bitstream.symbols
from bitstream import CalotypeError


def test_the_examples_run() -> None:
    result = doctest.testmod(bitstream.symbols)
    assert (result.failed, result.attempted > 5) == (0, True)


def test_every_public_name_exists_and_errors_are_exported() -> None:
    assert all(hasattr(bitstream, name) for name in bitstream.__all__)
    assert bitstream.CALOTYPE_BITSTREAM == 1
    assert {cls.__name__ for cls in error_classes()} <= set(bitstream.__all__)


def error_classes() -> list[type[CalotypeError]]:
    return [
        cls
        for _, cls in inspect.getmembers(bitstream.errors, inspect.isclass)
        if issubclass(cls, bitstream.CalotypeError)
    ]


def test_the_tree_in_the_docstring_has_every_error() -> None:
    tree = bitstream.errors.__doc__ or ""
    assert [cls for cls in error_classes() if f" {cls.__name__}" not in tree] == []


def test_exit_codes() -> None:
    codes = {
        bitstream.CalotypeError: 1,
        bitstream.UsageError: 2,
        bitstream.InputError: 3,
        bitstream.StreamError: 4,
        bitstream.NotACaloFileError: 3,  # an input of another kind, and not a damaged file
        bitstream.ModelError: 5,
        bitstream.OutputError: 6,
    }
    for cls in error_classes():
        nearest = next(base for base in cls.__mro__ if base in codes)
        assert cls.exit_code == codes[nearest]
    assert issubclass(bitstream.UsageError, ValueError)


def test_importing_loads_no_heavy_package() -> None:
    code = "import sys, bitstream; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "PIL", "scipy", "compressai", "safetensors", "codec"}
    assert heavy & set(run.stdout.split()) == set()
