"""A lossless archive of small images with a DRAW model, by bits-back coding (catalogue id 9).

An image of any size up to 4096×4096 is a sheet of blocks of side × side pixels, the size of the
images that the network was trained on. Groups of blocks go on one stack::

    encode   for each step, level: pop bins ~ q      push pixels | canvas     push bins | prior
    decode   for each, backwards: push bins | q      pop  pixels | canvas     pop  bins | prior

Bits-back coding with ANS (Townsend, Bird and Barber, ICLR 2019) pops bits that the decoder later
pushes back. A group can only pop what the blocks before it have left on the stack, and a DRAW
network has thousands of coordinates. A random seed for them would cost more than a hundred digits;
instead an archive goes through **stages**. The first has no bins at all: its blocks are coded with
a blank canvas. Each further stage has more bins, by a map in the weights file, and after the last
map the group size doubles. The encoder moves to the next stage as soon as the stack holds enough
bits for it::

    stage     0      1      …   maps − 1   maps   maps + 1   …
    bins    none   map 1    …   last map   last     last
    blocks    1      1      …      1         2        4      … of a group

Encoder and decoder run the recursion in fixed point; the decoder runs it twice, first to compute
the canvas, then with the image to find the posteriors whose bins it pushes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from bitstream.ans_coder import AnsCoder
from bitstream.arrays import Array, Float32Array, Float64Array, Uint8Array
from bitstream.errors import PayloadError, TruncatedError, WeightsMismatchError
from bitstream.varint import read_varint, write_varint
from codec.coding.bits_back_tables import LEAST_BITS
from codec.coding.prior_tables import uniform_tables
from codec.models.draw import ARCHIVE
from codec.models.draw.bins import (
    LOG_VARIANCES,
    BinMap,
    BinnedDraw,
    StackRanOutError,
    bin_arrays,
    binned_from_arrays,
)
from codec.models.draw.exact import UNIT_BITS, ExactDraw, image_units
from codec.models.draw.network import bernoulli_nats, gaussian_kl, logistic_nats
from codec.models.draw.pixels import Pixels, pixel_arrays, pixels_from_arrays
from codec.models.draw.recursion import DrawConfig, Prior
from codec.models.sheets import (
    blocks_of,
    check_black_and_white,
    check_grey_blocks,
    check_sheet_size,
    only_payload,
    sheet_of,
)
from codec.models.weights_files import read_config

_GROUP_BLOCKS, _GROUP_PIXELS = 64, 2**16
_START = bytes(8) + b"\x01\0\0\0"  # 2⁶⁴: exactly LEAST_BITS
_SPARE_BITS = 64  # the margin by which a group rarely exceeds its bins' bits under the prior


class DrawBitsBack:
    """The archive, loaded. See `codec.models.base.LoadedModel` for the methods.

    Latents are the pixels: float32 (channels · side², h, w), 0 .. 255. The quality has no effect.
    """

    model_id, name = ARCHIVE.model_id, ARCHIVE.name
    layers = 1
    context = 0

    def __init__(self, binned: BinnedDraw, pixels: Pixels, weights_hash: bytes) -> None:
        self.binned, self.pixels, self.weights_hash = binned, pixels, weights_hash
        self.config, self.side, self.stride = binned.config, binned.side, binned.side
        # A power of two, like all group sizes.
        fitting = max(1, min(_GROUP_BLOCKS, _GROUP_PIXELS // self.side**2))
        self.largest_group = 1 << (fitting.bit_length() - 1)
        self.stages = len(binned.maps) + self.largest_group.bit_length() - 1
        self._prior_tables = uniform_tables(binned.bins.largest_bits)
        self._blank: Tensor | None = None

    def stage(self, number: int) -> tuple[BinMap, int]:
        """The map of a stage, and the number of blocks in its groups."""
        last = len(self.binned.maps) - 1
        return self.binned.maps[min(number, last)], 1 << max(0, number - last)

    def check_picture(self, pixels: Uint8Array) -> None:
        """Raise `UsageError` for a picture (H, W, C) that the model cannot code, or too large."""
        if self.config.likelihood == "bernoulli":
            check_black_and_white(pixels, self.name)
        elif self.config.channels == 1:
            check_grey_blocks(pixels, self.name)
        else:
            check_sheet_size(pixels, self.name)

    def analyze(self, pixels: Uint8Array, quality: float) -> Float32Array:
        """Pixels uint8 (side · h, side · w, 3) to (channels · side², h, w)."""
        blocks = blocks_of(pixels, self.side, self.config.channels)
        height, width = pixels.shape[0] // self.side, pixels.shape[1] // self.side
        return _columns(blocks, height, width)

    def synthesize(self, latents: Float32Array, quality: float) -> Uint8Array:
        """The inverse of `analyze`."""
        return sheet_of(self._blocks(latents), *latents.shape[1:])

    def encode_tile(self, latents: Float32Array, quality: float) -> tuple[bytes, ...]:
        """Code blocks (channels · side², h, w): one payload."""
        runs, stack = self.push_blocks(self._blocks(latents))
        return (b"".join(write_varint(run) for run in runs) + stack.to_bytes(),)

    def decode_tile(
        self, payloads: Sequence[bytes], height: int, width: int, quality: float
    ) -> Float32Array:
        """Decode blocks (channels · side², height, width). Raises `PayloadError`."""
        payload = only_payload(payloads)
        groups, offset = self._read_groups(payload, height * width)
        stack = AnsCoder(payload[offset:])
        blocks = self.pop_blocks(groups, stack, height * width)
        if stack.to_bytes() != _START:
            raise PayloadError(
                "the stack does not end as it began: the payload is damaged, cut short, "
                "or was written with another model"
            )
        return _columns(blocks, height, width)

    @torch.inference_mode()
    def push_blocks(self, blocks: Uint8Array) -> tuple[list[int], AnsCoder]:
        """Runs of groups, as written, and the stack of blocks uint8 (n, channels, side, side).

        A run is 2 · (groups at a stage), plus 1 if the next run is one stage back instead of
        forward.
        """
        stack, begin, stage, runs = AnsCoder(_START), 0, 0, [0]
        while begin < len(blocks):
            while stage + 1 < self.stages and stack.bits >= self._bits_needed(stage + 1):
                stage += 1
                runs.append(0)
            while True:
                map_, size = self.stage(stage)
                group, before = blocks[begin : begin + size], stack.to_bytes()
                try:
                    self._push_group(stack, group, map_)
                    break
                except StackRanOutError:  # cannot happen at stage 0, which has no bins
                    stack, stage = AnsCoder(before), stage - 1
                    runs[-1] += 1
                    runs.append(0)
            runs[-1] += 2
            begin += len(group)
        return runs, stack

    def _push_group(self, stack: AnsCoder, blocks: Uint8Array, map_: BinMap) -> None:
        if not map_.bits:
            canvas = self._blank_canvas().expand(len(blocks), -1, -1, -1)
            self.pixels.push(stack, canvas, blocks)
            return
        canvas, bins = self.binned.pop(stack, blocks, map_, LEAST_BITS)
        self.pixels.push(stack, canvas, blocks)
        stack.push(bins, map_.prior(len(blocks)), self._prior_tables)

    @torch.inference_mode()
    def pop_blocks(
        self, groups: Sequence[tuple[int, int, int]], stack: AnsCoder, count: int
    ) -> Uint8Array:
        """Take `count` blocks off the stack, (count, channels, side, side). Raises `PayloadError`.

        groups   begin, end and stage of each, in the order in which the encoder pushed them
        """
        blocks = np.empty((count, self.config.channels, self.side, self.side), dtype=np.uint8)
        for begin, end, stage in reversed(groups):
            map_, _ = self.stage(stage)
            blocks[begin:end] = self._pop_group(stack, end - begin, map_)
        return blocks

    def _pop_group(self, stack: AnsCoder, count: int, map_: BinMap) -> Uint8Array:
        if not map_.bits:
            blocks = self.pixels.pop(stack, self._blank_canvas().expand(count, -1, -1, -1))
            _check_not_empty(stack)
            return blocks
        bits = map_.prior(count)
        bins = stack.pop(bits, self._prior_tables)
        if (bins >> bits).any():
            raise PayloadError("a bin outside the prior was decoded: the payload is damaged")
        # Detect damage before the network runs.
        _check_not_empty(stack)
        blocks = self.pixels.pop(stack, self.binned.draw(count, map_, bins))
        _check_not_empty(stack)
        self.binned.push(stack, blocks, map_, bins)
        return blocks

    def _blank_canvas(self) -> Tensor:
        """The canvas of a block without bins, which is the same for all blocks."""
        if self._blank is None:
            self._blank = self.binned.draw(1, self.binned.maps[0], np.zeros(0, np.int32))
        return self._blank

    def _bits_needed(self, stage: int) -> int:
        map_, size = self.stage(stage)
        return size * map_.bits + LEAST_BITS + _SPARE_BITS

    def _read_groups(self, payload: bytes, count: int) -> tuple[list[tuple[int, int, int]], int]:
        """Begin, end and stage of each group, and the stack's offset. Raises `PayloadError`."""
        found: list[tuple[int, int, int]] = []
        begin = stage = offset = 0
        while begin < count:
            try:
                run, offset = read_varint(payload, offset)
            except TruncatedError as error:
                raise PayloadError(
                    f"the payload ends in the sizes of its groups, after {begin} of {count} "
                    f"blocks: {error}"
                ) from error
            _, size = self.stage(stage)
            if run >> 1 > -(-(count - begin) // size):
                raise PayloadError(
                    f"{run >> 1} groups of {size} blocks where {count - begin} blocks are left: "
                    "the payload is damaged"
                )
            for _ in range(run >> 1):
                found.append((begin, min(begin + size, count), stage))
                begin = found[-1][1]
            stage += -1 if run & 1 else 1
            if begin < count and not 0 <= stage < self.stages:
                raise PayloadError(
                    f"groups of stage {stage} were read, expected 0 .. {self.stages - 1}: "
                    "the payload is damaged"
                )
        return found, offset

    def _blocks(self, latents: Float32Array) -> Uint8Array:
        rows = np.ascontiguousarray(latents.reshape(len(latents), -1).T).astype(np.uint8)
        return rows.reshape(-1, self.config.channels, self.side, self.side)


def load_draw_bits_back(
    arrays: Mapping[str, Array],
    metadata: Mapping[str, str],
    weights_hash: bytes,
    *,
    device: torch.device | str,
) -> DrawBitsBack:
    """Build the archive from the contents of a weights file; it runs on the CPU for every `device`.

    The metadata are the network's "config", and "side", the side of a block in pixels.
    Raises `WeightsMismatchError` when the file does not hold such a model.
    """
    config = read_config(metadata, DrawConfig)
    side = metadata.get("side", "")
    if not (side.isascii() and side.isdigit() and len(side) < 5):
        raise WeightsMismatchError(f"weights file: its side is {side!r}, expected a number")
    network = ExactDraw(config, arrays)
    pixels = pixels_from_arrays(network, arrays)
    return DrawBitsBack(binned_from_arrays(network, int(side), arrays), pixels, weights_hash)


def bits_back_arrays(config: DrawConfig) -> dict[str, Array]:
    """What a weights file holds besides the network: integer tables, and maps of bins.

    The maps are generic; `training.draw.archive_bins` fits better ones to a network.
    """
    return {**bin_arrays(config), **pixel_arrays(config)}


@torch.inference_mode()
def nelbo_nats(model: DrawBitsBack, blocks: Uint8Array, *, seed: int = 0) -> Float64Array:
    """Negative evidence lower bound of blocks uint8 (n, channels, side, side): float64 (n,).

    It is computed with the integer network, but with codes sampled from the exact posteriors and
    pixels under the exact likelihood, without bins or tables. KL divergences are in closed form.
    """
    unit, generator = 2**UNIT_BITS, torch.Generator().manual_seed(seed)
    of_pixels = bernoulli_nats if model.config.likelihood == "bernoulli" else logistic_nats
    parts = [np.zeros(0)]
    for begin in range(0, len(blocks), _GROUP_BLOCKS):
        group = torch.from_numpy(np.ascontiguousarray(blocks[begin : begin + _GROUP_BLOCKS]))
        image = image_units(group, model.config)
        nats, canvas = _sampled(model, image, generator)
        nats += of_pixels(canvas / unit, image / unit).flatten(1).sum(1)
        parts.append(nats.numpy())
    return np.concatenate(parts)


def _sampled(
    model: DrawBitsBack, image: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """KL divergences in nats (n,) and the canvas of sampled codes, for x (n, C, side, side)."""
    recursion, unit = model.binned.network.recursion, 2**UNIT_BITS
    state = recursion.begin(len(image), model.side, model.side)
    part = recursion.image_part(image)
    nats = torch.zeros(len(image), dtype=torch.float64)

    def choose(level: int, prior: Prior) -> Tensor:
        mean, log_variance = (recursion.posterior(state, level) / unit).chunk(2, 1)
        log_variance = log_variance.clamp(*LOG_VARIANCES)
        nats.add_(gaussian_kl(mean, log_variance).flatten(1).sum(1))
        noise = torch.randn(mean.shape, generator=generator, dtype=torch.float64)
        coordinate: Tensor = ((mean + (log_variance / 2).exp() * noise) * unit).round_()
        return coordinate

    for _ in range(model.config.steps):
        recursion.look(state, image, part)
        recursion.step(state, choose)
    return nats, state.canvas


def _columns(blocks: Uint8Array, height: int, width: int) -> Float32Array:
    columns = np.ascontiguousarray(blocks.reshape(len(blocks), -1).T, dtype=np.float32)
    return columns.reshape(-1, height, width)


def _check_not_empty(stack: AnsCoder) -> None:
    if stack.bits < LEAST_BITS:
        raise PayloadError(
            "the stack ran out: the payload is damaged, cut short, or was written with another "
            "model"
        )
