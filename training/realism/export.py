"""Exports a training run of the realistic decoder as a weights file, a card and a registry entry.

The averaged decoder becomes integers of 8 bits. The file names the photo weights to which it
belongs by their SHA-256; CALOTYPE_WEIGHTS may point to the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bitstream.arrays import Array
from bitstream.errors import UsageError
from codec.models.photo.network import PhotoModel
from codec.models.photo.realism import NAME, PHOTO_HASH_KEY, RealisticPhoto
from codec.models.photo.synthesis import SynthesisWeights
from training.data.crops import Pixels, load_photographs
from training.loop.export import ExportOptions, Run, measured_table, write_weights_file
from training.loop.origin import Origin, write_card
from training.realism.config import RealismPreset
from training.realism.learner import second_arrays
from training.realism.photo_weights import PhotoWeights, load_photo_weights

ABOUT = """\
A second decoder of photo files, for `calotype decompress --realism R`: it draws texture from noise.
Arrays `synthesis.*` are integers of the same kind as those of the photo weights.
"""


def write_realism(
    folder: Path,
    arrays: dict[str, Array],
    photo: PhotoWeights,
    origin: Origin,
    validation: Sequence[Pixels] = (),
) -> Path:
    """Write `photo-realism.safetensors`, its card and the registry; returns the weights file.

    arrays   as `second_arrays` gives them

    The card has the figures of the written weights on `validation` pictures, uint8 (h, w, 3).
    """
    coder = photo.coder
    config, extra = coder.config, {PHOTO_HASH_KEY: photo.sha256}
    path = write_weights_file(folder, NAME, arrays, config=config, models=[NAME], metadata=extra)
    text = ABOUT
    if validation:
        weights = SynthesisWeights({**arrays, "log_step": coder.arrays["log_step"]}, config)
        second = RealisticPhoto(coder, coder.transforms.renderer_of(weights), 1)
        text += measured_table(second, validation)
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
    """Write the weights file of a run. Raises `UsageError` for photo weights other than its own."""
    photo = load_photo_weights(options.weights, options.device)
    sha256 = run.state["fixed"]["photo_sha256"]
    if sha256 != photo.sha256:
        raise UsageError(
            f"the run was made for the photo weights {sha256[:16]}, but these are "
            f"{photo.sha256[:16]}: name the others with --weights"
        )
    validation = load_photographs(options.validation) if options.validation else []
    decoder = PhotoModel(photo.coder.config).synthesis
    decoder.load_state_dict(run.networks("average.module."))
    arrays = second_arrays(photo, decoder)
    return write_realism(options.output, arrays, photo, options.origin, validation)
