"""Weights files: finding them by the hash in a compressed file, and reading them. No torch.

Weights are searched for in the folders of the environment variable CALOTYPE_WEIGHTS, then in the
installation. Its registry lists all weights, but a wheel has only those that need no PyTorch:
`fetch_weights` copies the others from a checkout to `user_folder`.

A folder's `registry.json` may list the files of each model, the default first, with the SHA-256 of
each. Without one, a file is identified by the hash of its bytes or by its name, and default
weights by `model` in their metadata.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bitstream.errors import WeightsMismatchError, WeightsMissingError
from codec.system.write_file import write_atomically

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from bitstream.arrays import Array
    from codec.models.spec import ModelSpec

ENVIRONMENT_VARIABLE = "CALOTYPE_WEIGHTS"
WEIGHTS_FOLDER = Path(__file__).resolve().parent.parent / "weights"
HASH_BYTES = 8
SUFFIX = ".safetensors"
CHECKPOINT_SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", SUFFIX)
MAX_FILE_BYTES = 2**30  # files are read into memory; CompressAI's largest have some 10⁸ bytes

PathName = str | os.PathLike[str]
Config = TypeVar("Config", bound="DataclassInstance")


@dataclass(frozen=True)
class WeightsFile:
    """A file, and the SHA-256 in hexadecimal that its bytes must have."""

    path: Path
    sha256: str


def folders() -> list[Path]:
    """The folders in which weights are searched for, in order."""
    own = os.environ.get(ENVIRONMENT_VARIABLE, "").split(os.pathsep)
    return [*(Path(folder) for folder in own if folder), WEIGHTS_FOLDER]


def registered(folder: Path, model: str) -> list[WeightsFile]:
    """What the `registry.json` of a folder lists for a model, the default first.

    Raises the errors of `_registry`.
    """
    return _registry(folder).get(model, [])


def _registry(folder: Path) -> dict[str, list[WeightsFile]]:
    """The files of every model in a folder's `registry.json`; empty if there is none.

    Raises `WeightsMismatchError` if it is not a registry, `WeightsMissingError` if it cannot be
    read.
    """
    registry = folder / "registry.json"
    try:
        with _readable(registry):
            if not registry.exists():
                return {}
            content = registry.read_text("utf-8")
        return {
            model: [WeightsFile(_place(folder, str(e["file"])), str(e["sha256"])) for e in entries]
            for model, entries in json.loads(content).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsMismatchError(f"{registry} is not a registry of weights: {error}") from error


def user_folder() -> Path:
    """The user's folder for weights that do not come with the package."""
    data = os.environ.get("XDG_DATA_HOME" if os.name != "nt" else "LOCALAPPDATA", "")
    if not os.path.isabs(data):  # noqa: PTH117 - as XDG's specification says
        data = os.path.expanduser("~/.local/share")  # noqa: PTH111 - without a home no error
    return Path(data) / "calotype" / "weights"


def _place(folder: Path, name: str) -> Path:
    """The path of a file in a registry, whether it exists or not."""
    path = folder / name
    if folder == WEIGHTS_FOLDER and not path.exists() and (user_folder() / name).is_file():
        return user_folder() / name
    return path


def fetch_weights(source: PathName) -> list[Path]:
    """Copy the weights that are in the installation's registry but missing to `user_folder`.

    Copies of another version there are replaced.

    source   a checkout of the repository, or a folder of weights

    Returns the new copies only. Raises `WeightsMissingError` if the source has none of the
    missing files, `WeightsMismatchError` for a file that is not what this version expects,
    `OutputError`.
    """
    folder = Path(source)
    listed = {file.path: file for files in _registry(WEIGHTS_FOLDER).values() for file in files}
    with _readable(folder):
        if (folder / "codec" / "weights").is_dir():
            folder = folder / "codec" / "weights"
        missing = [file for path, file in listed.items() if not _is_fetched(file)]
        found = [(folder / file.path.name, file) for file in missing]
        found = [(path, file) for path, file in found if path.is_file()]
    if missing and not found:
        names = ", ".join(sorted(file.path.name for file in missing))
        raise WeightsMissingError(
            f"{folder} has none of the weights that are not installed ({names}); give a checkout "
            "of calotype's repository"
        )
    return [_copied(path, file.sha256) for path, file in found]


def _is_fetched(file: WeightsFile) -> bool:
    """Whether a file of the installation exists, and, in the user's folder, is the one listed."""
    if file.path.parent == user_folder():
        return cached_hash(file.path).hex() == file.sha256
    return file.path.exists()


