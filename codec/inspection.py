"""What a file says about itself, from its header and its chunks.  Imports no torch."""

from bitstream import Header, Scan
from bitstream.chunks import chunk_bytes
from codec.models.catalog import ARCHITECTURES, FOREIGN, MODELS
from codec.results import FileInfo, NoisePolicy


def file_info(found: Scan) -> FileInfo:
    """Return the description of a file whose chunks were listed and checked."""
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
    name = next((entry.name for entry in MODELS if entry.model_id == header.model_id), None)
    if name == FOREIGN and header.variant is not None and header.variant < len(ARCHITECTURES):
        return f"{name}:{ARCHITECTURES[header.variant]}"
    return name


def _noise_policy(header: Header) -> NoisePolicy:
    if header.noise_seed is not None:
        return "replay"
    return "free" if header.free_noise else "none"
