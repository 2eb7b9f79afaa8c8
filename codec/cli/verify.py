"""``calotype verify``."""

from typing import TYPE_CHECKING, Annotated

import typer

from codec.cli.arguments import AsJson, Device, FileCheckpoint
from codec.cli.files import plan, read_input
from codec.cli.run_jobs import as_record, end, print_json, run_batch
from codec.system.source import read_calo

if TYPE_CHECKING:
    from codec import Verification

SUFFIX = ".calo"


def verify(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help=".calo files, or - for standard input.")
    ],
    recursive: Annotated[
        bool, typer.Option("--recursive", "-r", help="Check the .calo files in folders.")
    ] = False,
    checkpoint: FileCheckpoint = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Check that files are undamaged and can be decoded.

    Each file is read and decoded completely, and nothing is written. This checks the CRC of every
    chunk, the weights, and every symbol.

    Example: calotype verify photo.calo
    """
    from codec import api
    from codec.options import check_device
    from codec.results import Verification

    check_device(device)
    jobs = plan(
        files,
        None,
        recursive=recursive,
        is_wanted=lambda path: path.suffix.lower() == SUFFIX,
        suffix=SUFFIX,
    )
    names = [job.name for job in jobs]

    def work(number: int) -> Verification:
        job = jobs[number]
        if job.problem is not None:
            raise job.problem
        return api.verify(read_input(job.source, read_calo), device=device, checkpoint=checkpoint)

    outcomes = run_batch(
        names,
        work,
        what="verifying",
        show=lambda number, done: f"{names[number]}  {_summary(done)}",
        quiet=as_json,
    )
    if as_json:
        pairs = zip(names, outcomes, strict=True)
        print_json({"files": [as_record(*pair, Verification) for pair in pairs]})
    end(outcomes)


def _summary(done: "Verification") -> str:
    return (
        f"ok  {done.width}×{done.height}  {done.size_bytes:,} bytes  {done.chunks} chunks  "
        f"model {done.model_name}, weights {done.weights_hash}"
    )
