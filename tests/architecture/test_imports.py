"""Which packages may import which, and how long an import may take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run_python(code: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import codec; dir(codec); codec.list_models()", "torch PIL safetensors typer rich"),
        ("import codec.cli", "torch PIL safetensors rich"),
        ("import codec.api, codec.results, codec.options", "torch PIL safetensors typer"),
        ("import bitstream", "torch PIL safetensors typer rich codec"),
        ("import codec.pictures.picture, codec.pictures.save, codec.pictures.alpha", "torch"),
    ],
)
def test_what_an_import_does_not_load(statement: str, absent: str) -> None:
    run_python(
        f"import sys; {statement}\n"
        f"loaded = set({absent.split()}) & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )


def test_a_stranger_named_bitstream_is_recognised(tmp_path: Path) -> None:
    (tmp_path / "bitstream.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "try:\n"
        "    import codec\n"
        "except ImportError as error:\n"
        "    assert 'pip uninstall bitstream' in str(error), error\n"
        "else:\n"
        "    raise SystemExit('no error')\n"
    )
    run_python(code)


def test_layers_between_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    # The contracts are in pyproject.toml.
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
    result = subprocess.run(
        [*command, "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert " 0 broken" in result.stdout
