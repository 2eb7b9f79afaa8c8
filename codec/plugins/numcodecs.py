"""A numcodecs codec for chunks of zarr format 2 arrays of uint8 or uint16.

    import zarr
    from codec.plugins.numcodecs import Calotype

    zarr.create_array("photos.zarr", shape=(100, 512, 512, 3), chunks=(1, 512, 512, 3),
                      dtype="uint8", zarr_format=2, compressors=Calotype(quality=60))

A chunk is one image, and each chunk becomes one complete .calo file:

    (…, height, width)             grey
    (…, height, width, 1 | 3 | 4)  grey, RGB, or RGB with alpha, which is lossless

where every axis at … has length 1.  With three or more axes, a last axis of length 1, 3 or 4 is
always taken for channels.  Chunks hold their values in C order, which is zarr's default.

The entry point ``numcodecs.codecs`` registers the codec under its name, "calotype", so arrays
can be read wherever this distribution is installed, without an import.  Raises UsageError for other
arrays, and what ``codec.compress`` and ``codec.decompress`` raise.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bitstream import UsageError
from bitstream.arrays import SampleArray
from codec.options import CompressOptions
from codec.pictures.from_arrays import plain_array
from codec.plugins.images import image_of_chunk
from codec.system.keyword_options import names_options
from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.plugins.numcodecs"):
    from numcodecs.abc import Codec
    from numcodecs.compat import ndarray_copy
    from numcodecs.registry import register_codec


@names_options
class Calotype(Codec):  # type: ignore[misc]  # numcodecs has no types
    """The codec, with options that mean what they mean in ``codec.compress``.

    max_error   0 .. 16: no uint8 value changes by more than this, and 0 is lossless; excludes
                quality
    bit_depth   10, 12 or 16 for uint16, whose values are then 0 .. 2^bit_depth − 1; None is 16.
                uint16 must be little-endian, and needs a model that keeps such depths, as "photo"
                does
    """

    codec_id = "calotype"

    def __init__(
        self,
        quality: float | None = None,
        model: str | None = None,
        effort: int = 1,
        tune: str | None = None,
        max_error: int | None = None,
        bit_depth: int | None = None,
    ) -> None:
        # Checked when the array is created, not only when its first chunk is written.
        options = CompressOptions(
            quality=quality,
            model=model,
            effort=effort,
            tune=tune,
            max_error=max_error,
            bit_depth=bit_depth,
        )
        self.quality = options.stored_quality
        self.model, self.effort, self.tune = options.model, options.effort, options.tune
        self.max_error, self.bit_depth = options.max_error, options.bit_depth

    def get_config(self) -> dict[str, Any]:
        """Return the JSON form that zarr stores with an array."""
        config = {
            "id": self.codec_id,
            "quality": self.quality,
            "model": self.model,
            "effort": self.effort,
            "tune": self.tune,
            "max_error": self.max_error,
            "bit_depth": self.bit_depth,
        }
        return {name: value for name, value in config.items() if value is not None}

    def encode(self, buf: Any) -> bytes:
        """Return a .calo file for one chunk, whose shape must be one that the module describes."""
        from codec import api

        image = self._image_of(buf)
        return api.compress(
            image,
            quality=self.quality,
            model=self.model,
            effort=self.effort,
            tune=self.tune,
            max_error=self.max_error,
            bit_depth=None if image.dtype == np.uint8 else self.bit_depth,
        )

    def decode(self, buf: Any, out: Any = None) -> SampleArray:
        """Return the pixels of a .calo file in the order of the chunk; or fill ``out``.

        They are uint8, or little-endian uint16 for files of more than 8 bits.  ``out`` takes them
        as bytes in C order.  Raises UsageError if it is in Fortran order or of another size.
        """
        from codec import api

        if out is not None:
            _refuse_fortran_order(plain_array(out))
            if not plain_array(out).flags.writeable:
                raise UsageError("out cannot be written to, expected an array to fill")
        try:
            data = bytes(memoryview(buf))
        except (TypeError, ValueError, BufferError) as error:
            raise UsageError(
                f"data of type {type(buf).__name__}, expected the bytes of a .calo file"
            ) from error
        pixels = api.decompress(data, as_="numpy")
        pixels = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
        if out is not None and plain_array(out).nbytes != pixels.nbytes:
            raise UsageError(
                f"out has {plain_array(out).nbytes} bytes, expected {pixels.nbytes}: the file "
                f"holds an image of {pixels.dtype.name} {pixels.shape}"
            )
        try:
            filled: SampleArray = ndarray_copy(pixels, out)
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"out of type {type(out).__name__}, expected an array to fill: {error}"
            ) from error
        return filled

    def _image_of(self, chunk: Any) -> SampleArray:
        """The image of a chunk, which must be in C order and, if uint16, little-endian."""
        array = plain_array(chunk)
        _refuse_fortran_order(array)
        if array.dtype.newbyteorder("=") == np.uint16 and array.dtype != np.dtype("<u2"):
            # Decoding returns little-endian bytes, which zarr would read as big-endian.
            raise UsageError(
                "a chunk of big-endian uint16, expected little-endian: use dtype='<u2'"
            )
        return image_of_chunk(array, (np.uint8,) if self.bit_depth == 8 else (np.uint8, np.uint16))


def _refuse_fortran_order(array: Any) -> None:
    if array.flags.f_contiguous and not array.flags.c_contiguous:
        # Decoding returns bytes in C order, which zarr would read in Fortran order.
        raise UsageError("a chunk in Fortran order, expected C order: create it with order='C'")


register_codec(Calotype)
