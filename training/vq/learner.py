"""Training of the vector-quantisation codec: codes at all qualities, and their prior.

Each image of a batch has a quality of its own. Level after level, from the top::

    z ─► squared distances d² of all vectors ─┐
         prior ─► code lengths L in bits ─────┴─► code: argmin λ g d² + L

which is entropy-constrained vector quantisation (Chou, Lookabaugh and Gray 1989). The gain g, the
squared error that a squared distance causes, is measured during training. The loss, in bits per
pixel, is

    λ · MSE + L of the codes + commitment · λ g d²

whose gradient passes straight through the quantiser (van den Oord et al. 2017). Through the lengths
it reaches the prior. Latents get a gradient of the lengths from the mean of L over a soft choice of
codes, 2^−(λ g d² + L) (Agustsson et al. 2017, "Soft-to-hard vector quantization"). Vectors are
moving averages of their latents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from codec.models.vq.networks import MIDDLE, VqNetworks, squared_distances
from training.generative.learner import Draw, ImageLearner
from training.loop.optimise import descend
from training.vq.code_prior import CodePrior, chosen_lengths, code_lengths
from training.vq.config import VqPreset

PEAK = 255
MEASURED_QUALITIES = (0.0, 0.25, 0.5, 0.75, 1.0)
MEASURED_IMAGES = 256
GAIN_STEPS, SPLIT_STEPS, GAIN_DECAY = 20, 25, 0.9
"""Steps between measurements of gains and between splits; decay of the gains' moving averages."""
START_IMAGES, START_VECTORS = 256, 64
"""Number of images to which the start is fitted, and of their latents for each vector."""
_SWAPPED, _NEIGHBOUR = 0.15, 4
_RARE = 0.01  # relative to the share of each vector if all were used equally


@dataclass(frozen=True)
class Coded:
    """A batch coded by one level.

    codes      int64 (n, h, w)
    latents    float32 (n, D, h, w)
    distances  squared distances of all vectors, float32 (n, h, w, codes)
    bits       bits of the codes under the prior, float32 (n,); its gradient is that of the loss
    """

    codes: Tensor
    latents: Tensor
    distances: Tensor
    bits: Tensor


