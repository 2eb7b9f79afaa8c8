"""Presets of the generative models: everything a run depends on besides its data."""

from __future__ import annotations

from dataclasses import dataclass

from codec.models.generative import GenerativeConfig

MNIST = (1, 28, 28)
WIDE = (1024, 1024, 1024)
WIDE_RATE = 5e-4


@dataclass(frozen=True)
class GenerativePreset:
    """A training run of a generative model.

    All losses are sums over pixels and means over images, pixels in [0, 1]. The learning rate
    follows a linear warm-up and a cosine over the run's budget (steps or minutes).

    xavier            start of linear layers: Glorot & Bengio 2010, equation 16, as deep tanh
                      networks need it; else torch's own
    kl_warmup         vae: fraction of the budget in which the weight of the KL divergence rises
                      from 0 to 1
    mmd_weight        wae: λ of the maximum mean discrepancy
    code_penalty      rae: β of β/2·‖z‖²
    decoder_penalty   rae: λ of λ·‖θ‖² over the decoder's weights
    components        rae: Gaussians of the mixture fitted after training
    critic            gan: hidden widths or channels of the critic
    critic_steps      gan: steps of the critic for one of the generator
    gradient_penalty  gan: λ of Gulrajani et al. 2017, equation 3
    bre_weight        gan: weight of the binarised-representation-entropy regulariser
    ema_decay         gan: of the exponential moving average of the generator's weights
    validation        images held out of the training part, its last ones
    """

    model: GenerativeConfig
    batch: int = 128
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-5
    warmup_steps: int = 200
    betas: tuple[float, float] = (0.9, 0.999)
    gradient_clip: float | None = None
    xavier: bool = False
    kl_warmup: float = 0.0
    mmd_weight: float = 0.0
    code_penalty: float = 0.0
    decoder_penalty: float = 0.0
    components: int = 10
    critic: tuple[int, ...] = ()
    critic_steps: int = 1
    gradient_penalty: float = 10.0
    bre_weight: float = 0.0
    ema_decay: float = 0.999
    validation: int = 5000
    seed: int = 0


def _vae(code: int) -> GenerativePreset:
    model = GenerativeConfig("vae", "mlp", MNIST, code, WIDE, "tanh", "gaussian")
    return GenerativePreset(model, learning_rate=WIDE_RATE, xavier=True, kl_warmup=0.1)


def _wae(code: int) -> GenerativePreset:
    # Larger batches: the discrepancy is estimated within one.
    model = GenerativeConfig("wae", "mlp", MNIST, code, WIDE, "tanh")
    return GenerativePreset(
        model, batch=256, learning_rate=WIDE_RATE, xavier=True, mmd_weight=100.0
    )


def _rae(code: int) -> GenerativePreset:
    model = GenerativeConfig("rae", "mlp", MNIST, code, WIDE, "tanh")
    return GenerativePreset(
        model,
        learning_rate=WIDE_RATE,
        xavier=True,
        code_penalty=0.01,
        decoder_penalty=1e-4,
    )


def _gan(model: GenerativeConfig, critic: tuple[int, ...], bre: float = 0.0) -> GenerativePreset:
    return GenerativePreset(
        model,
        batch=64,
        learning_rate=3e-4,
        betas=(0.5, 0.9),
        warmup_steps=100,
        critic=critic,
        critic_steps=3,
        xavier=model.activation == "tanh",
        bre_weight=bre,
    )


def _mlp_gan(code: int) -> GenerativePreset:
    model = GenerativeConfig("gan", "mlp", MNIST, code, WIDE, "tanh")
    return _gan(model, critic=(512, 512, 512))


def _convolutional_gan(bre: float) -> GenerativePreset:
    model = GenerativeConfig("gan", "conv", MNIST, 10, (32, 64), "relu")
    return _gan(model, critic=(32, 64), bre=bre)


GENERATIVE_PRESETS: dict[str, GenerativePreset] = {
    "digits-vae": GenerativePreset(
        GenerativeConfig("vae", "mlp", MNIST, 10, (512, 256), "tanh", "gaussian"), kl_warmup=0.1
    ),
    "digits-vae-binary": GenerativePreset(
        GenerativeConfig("vae", "mlp", MNIST, 32, (512, 256), "relu", "bernoulli"), kl_warmup=0.2
    ),
    **{f"mnist-vae-{code}": _vae(code) for code in (2, 10, 100)},
    **{f"mnist-wae-{code}": _wae(code) for code in (2, 10, 100)},
    **{f"mnist-rae-{code}": _rae(code) for code in (2, 10, 100)},
    **{f"mnist-gan-{code}": _mlp_gan(code) for code in (2, 10, 100)},
    "mnist-convgan": _convolutional_gan(0.0),
    "mnist-convgan-bre": _convolutional_gan(1.0),
    # Small enough for a test: seconds on one core.
    "digits-tiny": GenerativePreset(
        GenerativeConfig("vae", "mlp", MNIST, 4, (32, 16), "tanh", "gaussian"),
        batch=32,
        learning_rate=5e-3,
        warmup_steps=5,
        validation=64,
    ),
}
