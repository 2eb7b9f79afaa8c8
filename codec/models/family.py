"""What a family's folder says about each of its models before any of it is loaded.

A family is one folder. Its `__init__` gives `FAMILY`, an entry for each model, and one line of
`codec.models.catalog` names the folder. What a loaded model can do besides coding, it says by the
protocols of `codec.models.base`. Imports neither torch nor NumPy.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bitstream.errors import UnknownModelError

if TYPE_CHECKING:
    from codec.models.base import LoadedModel


@dataclass(frozen=True)
class Family:
    """One model of a family.

    model_id     its number in the file format, which never changes and is never used again
    name         what a person calls it
    description  one line: what the model is for
    loader       "module:function" that builds it, imported when the model is first loaded.
                 function(arrays, metadata, weights_hash, *, device) takes the contents of a weights
                 file. Where there are `variants` it takes the bytes of a checkpoint:
                 function(data, variant, weights_hash, *, source, device)
    layers       of the files that it writes
    exports      names under which its weights are exported: `model` in the metadata of a weights
                 file, where that is not `name`
    needs_torch  whether it computes with torch on a processor as well
    devices      what it computes on besides "cpu" and "cuda"
    variants     networks of another library, for whose weights a person brings a checkpoint:
                 "NAME:VARIANT" chooses one. Its place in this list is written into files
    """

    model_id: int
    name: str
    description: str
    loader: str
    layers: int = 1
    exports: tuple[str, ...] = ()
    needs_torch: bool = True
    devices: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()

    def load(self, *arguments: Any, **options: Any) -> LoadedModel:
        """Call `loader`."""
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
