"""Presets of the generative models: all settings of a run besides its data."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import KW_ONLY, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bitstream.errors import InputError
from codec.datasets.arrays import Images
from codec.models.generative.networks import GenerativeConfig
from training.data.small_images import read_small_images
from training.loop.trainer import Preset

MNIST = (1, 28, 28)
PADDED_MNIST = (1, 32, 32)
NATURAL = (3, 64, 64)
WIDE = (1024, 1024, 1024)
WIDE_RATE = 5e-4

PenaltyNorm = Literal["image", "channels"]


@dataclass(frozen=True, kw_only=True)
class ImagePreset(Preset, ABC):
    """A training run on small images of one size.

    validation  number of held-out images, the last ones of the training part
    """

    validation: int = 5000

    @property
    @abstractmethod
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the images in the data set, or of the networks' images."""

    @abstractmethod
    def read(self, path: Path, *, part: str = "train") -> Images:
        """The images of a data set as the networks see them: uint8 (n, C, H, W).

        part  "train" or "test", if the path holds both

        Raises `InputError` for images that cannot be read or do not fit.
        """

    def read_test(self, data: Path, training: Images, test: Path | None) -> Images | None:
        """The test part of `test`, or of the training data; None if there is no separate one."""
        if test is not None:
            return self.read(test, part="test")
        found = self.read(data, part="test")
        count = min(len(found), len(training))
        return None if np.array_equal(found[:count], training[:count]) else found

    def split(self, images: Images) -> tuple[Images, Images]:
        """Images to train on, and held-out images. Raises `InputError` if there are too few."""
        if len(images) < self.validation + 2:
            raise InputError(
                f"training data: {len(images)} images, of which {self.validation} are held out "
                f"for validation; give at least {self.validation + 2}"
            )
        place = len(images) - self.validation
        return images[:place], images[place:]


@dataclass(frozen=True, kw_only=True)
class FramedPreset(ImagePreset):
    """A training run on images with a border, or cut from larger pictures.

    pad   number of black pixels added on each side of the data set's images
    crop  None takes images as they are. Otherwise pictures may have any size, and their centre
          square with this side, 0 for the largest, is reduced to the image's size
    """

    pad: int = 0
    crop: int | None = None

    def read(self, path: Path, *, part: str = "train") -> Images:
        """The images with their border, or cropped and reduced."""
        return read_small_images(path, self.image_shape, pad=self.pad, crop=self.crop, part=part)


@dataclass(frozen=True)
class GenerativePreset(FramedPreset):
    """A training run of a generative model.

    Unless stated otherwise, losses are sums over pixels and means over images, pixels in [0, 1].
    A wae with a critic is trained as Wasserstein++ (`training.generative.wpp`).

    xavier            initialise linear layers as in Glorot & Bengio 2010, equation 16, which deep
                      tanh networks need; else as torch does
    kl_warmup         vae: fraction of the budget in which the weight of the KL divergence rises
                      from 0 to 1
    known_labels      vae with classes: number of images whose label is known, equally many of each
                      class; 0 for all, without a classifier
    class_weight      vae with classes and few labels: α of the cross-entropy of the known labels
    mmd_weight        wae: λ of the maximum mean discrepancy
    reconstruction    wae: the error that is minimised, "sse", or "rmse" for the root of a batch's
                      mean squared error, pixels in [−1, 1] (Tschannen et al. 2018)
    code_penalty      rae: β of β/2·‖z‖²; flow: γ of the divergence of codes from a normal prior
    decoder_penalty   rae: λ of λ·‖θ‖² over the decoder's weights
    components        rae: number of Gaussians of the mixture fitted after training
    error_weight      flow: β of the squared error, whose likelihood has the variance 1/(2β)
    critic            gan: hidden widths or channels of the critic
    critic_steps      gan: steps of the critic for each step of the generator
    critic_rate       gan: learning rate of the critic, relative to the generator's
    gradient_penalty  gan: λ of Gulrajani et al. 2017, equation 3
    penalty_norm      gan: over what the norm of the gradient is taken, "image" or "channels"
    bre_weight        gan: weight of the binarised-representation-entropy regulariser
    critic_weight     wpp: λ of the critic's values in the generator's loss
    ema_decay         gan, flow: decay of the moving average of the weights, which is exported
    """

    model: GenerativeConfig
    _: KW_ONLY
    batch: int = 128
    betas: tuple[float, float] = (0.9, 0.999)
    gradient_clip: float | None = None
    xavier: bool = False
    kl_warmup: float = 0.0
    known_labels: int = 0
    class_weight: float = 0.0
    mmd_weight: float = 0.0
    reconstruction: Literal["sse", "rmse"] = "sse"
    code_penalty: float = 0.0
    decoder_penalty: float = 0.0
    components: int = 10
    error_weight: float = 0.0
    critic: tuple[int, ...] = ()
    critic_steps: int = 1
    critic_rate: float = 1.0
    gradient_penalty: float = 10.0
    penalty_norm: PenaltyNorm = "image"
    bre_weight: float = 0.0
    critic_weight: float = 0.0
    ema_decay: float = 0.999

    @property
    def method(self) -> str:
        """How the model is trained: its family, except "wpp" for a wae with a critic, and for a vae
        with classes "class-vae", or "m2" if only some labels are known.
        """
        if self.model.classes:
            return "m2" if self.known_labels else "class-vae"
        return "wpp" if self.model.family == "wae" and self.critic else self.model.family

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the networks' images."""
        return self.model.image_shape


def _vae(code: int) -> GenerativePreset:
    model = GenerativeConfig("vae", "mlp", MNIST, code, WIDE, "tanh", "gaussian")
    return GenerativePreset(model, learning_rate=WIDE_RATE, xavier=True, kl_warmup=0.1)


