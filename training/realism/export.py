"""`python -m training.realism.export --run RUN -o FOLDER`: weights file, card and registry entry.

The averaged decoder is rounded to float16, its quality tables stay float32. The file names the
photo weights that it belongs to by their SHA-256; the folder is one for CALOTYPE_WEIGHTS.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bitstream.errors import CalotypeError, UsageError
from codec.models.photo.realism import (
    ARRAY_PREFIX,
    NAME,
    PHOTO_HASH_KEY,
    RealisticPhoto,
    load_realism,
)
from training.data.crops import Pixels, load_photographs
from training.loop.export import Array, measured_table, write_weights_file
from training.loop.origin import Origin, add_origin_options, card_head
from training.photo.learner import CHECKPOINT
from training.realism.photo_weights import PhotoWeights, load_photo_weights
from training.realism.run import check_photo, load_realism_checkpoint


def realism_arrays(state: Mapping[str, Tensor]) -> dict[str, Array]:
    """A synthesis's state as it is stored: float16, quality tables float32.

    Raises `UsageError` for weights that are not finite, or too large for float16.
    """
    arrays: dict[str, Array] = {}
    for name, tensor in state.items():
        values = tensor.to(torch.float32 if name.endswith(".knots") else torch.float16)
        if not bool(torch.isfinite(values).all()):
            raise UsageError(f"{name} has values that float16 cannot hold; train it again")
        arrays[ARRAY_PREFIX + name] = values.cpu().contiguous().numpy()
    return arrays


def write_realism(
    folder: Path,
    arrays: dict[str, Array],
    photo: PhotoWeights,
    origin: Origin,
    validation: Sequence[Pixels] = (),
) -> Path:
    """Write `photo-realism.safetensors`, its card and the registry; returns the weights file.

    The card states what the written weights measure on `validation` pictures, uint8 (h, w, 3).
    """
    config = photo.coder.config
    extra = {PHOTO_HASH_KEY: photo.sha256}
    path, digest = write_weights_file(
        folder, NAME, arrays, model=NAME, config=config, models=[NAME], metadata=extra
    )
    card = _card(path, digest, arrays, photo, origin)
    if validation:
        networks = load_realism(
            arrays, {"config": json.dumps(asdict(config)), **extra}, device=photo.coder.device
        )
        card += measured_table(RealisticPhoto(photo.coder, networks, 1), validation)
        card += "\nThe PSNR is that of realism 1; the card of the photo weights has that of 0.\n"
    path.with_suffix(".md").write_text(card, "utf-8")
    return path


def _card(
    path: Path, digest: str, arrays: dict[str, Array], photo: PhotoWeights, origin: Origin
) -> str:
    head = card_head(
        f"Weights of the realistic decoder `{NAME}`",
        path,
        digest,
        parameters=f"{sum(array.size for array in arrays.values()):,}",
        sizes=photo.coder.config,
        licence=origin.licence,
        rows={"for the photo weights": f"`{photo.sha256}`", **origin.rows()},
    )
    return f"""{head}
A second decoder of photo files, for `calotype decompress --realism R`, trained by a critic.
Arrays `{ARRAY_PREFIX}*` are float16 (quality tables float32).
"""


def export_run(
    run: Path,
    folder: Path,
    photo: PhotoWeights,
    origin: Origin,
    validation: Sequence[Pixels] = (),
) -> Path:
    """Write what `write_realism` does of a run's last checkpoint; returns the weights file.

    Raises `InputError` without such a checkpoint, `UsageError` for other photo weights.
    """
    checkpoint = run / CHECKPOINT
    state: dict[str, Any] = load_realism_checkpoint(checkpoint)
    check_photo(state, photo, checkpoint)
    prefix = "average."
    average = {
        name.removeprefix(prefix): tensor
        for name, tensor in state["learner"].items()
        if name.startswith(prefix)
    }
    origin = origin.after(state["step"], state["seconds"])
    return write_realism(folder, realism_arrays(average), photo, origin, validation)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m training.realism.export")
    parser.add_argument("--run", type=Path, required=True, help="folder of the training run")
    parser.add_argument("-o", "--output", type=Path, default=Path("weights"))
    parser.add_argument(
        "--weights", type=Path, help="photo weights of the run; those that ship with the codec"
    )
    parser.add_argument(
        "--validation",
        type=Path,
        nargs="*",
        default=[],
        metavar="DIR|TAR",
        help="images to measure the weights on, for the card",
    )
    add_origin_options(parser)
    options = parser.parse_args(arguments)
    try:
        path = export_run(
            options.run,
            options.output,
            load_photo_weights(options.weights, torch.device("cpu")),
            Origin.of(options),
            load_photographs(options.validation) if options.validation else [],
        )
    except CalotypeError as error:
        print(f"training.realism.export: {error}", file=sys.stderr)
        return error.exit_code
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
