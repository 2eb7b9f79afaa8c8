"""Options that several commands share, each with one name and one help text."""

from pathlib import Path
from typing import Annotated

import typer

Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Files to work on at a time.")]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace existing files.")]
SkipExisting = Annotated[
    bool,
    typer.Option("--skip-existing", help="Skip files whose output exists."),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Print errors only: no lines, notices or progress.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print results as JSON.")]
ReduceDepth = Annotated[
    bool,
    typer.Option(
        "--reduce-depth",
        help="Round more than 8 bits per channel to 8. Colour of JPEG 2000, AVIF, SGI and DDS is "
        "reduced by Pillow, which may cut off the lowest bits.",
    ),
]
FileCheckpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        metavar="FILE",
        help="For compressai files: the checkpoint that they were written with.",
    ),
]
