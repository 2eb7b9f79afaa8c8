"""What the library returns beside bytes and images: frozen dataclasses."""

from dataclasses import dataclass
from typing import Literal

from bitstream import ChunkInfo

NoisePolicy = Literal["none", "replay", "free"]


@dataclass(frozen=True)
class Compression:
    """What ``compress_to_file`` wrote.

    size_bytes   of the whole file
    rate_bpp     bits of the whole file per pixel
    quality      1 .. 100, asked for or found
    psnr_db      of the decoded 8-bit colours, if a target PSNR was asked for
    trials       files that were written to meet a target
    notices      sentences on what was converted or left out
    """

    size_bytes: int
    width: int
    height: int
    rate_bpp: float
    quality: float
    model_name: str
    psnr_db: float | None
    trials: int
    notices: tuple[str, ...]


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

    model_name     None if this version does not know the number; "compressai:ARCHITECTURE"
    weights_hash   first 8 bytes of the weights' SHA-256, in hexadecimal
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
