"""Objects from a user's own Python files, named as `FILE.py:NAME`.

The file is run once, under a module name that no other file has.  Only while it runs, its folder
comes first in `sys.path`, so that `from network import Net` finds its neighbour; such neighbours
are forgotten afterwards, so that the `network.py` of two folders do not clash.  The file runs with
all the rights of the user, as `python FILE.py` would.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitstream.errors import ModelError, UsageError

MODULE_PREFIX = "calotype_user_file_"


class UserCodeError(ModelError):
    """A user's own file, factory or decoder is missing, fails, or does not meet the requirements.

    The exit code is that of an unusable model.
    """


def is_object_spec(spec: str) -> bool:
    """Whether a text has the form `FILE.py:NAME`."""
    file, _, name = spec.rpartition(":")
    return file.endswith(".py") and name.isidentifier()


def split_object_spec(spec: str) -> tuple[Path, str]:
    """`FILE.py:NAME` as path and name; raises `UsageError` for another form."""
    if not is_object_spec(spec):
        raise UsageError(
            f"{spec!r}: expected FILE.py:NAME, such as model.py:decoder, where NAME is a function "
            "without arguments that returns the decoder"
        )
    file, _, name = spec.rpartition(":")
    return Path(file), name


def load_object(path: Path, name: str) -> object:
    """The attribute `name` of the Python file `path`, which is run.

    Raises `UserCodeError` when there is no such file or name, or when the file raises.
    """
    if not path.is_file():
        raise UserCodeError(f"{path}: there is no such file")
    # One name for each path and content, so that an edited file does not clash with its old self.
    digest = hashlib.sha256(str(path.resolve()).encode() + b"\0" + path.read_bytes()).hexdigest()
    module_name = MODULE_PREFIX + digest[:16]
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise UserCodeError(f"{path}: cannot be loaded as Python")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses and scripted modules look up their own module by its name.
    sys.modules[module_name] = module
    try:
        with _neighbours_of(path.resolve().parent):
            spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[module_name]
        raise UserCodeError(f"{path}: {describe(error, path)}") from error
    if not hasattr(module, name):
        known = ", ".join(key for key in vars(module) if not key.startswith("_")) or "nothing"
        raise UserCodeError(f"{path}: has no {name!r}; it defines {known}")
    return getattr(module, name)


def call_factory(path: Path, name: str, factory: object) -> object:
    """What `factory()` returns; raises `UserCodeError` when it cannot be called or raises."""
    if not callable(factory):
        raise UserCodeError(
            f"{path}: {name} is {type(factory).__name__}, expected a function without arguments"
        )
    try:
        with _neighbours_of(path.resolve().parent):
            value: object = factory()
    except Exception as error:
        raise UserCodeError(f"{path}: {name}() failed: {describe(error, path)}") from error
    return value


def describe(error: BaseException, path: Path | None = None) -> str:
    """Kind and message of an exception on one line, with the line of `path` where it arose."""
    text = " ".join(str(error).split())
    text = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if path is not None and Path(frame.filename).resolve() == path.resolve()
    ]
    return f"{text} (line {lines[-1]})" if lines else text


@contextmanager
def _neighbours_of(folder: Path) -> Iterator[None]:
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        if str(folder) in sys.path:
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            top = name.partition(".")[0]
            places = (folder / f"{top}.py", folder / top / "__init__.py")
            # A package that was loaded before stays complete, including its new submodules.
            if top not in before and any(place.is_file() for place in places):
                sys.modules.pop(name, None)
