"""VQ-VAE and VQ-VAE-2 with variable quality: sizes and float networks.

Van den Oord, Vinyals and Kavukcuoglu 2017, "Neural discrete representation learning"; Razavi, van
den Oord and Vinyals 2019, "Generating diverse high-fidelity images with VQ-VAE-2". A block of
pixels becomes a map of codes, each the number of a vector in a codebook. With two levels, the top
one is coarser, and the bottom one is analysed and synthesised with the features of the top one::

    block ─► features ─────────────► z ─► code, vector ─► features ─► block     one level

    block ─► features ─► coarser ──► z ─► code, vector ─► features, upsampled   the top of two
                 └────────────┬────► z ─► code, vector ─► features ─► block     its bottom
                              └── the top's features ─────────┘

In parallel to the networks there is a linear path: latents are a linear transform of the pixels
of their patch, minus the reconstruction of the levels above, plus a correction by the network; and
a block is the inverse transform of all vectors plus a correction by the network. Without the
corrections, this is vector quantisation of transform coefficients.

A quality is a fraction in [0, 1]. Scales and shifts of some features, and the weight λ of the
error, are interpolated by it, so one set of weights serves all qualities.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitstream.errors import UsageError
from codec.models.layers import in_full_precision

MAX_CODES = 2**10
MAX_POSITIONS = 2**12
MAX_CHANNELS = 2**10
MAX_DEPTH = 16
MAX_KNOTS = 16
MIDDLE = 0.5
"""Subtracted from pixels in [0, 1]."""


@dataclass(frozen=True)
class VqConfig:
    """Sizes of the networks, stored in the weights file.

    channels    channels of an image, 1 or 3
    side        side of a block in pixels, a multiple of the strides, at most 256
    strides     pixels per code in each direction, for each level from the top: one stride, or two
                of which the first is twice the second; powers of two
    codes       vectors in the codebook of each level, a power of two
    dimension   dimension of these vectors
    width       channels of the features
    depth       residual blocks in each sequence
    embedding   dimension of a code's embedding in the prior
    hidden      channels of the prior's two hidden layers
    knots       qualities at which scales and shifts are learned
    lambdas     λ in bits per pixel per unit of mean squared error, for levels 0 .. 255, at the
                lowest and the highest quality, geometric between them

    Raises `UsageError` for anything else.
    """

    channels: int
    side: int
    strides: tuple[int, ...]
    codes: tuple[int, ...]
    dimension: int
    width: int
    depth: int
    embedding: int
    hidden: int
    knots: int
    lambdas: tuple[float, float]

    def __post_init__(self) -> None:
        channels = (self.dimension, self.width, self.embedding, self.hidden)
        sizes = (self.channels, self.side, self.depth, self.knots, *channels)
        if not all(map(_is_whole, (sizes, self.strides, self.codes))):
            raise UsageError(f"{self}: expected whole numbers")
        if self.channels not in (1, 3):
            raise UsageError(f"channels {self.channels}: expected 1 or 3")
        levels, bottom = len(self.strides), self.strides[-1] if self.strides else 0
        if self.strides not in ((bottom,), (2 * bottom, bottom)) or bottom not in (2, 4, 8):
            raise UsageError(
                f"strides {self.strides}: expected 2, 4 or 8, or the double of it and itself"
            )
        if not 16 <= self.side <= 256 or self.side % self.strides[0]:
            raise UsageError(f"side {self.side}: expected a multiple of the strides, 16 .. 256")
        if max(self.positions(level) for level in range(levels)) > MAX_POSITIONS:
            raise UsageError(f"strides {self.strides}: more than {MAX_POSITIONS} codes of a block")
        if len(self.codes) != levels or any(
            not 2 <= k <= MAX_CODES or k & (k - 1) for k in self.codes
        ):
            raise UsageError(
                f"codes {self.codes}: expected a power of two, 2 .. {MAX_CODES}, for each level"
            )
        if not all(1 <= v <= MAX_CHANNELS for v in channels):
            raise UsageError(
                f"dimension, width, embedding, hidden: expected 1 .. {MAX_CHANNELS} channels"
            )
        if not 0 <= self.depth <= MAX_DEPTH or not 2 <= self.knots <= MAX_KNOTS:
            raise UsageError(
                f"depth {self.depth}, knots {self.knots}: expected 0 .. {MAX_DEPTH} residual "
                f"blocks and 2 .. {MAX_KNOTS} knots"
            )
        if not _are_ascending(self.lambdas):
            raise UsageError(f"lambdas {self.lambdas}: expected two ascending positive numbers")

    @property
    def levels(self) -> int:
        """Maps of codes, one or two."""
        return len(self.strides)

    def grid(self, level: int) -> int:
        """Codes of a block in each direction."""
        return self.side // self.strides[level]

    def positions(self, level: int) -> int:
        """Codes of a block."""
        return self.grid(level) ** 2

    def depth_of_codes(self, level: int) -> int:
        """Bits of a code of a level."""
        return self.codes[level].bit_length() - 1

    def weight(self, quality: Tensor) -> Tensor:
        """λ at qualities in [0, 1], of any shape."""
        low, high = self.lambdas
        return low * torch.exp(quality * math.log(high / low))


def _are_ascending(values: object) -> bool:
    if not isinstance(values, tuple) or [type(v) for v in values] != [float, float]:
        return False
    return all(map(math.isfinite, values)) and 0 < values[0] <= values[1]


def _is_whole(values: object) -> bool:
    return isinstance(values, tuple) and all(type(v) is int for v in values)


def quality_fraction(hundredths: int) -> float:
    """Map a quality in hundredths, 100 .. 10000, to [0, 1]."""
    return (hundredths - 100) / 9900


class QualityScale(nn.Module):
    """Features times a scale plus a shift, interpolated by quality between knots."""

    def __init__(self, knots: int, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(knots, channels))
        self.shift = nn.Parameter(torch.zeros(knots, channels))

    def forward(self, values: Tensor, quality: Tensor) -> Tensor:
        """float (n, C, h, w) and qualities (n,) in [0, 1] to the same shape."""
        scale, shift = (interpolate(p, quality) for p in (self.scale, self.shift))
        result: Tensor = values * scale[..., None, None] + shift[..., None, None]
        return result


def interpolate(knots: Tensor, quality: Tensor) -> Tensor:
    """A table (knots, C) at qualities (n,) in [0, 1]: (n, C)."""
    place = quality * (len(knots) - 1)
    left = place.floor().clamp(max=len(knots) - 2).long()
    return torch.lerp(knots[left], knots[left + 1], (place - left)[:, None])


class ResidualBlock(nn.Module):
    """x + 1×1 convolution(relu(3×3 convolution(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.second = nn.Conv2d(width, width, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """float (n, width, h, w) to the same shape."""
        found: Tensor = x + self.second(F.relu(self.first(F.relu(x))))
        return found


def _blocks(config: VqConfig) -> nn.Sequential:
    return nn.Sequential(*(ResidualBlock(config.width) for _ in range(config.depth)))


class Analysis(nn.Module):
    """From a block, or finer features, to the features of a level: unshuffle, then convolutions."""

    def __init__(self, config: VqConfig, channels: int, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.first = nn.Conv2d(channels * factor**2, config.width, kernel_size=3, padding=1)
        self.scale = QualityScale(config.knots, config.width)
        self.blocks = _blocks(config)

    def forward(self, x: Tensor, quality: Tensor) -> Tensor:
        """float (n, channels, h, w) to (n, width, h / factor, w / factor)."""
        found: Tensor = self.blocks(
            self.scale(self.first(F.pixel_unshuffle(x, self.factor)), quality)
        )
        return found


class Level(nn.Module):
    """One level: from features to latents, the codebook, and from vectors to features."""

    def __init__(self, config: VqConfig, number: int) -> None:
        super().__init__()
        width, size = config.width, config.dimension
        above, upsampling = width if number else 0, 1 if number == config.levels - 1 else 2
        self.stride = config.strides[number]
        patch = config.channels * self.stride**2
        self.project = nn.Conv2d(patch, size, kernel_size=1, bias=False)
        self.unproject = nn.Conv2d(size, patch, kernel_size=1, bias=False)
        self.join = nn.Conv2d(width + above, width, kernel_size=1)
        self.scale = QualityScale(config.knots, width)
        self.latents = nn.Conv2d(width, size, kernel_size=1)
        self.codebook = nn.Parameter(torch.randn(config.codes[number], size), requires_grad=False)
        self.first = nn.Conv2d(size + above, width, kernel_size=3, padding=1)
        self.drawn_scale = QualityScale(config.knots, width)
        self.blocks = _blocks(config)
        self.upsampling = upsampling
        self.last = nn.Conv2d(width, width * upsampling**2, kernel_size=1)

    def analyze(
        self, rest: Tensor, features: Tensor, above: Tensor | None, quality: Tensor
    ) -> Tensor:
        """Latents float32 (n, D, h, w).

        rest      pixels (n, C, side, side) minus the reconstruction of the levels above
        features  (n, width, h, w)
        above     features synthesised by the level above, (n, width, h, w)
        """
        value = self.scale(F.relu(self.join(_joined(features, above))), quality)
        linear = in_full_precision(self.project, F.pixel_unshuffle(rest, self.stride))
        return linear + in_full_precision(self.latents, value)

    def pixels(self, vectors: Tensor) -> Tensor:
        """The linear reconstruction of vectors (n, D, h, w): float32 (n, C, side, side)."""
        return F.pixel_shuffle(in_full_precision(self.unproject, vectors), self.stride)

    def draw(self, vectors: Tensor, above: Tensor | None, quality: Tensor) -> Tensor:
        """Vectors (n, D, h, w) to features (n, width, u · h, u · w), u = upsampling."""
        value = self.drawn_scale(self.first(_joined(vectors, above)), quality)
        return F.pixel_shuffle(self.last(F.relu(self.blocks(value))), self.upsampling)

    def look_up(self, codes: Tensor) -> Tensor:
        """Codes int64 (n, h, w) to vectors (n, D, h, w)."""
        return F.embedding(codes, self.codebook).permute(0, 3, 1, 2)


def _joined(values: Tensor, above: Tensor | None) -> Tensor:
    return values if above is None else torch.cat([values, above], dim=1)


class Painter(nn.Module):
    """From the features of the bottom level to a block, by two pixel shuffles."""

    def __init__(self, config: VqConfig) -> None:
        super().__init__()
        self.factor = config.strides[-1] // 2
        middle = max(16, config.width // 2)
        self.first = nn.Conv2d(config.width, middle * self.factor**2, kernel_size=3, padding=1)
        self.second = nn.Conv2d(middle, middle, kernel_size=3, padding=1)
        self.last = nn.Conv2d(middle, 4 * config.channels, kernel_size=3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """float (n, width, h, w) to float32 (n, channels, side, side)."""
        value = F.relu(F.pixel_shuffle(self.first(F.relu(features)), self.factor))
        value = self.last(value + F.relu(self.second(value)))
        return F.pixel_shuffle(value.float(), 2)


class VqNetworks(nn.Module):
    """All networks. `analyses` and `levels` are in the order of the levels, from the top.

    `gains` converts, for each level, a squared distance from a latent to a vector to squared error:
    the sum over pixels of the mean over channels, for levels 0 .. 255. Only the encoder uses them.
    """

    gains: Tensor

    def __init__(self, config: VqConfig) -> None:
        super().__init__()
        self.config = config
        bottom = config.levels - 1
        self.analyses = nn.ModuleList(
            Analysis(config, config.channels, config.strides[-1])
            if level == bottom
            else Analysis(config, config.width, 2)
            for level in range(config.levels)
        )
        self.levels = nn.ModuleList(Level(config, number) for number in range(config.levels))
        self.painter = Painter(config)
        self.register_buffer("gains", torch.ones(config.levels))

    def level(self, number: int) -> Level:
        """A level by its number, from the top."""
        found = self.levels[number]
        assert isinstance(found, Level)
        return found

    def features(self, x: Tensor, quality: Tensor) -> list[Tensor]:
        """Blocks (n, C, side, side) in [0, 1] to the features of each level, from the top."""
        value, found = x - MIDDLE, []
        for analysis in reversed(self.analyses):
            value = analysis(value, quality)
            found.append(value)
        return found[::-1]

    def synthesize(self, codes: Sequence[Tensor], quality: Tensor) -> Tensor:
        """Codes int64 (n, h, w) of each level to blocks float32 (n, C, side, side) in [0, 1]."""
        drawn, linear = self.draw(codes, quality)
        assert drawn is not None
        blocks: Tensor = self.painter(drawn) + linear + MIDDLE
        return blocks.clamp(0, 1)

    def draw(self, codes: Sequence[Tensor], quality: Tensor) -> tuple[Tensor | None, Tensor]:
        """Features from the codes of the given levels, and the linear part of the pixels.

        Without levels, these are None and zeros (n, C, side, side).
        """
        config = self.config
        drawn, linear = (
            None,
            quality.new_zeros(len(quality), config.channels, config.side, config.side),
        )
        for number, found in enumerate(codes):
            level = self.level(number)
            vectors = level.look_up(found)
            drawn, linear = level.draw(vectors, drawn, quality), linear + level.pixels(vectors)
        return drawn, linear


def squared_distances(latents: Tensor, codebook: Tensor) -> Tensor:
    """Squared distances of latents float32 (n, D, h, w) from all vectors: (n, h, w, K)."""
    rows = latents.permute(0, 2, 3, 1)
    products = rows @ codebook.t()
    lengths = rows.square().sum(-1, keepdim=True) + codebook.square().sum(-1)
    return (lengths - 2 * products).clamp(min=0)
