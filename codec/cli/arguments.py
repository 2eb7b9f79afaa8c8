"""Options that several commands have in common, so that each has one name and one text."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option("--device", help="auto, cpu, openvino or cuda.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Files at a time.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
ReduceDepth = Annotated[
    bool,
    typer.Option(
        "--reduce-depth",
        help="Reduce more than 8 bits per channel to 8. Gray is rounded. Colour, and gray with "
        "alpha, is reduced by Pillow, which cuts off the lowest bits of PNG and TIFF.",
    ),
]
FileCheckpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        help="For files of compressai: the checkpoint that they were written with.",
    ),
]
