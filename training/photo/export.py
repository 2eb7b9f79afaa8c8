"""A training run of photo becomes a weights file.

The averaged weights are rounded to float16, the hyper-synthesis to fixed point, and the
probability tables are fitted to the symbols that these rounded weights produce on photographs.
Beside the safetensors file stand a model card and `registry.json`, which names its SHA-256.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bitstream.arrays import Array
from bitstream.errors import UsageError
from bitstream.tables import TableSet, gaussian_tables, tables_from_pmfs
from codec.coding.exact_layers import to_arrays
from codec.loading import HASH_BYTES, hash_weights
from codec.models.photo.coder import PhotoCoder
from codec.models.photo.exact_context import context_arrays
from codec.models.photo.fixed_point import exact_context, exact_layers
from codec.models.photo.network import (
    LOG_SCALE_STEP,
    SCALE_COUNT,
    SCALE_MIN,
    PhotoConfig,
    PhotoModel,
)
from training.data.crops import Pixels, load_photographs
from training.loop.export import ExportOptions, Run, measured_table, write_weights_file
from training.loop.origin import Origin, write_card
from training.loop.table_fit import SymbolCounts, hyper_tables, made_certain
from training.photo.config import PhotoPreset

TABLE_IMAGES = 600
"""So many photographs the tables are fitted to."""
ABOUT = """\
Arrays `network.*` are float16 (quality tables float32), `exact.*` the fixed-point
hyper-synthesis, `context.*` (if there are any) the fixed-point context of latents, `*_tables.*`
the integer probability tables.
"""


def network_arrays(model: PhotoModel) -> dict[str, Array]:
    """Weights by name: float16, quality tables float32; without what has an exact twin."""
    arrays: dict[str, Array] = {}
    for name, tensor in model.state_dict().items():
        if not name.startswith(("hyper_synthesis.", "context.")):
            dtype = np.float32 if name.endswith(".knots") else np.float16
            arrays["network." + name] = tensor.cpu().contiguous().numpy().astype(dtype)
    return arrays


def gaussian_scales() -> npt.NDArray[np.float64]:
    """Standard deviation of each table of the latents."""
    scales: npt.NDArray[np.float64] = SCALE_MIN * np.exp(LOG_SCALE_STEP * np.arange(SCALE_COUNT))
    return scales


def tables_arrays(hyper: TableSet, latent: TableSet) -> dict[str, Array]:
    """Both table sets, under the names that `codec.models.photo.coder` reads."""
    named = {"hyper_tables.": hyper, "latent_tables.": latent}
    return {
        prefix + name: array
        for prefix, set_ in named.items()
        for name, array in set_.to_arrays().items()
    }


def export_arrays(
    model: PhotoModel, photographs: Sequence[Pixels], *, crop: int = 512
) -> dict[str, Array]:
    """All arrays of the weights file of a trained model, tables fitted on `photographs`."""
    config = model.config
    arrays = {**network_arrays(model), **to_arrays(exact_layers(model))}
    context = exact_context(model, SCALE_COUNT)
    if context is not None:
        arrays |= context_arrays(context)
    sets = config.knots
    # The symbols to be counted do not depend on the tables, but a coder is not one without.
    flat = (-1, np.full(3, 1 / 3))
    placeholders = tables_arrays(
        tables_from_pmfs([flat] * (sets * config.hyper_channels)),
        tables_from_pmfs([flat] * SCALE_COUNT),
    )
    coder = PhotoCoder({**arrays, **placeholders}, config, bytes(8))
    counts = SymbolCounts(sets, config.hyper_channels, SCALE_COUNT)
    for number, pixels in enumerate(_crops(photographs, crop)):
        # Every photograph is coded at a few qualities, all qualities in turn.
        for offset in (0, sets / 2):
            chosen = (number + offset) % sets
            quality = float(np.clip(1 + 99 * chosen / (sets - 1), 1, 100))
            counts.add(coder.symbols(coder.analyze(pixels, quality), quality), quality)
    # Gaussians, under which the residuals were trained: what is counted over all qualities alike
    # fits none of them better, and the low ones worse.
    latent = made_certain(gaussian_tables(gaussian_scales()), counts.latent)
    return {**arrays, **tables_arrays(hyper_tables(counts), latent)}


def _crops(photographs: Sequence[Pixels], crop: int) -> Iterator[Pixels]:
    for photograph in photographs:
        height, width = (min(side, crop) // 16 * 16 for side in photograph.shape[:2])
        top, left = (photograph.shape[0] - height) // 2, (photograph.shape[1] - width) // 2
        yield photograph[top : top + height, left : left + width]


def write_weights(
    folder: Path,
    name: str,
    arrays: dict[str, Array],
    config: PhotoConfig,
    origin: Origin,
    validation: Sequence[Pixels] = (),
    *,
    model: str | None = None,
) -> Path:
    """Write `<name>.safetensors`, its card and the registry; returns the weights file.

    model   of the catalogue, where it is not `name`

    The card states what the written weights measure on the `validation` images.
    """
    model = model or name
    path = write_weights_file(
        folder, name, arrays, config=config, models=[model], metadata={"model": model}
    )
    coder = PhotoCoder(arrays, config, hash_weights(path)[:HASH_BYTES])
    networks = ("network", "exact", "context")
    write_card(
        path,
        f"Weights of the model `{name}`",
        ABOUT + measured_table(coder, validation),
        parameters=sum(a.size for key, a in arrays.items() if key.startswith(networks)),
        sizes=config,
        licence=origin.licence,
        rows=origin.rows(),
    )
    return path


def trained_model(run: Run[PhotoPreset]) -> PhotoModel:
    """The averaged model of a run."""
    model = PhotoModel(run.preset.model)
    model.load_state_dict(run.networks("average.module."))
    return model.eval()


def export_photo(run: Run[PhotoPreset], options: ExportOptions) -> Path:
    """Write the weights file of a run as `photo.safetensors`, with tables fitted to `data`."""
    model = trained_model(run)
    if not options.data:
        raise UsageError("the tables of photo are fitted to photographs: name them with --data")
    photographs = load_photographs(options.data)
    # Spread over all of the data, whatever order it comes in.
    count = min(options.images or TABLE_IMAGES, len(photographs))
    chosen = np.linspace(0, len(photographs) - 1, count)
    arrays = export_arrays(model, [photographs[int(k)] for k in chosen])
    validation = load_photographs(options.validation) if options.validation else []
    return write_weights(options.output, "photo", arrays, model.config, options.origin, validation)
