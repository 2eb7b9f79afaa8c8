"""Wasserstein++: Tschannen et al. 2018, "Deep generative models for distribution-preserving lossy
compression".

A Wasserstein autoencoder whose generator also has a critic. Encoder E and generator G minimise ::

    RMSE(x, G(E(x))) + λ_mmd · MMD²(E(X), N(0, I)) − λ_critic · mean D(G(c))
    c = u · E(x) + (1 − u) · z,   u ~ U(0, 1) for each image, z ~ N(0, I)

and the critic D tells images from G(c), as in `training.generative.gan`. No gradient of D reaches
E, because c takes E(x) as a constant. RMSE, D and its penalty see pixels in [−1, 1].

λ_critic: in a batch of B images of N pixels the gradient of the RMSE has the norm 1/√(B·N), and
that of a mean of values of slope L the norm L/√B. The paper has λ = 2.5·10⁻⁵ for 64×64×3 and a
penalty that makes L = 64. Its ratio L·√N·λ = 0.18 gives λ = 5.5·10⁻³ for 32×32×1 and L = 1.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from codec.models.generative.networks import Encoder, GenerativeModel
from training.generative.gan import AdversarialLearner
from training.generative.learner import Draw, nearest_figures, new_encoder
from training.generative.wae import code_figures, inverse_multiquadric_mmd, reconstruction_error
from training.loop.optimise import MovingAverage


class WppLearner(AdversarialLearner):
    """Trains the critic, then encoder and generator; the moving averages of both are exported."""

    encoder: Encoder
    signed = True

    def build(self) -> None:
        super().build()
        self.encoder = new_encoder(self.preset)
        self.encoder_average = MovingAverage(self.encoder, self.preset.ema_decay)
        self.optimizers = {"adam": self.adam(self.encoder, self.decoder), **self.optimizers}

    @property
    def batches_per_step(self) -> int:
        """One batch for each step of the critic, and one for encoder and generator."""
        return self.preset.critic_steps + 1

    def encode(self, x: Tensor) -> Tensor:
        """Codes float32 (n, k) of images (n, C, H, W) in [0, 1]."""
        with self.mixed():
            codes: Tensor = self.encoder(x)[0]
        return codes.float()

    def fake_codes(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """c of the images."""
        return self.between(self.encode(x), generator)

    def between(self, codes: Tensor, generator: torch.Generator) -> Tensor:
        """c of codes (n, k), which it takes as constants."""
        z = self.normal(len(codes), generator)
        u = torch.rand(len(codes), 1, generator=generator).to(self.device)
        return z.lerp(codes.detach(), u)

    def train_step(
        self, draw: Draw, generator: torch.Generator, fraction: float
    ) -> dict[str, float]:
        """Several steps of the critic, then one of encoder and generator."""
        preset = self.preset
        critic_loss = self.train_critic(draw, generator)
        x = draw().to(self.device)
        codes = self.encode(x)
        decoded, fake = self.decode(torch.cat([codes, self.between(codes, generator)])).chunk(2)
        error = reconstruction_error(x, decoded, preset.reconstruction)
        mmd = inverse_multiquadric_mmd(codes, self.normal(len(x), generator))
        value = self.critic_value(self.seen(fake))
        loss = error + preset.mmd_weight * mmd - preset.critic_weight * value
        if self.descend(loss, self.optimizers["adam"]):
            self.average.update_parameters(self.decoder)
            self.encoder_average.update_parameters(self.encoder)
        return {
            "loss": loss.item() + 0 * critic_loss.item(),
            "critic_loss": critic_loss.item(),
            preset.reconstruction: error.item(),
            "mmd": mmd.item(),
        }

    @torch.no_grad()
    def measure(self, images: Tensor) -> dict[str, float]:
        """The figures of a wae and of a gan, for the averaged networks."""
        return {
            **code_figures(self.encoder_average.module, self.average.module, images),
            "critic_estimate": self.critic_estimate(images),
            **nearest_figures(self.model(), images),
        }

    def model(self) -> GenerativeModel:
        """The model with the averaged networks."""
        return replace(super().model(), encoder=self.encoder_average.module)
