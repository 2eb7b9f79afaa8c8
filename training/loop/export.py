"""What all exports share: reading a run, writing a weights file, its registry entry and figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from safetensors.numpy import save
from torch import Tensor, nn

from bitstream.arrays import Array
from bitstream.container import container_from_bytes, container_to_bytes
from bitstream.errors import UsageError
from codec.loading import hash_weights
from codec.models.base import LoadedModel
from codec.models.generative.weights_file import metadata_in_order
from codec.pictures.picture import Picture
from codec.pipeline.decode import decompress_container
from codec.pipeline.encode import compress_picture
from codec.rate_distortion import psnr_db
from codec.system.write_file import write_atomically
from training.data.crops import Pixels
from training.loop.origin import Origin
from training.loop.trainer import CPU, Preset

P = TypeVar("P", bound=Preset)

CARD_QUALITIES = (10, 25, 40, 55, 70, 85, 100)


@dataclass(frozen=True)
class Run(Generic[P]):
    """The state of a training run.

    name    name of the preset
    state   the checkpoint, as `training.loop.trainer` writes it
    """

    name: str
    preset: P
    state: Mapping[str, Any]

    @property
    def figures(self) -> dict[str, float]:
        """The last row of validation; empty if there was none."""
        rows: list[dict[str, float]] = self.state["validation"]
        return rows[-1] if rows else {}

    def networks(self, prefix: str = "") -> dict[str, Tensor]:
        """The tensors whose names begin with a prefix, keyed by the rest of their names."""
        networks: Mapping[str, Tensor] = self.state["learner"]["networks"]
        return {k.removeprefix(prefix): v for k, v in networks.items() if k.startswith(prefix)}


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export from the command line; paths are not checked yet.

    output      folder for the weights file, its card and its registry entry
    origin      origin of the weights, for the card
    data        training data, to which tables and the like are fitted
    test        data set whose test part is measured instead of that of `data`
    validation  photographs on which the exported weights are measured
    weights     photo weights to which a realistic decoder belongs
    images      number of training images to fit to; None for the family's default
    half        float16 instead of float32, if the family stores floats
    """

    output: Path
    origin: Origin
    data: Sequence[Path] = ()
    test: Path | None = None
    validation: Sequence[Path] = ()
    weights: Path | None = None
    images: int | None = None
    half: bool = True
    device: torch.device = CPU


@torch.no_grad()
def round_to_half(networks: nn.Module) -> None:
    """Round parameters to float16, in place. Raises `UsageError` if one is out of its range."""
    for name, parameter in networks.named_parameters():
        rounded = parameter.to(torch.float16)
        if not torch.isfinite(rounded).all():
            raise UsageError(f"{name} has values that float16 cannot hold: train it again")
        parameter.copy_(rounded)


def write_weights_file(
    folder: Path,
    name: str,
    arrays: Mapping[str, Array],
    *,
    config: Any,
    models: Sequence[str],
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write `<name>.safetensors` and register it; returns its path.

    config    dataclass of the sizes, which goes into the metadata as JSON
    models    models of the catalogue that load this file, see `register`
    metadata  further entries, or a "model" that differs from the name
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    entries = {"model": name, "config": json.dumps(asdict(config)), **(metadata or {})}
    data = metadata_in_order(save(dict(arrays), entries))
    write_atomically(path, lambda file: file.write(data), force=True)
    register(path, models)
    return path


def register(path: Path, models: Sequence[str]) -> str:
    """Enter a weights file for models of the catalogue in the `registry.json` beside it.

    It becomes the default of these models, before files of other names in the folder.
    Returns its SHA-256 in hexadecimal.
    """
    registry_path = path.with_name("registry.json")
    registry = json.loads(registry_path.read_text("utf-8")) if registry_path.exists() else {}
    digest = hash_weights(path).hex()
    for model in models:
        others = [entry for entry in registry.get(model, []) if entry["file"] != path.name]
        registry[model] = [{"file": path.name, "sha256": digest}, *others]
    registry_path.write_text(json.dumps(registry, indent=2) + "\n", "utf-8")
    return digest


def add_weights(path: Path, folder: Path, *, replace: bool = False) -> Path:
    """Copy an exported weights file and its card to a folder, and register it there.

    If the folder has other weights of this name, a file may need them: unless `replace` is given,
    the new ones get the first free number, such as `photo-2.safetensors`. Returns the new path.

    Raises `OutputError`.
    """
    target, number = folder / path.name, 1
    while not replace and target.exists() and hash_weights(target) != hash_weights(path):
        number += 1
        target = folder / f"{path.stem}-{number}{path.suffix}"
    card, registry = path.with_suffix(".md"), path.with_name("registry.json")
    text = card.read_text("utf-8").replace(f"`{path.name}`", f"`{target.name}`")
    data = path.read_bytes()
    write_atomically(target, lambda file: file.write(data), force=True, make_folders=True)
    target.with_suffix(".md").write_text(text, "utf-8")
    if registry.exists():
        register(target, list(json.loads(registry.read_text("utf-8"))))
    return target


@dataclass(frozen=True)
class Measured:
    """Means over a set of images at one quality: real bytes, and PSNR as the mean of dB."""

    quality: float
    rate_bpp: float
    psnr_db: float


def measure(coder: LoadedModel, images: Sequence[Pixels]) -> list[Measured]:
    """Code whole files of uint8 images (h, w, 3) and decode them again."""
    rows = []
    for quality in CARD_QUALITIES:
        rates, psnrs = [], []
        for pixels in images:
            data = container_to_bytes(compress_picture(Picture(pixels), coder, quality=quality))
            decoded = decompress_container(container_from_bytes(data), coder).pixels
            rates.append(8 * len(data) / (pixels.shape[0] * pixels.shape[1]))
            psnrs.append(psnr_db(pixels, decoded))
        rows.append(Measured(quality, float(np.mean(rates)), float(np.mean(psnrs))))
    return rows


def measured_table(
    coder: LoadedModel, images: Sequence[Pixels], *, part: str = "validation"
) -> str:
    """A table of the results of `measure` on images, for a model card; empty without images."""
    if not len(images):
        return ""
    lines = [
        "",
        f"Measured on {len(images)} {part} images (whole files, 8-bit RGB, mean of dB):",
        "",
        "| quality | bits per pixel | PSNR, dB |",
        "|---|---|---|",
        *(
            f"| {row.quality:g} | {row.rate_bpp:.4f} | {row.psnr_db:.2f} |"
            for row in measure(coder, images)
        ),
    ]
    return "\n".join(lines) + "\n"
