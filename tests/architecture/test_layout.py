"""The shape of the source tree."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("bitstream", "codec", "training")


def test_files_are_named_by_what_is_in_them() -> None:
    anything = {"utils.py", "helpers.py", "common.py", "misc.py"}
    for folder in (*PACKAGES, "tests", "benchmarks"):
        assert not [path for path in (ROOT / folder).rglob("*.py") if path.name in anything]


def test_no_file_is_unpickled() -> None:
    # The linter's S301 finds calls of pickle; these are ways to call it through other libraries.
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text("utf-8")
            for word in ("import pickle", "allow_pickle=True", "weights_only=False"):
                assert word not in text, path


def test_packages_are_typed() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "py.typed").is_file()
