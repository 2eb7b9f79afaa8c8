"""``calotype verify``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli.batch import as_record, end, print_json, run_batch
from codec.cli.files import Job, read_input

if TYPE_CHECKING:
    from codec import Verification


def verify(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help=".calo files, or -.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            "--checkpoint",
            metavar="FILE",
            help="Of files of compressai, the checkpoint that they were written with.",
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, openvino or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Check files: every CRC, the weights, every symbol.

    Each file is read and decoded completely; nothing is written.
    """
    from codec.options import check_device

    check_device(device)

    def work(number: int) -> "Verification":
        from codec import api

        name = files[number]
        source = read_input(Job(None if name == "-" else Path(name), None))
        return api.verify(source, device=device, checkpoint=checkpoint)

    outcomes = run_batch(
        files,
        work,
        what="verifying",
        show=lambda number, done: f"{files[number]}  {_summary(done)}",
        quiet=as_json,
    )
    if as_json:
        from codec import Verification as Result

        print_json({"files": [as_record(outcome, Result) for outcome in outcomes]})
    end(outcomes)


def _summary(done: "Verification") -> str:
    return (
        f"ok  {done.width}×{done.height}  {done.size_bytes:,} bytes  {done.chunks} chunks  "
        f"model {done.model_name}, weights {done.weights_hash}"
    )
