"""Pillow's ``Image.open`` and ``Image.save`` for .calo files.

    import codec.plugins.pillow

    with Image.open("photo.calo") as image:       # reads the header: no torch, no pixels
        part = image.crop((0, 0, 512, 512))        # decodes what it needs
        image.thumbnail((256, 256))                # decodes a preview
    image.save("small.calo", quality=60)

Opening reads up to the first coded tile, which gives size, mode and metadata.  Errors are
those that Pillow's users expect: UnidentifiedImageError if it is not a .calo file, OSError if it
is damaged, cannot be decoded or cannot be written, ValueError for unusable options.  The
error of this library is their ``__cause__``.
"""

from __future__ import annotations

import io
import logging
from dataclasses import fields, replace
from typing import IO, Any, cast

from PIL import Image, ImageFile

from bitstream import (
    SIGNATURE,
    CalotypeError,
    NotACaloFileError,
    OutputError,
    UsageError,
    read_container,
    read_tiles,
)
from bitstream.foreign import shown
from bitstream.sink import whole_writes
from codec.options import REDUCTIONS
from codec.pictures.depth import rescale
from codec.pictures.exif import without_prefix
from codec.pictures.picture import (
    Picture,
    check_pillow_holds,
    pillow_info,
    to_numpy,
)
from codec.pictures.side_chunks import Chunks, density_payload

FORMAT = "CALO"
MIME = "image/x-calotype"

_MODES = {(1, False): "L", (1, True): "LA", (3, False): "RGB", (3, True): "RGBA"}
_log = logging.getLogger("codec")


