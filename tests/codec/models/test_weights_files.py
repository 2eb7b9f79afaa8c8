"""Folders of weights, with and without a registry."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import codec
from bitstream import container_from_bytes, container_to_bytes
from codec.loading import ENVIRONMENT_VARIABLE, load_model
from codec.models import weights_files
from tests.codec.tiny import photographs
from training.loop.export import register

PIXELS = photographs(1, side=64)[0]


@pytest.fixture
def folder(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two sets of weights of one model, and nothing else that can be used."""
    with safe_open(tiny_weights / "photo.safetensors", framework="numpy") as file:
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    for name, share in (("one", 1.0), ("two", 0.5)):
        changed = {
            key: (array * share).astype(array.dtype) if key.startswith("network.") else array
            for key, array in arrays.items()
        }
        save_file(changed, tmp_path / f"{name}.safetensors", metadata)
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    (tmp_path / "deeper").mkdir()
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(tmp_path))
    return tmp_path


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_sets_of_weights_of_one_model_are_read_back(folder: Path) -> None:
    files = {name: codec.compress(PIXELS, model=f"photo:{name}") for name in ("one", "two")}
    pictures = {name: codec.decompress(data, as_="numpy") for name, data in files.items()}
    for name, data in files.items():
        assert codec.inspect(data).weights_hash == digest(folder / f"{name}.safetensors")[:16]
    assert (pictures["one"] != pictures["two"]).any()
    # Both are loaded now, and each file is decoded by its own weights, in any order.
    np.testing.assert_array_equal(codec.decompress(files["one"], as_="numpy"), pictures["one"])
    np.testing.assert_array_equal(codec.decompress(files["two"], as_="numpy"), pictures["two"])


@pytest.mark.parametrize("registry", ["none", "of the other", "of another model"])
def test_a_file_is_found_by_its_hash_under_any_name(folder: Path, registry: str) -> None:
    data = codec.compress(PIXELS, model="photo:two")
    expected = codec.decompress(data, as_="numpy")
    (folder / "two.safetensors").rename(folder / "any name.safetensors")
    if registry != "none":
        register(folder / "one.safetensors", ["photo" if registry == "of the other" else "draw"])
    np.testing.assert_array_equal(codec.decompress(data, as_="numpy"), expected)
    # Only files directly in the folder count.
    (folder / "any name.safetensors").rename(folder / "deeper" / "two.safetensors")
    with pytest.raises(codec.WeightsMissingError, match=codec.inspect(data).weights_hash):
        codec.decompress(data)


def test_default_weights_are_those_whose_metadata_name_the_model(folder: Path) -> None:
    data = codec.compress(PIXELS)
    assert codec.inspect(data).weights_hash == digest(folder / "one.safetensors")[:16]
    register(folder / "two.safetensors", ["photo"])
    data = codec.compress(PIXELS)
    assert codec.inspect(data).weights_hash == digest(folder / "two.safetensors")[:16]
    # The others keep their names.
    data = codec.compress(PIXELS, model="photo:one")
    assert codec.inspect(data).weights_hash == digest(folder / "one.safetensors")[:16]


def test_hashes_are_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[str] = []
    original = weights_files.hash_weights

    def count(path: Path) -> bytes:
        hashed.append(path.name)
        return original(path)

    monkeypatch.setattr(weights_files, "hash_weights", count)
    data = codec.compress(PIXELS)
    for _ in range(3):
        codec.decompress(data)
        codec.compress(PIXELS, model="photo:two")
    assert sorted(hashed) == sorted(set(hashed))
    # A file that was rewritten counts as another file.
    (folder / "two.safetensors").write_bytes((folder / "one.safetensors").read_bytes())
    assert codec.compress(PIXELS, model="photo:two") == data


def test_large_files_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.compress(PIXELS, model="photo:two")
    monkeypatch.setattr(weights_files, "MAX_FILE_BYTES", 1000)
    with pytest.raises(codec.WeightsMissingError, match="are not installed"):
        codec.decompress(data)


def test_a_registry_that_names_a_missing_file_hides_nothing(folder: Path) -> None:
    register(folder / "one.safetensors", ["photo"])
    data = codec.compress(PIXELS)
    (folder / "one.safetensors").rename(folder / "moved.safetensors")
    assert codec.compress(PIXELS, model="photo:moved") == data
    assert codec.decompress(data).size == (64, 64)


def test_weights_of_another_model_are_not_found_by_their_name(folder: Path) -> None:
    register(folder / "one.safetensors", ["draw"])
    with pytest.raises(codec.WeightsMissingError, match="no weights 'one'"):
        codec.compress(PIXELS, model="photo:one")
    with pytest.raises(codec.WeightsMissingError, match="no weights 'photo'"):
        codec.compress(PIXELS, model="vae-round:photo")


def test_weights_that_do_not_fit_are_named(folder: Path) -> None:
    with pytest.raises(codec.WeightsMismatchError, match=r"one\.safetensors .* of 'vae-round'"):
        codec.compress(PIXELS, model="vae-round:one")


@pytest.mark.parametrize("text", ["", "[]", '{"photo": 3}', '{"draw": [{}]}', "[" * 200_000])
def test_what_is_no_registry_is_a_typed_error(folder: Path, text: str) -> None:
    (folder / "registry.json").write_text(text)
    with pytest.raises(codec.WeightsMismatchError, match=r"registry\.json is not a registry"):
        codec.compress(PIXELS)


def test_what_cannot_be_read_is_a_typed_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def deny(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "iterdir", deny)
        with pytest.raises(codec.WeightsMissingError, match=f"cannot read {folder}: Permission"):
            codec.compress(PIXELS)
    (folder / "registry.json").mkdir()
    with pytest.raises(codec.WeightsMissingError, match=r"cannot read .*registry\.json: Is a dir"):
        codec.compress(PIXELS)


def test_an_unreadable_file_hides_no_other(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = codec.compress(PIXELS, model="photo:two")
    expected = codec.decompress(data, as_="numpy")
    original = Path.read_bytes

    def read(path: Path) -> bytes:
        if path.stem == "broken":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(Path, "read_bytes", read)
    np.testing.assert_array_equal(codec.decompress(data, as_="numpy"), expected)


def test_weights_are_chosen_by_their_name(folder: Path) -> None:
    for text in ("photo:two", "11:two"):
        found = load_model(text, device="cpu").weights_hash.hex()
        assert found == digest(folder / "two.safetensors")[:16]
    with pytest.raises(codec.ModelError, match=r"no weights 'three'.*one"):
        load_model("photo:three", device="cpu")
    with pytest.raises(codec.UnknownModelError, match="'picture'"):
        load_model("picture:two", device="cpu")


def test_files_that_changed_since_they_were_registered_are_refused(folder: Path) -> None:
    path = folder / "one.safetensors"
    register(path, ["photo"])
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(codec.WeightsMismatchError, match="SHA-256"):
        load_model("photo:one", device="cpu")


def test_a_file_of_a_model_that_is_gone_says_so() -> None:
    container = container_from_bytes(codec.compress(PIXELS, model="photo"))
    header = replace(container.header, model_id=1, variant=None)
    data = container_to_bytes(replace(container, header=header))
    with pytest.raises(codec.UnknownModelError, match=r"before 0\.2\.0, the first release"):
        codec.decompress(data)
    assert codec.inspect(data).model_name is None
