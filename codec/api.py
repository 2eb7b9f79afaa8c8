"""The library: images to files and back, without a command line.

The functions that need torch, NumPy or Pillow import them when they are called, so ``inspect``
and ``list_models`` answer at once.
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, overload

from bitstream import UsageError, read_container, scan
from bitstream.sink import whole_writes
from codec.models.catalog import find_model, split_name
from codec.options import (
    DEFAULT_MODEL,
    LOSSLESS_MODEL,
    CompressArguments,
    CompressOptions,
    DecompressArguments,
    DecompressOptions,
    PathName,
    check_writable,
)
from codec.pipeline.decode_file import read_bands
from codec.results import Compression, Decompression, FileInfo, Verification, file_info
from codec.system.keyword_options import takes_options
from codec.system.source import Source, opened, opened_seekable, path_of
from codec.system.write_file import write_atomically

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch
    from PIL import Image
    from typing_extensions import Unpack

    from codec.pictures.picture import Picture, ReturnType
    from codec.pictures.read import ImageSource

_log = logging.getLogger("codec")
_FEW_BYTES = 1000


@takes_options(CompressOptions)
def compress(image: ImageSource, **options: Unpack[CompressArguments]) -> bytes:
    """Return the bytes of a .calo file.

    image               Pillow image of any mode; array (height, width[, 1..4]) of uint8, uint16,
                        or floats in 0 .. 1, which are rounded; torch tensor of these types,
                        (channels, height, width); path; bytes of an image file; or binary
                        file object.  "photo" keeps more than 8 bits per channel; other models
                        need ``reduce_depth``.  White is 65535 in uint16 and in Pillow's integer
                        grey modes
    bit_depth           8, 10, 12 or 16, for an array or a tensor, which may then have any integer
                        type: white is 2^bit_depth − 1.  None (the default) is 8 for uint8 and
                        floats, and 16 for uint16
    quality             1 .. 100, larger is better; 75 if no target is given
    bpp, size           a target instead of a quality: bits per pixel, or bytes.  The encoder picks
                        the largest quality whose whole file fits
    psnr, ssimulacra2   a target for the decoded colours: dB above 0, or a score of −50 .. 100.
                        The encoder picks the smallest quality that reaches it.  Grey counts as
                        equal R, G and B; ssimulacra2 compares colours rounded to 8 bits and needs
                        the extra "metrics", at least 8 pixels on each side, and seconds per
                        megapixel for every file tried.  The search for any target writes up to 10
                        files, and up to 4 more with an effort above 2
    tune                what to optimise for, in models that have the choice: "visual", for
                        eyes, or "psnr"; None (the default) takes the model's default
    roi                 (x, y, width, height[, more]): a region of interest, in pixels of the image
                        as it is coded.  Its quality is higher by ``more``, 1 .. 99 (20 by default),
                        up to 100.  The file takes most of the bytes that the whole image would
                        take at the higher quality, because the rest is coded with the region's
                        fine steps, too: at equal file size the rest is coarser.  The file records
                        only the quality of the region, and decoders need no support for regions.
                        The image is coded twice
    model               name in the catalogue, see ``list_models``.  None (the default) is "photo",
                        or the model that ``lossless`` or ``max_error`` implies; these two refuse
                        any other.  "NAME:WEIGHTS" chooses other weights by their file's name
    lossless            keep every pixel, and every value of alpha: another name for the model
                        "pixel", which codes 8 bits per channel and takes no quality and no target
    max_error           0 .. 16: no value of a pixel, in 0 .. 255, changes by more than this, and
                        alpha is kept.  The model is "near-lossless", or "pixel" for 0 and where
                        its file is smaller, as for drawings; both code 8 bits per
                        channel, and take no quality and no target.  The file is decoded and
                        compared before it is returned
    effort              1 .. 9, how long the encoder of a photo model searches for fewer bytes: 1
                        (the default) and 2 make one pass; 3 counts bits while it rounds; 4 to 9
                        refine that step by step, and need the extra "metrics", or for the tune
                        "psnr" the extra "torch".  Measured with the tune "psnr", at equal PSNR, 3
                        saves nothing and takes almost twice as long as 1, and 9 saves a few per
                        cent and takes more than 100 times as long.  Other models ignore it
    strip               leave out ICC, EXIF, XMP, density and colour.  The pixels are turned upright
                        first, as EXIF or XMP say
    reduce_depth        accept more than 8 bits per channel, and round them to 8.  Pillow itself
                        reduces colour of JPEG 2000, AVIF, SGI and DDS, and of TIFF with separate
                        planes, and may cut off the lowest bits
    apply_orientation   turn the pixels as the EXIF orientation says, and set it to upright
    device              "auto" (the default), "cpu" or "cuda"
    noise_seed          0 .. 2⁶³ − 1, 0 by default, for models that decode with random noise.  The
                        file keeps it, so every decoding gives the same image.  With None the
                        file keeps no seed, and every decoding gives another image
    checkpoint          weights file of the model "compressai:ARCHITECTURE", a checkpoint of that
                        library.  It has one rate, so it takes no quality and no target; other
                        machines may fail to decode the file, see ``FileInfo.portable``

    The logger ``codec`` warns of what was converted or left out (CMYK, further frames, metadata),
    of a region whose quality is cut at 100, and of a file that is larger than its source file.
    Raises UsageError, also if no quality meets the target, or its subclass MissingExtraError if
    a library is missing; InputError, ModelError.
    """
    fo = io.BytesIO()
    for notice in compress_with(CompressOptions(**options), image, fo).notices:
        _log.warning("%s", notice)
    return fo.getvalue()


@takes_options(CompressOptions)
def compress_to_file(
    image: ImageSource, fo: BinaryIO, **options: Unpack[CompressArguments]
) -> Compression:
    """Write a .calo file to a binary file object; ``compress`` describes the arguments.

    Also raises OutputError if the file object does not take all bytes.
    """
    check_writable("fo", fo)
    return compress_with(CompressOptions(**options), image, whole_writes(fo))


def compress_with(
    options: CompressOptions,
    image: ImageSource,
    fo: BinaryIO,
    *,
    progress: Callable[[float], None] = lambda share: None,
) -> Compression:
    """Write a .calo file with options that are checked already; see ``compress_to_file``.

    progress   called with an estimate of the share of the work that is done, up to 1
    """
    from codec import loading
    from codec.models.base import BoundedModel
    from codec.pictures.read import picture_from
    from codec.pipeline.bound_check import check_bound
    from codec.pipeline.emphasis import notices_of
    from codec.pipeline.quality_search import meet

    started = time.perf_counter()
    picture = picture_from(
        image,
        reduce_depth=options.reduce_depth,
        keep_depth=True,  # an 8-bit model's error names a model that keeps the depth
        strip=options.strip,
        apply_orientation=options.apply_orientation,
        bit_depth=options.bit_depth,
    )
    model = loading.load_model(
        options.model_name, device=options.device, checkpoint=options.checkpoint
    )
    model = loading.with_tune(model, options.tune)
    bound = options.max_error
    model = loading.with_max_error(model, bound)
    if bound is None:
        trial = meet(options, picture, model, progress)
    else:
        trial = meet(options, picture, model, lambda share: progress(share / 2))
        if (
            isinstance(model, BoundedModel)
            and not options.model_was_named
            and model.may_cost_more_than_no_error(picture.pixels)
        ):
            lossless = loading.load_model(LOSSLESS_MODEL, device=options.device)
            other = meet(options, picture, lossless)
            if len(other.data) <= len(trial.data):
                trial, model = other, lossless
        check_bound(trial.data, picture, model, bound, lambda share: progress(0.5 + share / 2))
    fo.write(trial.data)
    size_bytes = len(trial.data)
    return Compression(
        size_bytes=size_bytes,
        width=picture.width,
        height=picture.height,
        rate_bpp=8 * size_bytes / (picture.width * picture.height),
        quality=trial.quality,
        model_name=model.name,
        psnr_db=trial.score if options.psnr is not None else None,
        ssimulacra2=trial.score if options.ssimulacra2 is not None else None,
        trials=trial.trials,
        elapsed_seconds=time.perf_counter() - started,
        notices=(
            *picture.notices,
            *notices_of(options.roi, trial.quality),
            *_notices_of_size(size_bytes, image, options),
        ),
        max_error=bound,
    )


def _notices_of_size(size_bytes: int, image: object, options: CompressOptions) -> tuple[str, ...]:
    """A notice if a file is clearly larger than the image file that it was made of."""
    if isinstance(image, (str, os.PathLike)):
        try:
            before = path_of(image).stat().st_size
        except OSError:  # the file has disappeared since
            return ()
    elif isinstance(image, (bytes, bytearray, memoryview)):
        before = memoryview(image).nbytes
    else:
        return ()
    # The size of a pipe is 0; a small file may be larger because of its headers alone.
    if before == 0 or size_bytes <= before + _FEW_BYTES:
        return ()
    return (
        f"the file has {size_bytes:,} bytes, more than its source, which has {before:,}: keep the "
        f"source{_smaller(options)}",
    )


def _smaller(options: CompressOptions) -> str:
    """Advice on how to get a smaller file with other options."""
    spec = find_model(split_name(options.model_name)[0])
    if spec.lossless:
        return f", or choose a lossy model: -m {DEFAULT_MODEL} (model={DEFAULT_MODEL!r})"
    if spec.bounded:
        return (
            f", or allow a larger error than {options.max_error}, or choose a model without a "
            f"bound: -m {DEFAULT_MODEL} (model={DEFAULT_MODEL!r})"
        )
    if spec.variants:  # a checkpoint has one rate
        return ""
    targets = (options.bpp, options.size, options.psnr, options.ssimulacra2)
    what = (
        "choose a lower quality" if targets.count(None) == len(targets) else "give a lower target"
    )
    return f", or {what}; drawings, text and screenshots need --lossless (lossless=True)"


@overload
def decompress(
    data: Source, *, as_: Literal["pil"] = ..., **options: Unpack[DecompressArguments]
) -> Image.Image: ...
@overload
def decompress(
    data: Source, *, as_: Literal["numpy"], **options: Unpack[DecompressArguments]
) -> npt.NDArray[Any]: ...
@overload
def decompress(
    data: Source, *, as_: Literal["torch"], **options: Unpack[DecompressArguments]
) -> torch.Tensor: ...
@takes_options(DecompressOptions)
def decompress(
    data: Source, *, as_: ReturnType = "pil", **options: Unpack[DecompressArguments]
) -> Image.Image | npt.NDArray[Any] | torch.Tensor:
    """Return the image of a .calo file.

    data      bytes, path, or binary file object
    as_       "pil" (the default): Pillow image L, LA, RGB or RGBA, with ICC, EXIF and XMP in
              ``info``; "numpy": uint8 (height, width[, 2..4]); "torch": uint8 (channels, height,
              width).  For a file of d = 10, 12 or 16 bits "numpy" is uint16 and "torch" int32, both
              0 .. 2ᵈ − 1; "pil" is I;16 for grey, with white at 65535, and a UsageError for
              colours and alpha, which no Pillow mode holds
    region    (x, y, width, height) in pixels: decode only this part of the image
    reduce    2, 4 or 8: a preview that many times smaller in each direction, of ⌈width / reduce⌉ by
              ⌈height / reduce⌉ pixels; for a region, all preview pixels that it touches.
              "photo" decodes it in a fraction of the time, close to the block means of the whole
              image; other models decode the image and average its pixels.  Alpha is averaged
    layers    number of quality layers to decode, 1 .. the file's own number; None (the default)
              decodes all of them
    partial   accept a truncated or damaged file: decode its complete layers, or after other damage
              its intact tiles; the other tiles are grey, and a notice lists them.  The header and
              at least one layer or tile must be intact
    seed      0 .. 2⁶³ − 1.  Missing layers are replaced by a random sample of the model's prior,
              the same for the same seed; None (the default) takes the prior's mean instead.
              Models that decode with random noise draw it from this seed; with None they use the
              seed in the file, or fresh noise if the file has none
    realism   0 .. 1, for files of photo: 0 (the default) has the least error, 1 looks most
              like a photograph, and values between them mix the two.  Above 0 it needs additional
              weights and invents detail that is not in the file.  Another ``seed`` (None counts as
              0) varies the detail a little; the same file and seed give the same pixels everywhere
    reduce_depth    round 10, 12 or 16 bits per channel to 8; an 8-bit file stays as it is
    device    "auto" (the default), "cpu" or "cuda"
    checkpoint    for a file of compressai: the checkpoint that it was written with; None searches
              for it in the folders of the environment variable CALOTYPE_WEIGHTS

    Parts of a file that ``region``, ``reduce`` and ``layers`` leave out are neither read nor
    checked.  Notices are logged as warnings on the logger ``codec``.
    Raises UsageError, InputError, StreamError, ModelError.
    """
    from codec.pictures.picture import check_pillow_holds, check_return_type, in_form

    check_return_type(as_)
    bands = read_bands(data, DecompressOptions(**options))
    if as_ == "pil":
        # Refuse before anything is decoded.
        check_pillow_holds(bands.bit_depth, bands.channels, bands.has_alpha)
    picture = bands.picture()
    for notice in picture.notices:
        _log.warning("%s", notice)
    return in_form(picture, as_)


def decompress_to_picture(data: Source, **options: Unpack[DecompressArguments]) -> Picture:
    """Return pixels, alpha and metadata of a .calo file; ``decompress`` describes the arguments."""
    return read_bands(data, DecompressOptions(**options)).picture()


@takes_options(DecompressOptions)
def decompress_file(
    path: Source,
    output: PathName | BinaryIO,
    *,
    format: str | None = None,  # noqa: A002 - the name that Pillow's save gives it
    output_quality: int | None = None,
    **options: Unpack[DecompressArguments],
) -> tuple[str, ...]:
    """Decode a .calo file and save it as an image file; return notices.

    path      the .calo file, as ``decompress`` takes it
    output    path, whose suffix picks the format, or a binary file object
    format    Pillow's name of the format, such as "PNG"; needed for a file object
    output_quality   1 .. 100, for JPEG, WebP and AVIF; None is 95 for JPEG and AVIF, and lossless
              for WebP
    options   those of ``decompress`` except ``as_``

    An existing output is replaced.  PNG, PPM and TIFF are written to a path while the image is
    decoded, so large ones need little memory.  For a format without EXIF the image is turned
    upright, with a notice; to do that it is decoded as a whole first.  Raises what ``decompress``
    raises, and OutputError.
    """
    from codec.pictures.save import format_of_suffix

    checked = DecompressOptions(**options)
    if isinstance(output, (str, os.PathLike)):
        target = path_of(output)
        format = format_of_suffix(target.suffix) if format is None else format  # noqa: A001

        def write(fill: Callable[[BinaryIO], object]) -> None:
            write_atomically(target, fill, force=True)

        return decompress_with(checked, path, format, write, output_quality=output_quality).notices
    if format is None:
        raise UsageError("output is a file object and format is None: give format='PNG'")
    check_writable("output", output)
    fo = whole_writes(output)
    return decompress_with(
        checked, path, format, lambda fill: fill(fo), whole=True, output_quality=output_quality
    ).notices


def decompress_with(
    options: DecompressOptions,
    data: Source,
    format: str,  # noqa: A002 - as above
    write: Callable[[Callable[[BinaryIO], object]], object],
    *,
    whole: bool = False,
    output_quality: int | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Decompression:
    """Decode a .calo file and save it, with options that are checked already.

    format   Pillow's name of the format
    write    called once, with a function that saves the image to a binary file object
    whole    decode everything before ``write`` is called, so that a damaged file writes nothing
    output_quality   as ``decompress_file`` takes it
    progress   called with the share of the image that is decoded, up to 1
    """
    from codec.pictures.bands import bands_of, reporting
    from codec.pictures.save import check_output_quality, save_bands, upright_for

    check_output_quality(output_quality, format)
    bands = upright_for(read_bands(data, options), format)
    notices = list(bands.notices)
    bands = reporting(bands, progress)
    if whole:
        bands = bands_of(bands.picture())
    write(lambda fo: notices.extend(save_bands(bands, fo, format, output_quality)))
    return Decompression(
        bands.width, bands.height, bands.channels, bands.has_alpha, format, tuple(notices)
    )


def inspect(data: Source) -> FileInfo:
    """Return the description of a .calo file; checks every chunk's CRC, imports no torch.

    data   bytes, path, or binary file object.  Raises InputError or a StreamError.
    """
    with opened(data) as fo:
        return file_info(scan(fo))


def verify(
    data: Source, *, device: str = "auto", checkpoint: PathName | None = None
) -> Verification:
    """Read, check and decode a whole .calo file: CRCs, structure, weights, symbols, alpha.

    Raises what ``decompress`` raises; returning means that the file is sound.
    """
    from codec import loading
    from codec.pipeline.decode import decode_bands

    options = DecompressOptions(device=device, checkpoint=checkpoint)
    with opened_seekable(data) as fo:
        start = fo.tell()
        info = inspect(fo)
        fo.seek(start)
        container = read_container(fo)
    header = container.header
    model = loading.load_model_of(header, device=options.device, checkpoint=options.checkpoint)
    for _ in decode_bands(container, model).bands:
        pass
    return Verification(
        size_bytes=info.size_bytes,
        width=info.width,
        height=info.height,
        has_alpha=info.has_alpha,
        quality=info.quality,
        model_name=info.model_name or str(info.model_id),
        weights_hash=info.weights_hash,
        chunks=len(info.chunks),
        tiles=header.tile_count,
        layers=header.layers,
    )
