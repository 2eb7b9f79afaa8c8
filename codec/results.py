"""What the library returns besides bytes and images: frozen dataclasses.  Imports no torch."""

from dataclasses import dataclass, field
from typing import Literal

from bitstream import ChunkInfo, Header, Scan
from bitstream.chunks import chunk_bytes
from codec.models.catalog import model_numbered

NoisePolicy = Literal["none", "replay", "free"]


@dataclass(frozen=True)
class Compression:
    """What ``compress_to_file`` wrote.

    size_bytes   size of the whole file
    rate_bpp     bits of the whole file per pixel
    quality      1 .. 100, requested or found by the search; outside a region of interest
    psnr_db      PSNR of the decoded colours, if there was a target PSNR
    ssimulacra2  score of the decoded colours, up to 100, if there was a target for it
    trials       number of files that were written to meet a target
    elapsed_seconds   wall time from reading the image to writing the file, including loading the
                 model and every trial; for information only, ignored when results are compared
    notices      sentences on what was converted or left out
    max_error    the requested bound, which the file keeps: how far a pixel's value may be off
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
    """The image file that was written.

    format    Pillow's name of its format
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

    quality        1 .. 100; if there is a region of interest, which the file does not tell, that of
                   the region, and it is lower outside
    model_name     such as "photo" or "compressai:ARCHITECTURE"; None if this version does not
                   know the model's number
    weights_hash   first 8 bytes of the weights' SHA-256, in hexadecimal
    tune           what the file was tuned for, such as "visual"; None for a model without tunes, or
                   if this version does not know the tune
    max_error      how far a pixel's value is off at most: 0 for a lossless model; None if there is
                   no bound
    noise          random noise in decoding: "none"; "replay", drawn from the file's seed; or
                   "free", fresh noise each time
    noise_seed     the seed for "replay", else None
    portable       whether every machine can decode the file, and not only the one that wrote it
    rate_bpp       bits of the whole file per pixel
    *_bytes        total payload of the chunks of that kind; 0 if there are none
    layer_bytes    payload of each layer; ``payload_bytes`` is their sum
    chunks         all chunks, in file order
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
    """A description of a file that was read, checked and decoded completely."""

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
