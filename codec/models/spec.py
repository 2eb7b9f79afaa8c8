"""The entry of a model in the catalogue: what is known about it before it is loaded.

A family is one folder. Its `__init__` defines `MODELS`, a `ModelSpec` for each model, and one
line of `codec.models.catalog` names the folder. The protocols of `codec.models.base` that a loaded
model implements say what it can do besides coding. This module imports neither torch nor NumPy.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitstream.errors import UnknownModelError, UsageError

if TYPE_CHECKING:
    from codec.models.base import LoadedModel


MAX_ERROR = 16
"""The largest bound of a `bounded` model."""


@dataclass(frozen=True)
class ModelSpec:
    """A model of a family.

    model_id     its number in the file format, which never changes and is never reused
    name         the name by which users choose it
    description  one line: what the model is for
    loader       "module:function" that builds it, imported when the model is first loaded.
                 function(arrays, metadata, weights_hash, *, device) takes the contents of a weights
                 file. With `variants` it takes the bytes of a checkpoint instead:
                 function(data, variant, weights_hash, *, source, device)
    layers       largest number of layers in the files that it writes
    exports      other names under which its weights are exported, in `model` of the metadata
    needs_torch  whether it needs torch even on the CPU
    variants     architectures of another library, for which the user provides a checkpoint:
                 "NAME:VARIANT" chooses one. Files store its index in this tuple
    tunes        what the encoder and the decoder can be tuned for, see
                 `codec.models.base.TunedModel`. Files store the index in this tuple
    deep         whether it codes more than 8 bits per channel, see `codec.models.base.DeepModel`
    lossless     whether it keeps every pixel: it has no quality, and takes no target
    bounded      whether it keeps every pixel within a given error, and has no quality or target:
                 see `codec.models.base.BoundedModel`
    """

    model_id: int
    name: str
    description: str
    loader: str
    layers: int = 1
    exports: tuple[str, ...] = ()
    needs_torch: bool = True
    variants: tuple[str, ...] = ()
    tunes: tuple[str, ...] = ()
    deep: bool = False
    lossless: bool = False
    bounded: bool = False

    @property
    def has_quality(self) -> bool:
        """Whether files have a quality or a target."""
        return not (self.lossless or self.bounded)

    def check_tune(self, tune: str | None) -> None:
        """Raise `UsageError` for a tune that the model does not have; None is its default."""
        if tune is None or tune in self.tunes:
            return
        if self.tunes:
            expected = f"expected {' or '.join(self.tunes)}"
        else:
            expected = "which has no tunes: leave it out"
        raise UsageError(f"tune {tune!r:.80} was given for the model {self.name!r}, {expected}")

    def load(self, *arguments: Any, **options: Any) -> LoadedModel:
        """Import `loader` and call it."""
        module, _, function = self.loader.partition(":")
        model: LoadedModel = getattr(importlib.import_module(module), function)(
            *arguments, **options
        )
        return model

    def variant(self, name: str | None) -> int:
        """The number of a variant; raises `UnknownModelError`."""
        if name in self.variants:
            return self.variants.index(name)
        known = ", ".join(f"{self.name}:{variant}" for variant in self.variants)
        asked = "no architecture was named" if name is None else f"{name!r} is unknown"
        raise UnknownModelError(f"model {self.name!r}: {asked}; this version knows {known}")

    def variant_name(self, number: int | None) -> str:
        """The name of a variant by the number in a file's header; raises `UnknownModelError`."""
        if number is not None and 0 <= number < len(self.variants):
            return self.variants[number]
        raise UnknownModelError(
            f"architecture {number} of the model {self.name!r} in the header, expected "
            f"0 .. {len(self.variants) - 1}: a newer version of calotype may know more"
        )
