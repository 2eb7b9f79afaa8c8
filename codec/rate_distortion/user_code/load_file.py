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
        with user_code_errors(str(path)), _neighbours_of(path.resolve().parent):
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
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
    with user_code_errors(f"{path}: {name}()"), _neighbours_of(path.resolve().parent):
        value: object = factory()
    return value


def different_model(spec: str, kind: str) -> str:
    """What is told when `spec`, loaded again, gives another "model" or "distortion"."""
    return (
        f"{spec}: loading it again, as each worker does, gave another {kind}. Either the file has "
        "changed, or the factory draws random weights each time it is called: let it seed every "
        "generator that it uses (torch.manual_seed, numpy.random.default_rng(seed)), or load "
        "weights from a file; or use one process"
    )


@contextmanager
def user_code_errors(what: str) -> Iterator[None]:
    """Turn whatever a user's code raises into `UserCodeError`, with `what` in its message.

    This includes `SystemExit`: a `sys.exit(0)` in a model would otherwise end the command as if it
    had succeeded.
    """
    try:
        yield
    except (KeyboardInterrupt, UserCodeError):
        raise
    except BaseException as error:
        raise UserCodeError(f"{what} failed: {describe(error)}") from error


def describe(error: BaseException) -> str:
    """Kind and message of an exception on one line, with the line of a user's file where it arose.

    The line is the last one in a file that `load_object` ran.
    """
    text = " ".join(str(error).split())
    text = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    lines = [
        line
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).startswith(MODULE_PREFIX)
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
