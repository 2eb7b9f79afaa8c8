"""The files that describe .calo files to desktops and to the command ``file``."""

import ast
import re
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from importlib.resources import files
from pathlib import Path

import pytest

from bitstream import SIGNATURE, VERSION

ROOT = Path(__file__).parents[2]
DESKTOP = Path(str(files("codec"))) / "desktop"
GOLDEN = sorted((ROOT / "tests" / "golden").glob("*.calo"))
NAMESPACE = "{http://www.freedesktop.org/standards/shared-mime-info}"


def unescaped(text: str) -> bytes:
    """The bytes that C escapes stand for, as both formats use them."""
    value: str = ast.literal_eval(f'"{text}"')
    return value.encode("latin-1")


def test_shared_mime_info() -> None:
    root = ElementTree.parse(DESKTOP / "calotype.xml").getroot()
    (kind,) = root
    assert (root.tag, kind.get("type")) == (f"{NAMESPACE}mime-info", "image/x-calotype")
    globs = [one.get("pattern") for one in kind.iter(f"{NAMESPACE}glob")]
    (match,) = kind.iter(f"{NAMESPACE}match")
    assert globs == ["*.calo"]
    assert (match.get("type"), match.get("offset")) == ("string", "0")
    assert unescaped(match.get("value") or "") == SIGNATURE


@pytest.mark.skipif(shutil.which("update-mime-database") is None, reason="no shared-mime-info")
def test_the_desktop_database_takes_it(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    shutil.copy(DESKTOP / "calotype.xml", tmp_path / "packages")
    done = subprocess.run(
        ["update-mime-database", str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert "Error" not in done.stderr
    assert "50:image/x-calotype:*.calo\n" in (tmp_path / "globs2").read_text()
    # The signature, after its offset and its length in two bytes.
    entry = b"[80:image/x-calotype]\n>0=" + len(SIGNATURE).to_bytes(2, "big") + SIGNATURE + b"\n"
    assert entry in (tmp_path / "magic").read_bytes()


def test_the_magic_pattern_is_the_signature() -> None:
    text = (DESKTOP / "calotype.magic").read_text("ascii")
    match = re.search(r"^0\tstring\t(\S+)\t", text, re.MULTILINE)
    assert match is not None
    assert unescaped(match[1]) == SIGNATURE


@pytest.mark.skipif(shutil.which("file") is None, reason="no command file")
def test_the_command_file_knows_real_files(tmp_path: Path) -> None:
    pattern = ["file", "-m", str(DESKTOP / "calotype.magic"), "--brief"]
    other = tmp_path / "other.calo"
    other.write_bytes(SIGNATURE.replace(b"\r\n", b"\n"))

    def ask(*arguments: str) -> list[str]:
        done = subprocess.run(
            [*pattern, *arguments, *map(str, GOLDEN), str(other)],
            check=True,
            capture_output=True,
            text=True,
        )
        assert done.stderr == ""
        return done.stdout.splitlines()

    assert len(GOLDEN) > 5
    *texts, unknown = ask()
    assert set(texts) == {f"Calotype image, version {VERSION}"}
    assert "Calotype" not in unknown
    *types, unknown = ask("--mime-type")
    assert set(types) == {"image/x-calotype"}
    assert unknown != "image/x-calotype"


def test_the_wheel_installs_it_where_desktops_look() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11")
    build = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["hatch"]["build"]
    for source, place in build["targets"]["wheel"]["shared-data"].items():
        assert (ROOT / source).is_file()
        assert place == f"share/mime/packages/{Path(source).name}"
