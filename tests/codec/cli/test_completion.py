"""Shell completion, with the words that a shell would send."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from codec.cli.completion import model_names
from codec.models.catalog import list_models

ROOT = Path(__file__).parents[3]
NO_HEAVY = (
    "import sys\n"
    "try:\n"
    "    {call}\n"
    "finally:\n"
    "    heavy = {{'numpy', 'torch', 'PIL.Image', 'rich'}} & set(sys.modules)\n"
    "    assert not heavy, heavy\n"
)
CALOTYPE = "from codec.cli import main; main()"


def complete(words: str, code: str = CALOTYPE, shell: str = "bash") -> list[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "_CALOTYPE_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": words,
    }
    done = subprocess.run(
        [sys.executable, "-c", NO_HEAVY.format(call=code)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_commands_and_options() -> None:
    assert complete("calotype comp") == ["compress", "compare"]
    assert "--quality" in complete("calotype compress --")
    # No completions: the shell falls back to file names.
    assert complete("calotype compress photo") in ([], [""])


def test_model_names() -> None:
    photo = [(m.name, m.description) for m in list_models() if m.name.startswith("photo")]
    assert model_names("pho") == photo
    assert [name for name, _ in model_names("")] == [model.name for model in list_models()]
    assert model_names("vapor") == []
    found = complete("calotype compress -m vae-")
    assert found == [model.name for model in list_models() if model.name.startswith("vae-")]


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_script_for_bash_completes_in_bash(tmp_path: Path) -> None:
    command = tmp_path / "calotype"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m codec "$@"\n')
    command.chmod(0o755)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}",
    }  # fmt: skip
    script = (
        'eval "$(_CALOTYPE_COMPLETE=source_bash calotype)"\n'
        "COMP_WORDS=(calotype deco); COMP_CWORD=1\n"
        '_calotype_completion calotype\necho "found: ${COMPREPLY[*]}"\ncomplete -p calotype\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [
        "found: decompress",
        "complete -o default -F _calotype_completion calotype",
    ], done.stderr
