"""The library: images to files and back, without a command line.

A function on bytes wraps one on a file object.  Torch, NumPy and Pillow are loaded by the
functions that need them, so that ``inspect`` and ``list_models`` answer at once.
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
    takes_options,
)
from codec.pipeline.decode_file import read_bands
from codec.results import Compression, Decompression, FileInfo, Verification, file_info
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
                        or floats in 0 .. 1, which are rounded; tensor of torch of these, in the
                        order (channels, height, width); path; bytes of an image file; or binary
                        file object.  More than 8 bits per channel are kept by "photo"; other
                        models need ``reduce_depth``.  The full range of uint16 and of
                        Pillow's grey modes of integers is 16 bits
    bit_depth           8, 10, 12 or 16, of an array or a tensor, which may have any integers then:
                        white is 2^bit_depth − 1.  None (the default) is 8 for uint8 and floats,
                        and 16 for uint16
    quality             1 .. 100, larger is better; 75 where no other target is given
    bpp, size           a target instead of a quality: bits per pixel, or bytes.  It takes the
                        largest quality whose whole file fits
    psnr, ssimulacra2   another kind of target: dB above 0, or a score of −50 .. 100.  It takes the
                        smallest quality whose decoded colours reach it, grey as equal R, G and B;
                        for ssimulacra2 they are rounded to 8 bits.  The search writes up to 10
                        files, and with an effort above 2 up to 4 more, for every target.
                        ssimulacra2 needs the extra "metrics", 8 pixels or more on each side, and
                        seconds for each million pixels of every such file
    tune                what the file is to be good for, of models that can tell: "visual", for
                        eyes, or "psnr"; None (the default) takes the model's default
    roi                 (x, y, width, height[, more]): a region of interest, in pixels of the image
                        as it is coded, whose quality is higher by ``more``, 1 .. 99 (20 where it
                        is left out), up to 100.  The file costs most of what the higher quality
                        costs for the whole image: what is left of the rest is written in the
                        region's fine steps, so that at an equal size the rest is coarser.  The file
                        says the quality of the region; decoders know nothing of it.  The image is
                        coded twice
    model               name in the catalogue, see ``list_models``.  None (the default) is "photo",
                        or the model of ``lossless`` and ``max_error``, which refuse another one.
                        "NAME:WEIGHTS" chooses other weights of a model by the name of their file
    lossless            keep every pixel, and every value of alpha: another name for the model
                        "pixel", which codes 8 bits per channel and takes no quality and no target
    max_error           0 .. 16: no value of a pixel is further than this from what it was, of
                        0 .. 255, and alpha is kept.  The model is "near-lossless", or "pixel" for
                        0 and where its file is smaller, as of drawings; both code 8 bits per
                        channel, and take no quality and no target.  The file is decoded and
                        compared before it is returned
    effort              1 .. 9, how long the encoder of a photo model searches for fewer bytes at
                        the same PSNR, or at the same of what the tune is for: 1 (the default) and 2
                        make one pass, 3 counts bits while it rounds, 4 to 7 refine that step by
                        step, 8 and 9 are for when time does not matter. Other models ignore it
    strip               leave out ICC, EXIF, XMP, density and colour.  The pixels are turned upright
                        first, as EXIF or XMP say
    reduce_depth        accept more than 8 bits per channel, and round them to 8.  Colour of JPEG
                        2000, AVIF, SGI and DDS, and of TIFF with separate planes, is reduced by
                        Pillow, which may cut off the lowest bits
    apply_orientation   turn the pixels as the EXIF orientation says, and set it to upright
    device              "auto" (the default), "cpu" or "cuda"
    noise_seed          0 .. 2⁶³ − 1, 0 by default, for models that decode with random noise.  The
                        file keeps it, so that every decoding gives the same image.  With None the
                        file keeps no seed, and every decoding gives another image
    checkpoint          weights file of the model "compressai:ARCHITECTURE", a checkpoint of that
                        library.  It has one rate, so it takes no quality and no target; other
                        machines may fail to decode the file, see ``FileInfo.portable``

    What was converted or left out (CMYK, further frames, metadata), a region whose quality is cut
    at 100, and a file that is larger than the image file it was made of are logged as warnings on
    the logger ``codec``.  Raises UsageError, also where no quality meets the target, and as
    MissingExtraError where a library is missing; InputError, ModelError.
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

    Also raises OutputError where the file object does not take all bytes.
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

    progress   called with the share of the work that is done, as far as that is known, up to 1
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
        keep_depth=True,  # a model of 8 bits says which other keeps it
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
    """A notice where a file is larger than the image file that it was made of."""
    if isinstance(image, (str, os.PathLike)):
        try:
            before = path_of(image).stat().st_size
        except OSError:  # it has gone meanwhile
            return ()
    elif isinstance(image, (bytes, bytearray, memoryview)):
        before = memoryview(image).nbytes
    else:
        return ()
    # What a pipe holds is not known; headers make small files larger, which says nothing.
    if before == 0 or size_bytes <= before + _FEW_BYTES:
        return ()
    return (
        f"the file has {size_bytes:,} bytes, more than its source, which has {before:,}: keep the "
        f"source{_smaller(options)}",
    )


def _smaller(options: CompressOptions) -> str:
    """What else gives a smaller file, of all that the options leave open."""
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
              width).  Of a file of d = 10, 12 or 16 bits "numpy" is uint16 and "torch" int32, both
              0 .. 2ᵈ − 1; "pil" is I;16, of which 65535 is white, for grey, and a UsageError for
              colours and alpha, which no Pillow image holds
    region    (x, y, width, height) in pixels: decode only this part of the image
    reduce    2, 4 or 8: a preview so many times smaller in each direction, of ⌈width / reduce⌉ by
              ⌈height / reduce⌉ pixels; of a region, all pixels of the preview that it touches.
              "photo" draws it in a fraction of the time, near the means of squares of the
              whole image; other models draw the image, and average its pixels. Alpha is averaged
    layers    number of quality layers to decode, 1 .. the file's own number; None (the default)
              decodes all of them
    partial   accept a file that was cut or damaged: its complete layers, or of other damage the
              tiles that are intact; the others are grey, and a notice lists them.  One layer or
              one tile is needed, and the header
    seed      0 .. 2⁶³ − 1.  Missing layers are replaced by a random sample of the model's prior,
              the same for the same seed; None (the default) takes the prior's mean instead.
              Models that decode with random noise draw it from this seed; with None they use the
              seed in the file, or fresh noise where the file has none
    realism   0 .. 1, for files of photo: 0 (the default) has the least error, 1 looks most
              like a photograph, and values between them mix the two.  Above 0 it needs additional
              weights, and invents what the file does not say: another ``seed`` (None counts as 0)
              varies it a little, and one file and one seed give the same pixels everywhere
    reduce_depth    round 10, 12 or 16 bits per channel to 8; a file of 8 bits stays as it is
    device    "auto" (the default), "cpu" or "cuda"
    checkpoint    for a file of compressai: the checkpoint that it was written with; None searches
              the folders of the environment variable CALOTYPE_WEIGHTS for it

    Parts of a file that ``region``, ``reduce`` and ``layers`` leave out are neither read nor
    checked.  Notices are logged as warnings on the logger ``codec``.
    Raises UsageError, InputError, StreamError, ModelError.
    """
    from codec.pictures.picture import check_pillow_holds, check_return_type, in_form

    check_return_type(as_)
    bands = read_bands(data, DecompressOptions(**options))
    if as_ == "pil":
        # Before anything is decoded.
        check_pillow_holds(bands.bit_depth, bands.channels, bands.has_alpha)
    picture = bands.picture()
    for notice in picture.notices:
        _log.warning("%s", notice)
    return in_form(picture, as_)


def decompress_to_picture(data: Source, **options: Unpack[DecompressArguments]) -> Picture:
    """Return pixels, alpha and metadata of a .calo file; ``decompress`` has the arguments."""
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
    output_quality   1 .. 100, of JPEG, WebP and AVIF; None is 95 of JPEG and AVIF, and lossless
              WebP
    options   those of ``decompress`` but its ``as_``

    An existing output is replaced.  PNG, PPM and TIFF are written to a path while the image is
    decoded: large ones need little memory.  In a format without EXIF the image is turned upright,
    with a notice, for which it is decoded as a whole first.  Raises what ``decompress`` raises, and
    OutputError.
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
    progress called with the share of the image that is decoded, up to 1
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
