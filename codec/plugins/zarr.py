"""A zarr 3 serializer for arrays of images: lossy or lossless, uint8 or uint16.

    import zarr
    from codec.plugins.zarr import Calotype

    zarr.create_array("photos.zarr", shape=(100, 512, 512, 3), chunks=(1, 512, 512, 3),
                      dtype="uint8", serializer=Calotype(quality=60), compressors=None)

A chunk is one image, as `codec.plugins.numcodecs` describes it, and each chunk becomes one complete
.calo file.  The metadata of an array names the codec and its options:

    {"name": "calotype", "configuration": {"quality": 60, "model": "photo", "effort": 1}}

and "tune", "bit_depth" and "max_error" if they were given.  The entry point ``zarr.codecs``
registers the codec, so arrays can be read wherever this distribution is installed, without an
import.

Raises UsageError for other arrays, and what ``codec.compress`` and ``codec.decompress`` raise.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np

from bitstream import UsageError
from bitstream.foreign import shown
from codec.options import CompressOptions
from codec.plugins.images import image_of_chunk
from codec.system.keyword_options import names_options
from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.plugins.zarr"):
    from zarr.abc.codec import ArrayBytesCodec
    from zarr.registry import register_codec

NAME = "calotype"


@names_options
@dataclass(frozen=True)
class Calotype(ArrayBytesCodec):  # type: ignore[misc]  # zarr's types are not read
    """The codec, with options that mean what they mean in ``codec.compress``.

    max_error   0 .. 16: no uint8 value changes by more than this, and 0 is lossless; excludes
                quality
    bit_depth   10, 12 or 16 for uint16, whose values are then 0 .. 2^bit_depth − 1; None is 16.
                uint16 needs a model that keeps such depths, as "photo" does
    """

    quality: float | None = None
    model: str | None = None
    effort: int = 1
    tune: str | None = None
    bit_depth: int | None = None
    max_error: int | None = None

    is_fixed_size = False

    def __post_init__(self) -> None:
        # Checked when the array is created, not only when its first chunk is written.
        options = CompressOptions(
            quality=self.quality,
            model=self.model,
            effort=self.effort,
            tune=self.tune,
            bit_depth=self.bit_depth,
            max_error=self.max_error,
        )
        quality = options.stored_quality
        object.__setattr__(self, "quality", quality)
        for name in ("model", "effort", "bit_depth", "max_error"):
            object.__setattr__(self, name, getattr(options, name))

    @classmethod
    def from_dict(cls, data: Any) -> Calotype:
        """Return the codec from its entry in an array's metadata; raises UsageError."""
        configuration = data.get("configuration", {}) if isinstance(data, dict) else None
        known = cls.__dataclass_fields__.keys()
        if not isinstance(configuration, dict) or data.get("name") != NAME:
            raise UsageError(f"a codec {shown(data)} was read, expected the name {NAME!r}")
        unknown = sorted(
            name if isinstance(name, str) else shown(name) for name in configuration.keys() - known
        )
        if unknown:
            raise UsageError(
                f"a configuration of {NAME} with {', '.join(unknown)} was read, expected only "
                f"{', '.join(known)}: a newer version of calotype may know more"
            )
        return cls(**configuration)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form that zarr stores with an array."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        given = {name: value for name, value in values.items() if value is not None}
        return {"name": NAME, "configuration": given}

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """Raise UsageError for arrays whose chunks are not images."""
        chunk_shape = getattr(chunk_grid, "chunk_shape", None)
        kind = dtype.to_native_dtype() if hasattr(dtype, "to_native_dtype") else np.dtype(dtype)
        if chunk_shape is not None:
            # A broadcast scalar stands for the chunk, so no memory is allocated for it.
            image_of_chunk(np.broadcast_to(np.zeros((), kind), chunk_shape), self._types)

    @property
    def _types(self) -> tuple[type[np.generic], ...]:
        return (np.uint8, np.uint16) if self.bit_depth != 8 else (np.uint8,)

    def _encode_sync(self, chunk_array: Any, chunk_spec: Any) -> Any:
        from codec import api

        image = image_of_chunk(chunk_array.as_numpy_array(), self._types)
        data = api.compress(
            image,
            quality=self.quality,
            model=self.model,
            effort=self.effort,
            tune=self.tune,
            bit_depth=None if image.dtype == np.uint8 else self.bit_depth,
            max_error=self.max_error,
        )
        return chunk_spec.prototype.buffer.from_bytes(data)

    def _decode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        from codec import api

        pixels = api.decompress(chunk_bytes.to_bytes(), as_="numpy")
        kind = chunk_spec.dtype.to_native_dtype()
        if pixels.size != np.prod(chunk_spec.shape) or pixels.dtype != kind.newbyteorder("="):
            raise UsageError(
                f"a chunk holds an image of {pixels.dtype} {pixels.shape}, expected "
                f"{kind} {tuple(chunk_spec.shape)}: it belongs to another array"
            )
        array = pixels.reshape(chunk_spec.shape).astype(kind, copy=False)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(array)

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        return await asyncio.to_thread(self._encode_sync, chunk_data, chunk_spec)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        return await asyncio.to_thread(self._decode_sync, chunk_data, chunk_spec)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Raise NotImplementedError, as zarr expects from codecs with variable output size."""
        raise NotImplementedError


register_codec(NAME, Calotype)
