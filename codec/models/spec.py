"""The entry of a model in the catalogue: what is known of it before it is loaded.

A family is one folder. Its `__init__` defines `MODELS`, a `ModelSpec` for each model, and one
line of `codec.models.catalog` names the folder. A loaded model shows by the protocols of
`codec.models.base` what it can do besides coding. This module imports neither torch nor NumPy.
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

    model_id     its number in the file format, which never changes and is never used again
    name         by which it is chosen
    description  one line: what the model is for
    loader       "module:function" that builds it, imported when the model is first loaded.
                 function(arrays, metadata, weights_hash, *, device) takes the contents of a weights
                 file. Where there are `variants` it takes the bytes of a checkpoint:
                 function(data, variant, weights_hash, *, source, device)
    layers       of the files that it writes, at the most
    exports      names under which its weights are exported: `model` in the metadata of a weights
                 file, where that is not `name`
    needs_torch  whether it computes with torch on a processor as well
    variants     networks of another library, for whose weights a person brings a checkpoint:
                 "NAME:VARIANT" chooses one. Its place in this list is written into files
    tunes        what the encoder and the decoder can be tuned for, see
                 `codec.models.base.TunedModel`. The place in this list is written into files
    deep         whether it codes more than 8 bits per channel, see `codec.models.base.DeepModel`
    lossless     whether it keeps every pixel: it has no quality, and takes no target
    bounded      whether it keeps every pixel within an error that is asked for, and takes nothing
                 else: see `codec.models.base.BoundedModel`
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
        """Whether files are of a quality, or meet another target."""
        return not (self.lossless or self.bounded)

    def check_tune(self, tune: str | None) -> None:
        """Raise `UsageError` for a tune that the model has not; None is that of the model."""
        if tune is None or tune in self.tunes:
            return
        if self.tunes:
            expected = f"expected {' or '.join(self.tunes)}"
        else:
            expected = "which has no tunes: leave it out"
        raise UsageError(f"tune {tune!r:.80} was given for the model {self.name!r}, {expected}")

    def load(self, *arguments: Any, **options: Any) -> LoadedModel:
        """Import `loader`, and call it."""
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
