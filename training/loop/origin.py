"""The origin of weights, and the model cards that state it beside the weights files."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from codec.loading import hash_weights

NOT_STATED = "not stated"


@dataclass(frozen=True)
class Origin:
    """Data, licence of the weights, the command that trained them, its steps: all free text."""

    data: str
    licence: str
    command: str
    steps: str = "none"

    @classmethod
    def of(cls, options: argparse.Namespace) -> Origin:
        """The origin from a command line with the options of `add_origin_options`."""
        return cls(options.data_description, options.licence, options.command)

    def after(
        self, steps: int, seconds: float, *, data: Sequence[str] = (), note: str = ""
    ) -> Origin:
        """A copy with the run's length from its checkpoint, and its data if not described yet.

        data   names of the folders and files that the run was trained on
        """
        hours = seconds / 3600
        time = f"{hours:.1f} hours" if hours >= 2 else f"{60 * hours:.1f} minutes"
        trained_on = ", ".join(data) if data and self.data == NOT_STATED else self.data
        return replace(self, data=trained_on, steps=f"{steps:,} ({time}{note})")

    def rows(self) -> dict[str, str]:
        """Rows of a model card."""
        return {
            "trained on": self.data,
            "licence": self.licence,
            "command": f"`{self.command}`",
            "steps": self.steps,
        }


def add_origin_options(parser: argparse.ArgumentParser) -> None:
    """Add --data-description, --licence and --command."""
    for flag, meaning in (
        ("--data-description", "what it was trained on, for the card (the names of its --data)"),
        ("--licence", "of the weights, for the card"),
        ("--command", "the training command, for the card"),
    ):
        parser.add_argument(flag, default=NOT_STATED, help=meaning)


def write_card(
    path: Path,
    title: str,
    text: str,
    *,
    parameters: int | str,
    sizes: Any,
    licence: str,
    rows: Mapping[str, str],
    tags: Sequence[str] = ("image-compression",),
) -> None:
    """Write the model card beside a weights file: front matter, title, table, and the text.

    path     path of the weights file, which must exist
    sizes    the dataclass of the model's sizes
    rows     rows of the table after those about the file
    """
    table = {
        "file": f"`{path.name}`, {path.stat().st_size:,} bytes",
        "SHA-256": f"`{hash_weights(path).hex()}`",
        "exported": date.today().isoformat(),
        "parameters": f"{parameters:,}" if isinstance(parameters, int) else parameters,
        "sizes": f"`{json.dumps(asdict(sizes))}`",
        **rows,
    }
    lines = [
        "---",
        f"license: {licence}",
        f"tags: [{', '.join(tags)}]",
        "---",
        f"# {title}",
        "",
        "| | |",
        "|---|---|",
        *(f"| {key} | {value} |" for key, value in table.items()),
        "",
        text,
    ]
    path.with_suffix(".md").write_text("\n".join(lines), "utf-8")