class VqLearner(ImageLearner):
    """The networks, and the priors of the levels; images come as float32 (n, C, s, s) in [0, 1]."""

    family = "vq"

    def __init__(
        self, preset: VqPreset, *, autocast: bool = True, device: torch.device | None = None
    ) -> None:
        super().__init__(preset, autocast=autocast, device=device)
        self.preset: VqPreset = preset
        self.config = config = preset.model
        self.networks = VqNetworks(config)
        self.priors = nn.ModuleList(CodePrior(config, level) for level in range(config.levels))
        for level, codes in enumerate(config.codes):
            self.register_buffer(f"counts{level}", torch.ones(codes))
            self.register_buffer(f"sums{level}", torch.zeros(codes, config.dimension))
        self.to(self.device)
        self.networks.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        parameters = [p for p in self.parameters() if p.requires_grad]
        adam = torch.optim.Adam(parameters, lr=preset.learning_rate, fused=True)
        self.optimizers = {"adam": adam}
        self.number = 0

    @property
    def counts_rate(self) -> bool:
        """Whether code lengths affect the choice of codes and the gradients of latents."""
        return self.number >= self.preset.rate_step or not self.training

    def prior(self, level: int) -> CodePrior:
        """The prior of a level."""
        return cast("CodePrior", self.priors[level])

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step; the first one begins with `start`."""
        self.number = step
        if step == 0:
            self.start(self.first_images(), self.noise_of(-1))
        return super().learn(step, fraction)

    def code(
        self, x: Tensor, quality: Tensor, given: Sequence[Tensor] = ()
    ) -> tuple[list[Coded], Tensor]:
        """Images at qualities (n,) in [0, 1]: each level, and x̂ (n, C, s, s).

        given   codes of the first levels, which are then not chosen
        """
        networks, weight = self.networks, self.config.weight(quality)
        found: list[Coded] = []
        drawn = above = None
        decoded = torch.full_like(x, MIDDLE)
        with self.mixed():
            features = networks.features(x, quality)
            for number, values in enumerate(features):
                level, prior = networks.level(number), self.prior(number)
                latents = level.analyze(x - decoded, values, drawn, quality)
                distances = squared_distances(latents, level.codebook)
                costs = distances * (weight * networks.gains[number])[:, None, None, None]
                codes = given[number] if number < len(given) else distances.argmin(-1)
                if self.counts_rate and number >= len(given):
                    with torch.no_grad():
                        lengths = code_lengths(prior(codes, above, quality), prior.depth)
                    codes = (costs + lengths).argmin(-1)
                log_odds = prior(codes, above, quality)
                bits = chosen_lengths(log_odds, codes, prior.depth).sum((1, 2))
                if self.counts_rate:
                    lengths = code_lengths(log_odds.detach(), prior.depth)
                    choice = torch.softmax(-math.log(2) * (costs + lengths), dim=-1)
                    soft = (choice * lengths).sum((1, 2, 3))
                    bits = bits + soft - soft.detach()
                found.append(Coded(codes, latents, distances, bits))
                vectors = level.look_up(codes)
                vectors = latents + (vectors - latents).detach()
                drawn, decoded = (
                    level.draw(vectors, drawn, quality),
                    decoded + level.pixels(vectors),
                )
                above = codes
            assert drawn is not None
            return found, decoded + networks.painter(drawn)

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step, with a separate quality for every image."""
        x = draw().to(self.device, memory_format=torch.channels_last)
        pixels = self.config.side**2
        quality = torch.rand(len(x), generator=generator).to(self.device)
        levels, decoded = self.code(x, quality)
        weight = self.config.weight(quality)
        error = mean_squared_error(x, decoded)
        bits = torch.stack([level.bits for level in levels]).sum(0)
        held = torch.stack([
            self.networks.gains[number]
            * (level.latents - self.networks.level(number).look_up(level.codes))
            .square()
            .sum((1, 2, 3))
            for number, level in enumerate(levels)
        ]).sum(0)  # fmt: skip
        loss = (weight * error + (bits + self.preset.commitment * weight * held) / pixels).mean()
        if descend(loss, self.optimizers["adam"], clip=1.0):
            for number, level in enumerate(levels):
                self.average(number, level)
                if self.number % SPLIT_STEPS == SPLIT_STEPS - 1:
                    self.split(number, generator)
            if self.number % GAIN_STEPS == 0:
                self.measure_gains(x, quality, levels, generator)
        figures = {"loss": float(loss.detach()), "mse": float(error.detach().mean())}
        for number, level in enumerate(levels):
            figures[f"bpp{number}"] = float(level.bits.detach().mean()) / pixels
            counts = self.get_buffer(f"counts{number}")
            shares = counts / counts.sum()
            figures[f"perplexity{number}"] = float(torch.special.entr(shares).sum().exp())
        return figures

    @torch.no_grad()
    def average(self, number: int, level: Coded) -> None:
        """Move the vectors of a level to the moving averages of their latents."""
        counts, sums = (self.get_buffer(f"{name}{number}") for name in ("counts", "sums"))
        latents = level.latents.permute(0, 2, 3, 1).flatten(0, 2)
        codes = level.codes.flatten()
        moved = 1 - self.preset.codebook_decay
        counts.lerp_(torch.bincount(codes, minlength=len(counts)).to(counts.dtype), moved)
        sums.lerp_(torch.zeros_like(sums).index_add_(0, codes, latents), moved)
        used = counts > 1e-3
        codebook = self.networks.level(number).codebook
        codebook[used] = sums[used] / counts[used, None]

    @torch.no_grad()
    def split(self, number: int, generator: torch.Generator) -> None:
        """Give vectors that are hardly used half of the latents of a neighbour in the tree."""
        counts, sums = (self.get_buffer(f"{name}{number}") for name in ("counts", "sums"))
        codebook = self.networks.level(number).codebook
        family = min(16, len(counts))
        rare = counts < _RARE * counts.mean()
        spread = 0.01 * codebook[~rare].std()
        for code in torch.nonzero(rare).flatten().tolist():
            first = code // family * family
            donor = first + int(counts[first : first + family].argmax())
            if counts[donor] < 4 * _RARE * counts.mean():
                continue
            noise = torch.randn(sums.shape[1], generator=generator).to(sums.device)
            vector = codebook[donor] + spread * noise
            counts[donor] /= 2
            sums[donor] /= 2
            counts[code] = counts[donor]
            sums[code] = counts[code] * vector
            codebook[code] = vector

    def first_images(self) -> Tensor:
        """Images float32 (n, C, s, s) to which the start is fitted."""
        count = -(-START_IMAGES // self.preset.batch)
        return torch.cat([self.sampler(number) for number in range(count)]).to(self.device)

    @torch.no_grad()
    def start(self, x: Tensor, generator: torch.Generator) -> None:
        """Start as vector quantisation of principal components, with networks that add nothing.

        The transforms are orthonormal, so squared distances are squared errors.
        """
        networks, rest = self.networks, x - MIDDLE
        nn.init.zeros_(networks.painter.last.weight)
        assert networks.painter.last.bias is not None
        nn.init.zeros_(networks.painter.last.bias)
        for number, codes in enumerate(self.config.codes):
            level = networks.level(number)
            nn.init.zeros_(level.latents.weight)
            assert level.latents.bias is not None
            nn.init.zeros_(level.latents.bias)
            patches = F.pixel_unshuffle(rest, level.stride).permute(0, 2, 3, 1).flatten(0, 2)
            basis = principal_components(patches, self.config.dimension, generator)
            level.project.weight.copy_(basis[:, :, None, None])
            level.unproject.weight.copy_(basis.t()[:, :, None, None])
            latents = patches @ basis.t()
            chosen = torch.randperm(len(latents), generator=generator)[: START_VECTORS * codes]
            vectors = clustered(latents[chosen.to(self.device)], codes, generator)
            level.codebook.copy_(vectors)
            self.get_buffer(f"counts{number}").fill_(1.0)
            self.get_buffer(f"sums{number}").copy_(vectors)
            networks.gains[number] = PEAK**2 / self.config.channels
            rows = torch.cdist(latents, vectors).argmin(1).view(
                len(x), self.config.grid(number), self.config.grid(number)
            )  # fmt: skip
            rest = rest - level.pixels(level.look_up(rows))

    @torch.no_grad()
    def measure_gains(
        self, x: Tensor, quality: Tensor, levels: Sequence[Coded], generator: torch.Generator
    ) -> None:
        """Measure the squared error of replacing the chosen codes at some places by others.

        Lower levels compensate for a part of it; the bits that they need for that are counted too.
        """
        chosen, gains = [level.codes for level in levels], self.networks.gains
        weight, pixels = self.config.weight(quality), self.config.side**2
        for number, level in enumerate(levels):
            count = min(_NEIGHBOUR, self.config.codes[number])
            others = level.distances.topk(count, largest=False).indices[..., -1]
            swapped = torch.rand(others.shape, generator=generator).to(self.device) < _SWAPPED
            codes = torch.where(swapped, others, level.codes)
            moved = level.distances.gather(-1, torch.stack([codes, level.codes], -1)).diff(dim=-1)
            distance = -(weight * moved.sum((1, 2, 3))).sum()
            costs = []
            for here in (codes, level.codes):
                found, decoded = self.code(x, quality, [*chosen[:number], here])
                below = torch.stack([*(each.bits for each in found[number + 1 :]), 0 * weight])
                error = mean_squared_error(x, decoded)
                costs.append((weight * pixels * error + below.sum(0)).sum())
            cost = costs[0] - costs[1]
            if distance <= 0 or not torch.isfinite(cost):
                continue
            # A single batch may give no information, or a wrong sign.
            old = float(gains[number])
            gain = min(max(float(cost / distance), 0.2 * old), 5 * old)
            gains[number] = GAIN_DECAY * old + (1 - GAIN_DECAY) * gain

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """Bits per pixel under the prior, and the mean squared error of levels 0 .. 255."""
        figures = {}
        for fraction in MEASURED_QUALITIES:
            bits, errors = [], []
            for x in torch.split(images[:MEASURED_IMAGES].to(self.device), 64):
                quality = torch.full((len(x),), fraction, device=self.device)
                levels, decoded = self.code(x, quality)
                bits.append(torch.stack([level.bits for level in levels]).sum(0))
                errors.append(mean_squared_error(x, decoded))
            name = f"{round(100 * fraction)}"
            figures[f"bpp_{name}"] = float(torch.cat(bits).mean()) / self.config.side**2
            figures[f"mse_{name}"] = float(torch.cat(errors).mean())
        return figures


def mean_squared_error(x: Tensor, decoded: Tensor) -> Tensor:
    """Mean squared error of images in [0, 1], on the scale of levels 0 .. 255: (n,)."""
    return PEAK**2 * (x - decoded.float()).square().flatten(1).mean(1)


def clustered(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Vectors (count, D) of points (n, D) by k-means, ordered so that neighbours in the tree of
    codes are near one another.
    """
    chosen = torch.randperm(len(points), generator=generator)[:count].to(points.device)
    vectors = points[chosen]
    if len(vectors) < count:
        vectors = vectors[torch.arange(count, device=points.device) % len(vectors)]
        vectors = vectors + 1e-3 * torch.randn(vectors.shape, generator=generator).to(points.device)
    for _ in range(10):
        nearest = torch.cdist(points, vectors).argmin(1)
        sums = torch.zeros_like(vectors).index_add_(0, nearest, points)
        counts = torch.bincount(nearest, minlength=count)
        used = counts > 0
        vectors = vectors.clone()
        vectors[used] = sums[used] / counts[used, None]
    return vectors[_tree_order(vectors)]


def principal_components(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Orthonormal rows (count, n) along which points (m, n) vary most, about 0.

    If there are fewer than `count` dimensions, the remaining rows are 0.
    """
    chosen = torch.randperm(len(points), generator=generator)[:20_000].to(points.device)
    rows = torch.linalg.svd(points[chosen], full_matrices=False).Vh[:count]
    return torch.cat([rows, rows.new_zeros(count - len(rows), points.shape[1])])


def _tree_order(vectors: Tensor) -> Tensor:
    """An order in which each half, quarter … lies on one side of the widest direction."""
    order = torch.arange(len(vectors), device=vectors.device)
    size = len(vectors)
    while size > 1:
        parts = []
        for part in torch.split(order, size):
            centred = vectors[part] - vectors[part].mean(0)
            widest = torch.linalg.svd(centred, full_matrices=False).Vh[0]
            parts.append(part[(centred @ widest).argsort()])
        order = torch.cat(parts)
        size //= 2
    return order
