"""A training run of the realistic decoder becomes a weights file, its card and a registry entry.

The averaged decoder is rounded to float16, its quality tables stay float32. The file names the
photo weights that it belongs to by their SHA-256; the folder is one for CALOTYPE_WEIGHTS.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from bitstream.arrays import Array
from bitstream.errors import UsageError
from codec.models.photo.realism import (
    ARRAY_PREFIX,
    NAME,
    PHOTO_HASH_KEY,
    RealisticPhoto,
    load_realism,
)
from training.data.crops import Pixels, load_photographs
from training.loop.export import ExportOptions, Run, measured_table, write_weights_file
from training.loop.origin import Origin, write_card
from training.realism.config import RealismPreset
from training.realism.photo_weights import PhotoWeights, load_photo_weights

ABOUT = f"""\
A second decoder of photo files, for `calotype decompress --realism R`, trained by a critic.
Arrays `{ARRAY_PREFIX}*` are float16 (quality tables float32).
"""


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
    path = write_weights_file(folder, NAME, arrays, config=config, models=[NAME], metadata=extra)
    text = ABOUT
    if validation:
        networks = load_realism(
            arrays, {"config": json.dumps(asdict(config)), **extra}, device=photo.coder.device
        )
        text += measured_table(RealisticPhoto(photo.coder, networks, 1), validation)
        text += "\nThe PSNR is that of realism 1; the card of the photo weights has that of 0.\n"
    write_card(
        path,
        f"Weights of the realistic decoder `{NAME}`",
        text,
        parameters=sum(array.size for array in arrays.values()),
        sizes=config,
        licence=origin.licence,
        rows={"for the photo weights": f"`{photo.sha256}`", **origin.rows()},
    )
    return path


def export_realism(run: Run[RealismPreset], options: ExportOptions) -> Path:
    """Write the weights file of a run. Raises `UsageError` for other photo weights than its own."""
    photo = load_photo_weights(options.weights, options.device)
    sha256 = run.state["fixed"]["photo_sha256"]
    if sha256 != photo.sha256:
        raise UsageError(
            f"the run was made for the photo weights {sha256[:16]}, but these are "
            f"{photo.sha256[:16]}: name the others with --weights"
        )
    validation = load_photographs(options.validation) if options.validation else []
    arrays = realism_arrays(run.networks("average.module."))
    return write_realism(options.output, arrays, photo, options.origin, validation)
