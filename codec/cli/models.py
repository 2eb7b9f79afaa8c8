"""``calotype models``."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from codec.cli.run_jobs import print_json
from codec.cli.terminal import one_line, print_notice
from codec.models import catalog
from codec.models.catalog import ModelEntry, WeightsEntry
from codec.models.weights_files import WEIGHTS_FOLDER, fetch_weights


def models(
    fetch: Annotated[
        Path | None,
        typer.Option(
            "--fetch",
            metavar="CHECKOUT",
            help="First copy the missing weights from a checkout of the repository.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """List the models, what each is for, and their weights.

    The first weights of a model are its default. Those in the folders of CALOTYPE_WEIGHTS come
    before those of the installation.

    The package has only the weights that work without PyTorch; --fetch adds the others.

    Example: calotype models
    """
    if fetch is not None:
        copied = fetch_weights(fetch)
        for path in copied:
            print_notice(f"copied {path}")
        if not copied:
            print_notice("nothing was copied: all weights are here already")
    entries = catalog.list_models()
    if as_json:
        print_json({"models": [_record(entry) for entry in entries]})
        return
    digits = max(3, *(len(str(entry.model_id)) for entry in entries))
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        typer.echo(f"{entry.model_id:>{digits}}  {entry.name:<{width}}  {entry.description}")
        for weights in entry.weights:
            state = "installed" if _is_installed(weights) else "not installed"
            if Path(weights.folder) != WEIGHTS_FOLDER:
                state = f"in {one_line(weights.folder)}" if state == "installed" else "missing"
            typer.echo(f"{'':{digits}}  {weights.sha256[:16]}  {weights.file}  ({state})")
        if not entry.weights:
            typer.echo(f"{'':{digits}}  no weights")


def _is_installed(weights: WeightsEntry) -> bool:
    return Path(weights.folder, weights.file).is_file()


def _record(entry: ModelEntry) -> dict[str, object]:
    weights = [{**dataclasses.asdict(w), "installed": _is_installed(w)} for w in entry.weights]
    return {**dataclasses.asdict(entry), "weights": weights}
