"""Wasserstein autoencoder with the maximum mean discrepancy: Tolstikhin et al. 2018, WAE-MMD."""

from __future__ import annotations

import torch
from torch import Tensor

from codec.models.generative.networks import Decoder, Encoder
from training.generative.learner import (
    Draw,
    GenerativeLearner,
    in_batches,
    nearest_figures,
    new_decoder,
    new_encoder,
    squared_error,
)

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def inverse_multiquadric_mmd(codes: Tensor, samples: Tensor) -> Tensor:
    """Unbiased estimate of the squared maximum mean discrepancy of two sets, both (n, k).

    The kernel is Σ_s C_s / (C_s + ‖a − b‖²) over `SCALES`, C_s = 2·k·s: 2k is the expected squared
    distance of two samples of N(0, I) (Tolstikhin et al. 2018, section 4; several scales as in
    Tschannen et al. 2018). 0 in expectation if both sets have the same distribution.
    """
    count, dim = codes.shape
    within = _kernel(_distances(codes, codes), dim) + _kernel(_distances(samples, samples), dim)
    off_diagonal = within.sum() - within.diagonal().sum()
    between = _kernel(_distances(codes, samples), dim).mean()
    return off_diagonal / (count * (count - 1)) - 2 * between


def _distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances, (n, k) and (m, k) to (n, m); its gradient is finite at distance 0."""
    squares = a.square().sum(1)[:, None] + b.square().sum(1)[None]
    return (squares - 2 * a @ b.T).clamp(min=0)


def _kernel(distances: Tensor, dim: int) -> Tensor:
    total = torch.zeros_like(distances)
    for scale in SCALES:
        constant = 2 * dim * scale
        total = total + constant / (constant + distances)
    return total


def reconstruction_error(x: Tensor, y: Tensor, kind: str) -> Tensor:
    """The scalar error of decoded images that is minimised; both float32 (n, C, H, W) in [0, 1].

    "sse"   squared error, sum over pixels, mean over images
    "rmse"  root of the mean squared error over pixels and images, of pixels in [−1, 1]
            (Tschannen et al. 2018): twice that of [0, 1]
    """
    if kind == "sse":
        return squared_error(x, y).mean()
    return 2 * (x - y).square().mean().sqrt()


@torch.no_grad()
def code_figures(encoder: Encoder, decoder: Decoder, images: Tensor) -> dict[str, float]:
    """Squared error of held-out images; the codes' mean square and discrepancy from the prior."""
    device = next(decoder.parameters()).device
    codes = in_batches(lambda x: encoder(x)[0], images, device)
    decoded = in_batches(decoder, codes, device)
    samples = torch.randn(codes.shape, generator=torch.Generator().manual_seed(0))
    return {
        "sse": float(squared_error(images, decoded).mean()),
        "mmd": float(inverse_multiquadric_mmd(codes, samples)),
        "code_mean_square": float(codes.square().mean()),
    }


class WaeLearner(GenerativeLearner):
    """Reconstruction error + λ·MMD²(aggregated codes, prior)."""

    encoder: Encoder

    def build(self) -> None:
        self.encoder, self.decoder = new_encoder(self.preset), new_decoder(self.preset)
        self.optimizers = {"adam": self.adam(self)}

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """One step on the penalised reconstruction error."""
        x, kind = draw().to(self.device), self.preset.reconstruction
        with self.mixed():
            codes, _ = self.encoder(x)
            decoded = self.decoder.logits(codes)
        # Distances of codes are differences of large numbers, so bfloat16 is too coarse.
        error = reconstruction_error(x, decoded.float().sigmoid(), kind)
        mmd = inverse_multiquadric_mmd(codes.float(), self.normal(len(x), generator))
        loss = error + self.preset.mmd_weight * mmd
        self.descend(loss, self.optimizers["adam"])
        return {"loss": loss.item(), kind: error.item(), "mmd": mmd.item()}

    def measure(self, images: Tensor) -> dict[str, float]:
        """Squared error, codes' discrepancy from the prior and mean square, nearest neighbours."""
        figures = code_figures(self.encoder, self.decoder, images)
        return {**figures, **nearest_figures(self.model(), images)}
