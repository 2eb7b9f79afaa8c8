"""Exports a training run of the photo model as a weights file.

Averaged weights that only an encoder needs are rounded to float16; the hyper-synthesis and the
context become fixed point, and the synthesis integers of 8 bits. The probability tables are fitted
to the symbols that these rounded weights produce on photographs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from bitstream.arrays import Array, Float64Array
from bitstream.errors import UsageError
from bitstream.tables import TableSet, gaussian_tables, tables_from_pmfs
from codec.loading import HASH_BYTES, hash_weights
from codec.models.photo.coder import PhotoCoder, TileSymbols, hyper_indexes
from codec.models.photo.config import TUNES, PhotoConfig
from codec.models.photo.fixed_point import exact_arrays
from codec.models.photo.network import LOG_SCALE_STEP, SCALE_COUNT, SCALE_MIN, PhotoModel
from codec.models.photo.quality_map import identity_map
from codec.models.photo.synthesis_arrays import synthesis_arrays
from codec.models.photo.torch_network import EXACT, PREFIX
from training.data.crops import Pixels, load_photographs
from training.loop.export import ExportOptions, Run, measured_table, write_weights_file
from training.loop.origin import Origin, write_card
from training.loop.table_fit import (
    SymbolCounts,
    count_symbols,
    hyper_tables,
    latent_tables,
    made_certain,
)
from training.photo.config import PhotoPreset
from training.photo.quality import measured_quality_map

NAME = "photo"
TABLE_IMAGES = 600
"""Number of photographs to which the tables are fitted."""
ABOUT = """\
Arrays `network.*` are for the encoder: float16, their tables of knots float32. Those that a decoder
needs are integers: `exact.*` is the hyper-synthesis, `context.*` the context model of latents,
`synthesis.*` and `log_step` draw the pixels, `*_tables.*` are the probability tables, and
`quality_map` maps each quality to a position on the networks' scale.
"""


def network_arrays(model: PhotoModel) -> dict[str, Array]:
    """Weights by name, except those with an integer version: float16, tables of knots float32."""
    arrays: dict[str, Array] = {}
    for name, tensor in model.state_dict().items():
        if name.partition(".")[0] not in EXACT:
            dtype = np.float32 if name.endswith(".knots") else np.float16
            arrays[PREFIX + name] = tensor.cpu().contiguous().numpy().astype(dtype)
    return arrays


def gaussian_scales() -> Float64Array:
    """Standard deviation of each table of the latents."""
    scales: Float64Array = SCALE_MIN * np.exp(LOG_SCALE_STEP * np.arange(SCALE_COUNT))
    return scales


def tables_arrays(hyper: TableSet, latent: TableSet) -> dict[str, Array]:
    """Both table sets, under the names that the coder reads."""
    named = {"hyper_tables.": hyper, "latent_tables.": latent}
    return {
        prefix + name: array
        for prefix, set_ in named.items()
        for name, array in set_.to_arrays().items()
    }


def export_arrays(
    model: PhotoModel,
    photographs: Sequence[Pixels],
    validation: Sequence[Pixels] = (),
    *,
    crop: int = 512,
) -> dict[str, Array]:
    """All arrays of the weights file of a trained model.

    The tables are fitted on `photographs`, and the quality map is measured on `validation`, both on
    the middle `crop` pixels of each picture.
    """
    config = model.config
    arrays = {**network_arrays(model), **exact_arrays(model), **synthesis_arrays(model)}
    arrays["quality_map"] = identity_map()
    sets = config.knots
    # A coder cannot do without tables, and the dead zone of the latents depends on its tables.
    flat = (-1, np.full(3, 1 / 3))
    placeholders = tables_arrays(
        tables_from_pmfs([flat] * (sets * config.hyper_channels)),
        gaussian_tables(gaussian_scales()),
    )
    coder = PhotoCoder({**arrays, **placeholders}, config, bytes(8))
    counts = SymbolCounts(sets, config.hyper_channels, SCALE_COUNT)
    for number, pixels in enumerate(_crops(photographs, crop)):
        # Every photograph is coded at a few qualities, so that all qualities and tunes take turns.
        for turn, offset in enumerate((0, sets / 2)):
            chosen = (number + offset) % sets
            quality = float(np.clip(1 + 99 * chosen / (sets - 1), 1, 100))
            tuned = coder.with_tune(TUNES[(number // sets + turn) % len(TUNES)])
            tile = tuned.symbols(tuned.analyze(pixels, quality), quality)
            _count(counts, tile, tuned.position(quality))
    latent = made_certain(latent_tables(counts.latent, gaussian_scales()), counts.latent)
    arrays |= tables_arrays(hyper_tables(counts), latent)
    held_out = list(_crops(validation, crop))
    qualities = measured_quality_map(PhotoCoder(arrays, config, bytes(8)), held_out)
    return {**arrays, "quality_map": qualities}


def _count(counts: SymbolCounts, tile: TileSymbols, position: int) -> None:
    indexes = hyper_indexes(position, counts.hyper_sets, *tile.hyper_latents.shape)
    count_symbols(counts.hyper, indexes, tile.hyper_latents.ravel())
    count_symbols(counts.latent, tile.indexes.ravel(), tile.symbols.ravel())


def _crops(photographs: Sequence[Pixels], crop: int) -> Iterator[Pixels]:
    for photograph in photographs:
        height, width = (min(side, crop) // 16 * 16 for side in photograph.shape[:2])
        top, left = (photograph.shape[0] - height) // 2, (photograph.shape[1] - width) // 2
        yield photograph[top : top + height, left : left + width]


def write_weights(
    folder: Path,
    arrays: dict[str, Array],
    config: PhotoConfig,
    origin: Origin,
    validation: Sequence[Pixels] = (),
) -> Path:
    """Write `photo.safetensors`, its card and the registry; returns the weights file.

    The card has the figures of the written weights on the `validation` images.
    """
    path = write_weights_file(folder, NAME, arrays, config=config, models=[NAME])
    coder = PhotoCoder(arrays, config, hash_weights(path)[:HASH_BYTES])
    measured = [measured_table(coder.with_tune(tune), validation) for tune in TUNES]
    tables = [f"\nTune `{t}`:\n{rows}" for t, rows in zip(TUNES, measured, strict=True) if rows]
    networks = ("network", "exact", "context", "synthesis")
    write_card(
        path,
        f"Weights of the model `{NAME}`",
        ABOUT + "".join(tables),
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
    """Write the weights file of a run, with tables fitted to `data`."""
    model = trained_model(run)
    if not options.data:
        raise UsageError("the tables of photo are fitted to photographs: name them with --data")
    photographs = load_photographs(options.data)
    # Evenly spread over all of the data.
    count = min(options.images or TABLE_IMAGES, len(photographs))
    chosen = np.linspace(0, len(photographs) - 1, count)
    validation = load_photographs(options.validation) if options.validation else []
    arrays = export_arrays(model, [photographs[int(k)] for k in chosen], validation)
    return write_weights(options.output, arrays, model.config, options.origin, validation)
