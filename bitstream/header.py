"""The HEAD chunk: what a decoder has to know before it reads anything else."""

import struct
from dataclasses import dataclass

from bitstream import limits
from bitstream.errors import HeaderError, LimitError
from bitstream.varint import MAX_VARINT, read_varint, write_varint

# channels, bit depth, quality in hundredths, model number, weights hash, log2 of the tile size
_FIXED = struct.Struct("<BBHH8sB")
_NOISE_SEED, _FREE_NOISE = 1, 2  # flags: a noise seed follows; every decoding draws its own
_MACHINE_BOUND, _VARIANT = 4, 8  # ... tables are selected in floating point; a variant follows
_KNOWN_FLAGS = 15  # this decoder cannot obey any other bit


@dataclass(frozen=True)
class Header:
    """Geometry of the image and identity of the model.

    width, height   pixels, 1 .. 2**20 each, together at most ``limits.MAX_PIXELS``
    channels        colour channels: 1 or 3 (alpha is not one of them)
    bit_depth       bits per channel of the picture: 8, 10, 12 or 16
    quality         1 .. 100; kept to the hundredth, as it is stored
    model_id        number of the model, 0 .. 65535, fixed for ever
    weights_hash    first 8 bytes of the SHA-256 of the weights file
    tile_size       pixels; a power of two, 64 .. 4096
    layers          quality layers, 1 .. 64
    noise_seed      0 .. 2**63 - 1, the seed of the noise that a decoder draws; None if it draws
                    none, or may take any seed
    free_noise      whether it may take any seed
    machine_bound   whether floating point selects probability tables, so that another machine may
                    fail to decode the file
    variant         0 .. 65535; the model says what it selects, such as a network or a tune; None if
                    the model has no variants

    Raises HeaderError for an impossible value and LimitError for one above its cap.
    """

    width: int
    height: int
    channels: int
    bit_depth: int
    quality: float
    model_id: int
    weights_hash: bytes
    tile_size: int
    layers: int = 1
    noise_seed: int | None = None
    free_noise: bool = False
    machine_bound: bool = False
    variant: int | None = None

    def __post_init__(self) -> None:
        _check(self)
        object.__setattr__(self, "quality", round(self.quality * 100) / 100)

    @property
    def tiles_x(self) -> int:
        """Tiles in one row."""
        return -(-self.width // self.tile_size)

    @property
    def tiles_y(self) -> int:
        """Tiles in one column."""
        return -(-self.height // self.tile_size)

    @property
    def tile_count(self) -> int:
        return self.tiles_x * self.tiles_y

    @property
    def payload_count(self) -> int:
        """DATA chunks of the complete file: one for each layer of each tile."""
        return self.layers * self.tile_count

    def pack(self) -> bytes:
        """Return the payload of the HEAD chunk; ``unpack`` is the inverse."""
        numbers = [n for n in (self.noise_seed, self.variant) if n is not None]
        flags = (
            (_NOISE_SEED if self.noise_seed is not None else 0)
            | (_FREE_NOISE if self.free_noise else 0)
            | (_MACHINE_BOUND if self.machine_bound else 0)
            | (_VARIANT if self.variant is not None else 0)
        )
        return (
            write_varint(self.width)
            + write_varint(self.height)
            + _FIXED.pack(
                self.channels,
                self.bit_depth,
                round(self.quality * 100),
                self.model_id,
                self.weights_hash,
                self.tile_size.bit_length() - 1,
            )
            + write_varint(self.layers)
            + b"".join(map(write_varint, [flags, *numbers]))
        )

    @classmethod
    def unpack(cls, data: bytes) -> "Header":
        """Read the payload of a HEAD chunk.

        Raises HeaderError, LimitError, or PayloadError for a malformed varint.
        """
        width, offset = read_varint(data)
        height, offset = read_varint(data, offset)
        if len(data) < offset + _FIXED.size:
            raise HeaderError(
                f"the HEAD chunk has {len(data)} bytes, expected at least {offset + _FIXED.size}: "
                "the file was not written by a conforming encoder"
            )
        channels, depth, quality, model_id, weights_hash, tile_log2 = _FIXED.unpack_from(
            data, offset
        )
        layers, offset = read_varint(data, offset + _FIXED.size)
        flags, offset = read_varint(data, offset)
        if flags & ~_KNOWN_FLAGS:
            raise HeaderError(
                f"flags {flags:#x} in the header, expected no bits but {_KNOWN_FLAGS:#x}: the "
                "file is damaged, or written by a newer encoder"
            )
        noise_seed = variant = None
        if flags & _NOISE_SEED:
            noise_seed, offset = read_varint(data, offset)
        if flags & _VARIANT:
            variant, offset = read_varint(data, offset)
        if offset != len(data):
            raise HeaderError(
                f"the HEAD chunk has {len(data)} bytes, expected {offset}: "
                "the file was not written by a conforming encoder"
            )
        if not limits.MIN_TILE_LOG2 <= tile_log2 <= limits.MAX_TILE_LOG2:
            raise HeaderError(
                f"tile size 2**{tile_log2} read from the header, expected an exponent of "
                f"{limits.MIN_TILE_LOG2} .. {limits.MAX_TILE_LOG2}"
            )
        return cls(
            width=width,
            height=height,
            channels=channels,
            bit_depth=depth,
            quality=quality / 100,
            model_id=model_id,
            weights_hash=weights_hash,
            tile_size=1 << tile_log2,
            layers=layers,
            noise_seed=noise_seed,
            free_noise=bool(flags & _FREE_NOISE),
            machine_bound=bool(flags & _MACHINE_BOUND),
            variant=variant,
        )


def _check(header: Header) -> None:
    def require(good: bool, what: str, expected: str) -> None:
        if not good:
            raise HeaderError(
                f"{what} in the header, expected {expected}: the file is damaged, "
                "or written by a newer encoder"
            )

    def limit(value: int, cap: int, what: str) -> None:
        if value > cap:
            raise LimitError(f"{value} {what} in the header, but the limit is {cap}")

    require(header.width >= 1, f"width {header.width}", "at least 1")
    require(header.height >= 1, f"height {header.height}", "at least 1")
    limit(header.width, limits.MAX_SIDE, "pixels of width")
    limit(header.height, limits.MAX_SIDE, "pixels of height")
    limit(header.width * header.height, limits.MAX_PIXELS, "pixels")
    require(header.channels in (1, 3), f"{header.channels} colour channels", "1 or 3")
    depths = ", ".join(map(str, limits.BIT_DEPTHS))
    require(
        header.bit_depth in limits.BIT_DEPTHS, f"bit depth {header.bit_depth}", f"one of {depths}"
    )
    # The comparison is false for NaN as well.
    require(1 <= header.quality <= 100, f"quality {header.quality}", "1 .. 100")
    require(0 <= header.model_id < 2**16, f"model number {header.model_id}", "0 .. 65535")
    require(len(header.weights_hash) == 8, f"weights hash of {len(header.weights_hash)} bytes", "8")
    size = header.tile_size
    require(
        size > 0
        and size & (size - 1) == 0
        and limits.MIN_TILE_LOG2 <= size.bit_length() - 1 <= limits.MAX_TILE_LOG2,
        f"tile size {size}",
        f"a power of two, 2**{limits.MIN_TILE_LOG2} .. 2**{limits.MAX_TILE_LOG2}",
    )
    require(header.layers >= 1, f"{header.layers} layers", "at least 1")
    limit(header.layers, limits.MAX_LAYERS, "layers")
    limit(header.payload_count, limits.MAX_PAYLOADS, "tiles times layers")
    seed = header.noise_seed
    require(seed is None or 0 <= seed <= MAX_VARINT, f"noise seed {seed}", "0 .. 2**63 - 1")
    require(
        seed is None or not header.free_noise,
        f"noise seed {seed} of a file whose noise is free",
        "one of the two",
    )
    variant = header.variant
    require(variant is None or 0 <= variant < 2**16, f"variant {variant}", "0 .. 65535")
