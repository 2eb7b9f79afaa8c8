"""Distribution-preserving lossy compression: sizes and float networks.

Tschannen, Agustsson and Lucic 2018, "Deep generative models for distribution-preserving lossy
compression". A generator G from noise z ~ N(0, I) is trained first and then fixed; for each rate
an encoder E and a stochastic map B are trained around it such that B(E(X)) also follows N(0, I)::

    image ─ E ─► symbols ±½ ─ file ─► symbols, noise ─ B ─► z ─ G ─► image
                                      at 0 symbols: noise ────► z

So at every rate the decoded images have the same distribution as the generator's. A symbol
position is 16×16 pixels; a rate of n symbols per position costs at most n / 256 bits per pixel.

Networks, for an image (C, s, s) and m = s / 16 positions in either direction::

    E   4×4 convolutions of stride 2 to encoder₁ … encoder₄ channels, leaky rectifiers;
        3×3 convolution to n channels; its sign is the symbol
    B   symbols (n, m, m) and noise U(−½, ½) of (noise, m, m); 3×3 convolution to `mixer` channels;
        two residual blocks; linear to z
    G   `codec.models.generative.networks.Decoder`, convolutional, with or without a flow before it

With a flow, B of the higher rates may give the codes behind the flow instead of z. It then learns
far faster, because the flow turns small differences of codes into large ones of z. At low rates
the codes hardly depend on the symbols, and noise is more easily mapped to N(0, I).

The plain autoencoder that the method is compared with has the same networks, no noise, no flow, one
rate, and a G that was trained together with E and B on the squared error alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bitstream.errors import UsageError
from codec.models.generative.networks import Decoder, GenerativeConfig

STRIDE = 16
LEAK = 0.2
MAX_SYMBOLS = 2**12
"""The most symbols of a block, because they are decoded one after another."""
MAX_RATES = 16
MAX_CHANNELS = 2**11


@dataclass(frozen=True)
class DplcConfig:
    """Sizes of the networks, stored in the weights file.

    channels   channels of an image, 1 or 3
    side       side of a block in pixels: a multiple of 16, at most 256
    code       dimensions of z, or of the codes behind the flow
    hidden     channels of G's transposed convolutions, from the image to the code
    encoder    channels of E's four convolutions
    mixer      channels within B
    noise      channels of noise that B takes; 0 for a plain autoencoder
    rates      symbols per position of each rate, ascending; 0 for pure generation
    flow_blocks, flow_width, flow_steps   of G's flow (`GenerativeConfig`); 0 without one
    codes_from   the fewest symbols per position with which B gives codes behind the flow instead of
                 z; 0 if it always gives z

    Raises `UsageError` for anything else.
    """

    channels: int
    side: int
    code: int
    hidden: tuple[int, ...]
    encoder: tuple[int, ...]
    mixer: int
    noise: int
    rates: tuple[int, ...] = (0, 2, 8, 32, 128)
    flow_blocks: int = 0
    flow_width: int = 0
    flow_steps: int = 0
    codes_from: int = 0

    def __post_init__(self) -> None:
        sizes = (
            *(self.channels, self.side, self.mixer, self.noise),
            *(self.flow_blocks, self.flow_width, self.flow_steps, self.codes_from),
        )
        if not all(map(_is_whole, (self.hidden, self.encoder, self.rates, sizes))):
            raise UsageError(f"{self}: expected whole numbers")
        if self.channels not in (1, 3):
            raise UsageError(f"channels {self.channels}: expected 1 or 3")
        if not STRIDE <= self.side <= 256 or self.side % STRIDE:
            raise UsageError(f"side {self.side}: expected a multiple of {STRIDE}, 16 .. 256")
        if len(self.encoder) != 4:
            raise UsageError(f"encoder {self.encoder}: expected the channels of 4 convolutions")
        if not all(1 <= v <= MAX_CHANNELS for v in (*self.encoder, self.mixer)):
            raise UsageError(f"encoder, mixer: expected 1 .. {MAX_CHANNELS} channels")
        if not 0 <= self.noise <= MAX_CHANNELS:
            raise UsageError(f"noise {self.noise}: expected 0 .. {MAX_CHANNELS} channels")
        if not 1 <= len(self.rates) <= MAX_RATES or any(b <= a for a, b in pairwise(self.rates)):
            raise UsageError(f"rates {self.rates}: expected 1 .. {MAX_RATES} ascending numbers")
        if self.rates[0] < 0 or self.rates[-1] * self.positions > MAX_SYMBOLS:
            raise UsageError(f"rates {self.rates}: expected at most {MAX_SYMBOLS} symbols a block")
        if self.codes_from < 0 or (self.codes_from and not self.flow_blocks):
            raise UsageError(
                f"codes_from {self.codes_from} with {self.flow_blocks} flow_blocks: expected 0, or "
                "a number of symbols if the generator has a flow"
            )
        # Constructing the generator's configuration checks its sizes.
        _ = self.generator

    @property
    def generator(self) -> GenerativeConfig:
        """Sizes of G."""
        shape = (self.channels, self.side, self.side)
        return GenerativeConfig(
            *("flow" if self.flow_blocks else "gan", "conv", shape, self.code, self.hidden, "relu"),
            flow_blocks=self.flow_blocks,
            flow_width=self.flow_width,
            flow_steps=self.flow_steps,
        )

    @property
    def grid(self) -> int:
        """Positions of a block in each direction."""
        return self.side // STRIDE

    @property
    def positions(self) -> int:
        """Positions of a block."""
        return self.grid**2

    def symbols(self, rate: int) -> int:
        """Symbols of a block at rate number `rate`."""
        return self.rates[rate] * self.positions

    def gives_codes(self, rate: int) -> bool:
        """Whether B of rate number `rate` gives codes behind the flow, instead of z."""
        return 0 < self.codes_from <= self.rates[rate]

    def rate_at(self, hundredths: int) -> int:
        """Number of the rate that a quality in hundredths, 100 .. 10000, selects.

        The rates divide the qualities evenly: with five rates, qualities up to 20 select the first.
        """
        return (hundredths - 1) * len(self.rates) // 10_000


def _is_whole(values: object) -> bool:
    return isinstance(values, tuple) and all(type(v) is int for v in values)


class SymbolEncoder(nn.Module):
    """E before its signs: float (n, C, s, s) in [0, 1] to (n, symbols per position, m, m)."""

    def __init__(self, config: DplcConfig, symbols: int) -> None:
        super().__init__()
        channels = (config.channels, *config.encoder)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1) for a, b in pairwise(channels)
        )
        self.last = nn.Conv2d(channels[-1], symbols, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """A symbol is +½ if the result is not negative, else −½."""
        value = 2 * x - 1
        for layer in self.layers:
            value = F.leaky_relu(layer(value), LEAK)
        return self.last(value)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    """x + convolution(relu(convolution(relu(x)))), 3×3 each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, kernel_size=3, padding=1)
        self.second = nn.Conv2d(channels, channels, kernel_size=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """float (n, channels, m, m) to the same shape."""
        found: Tensor = x + self.second(F.relu(self.first(F.relu(x))))
        return found


class StochasticMap(nn.Module):
    """B: symbols (n, symbols per position, m, m) ±½ and noise (n, noise, m, m) to z, or
    to codes behind the flow, (n, code).
    """

    def __init__(self, config: DplcConfig, rate: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(
            config.rates[rate] + config.noise, config.mixer, kernel_size=3, padding=1
        )
        self.blocks = nn.Sequential(ResidualBlock(config.mixer), ResidualBlock(config.mixer))
        self.last = nn.Linear(config.mixer * config.positions, config.code)

    def forward(self, symbols: Tensor, noise: Tensor) -> Tensor:
        """float32; z is meant to be distributed as N(0, I)."""
        value = self.blocks(self.mix(torch.cat([symbols, noise], dim=1)))
        return self.last(F.relu(value).flatten(1))  # type: ignore[no-any-return]


class DplcNetworks(nn.Module):
    """G, and E and B of every rate.

    `encoders` and `maps` are indexed by the number of a rate; for the rate without symbols they
    are placeholders that are never called. Parameters are named `generator.…`,
    `encoders.{rate}.…` and `maps.{rate}.…`.
    """

    def __init__(self, config: DplcConfig) -> None:
        super().__init__()
        self.config = config
        self.generator = Decoder(config.generator)
        self.encoders = nn.ModuleList(
            SymbolEncoder(config, symbols) if symbols else nn.Identity() for symbols in config.rates
        )
        self.maps = nn.ModuleList(
            StochasticMap(config, rate) if symbols else nn.Identity()
            for rate, symbols in enumerate(config.rates)
        )

    def analyze(self, x: Tensor, rate: int) -> Tensor:
        """Images (n, C, s, s) in [0, 1] to E's values before their signs, (n, symbols, m, m)."""
        if not self.config.rates[rate]:
            return x.new_zeros(len(x), 0, self.config.grid, self.config.grid)
        return self.encoders[rate](x)  # type: ignore[no-any-return]

    def synthesize(self, symbols: Tensor, noise: Tensor, rate: int) -> Tensor:
        """Symbols ±½ (n, symbols, m, m) and noise to images (n, C, s, s) in [0, 1].

        noise   uniform (n, noise, m, m) in (−½, ½); at 0 symbols z, normal (n, code), instead
        """
        return self.logits(self.mapped(symbols, noise, rate), rate).sigmoid()

    def mapped(self, symbols: Tensor, noise: Tensor, rate: int) -> Tensor:
        """z (n, code), which is the noise at 0 symbols, or codes (n, code), see
        `DplcConfig.gives_codes`.
        """
        return self.maps[rate](symbols, noise) if self.config.rates[rate] else noise

    def logits(self, mapped: Tensor, rate: int) -> Tensor:
        """Images (n, C, s, s) before the sigmoid, from what `mapped` returns."""
        if self.config.gives_codes(rate):
            return self.generator.decoded(mapped)
        return self.generator.logits(mapped)