def _convolutional_vae(code: int) -> GenerativePreset:
    """A model whose code has hundreds of dimensions, to find how far R_p(D) can be certified."""
    model = GenerativeConfig("vae", "conv", PADDED_MNIST, code, (32, 64, 128), "relu", "gaussian")
    return GenerativePreset(model, pad=2, kl_warmup=0.1)


def _wae(code: int) -> GenerativePreset:
    # Larger batches, because the discrepancy is estimated within a batch.
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


# Generators of the distribution-preserving codec; those of 64×64 pixels have the batches, learning
# rates and weights of Tschannen et al. 2018, with a cosine in place of its warm-up and rate drops.


def _small(family: str) -> GenerativeConfig:
    return GenerativeConfig(family, "conv", PADDED_MNIST, 64, (32, 64, 128), "relu")


def _small_gan(**changes: Any) -> GenerativePreset:
    return replace(_gan(_small("gan"), critic=(32, 64, 128)), pad=2, **changes)


_FLOW: dict[str, Any] = {"flow_blocks": 4, "flow_width": 512, "flow_steps": 8}

# 32×32 pixels in colour, for which there are no published sizes.
_SMALL_NATURAL = GenerativeConfig(
    *("flow", "conv", (3, 32, 32), 128, (64, 128, 256), "relu"), **_FLOW
)


def _natural(family: str, **changes: Any) -> GenerativePreset:
    model = GenerativeConfig(family, "conv", NATURAL, 128, (64, 128, 256, 512), "relu")
    return GenerativePreset(model, crop=0, validation=1000, **changes)


_RMSE: dict[str, Any] = {"batch": 256, "mmd_weight": 100.0, "reconstruction": "rmse"}
_NATURAL_CRITIC: dict[str, Any] = {
    "betas": (0.5, 0.9),
    "critic": (64, 128, 256, 512),
    "critic_steps": 5,
    "penalty_norm": "channels",
}


GENERATIVE_PRESETS: dict[str, GenerativePreset] = {
    "digits-vae": GenerativePreset(
        GenerativeConfig("vae", "mlp", MNIST, 10, (512, 256), "tanh", "gaussian"), kl_warmup=0.1
    ),
    "digits-vae-binary": GenerativePreset(
        GenerativeConfig("vae", "mlp", MNIST, 32, (512, 256), "relu", "bernoulli"), kl_warmup=0.2
    ),
    "digits-class-vae": GenerativePreset(
        GenerativeConfig("vae", "mlp", MNIST, 10, (512, 256), "tanh", "gaussian", 10),
        kl_warmup=0.1,
    ),
    "digits-m2": GenerativePreset(
        GenerativeConfig("vae", "mlp", MNIST, 50, (500, 500), "relu", "bernoulli", 10),
        batch=100,
        known_labels=100,
        class_weight=50.0,
    ),
    "digits-rae": replace(
        _rae(10), model=GenerativeConfig("rae", "mlp", MNIST, 10, (256, 128), "tanh")
    ),
    **{f"mnist-vae-{code}": _vae(code) for code in (2, 10, 100)},
    **{f"mnist-wae-{code}": _wae(code) for code in (2, 10, 100)},
    **{f"mnist-rae-{code}": _rae(code) for code in (2, 10, 100)},
    **{f"mnist-gan-{code}": _mlp_gan(code) for code in (2, 10, 100)},
    "mnist-convvae-512": _convolutional_vae(512),
    "mnist-convgan": _convolutional_gan(0.0),
    "mnist-convgan-bre": _convolutional_gan(1.0),
    "dplc-digits-gan": _small_gan(),
    "dplc-digits-gan-bre": _small_gan(bre_weight=1.0),
    "dplc-digits-gan-channels": _small_gan(penalty_norm="channels"),
    "dplc-digits-wae": GenerativePreset(_small("wae"), pad=2, **_RMSE),
    "dplc-digits-wpp": GenerativePreset(
        _small("wae"),
        pad=2,
        learning_rate=3e-4,
        betas=(0.5, 0.9),
        warmup_steps=100,
        critic=(32, 64, 128),
        critic_steps=2,
        critic_weight=5.5e-3,  # see training.generative.wpp
        **{**_RMSE, "batch": 128},
    ),
    "dplc-digits-flow": GenerativePreset(
        replace(_small("gan"), family="flow", **_FLOW),
        pad=2,
        batch=256,
        gradient_clip=200.0,
        error_weight=15.0,
        code_penalty=0.1,
    ),
    "dplc-32-flow": GenerativePreset(
        _SMALL_NATURAL,
        crop=0,
        validation=1000,
        gradient_clip=200.0,
        error_weight=15.0,
        code_penalty=0.1,
    ),
    "dplc-64-gan": _natural("gan", batch=64, learning_rate=1e-4, **_NATURAL_CRITIC),
    "dplc-64-wae": _natural("wae", **_RMSE),
    "dplc-64-wpp": _natural(
        "wae",
        learning_rate=3e-4,
        critic_rate=1 / 3,  # 1e-4, as for the GAN: the published 3e-4 is for the other two networks
        critic_weight=2.5e-5,
        **_RMSE,
        **_NATURAL_CRITIC,
    ),
    # Small enough for a test: seconds on one core.
    "digits-tiny": GenerativePreset(
        GenerativeConfig("vae", "mlp", MNIST, 4, (32, 16), "tanh", "gaussian"),
        batch=32,
        learning_rate=5e-3,
        warmup_steps=5,
        validation=64,
    ),
}
