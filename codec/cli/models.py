"""``calotype models``."""

import dataclasses
from collections.abc import Callable
from typing import Annotated

import typer

from codec.cli.run_jobs import print_json
from codec.models import catalog
from codec.models.catalog import ModelEntry, WeightsEntry
from codec.models.weights_files import WEIGHTS_FOLDER


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the models that this version knows, and their weights."""

    def is_installed(weights: WeightsEntry) -> bool:
        return (WEIGHTS_FOLDER / weights.file).is_file()

    entries = catalog.list_models()
    if as_json:
        print_json({"models": [_record(entry, is_installed) for entry in entries]})
        return
    digits = max(3, *(len(str(entry.model_id)) for entry in entries))
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        typer.echo(f"{entry.model_id:>{digits}}  {entry.name:<{width}}  {entry.description}")
        for weights in entry.weights:
            state = "installed" if is_installed(weights) else "not installed"
            typer.echo(f"{'':{digits}}  {weights.sha256[:16]}  {weights.file}  ({state})")
        if not entry.weights:
            typer.echo(f"{'':{digits}}  no weights")


def _record(entry: ModelEntry, is_installed: Callable[[WeightsEntry], bool]) -> dict[str, object]:
    weights = [{**dataclasses.asdict(w), "installed": is_installed(w)} for w in entry.weights]
    return {**dataclasses.asdict(entry), "weights": weights}
