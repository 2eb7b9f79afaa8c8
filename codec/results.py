"""What the library returns beside bytes and images: frozen dataclasses.  Imports no torch."""

from dataclasses import dataclass, field
from typing import Literal

from bitstream import ChunkInfo, Header, Scan
from bitstream.chunks import chunk_bytes
from codec.models.catalog import model_numbered

NoisePolicy = Literal["none", "replay", "free"]


@dataclass(frozen=True)
class Compression:
    """What ``compress_to_file`` wrote.

    size_bytes   of the whole file
    rate_bpp     bits of the whole file per pixel
    quality      1 .. 100, asked for or found; outside a region of interest
    psnr_db      of the decoded colours, if a target PSNR was asked for
    ssimulacra2  of the same, up to 100, if a target of it was asked for
    trials       files that were written to meet a target
    elapsed_seconds   of wall time, from reading the image to writing the file, with loading the
                 model and every trial; informative only, and no part of equality
    notices      sentences on what was converted or left out
    max_error    that was asked for, and is kept: how far a value of a pixel may be off
    """

    size_bytes: int
    width: int
    height: int
    rate_bpp: float
    quality: float
    model_name: str
    psnr_db: float | None
    ssimulacra2: float | None
    trials: int
    elapsed_seconds: float = field(compare=False)
    notices: tuple[str, ...]
    max_error: int | None = None


@dataclass(frozen=True)
class Decompression:
    """What was written: the picture's size, Pillow's name of its format, and notices.

    notices   sentences on what was left out
    """

    width: int
    height: int
    channels: int
    has_alpha: bool
    format: str
    notices: tuple[str, ...]


@dataclass(frozen=True)
class FileInfo:
    """What a file says about itself.

    quality        1 .. 100, that of the region of interest where the file has one
    model_name     None if this version does not know the number; "compressai:ARCHITECTURE"
    weights_hash   first 8 bytes of the weights' SHA-256, in hexadecimal
    tune           what the file was tuned for, such as "visual"; None of a model without tunes, or
                   where this version does not know it
    max_error      how far a value of a pixel is off at the most: 0 of a lossless model; None where
                   nothing is promised
    noise          what decoding draws besides reading: "none"; "replay", the noise of the file's
                   seed; or "free", fresh noise each time
    noise_seed     of "replay", else None
    portable       whether every machine decodes the file, and not only the one that wrote it
    rate_bpp       bits of the whole file per pixel
    *_bytes        payloads of the chunks of that kind, together; 0 where there are none
    layer_bytes    those of each layer: what ``payload_bytes`` is the sum of
    chunks         all of them, in the order of the file
    """

    size_bytes: int
    format_version: int
    width: int
    height: int
    channels: int
    bit_depth: int
    has_alpha: bool
    quality: float
    model_id: int
    model_name: str | None
    weights_hash: str
    tune: str | None
    max_error: int | None
    tile_size: int
    tiles_x: int
    tiles_y: int
    layers: int
    noise: NoisePolicy
    noise_seed: int | None
    portable: bool
    rate_bpp: float
    payload_bytes: int
    layer_bytes: tuple[int, ...]
    alpha_bytes: int
    icc_bytes: int
    exif_bytes: int
    xmp_bytes: int
    chunks: tuple[ChunkInfo, ...]


@dataclass(frozen=True)
class Verification:
    """A file that was read, checked and decoded completely."""

    size_bytes: int
    width: int
    height: int
    has_alpha: bool
    quality: float
    model_name: str
    weights_hash: str
    chunks: int
    tiles: int
    layers: int


def file_info(found: Scan) -> FileInfo:
    """Return the description of a file from its header and the list of its chunks."""
    header, chunks = found.header, found.chunks
    data_bytes = [chunk.length for chunk in chunks if chunk.type == b"DATA"]
    sizes: dict[bytes, int] = {}
    for chunk in chunks:
        sizes[chunk.type] = sizes.get(chunk.type, 0) + chunk.length
    size_bytes = chunks[-1].offset + chunk_bytes(chunks[-1].length)
    return FileInfo(
        size_bytes=size_bytes,
        format_version=found.version,
        width=header.width,
        height=header.height,
        channels=header.channels,
        bit_depth=header.bit_depth,
        has_alpha=b"ALPH" in sizes,
        quality=header.quality,
        model_id=header.model_id,
        model_name=_model_name(header),
        weights_hash=header.weights_hash.hex(),
        tune=_tune(header),
        max_error=_max_error(header),
        tile_size=header.tile_size,
        tiles_x=header.tiles_x,
        tiles_y=header.tiles_y,
        layers=header.layers,
        noise=_noise_policy(header),
        noise_seed=header.noise_seed,
        portable=not header.machine_bound,
        rate_bpp=8 * size_bytes / (header.width * header.height),
        payload_bytes=sum(data_bytes),
        layer_bytes=tuple(
            sum(data_bytes[first : first + header.tile_count])
            for first in range(0, header.payload_count, header.tile_count)
        ),
        alpha_bytes=sizes.get(b"ALPH", 0),
        icc_bytes=sizes.get(b"iccp", 0),
        exif_bytes=sizes.get(b"exif", 0),
        xmp_bytes=sizes.get(b"xmp_", 0),
        chunks=chunks,
    )


def _model_name(header: Header) -> str | None:
    spec = model_numbered(header.model_id)
    if spec is None:
        return None
    if header.variant is not None and header.variant < len(spec.variants):
        return f"{spec.name}:{spec.variants[header.variant]}"
    return spec.name


def _tune(header: Header) -> str | None:
    spec, number = model_numbered(header.model_id), header.variant
    if spec is None or number is None or number >= len(spec.tunes):
        return None
    return spec.tunes[number]


def _max_error(header: Header) -> int | None:
    spec = model_numbered(header.model_id)
    if spec is not None and spec.lossless:
        return 0
    return header.variant if spec is not None and spec.bounded else None


def _noise_policy(header: Header) -> NoisePolicy:
    if header.noise_seed is not None:
        return "replay"
    return "free" if header.free_noise else "none"