class CaloImageFile(ImageFile.ImageFile):
    """An opened .calo file: mode L, LA, RGB or RGBA; ICC, EXIF and XMP in ``info``.

    Grey of more than 8 bits has the mode I;16, with white at 65535.  Colours and transparency
    of more than 8 bits raise OSError, because no Pillow mode holds them.

    With ``ImageFile.LOAD_TRUNCATED_IMAGES``, a truncated file is decoded from its complete layers.
    """

    format = FORMAT
    format_description = "Calotype image"

    def _open(self) -> None:
        fp = cast("IO[bytes]", self.fp)
        offset = fp.tell()
        try:
            # Reads no tile, only what comes before the tiles.
            found = read_tiles(cast("Any", fp), [])
        except NotACaloFileError as error:
            raise SyntaxError(str(error)) from error
        except CalotypeError as error:
            raise OSError(str(error)) from error
        header = found.header
        self._size = header.width, header.height
        self._mode = _MODES[header.channels, found.alpha is not None]
        if header.bit_depth > 8:
            try:
                check_pillow_holds(header.bit_depth, header.channels, found.alpha is not None)
            except UsageError as error:
                raise OSError(str(error)) from error
            self._mode = "I;16"
        self.info.update(pillow_info(found))
        self._whole_size, self._reduce = self._size, 1
        self.tile = [ImageFile._Tile("calotype", (0, 0, *self.size), offset, (1,))]
        self._cropped_pixels = 0

    def load_read(self, count: int) -> bytes:
        """Read bytes; because this method exists, `ImageFile.Parser` waits for the whole file."""
        return cast("bytes", cast("Any", self.fp).read(count))

    def verify(self) -> None:
        """Check the structure and all chunk checksums of the file, without decoding it.

        Raises OSError for a damaged file.  Does nothing if the file cannot seek or the image is
        loaded.  As with all Pillow formats, the image has to be opened again afterwards.
        """
        if self.tile and self.fp is not None and self.fp.seekable():
            self.fp.seek(self.tile[0].offset)
            try:
                read_container(cast("Any", self.fp))
            except CalotypeError as error:
                raise OSError(str(error)) from error
        super().verify()

    def draft(
        self, mode: str | None, size: tuple[int, int] | None
    ) -> tuple[str, tuple[int, int, float, float]] | None:
        """Switch to decoding a preview, 2, 4 or 8 times smaller but not below `size`.

        `Image.thumbnail` calls this first.  The mode does not change.  Returns the mode and the box
        of the image within the preview, or None if the image is loaded or already a draft.
        """
        if size is None or len(self.tile) != 1 or self._reduce > 1:
            return None
        width, height = self._whole_size
        scale = min(width // max(1, size[0]), height // max(1, size[1]))
        self._reduce = max(each for each in REDUCTIONS if each <= max(1, scale))
        self._size = -(-width // self._reduce), -(-height // self._reduce)
        offset = self.tile[0].offset
        self.tile = [ImageFile._Tile("calotype", (0, 0, *self.size), offset, (self._reduce,))]
        return self.mode, (0, 0, width / self._reduce, height / self._reduce)

    def crop(self, box: tuple[float, float, float, float] | None = None) -> Image.Image:
        """Return a part of the image, reading only the tiles that it needs.

        The whole image is decoded instead once the parts so far have as many pixels as the image,
        or if it is loaded, the file cannot seek, or the part extends beyond the image.
        """
        region = None if box is None else self._region(box)
        if region is None:
            return super().crop(box)
        from codec import api

        fp = cast("Any", self.fp)
        fp.seek(self.tile[0].offset)
        try:
            part = api.decompress(
                fp,
                region=region,
                reduce=self._reduce,
                partial=ImageFile.LOAD_TRUNCATED_IMAGES,
            )
        except CalotypeError as error:
            raise OSError(str(error)) from error
        self._cropped_pixels += part.width * part.height
        part.info = self.info.copy()
        return part

    def _region(self, box: tuple[float, float, float, float]) -> tuple[int, int, int, int] | None:
        """The region of the full-size image under a box; None if `crop` needs the whole image.

        The box is rounded as Pillow does it.
        """
        left, top, right, bottom = (round(value) for value in box)
        inside = 0 <= left < right <= self.width and 0 <= top < bottom <= self.height
        can_seek = self.fp is not None and self.fp.seekable()
        if not (self.tile and inside and can_seek):
            return None
        if self._cropped_pixels >= self.width * self.height:
            return None
        left, top = self._reduce * left, self._reduce * top
        right = min(self._reduce * right, self._whole_size[0])
        bottom = min(self._reduce * bottom, self._whole_size[1])
        return left, top, right - left, bottom - top


class CaloDecoder(ImageFile.PyDecoder):
    """Decodes the pixels of a file; Pillow creates it when an image is loaded."""

    _pulls_fd = True

    def decode(self, buffer: Any) -> tuple[int, int]:
        """Read the file from its current position and set the whole image; raises OSError."""
        from codec import api

        fd = cast("Any", self.fd)
        try:
            picture = api.decompress_to_picture(
                fd, reduce=self.args[0], partial=ImageFile.LOAD_TRUNCATED_IMAGES
            )
        except CalotypeError as error:
            raise OSError(str(error)) from error
        for notice in picture.notices:
            _log.warning("%s", notice)
        samples = to_numpy(picture)
        if picture.bit_depth > 8:
            samples = rescale(samples, picture.bit_depth, 16).astype("<u2", copy=False)
        self.set_as_raw(samples.tobytes())
        return -1, 0  # done, without an error


def _accept(prefix: bytes) -> bool:
    return prefix.startswith(SIGNATURE)


def _save(im: Image.Image, fp: IO[bytes], filename: str | bytes) -> None:
    """Write an image with the keyword arguments of ``codec.compress``, and Pillow's own.

    icc_profile, exif, xmp, dpi   replace those of the image, which are kept otherwise; None leaves
                                  them out; dpi is two numbers, for x and y

    As everywhere in Pillow, unknown options are ignored.
    """
    from codec import api
    from codec.options import CompressOptions
    from codec.pictures.read import picture_from

    given = im.encoderinfo
    known = {field.name for field in fields(CompressOptions)}
    buffer = io.BytesIO()
    try:
        options = CompressOptions(**{name: given[name] for name in given if name in known})
        picture = picture_from(im, reduce_depth=options.reduce_depth, keep_depth=True)
        done = api.compress_with(options, _with_metadata(picture, given), buffer)
    except UsageError:
        raise  # a ValueError, which is what Pillow's own writers raise for options
    except CalotypeError as error:
        raise OSError(str(error)) from error
    for notice in done.notices:
        _log.warning("%s", notice)
    # The file is complete or absent: Pillow removes a new file if this function fails.
    try:
        whole_writes(fp).write(buffer.getbuffer())
    except OutputError as error:
        raise OSError(str(error)) from error


def _with_metadata(picture: Picture, given: dict[str, Any]) -> Picture:
    if "icc_profile" in given:
        picture = replace(picture, icc=_bytes_of("icc_profile", given) or None)
    if "exif" in given:
        picture = replace(picture, exif=without_prefix(_bytes_of("exif", given)))
    if "xmp" in given:
        picture = replace(picture, xmp=_bytes_of("xmp", given) or None)
    if "dpi" in given:
        picture = replace(picture, ancillary=_with_density(picture, given["dpi"]))
    return picture


def _with_density(picture: Picture, dpi: object) -> Chunks:
    others = tuple(chunk for chunk in picture.ancillary if chunk[0] != b"phys")
    if dpi is None:
        return others
    payload = density_payload(dpi)
    if payload is None:
        raise UsageError(
            f"dpi {shown(dpi)} was given, expected two numbers above 0.1, in x and y: (300, 300)"
        )
    return (*others, (b"phys", payload))


def _bytes_of(name: str, given: dict[str, Any]) -> bytes:
    value = given[name]
    if name == "exif" and isinstance(value, Image.Exif):
        value = value.tobytes()
    elif name == "xmp" and isinstance(value, str):
        # A lone surrogate cannot be encoded, so the text cannot be XMP.
        try:
            value = value.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"{name} has no UTF-8 ({error}): give bytes") from error
    if not isinstance(value, (bytes, bytearray, memoryview, type(None))):
        raise UsageError(f"{name} of type {type(value).__name__} was given, expected bytes")
    return bytes(value or b"")


Image.register_open(FORMAT, CaloImageFile, _accept)
Image.register_save(FORMAT, _save)
Image.register_extension(FORMAT, ".calo")
Image.register_mime(FORMAT, MIME)
Image.register_decoder("calotype", CaloDecoder)