def _copied(path: Path, sha256: str) -> Path:
    data = read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise WeightsMismatchError(
            f"{path} has the SHA-256 {digest}, expected {sha256}: the checkout is of another "
            "version than this installation, take the same"
        )
    copy = user_folder() / path.name
    write_atomically(copy, lambda fo: fo.write(data), force=True, make_folders=True)
    return copy


def weights_of(
    model: str,
    exports: tuple[str, ...] = (),
    stem: str | None = None,
    *,
    shipped_by_registry: bool = False,
) -> Iterator[WeightsFile]:
    """The weights files of a model, the default first.

    shipped_by_registry   rely on the installation's registry, without opening its files

    For each folder in turn: the files that its registry lists for the model, then, sorted by name,
    the unlisted files whose metadata name the model or one of `exports`, or whose name is `stem`.
    """
    for folder in folders():
        registry = _registry(folder)
        yield from registry.get(model, [])
        if shipped_by_registry and folder == WEIGHTS_FOLDER:
            continue
        names = {file.path.name for files in registry.values() for file in files}
        for path in _files(folder, (SUFFIX,)):
            if path.name in names:
                continue
            if path.stem == stem or _named_model(path, _modified_ns(path)) in (model, *exports):
                yield WeightsFile(path, cached_hash(path).hex())


def find_weights(spec: ModelSpec, weights_hash: bytes | None, stem: str | None) -> WeightsFile:
    """The weights of a model.

    weights_hash  the first 8 bytes of their SHA-256; None takes the default weights
    stem          the name of their file without its suffix; None takes any

    Raises `WeightsMissingError`.
    """
    if weights_hash is None:
        candidates = weights_of(spec.name, spec.exports, stem)
    else:  # registries first: with them, a hash is found without reading other files
        candidates = (file for folder in folders() for file in registered(folder, spec.name))
    found: list[str] = []
    for file in candidates:
        found.append(f"{file.sha256[: 2 * HASH_BYTES]} {file.path.stem}")
        is_hash = weights_hash is None or file.sha256.startswith(weights_hash.hex())
        if is_hash and stem in (None, file.path.stem):
            with _readable(file.path):
                if file.path.exists():
                    return file
    name, listed = spec.name, ", ".join(found) or "none"
    if weights_hash is not None:
        path = find_by_hash(weights_hash, (SUFFIX,))
        if path is not None:
            return WeightsFile(path, cached_hash(path).hex())
    for file in registered(WEIGHTS_FOLDER, name):
        is_wanted = weights_hash is None or file.sha256.startswith(weights_hash.hex())
        if is_wanted and stem in (None, file.path.stem):
            raise WeightsMissingError(
                f"the weights {file.path.stem} of the model {name!r} are not installed, since the "
                "package brings only those that need no PyTorch: take them from a checkout of its "
                "repository (calotype models --fetch CHECKOUT), or name a folder that holds them "
                f"in {ENVIRONMENT_VARIABLE}"
            )
    if weights_hash is not None:
        raise WeightsMissingError(
            f"weights {weights_hash.hex()} of model {name!r} are not installed (found: {listed}); "
            "install the version of calotype that wrote the file, "
            f"or name the folder that holds them in {ENVIRONMENT_VARIABLE}"
        )
    if stem is not None:
        raise WeightsMissingError(
            f"model {name!r} has no weights {stem!r} in this installation (found: {listed}); give "
            f"one of these names, or name the folder that holds them in {ENVIRONMENT_VARIABLE}"
        )
    raise WeightsMissingError(
        f"model {name!r} has no weights in this installation; install calotype again, or "
        f"name a folder that holds weights in {ENVIRONMENT_VARIABLE}"
    )


def find_checkpoint(model: str, weights_hash: bytes | None, given: PathName | None) -> Path:
    """The given checkpoint, or else the one with that hash. See `find_weights`.

    Raises `WeightsMissingError`, or `WeightsMismatchError` if the given one has another hash.
    """
    if given is not None:
        path = Path(given)
        found = cached_hash(path)[:HASH_BYTES]
        if weights_hash not in (None, found):
            raise WeightsMismatchError(
                f"the file was written with the checkpoint {weights_hash.hex()}, but {path} is "
                f"{found.hex()}: give the same checkpoint, unchanged to the byte"
            )
        return path
    if weights_hash is None:
        raise WeightsMissingError(
            f"the model {model!r} has no weights of its own: give a checkpoint"
        )
    found_path = find_by_hash(weights_hash, CHECKPOINT_SUFFIXES)
    if found_path is None:
        raise WeightsMissingError(
            f"the file was written with the checkpoint {weights_hash.hex()} of {model}, the first "
            "bytes of its SHA-256: give it (--checkpoint FILE), or name its folder in "
            f"{ENVIRONMENT_VARIABLE}"
        )
    return found_path


