"""The coder of the vector-quantising networks `codec.models.vq.networks` (model 14).

An image of any size up to 4096×4096 is padded by repeating its last rows and columns, cut into
blocks of side × side pixels, and coded as one tile::

    block ─► z ─► codes ─ learned prior ─► bytes ─► codes ─► vectors ─► block

The codes are chosen one after another, each to minimise λ g d² + bits: d² is the squared distance
of the vector from z, g converts it to squared error of the pixels, and the bits are the code's
code length under the prior at its position. The networks compute in floating point, so pixels may
differ by a level between machines; the codes do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Array, Float32Array, Int32Array, Uint8Array
from bitstream.errors import UsageError, WeightsMismatchError
from bitstream.symbols import SymbolDecoder, SymbolEncoder
from bitstream.tables import TableSet
from codec.coding.bits_back_tables import bit_tables
from codec.models.layers import fill
from codec.models.sheets import (
    blocks_of,
    check_grey_blocks,
    check_sheet_size,
    only_payload,
    sheet_of,
)
from codec.models.vq import VQ
from codec.models.vq.networks import (
    MIDDLE,
    VqConfig,
    VqNetworks,
    quality_fraction,
    squared_distances,
)
from codec.models.vq.prior import ExactCodePrior, Front
from codec.models.weights_files import read_config

NETWORK_PREFIX = "networks."
TABLE_PREFIX = "bit_tables."
_PIXELS_AT_ONCE = 2**19  # pixels per network call


class VqCoder:
    """The model, loaded. See `codec.models.base` for the methods.

    An encoder's latents are levels 0 .. 255 as float32, (C · side², h, w) for h × w blocks. A
    decoder's are codes, int32 (n, h, w): those of the top level, then those of the bottom level,
    in row-major order.

    networks  as loaded, of the sizes `networks.config`
    priors    one for each level, from the top
    """

    model_id, name = VQ.model_id, VQ.name
    layers = 1
    context = 0

    def __init__(
        self,
        networks: VqNetworks,
        priors: Sequence[ExactCodePrior],
        weights_hash: bytes,
        *,
        device: torch.device | None = None,
    ) -> None:
        self.config = config = networks.config
        self.device = device or torch.device("cpu")
        self.networks, self.weights_hash = networks.to(self.device), weights_hash
        self.priors, self.stride = tuple(priors), config.side
        sizes = [config.positions(level) for level in range(config.levels)]
        ends = np.cumsum([0, *sizes]).tolist()
        self.places = [slice(begin, end) for begin, end in pairwise(ends)]

    def check_picture(self, pixels: Uint8Array) -> None:
        """Raise `UsageError` for a picture (H, W, C) that is too large, or coloured for grey."""
        check = check_grey_blocks if self.config.channels == 1 else check_sheet_size
        check(pixels, self.name)

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (side · h, side · w, 3) to levels (C · side², h, w)."""
        height, width = (length // self.stride for length in pixels.shape[:2])
        blocks = blocks_of(pixels, self.stride, self.config.channels)
        columns = np.ascontiguousarray(blocks.reshape(len(blocks), -1).T, dtype=np.float32)
        return columns.reshape(-1, height, width)

    def synthesize(self, latents: Int32Array, quality: float) -> Uint8Array:
        """The result of `decode_tile`, or a window of it, to pixels uint8 (side·h, side·w, 3)."""
        config, (height, width) = self.config, latents.shape[1:]
        if len(latents) != self.places[-1].stop:
            raise UsageError(
                f"latents of {len(latents)} channels, expected {self.places[-1].stop} codes"
            )
        columns = latents.reshape(len(latents), -1)
        shape = (config.channels, config.side, config.side)
        levels = np.empty((height * width, *shape), dtype=np.uint8)
        for part in self._parts(height * width):
            rows = torch.from_numpy(np.ascontiguousarray(columns[:, part].T)).to(self.device)
            codes = [
                rows[:, place].reshape(-1, config.grid(level), config.grid(level)).long()
                for level, place in enumerate(self.places)
            ]
            with torch.inference_mode():
                images = self.networks.synthesize(codes, self._qualities(len(rows), quality))
                drawn = images.nan_to_num_(0, 1, 0).mul_(255).round_().to(torch.uint8)
            levels[part] = drawn.cpu().numpy()
        return sheet_of(levels, height, width)

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code levels (C · side², h, w): one payload."""
        encoder = SymbolEncoder()
        self._encode(latents, quality, encoder)
        return (encoder.finish(),)

    def choose_codes(self, latents: Float32Array, quality: float) -> Int32Array:
        """The codes int32 (n, h, w) that `encode_tile` writes and `decode_tile` returns."""
        return self._encode(latents, quality, SymbolEncoder())

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Int32Array:
        """Decode codes int32 (n, height, width). Raises `PayloadError`."""
        decoder = SymbolDecoder(only_payload(payloads))
        found: list[Int32Array] = []
        above = None
        for prior in self.priors:
            above = prior.decode(height * width, above, round(quality * 100), decoder)
            found.append(above)
        decoder.finish()
        return _columns(found, height, width)

    @torch.inference_mode()
    def _encode(self, latents: Float32Array, quality: float, encoder: SymbolEncoder) -> Int32Array:
        config, (height, width) = self.config, latents.shape[1:]
        count = height * width
        rows = np.ascontiguousarray(latents.reshape(len(latents), count).T)
        images = torch.from_numpy(rows.reshape(count, -1, config.side, config.side)) / 255
        weight = float(config.weight(torch.tensor(quality_fraction(round(quality * 100)))))
        found: list[Int32Array] = []
        above = None
        for level, prior in enumerate(self.priors):
            z = self._latents(images, found, quality)
            codebook = self.networks.level(level).codebook
            factor = weight * float(self.networks.gains[level])

            def choose(
                front: Front,
                part: slice,
                indexes: Int32Array,
                z: Tensor = z,
                codebook: Tensor = codebook,
                factor: float = factor,
                prior: ExactCodePrior = prior,
            ) -> Int32Array:
                values = z[part][:, :, front.rows, front.columns].permute(0, 2, 1)
                distances = squared_distances(
                    values.reshape(-1, values.shape[2], 1, 1).to(codebook.device), codebook
                )
                costs = prior.code_lengths(indexes)
                costs += factor * distances[:, 0, 0].cpu().numpy()
                best: Int32Array = costs.argmin(axis=1).astype(np.int32)
                return best

            above = prior.encode(count, above, round(quality * 100), choose, encoder)
            found.append(above)
        return _columns(found, height, width)

    def _latents(self, images: Tensor, above: Sequence[Int32Array], quality: float) -> Tensor:
        """Latents float32 (blocks, D, m, m), on the CPU, of the next level.

        above   codes of the levels above it
        """
        found = []
        for part in self._parts(len(images)):
            x = images[part].to(self.device)
            qualities = self._qualities(len(x), quality)
            features = self.networks.features(x, qualities)[len(above)]
            drawn, linear = self.networks.draw(
                [torch.from_numpy(codes[part]).to(self.device).long() for codes in above],
                qualities,
            )
            level = self.networks.level(len(above))
            latents = level.analyze(x - MIDDLE - linear, features, drawn, qualities)
            found.append(latents.cpu())
        return torch.cat(found)

    def _qualities(self, count: int, quality: float) -> Tensor:
        return torch.full((count,), quality_fraction(round(quality * 100)), device=self.device)

    def _parts(self, count: int) -> Iterator[slice]:
        size = max(1, _PIXELS_AT_ONCE // self.stride**2)
        return (slice(at, at + size) for at in range(0, count, size))


def _columns(codes: Sequence[Int32Array], height: int, width: int) -> Int32Array:
    """Codes (blocks, m, m) of each level as (n, height, width)."""
    rows = np.concatenate([level.reshape(len(level), -1) for level in codes], axis=1)
    return np.ascontiguousarray(rows.T).reshape(-1, height, width)


def load_vq(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: torch.device | str,
) -> VqCoder:
    """Build the model from the contents of a weights file.

    Arrays: `networks.…`, floating point, for `VqNetworks`; `prior.{level}.…` and `bit_tables.…`,
    integers, for `ExactCodePrior`. The metadata contain "config". Raises `WeightsMismatchError` or
    `TableError` for anything else.
    """
    config = read_config(metadata, VqConfig)
    tables = TableSet.from_arrays(arrays, TABLE_PREFIX)
    priors = [
        ExactCodePrior.from_arrays(config, level, arrays, tables) for level in range(config.levels)
    ]
    # On the meta device, so that sizes are compared before memory is allocated.
    with torch.device("meta"):
        networks = VqNetworks(config)
    fill(networks, arrays, NETWORK_PREFIX)
    if not (networks.gains > 0).all():
        raise WeightsMismatchError("weights file: networks.gains are not all above 0")
    unknown = arrays.keys() - vq_arrays(networks, priors).keys()
    if unknown:
        raise WeightsMismatchError(
            f"weights file: {min(unknown)} is no array of a model of {config.levels} levels"
        )
    return VqCoder(networks, priors, weights_hash, device=torch.device(device))


def vq_arrays(networks: VqNetworks, priors: Sequence[ExactCodePrior]) -> dict[str, Array]:
    """All arrays of a weights file; the networks in float16, gains in float32. See `load_vq`."""
    arrays: dict[str, Array] = {}
    for name, value in networks.state_dict().items():
        dtype = torch.float32 if name == "gains" else torch.float16
        arrays[NETWORK_PREFIX + name] = value.detach().cpu().to(dtype).contiguous().numpy()
    for prior in priors:
        arrays |= prior.to_arrays()
    tables = bit_tables().to_arrays()
    return {**arrays, **{TABLE_PREFIX + name: array for name, array in tables.items()}}
