"""The shape of the source tree."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("bitstream", "codec", "training")
FOLDERS = (*PACKAGES, "tests", "benchmarks")
MAX_LINES = 400


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        yield from sorted((ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", list(sources(*FOLDERS)), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_one_room_each(path: Path) -> None:
    assert path.name not in ("utils.py", "helpers.py", "common.py", "misc.py")
    lines = len(path.read_text("utf-8").splitlines())
    assert lines <= MAX_LINES, f"{lines} lines: divide the file by meaning"


@pytest.mark.parametrize("path", list(sources(*PACKAGES)), ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_public_names_are_documented(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "a module says what it is for"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            is_overload = any(
                isinstance(d, ast.Name) and d.id == "overload" for d in node.decorator_list
            )
            assert is_overload or ast.get_docstring(node), f"{node.name} has no docstring"


@pytest.mark.parametrize("path", list(sources(*PACKAGES)), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_pickle(path: Path) -> None:
    text = path.read_text("utf-8")
    for word in ("import pickle", "allow_pickle=True", "weights_only=False"):
        assert word not in text


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