def find_by_hash(weights_hash: bytes, suffixes: tuple[str, ...]) -> Path | None:
    """The file whose SHA-256 begins with these bytes, if one of `folders` contains it."""
    start = weights_hash.hex()[:8]
    for folder in folders():
        # CompressAI's files have the first digits of their hash in their names: try those first.
        for path in sorted(_files(folder, suffixes), key=lambda path: start not in path.name):
            with suppress(WeightsMissingError):  # other files in the folder may be unreadable
                if cached_hash(path).startswith(weights_hash):
                    return path
    return None


def _files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """Files with these suffixes in a folder that are not too large, sorted by name.

    Raises `WeightsMissingError` for a folder that cannot be read.
    """
    with _readable(folder):
        return sorted(
            path
            for path in (folder.iterdir() if folder.is_dir() else ())
            if path.suffix.lower() in suffixes
            and path.is_file()
            and path.stat().st_size <= MAX_FILE_BYTES
        )


def hash_weights(path: Path) -> bytes:
    """SHA-256 of a weights file; the header of every compressed file has the first 8 bytes.

    Raises the errors of `read_bytes`.
    """
    return hashlib.sha256(read_bytes(path)).digest()


def cached_hash(path: Path) -> bytes:
    """The same, but recomputed only if the file has changed."""
    return _hash_at(path, _modified_ns(path))


@lru_cache(maxsize=1024)
def _hash_at(path: Path, modified_ns: int) -> bytes:
    return hash_weights(path)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise WeightsMissingError(f"cannot read {path}: {error.strerror or error}") from error


def _modified_ns(path: Path) -> int:
    with _readable(path):
        return path.stat().st_mtime_ns


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; raises `WeightsMissingError`, or `WeightsMismatchError` if too large."""
    with _readable(path):
        size_bytes = path.stat().st_size
        if size_bytes > MAX_FILE_BYTES:
            raise WeightsMismatchError(
                f"{path} has {size_bytes} bytes, but the limit is {MAX_FILE_BYTES}: save the "
                "state_dict of the model alone"
            )
        return path.read_bytes()


def read_weights(file: WeightsFile) -> tuple[dict[str, Any], dict[str, str]]:
    """Arrays and metadata of a weights file; raises `WeightsMismatchError` for other bytes."""
    digest = cached_hash(file.path).hex()
    if digest != file.sha256:
        remedy = "install it again"
        if file.path.parent == user_folder():
            remedy = "it belongs to another version: calotype models --fetch CHECKOUT replaces it"
        raise WeightsMismatchError(
            f"{file.path} has the SHA-256 {digest}, expected {file.sha256}; {remedy}"
        )
    with _opened(file.path) as content:
        arrays = {key: content.get_tensor(key) for key in content.keys()}  # noqa: SIM118
        return arrays, content.metadata() or {}


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a weights file; raises `WeightsMismatchError`."""
    with _opened(path) as content:
        return content.metadata() or {}


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as content:
            yield content
    except (SafetensorError, OSError) as error:
        raise WeightsMismatchError(
            f"{path} is not a safetensors file ({error}); export it again"
        ) from error


def read_config(metadata: Mapping[str, str], kind: type[Config], **defaults: object) -> Config:
    """The sizes in the metadata of a weights file: the JSON object `config`, lists as tuples.

    kind       a dataclass; the object must have exactly its fields
    defaults   values of fields that older files do not have

    Raises `WeightsMismatchError`.
    """
    try:
        values = {**defaults, **json.loads(metadata["config"])}
        odd = values.keys() ^ {field.name for field in fields(kind)}
        if odd:
            raise ValueError(f"fields that are missing or unknown: {', '.join(sorted(odd))}")
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise WeightsMismatchError(
            f"weights file: its configuration is unreadable ({type(error).__name__}: {error}); "
            "export it again"
        ) from error


def stored(arrays: Mapping[str, Array], name: str, dtype: str | None = None, *shape: int) -> Any:
    """An array of a weights file; raises `WeightsMismatchError` if it does not fit.

    dtype, shape   what it must have; without a dtype it must only exist
    """
    array = arrays.get(name)
    if array is None or (dtype is not None and (array.dtype != dtype or array.shape != shape)):
        found = "missing" if array is None else f"{array.dtype}{list(array.shape)}"
        expected = "" if dtype is None else f", expected {dtype}{list(shape)}"
        raise WeightsMismatchError(f"weights file: {name} is {found}{expected}")
    return array


@lru_cache(maxsize=1024)
def _named_model(path: Path, modified_ns: int) -> str | None:
    try:
        return read_metadata(path).get("model")
    except WeightsMismatchError:
        return None
