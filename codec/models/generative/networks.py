"""Small generative models whose rate-distortion function is measured.

A model is a prior p(z) and a decoder f(z), and an encoder if the family has one. The families and
their sources::

    vae   Kingma & Welling 2014, "Auto-encoding variational Bayes"; the Gaussian likelihood has one
          learned scalar variance, as in Huang et al. 2020
    gan   Gulrajani et al. 2017, "Improved training of Wasserstein GANs"; no encoder
    wae   Tolstikhin et al. 2018, "Wasserstein auto-encoders"; the encoder is deterministic
    rae   Ghosh et al. 2020, "From variational to deterministic autoencoders"; the prior is a
          Gaussian mixture fitted to the codes after training
    flow  a vae whose posterior has a constant variance (CV-VAE of the same paper), and whose prior
          is a continuous flow (`codec.models.generative.flow`). The flow is the first part of the
          decoder, so z is standard normal here as well; no encoder to z is kept

Architectures, for an image (C, H, W), `hidden` = (h₁, …, h_n) and a code of k dimensions::

    mlp   encoder  C·H·W → h₁ → … → h_n → k or 2k     decoder  k → h_n → … → h₁ → C·H·W
    conv  encoder  4×4 convolutions of stride 2 to h₁, …, h_n channels, then linear to k or 2k;
          decoder  linear to h_n channels, then transposed convolutions back

A vae may be conditional on a class (Kingma et al. 2014, "Semi-supervised learning with deep
generative models", model M2): p(x|z, y) and q(z|x, y), where the first layers of an mlp also see
the label y as a one-hot vector. There is a classifier q(y|x), C·H·W → h₁ → … → h_n → classes, if
not all labels were known in training.

Parameters are named `layers.{i}.weight` and `layers.{i}.bias`, with i counting the layers in order,
and those of a flow as in `codec.models.generative.flow`, with `flow.` before them.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field, replace

from torch import Tensor, nn
from torch.nn import functional as F

from bitstream.errors import UsageError
from codec.models.generative.flow import Flow
from codec.priors import LatentPrior

FAMILIES = ("vae", "gan", "wae", "rae", "flow")
ARCHITECTURES = ("mlp", "conv")
ACTIVATIONS = {"tanh": F.tanh, "relu": F.relu}
LIKELIHOODS = ("gaussian", "bernoulli")

MAX_PIXELS = 2**20
MAX_CODE = 2**14
MAX_WIDTH = 2**14
MAX_DEPTH = 32
MAX_CLASSES = 2**10
MAX_FLOW_BLOCKS = 64
MAX_FLOW_STEPS = 2**10


@dataclass(frozen=True)
class GenerativeConfig:
    """Sizes and kind of a generative model, stored in the weights file.

    family        one of `FAMILIES`
    architecture  one of `ARCHITECTURES`
    image_shape   channels, height, width
    code          dimensions of z, or of the codes behind a flow
    hidden        widths (mlp) or channels (conv) from the image to the code; the decoder
                  takes them reversed
    activation    one of `ACTIVATIONS`, after every layer but the last
    likelihood    "gaussian" or "bernoulli" for a vae, None for the other families
    classes       number of classes whose label the networks of a vae see (mlp only); 0 for none
    flow_blocks   residual blocks of the flow's velocity; 0 without a flow
    flow_width    width of these blocks; 0 without a flow
    flow_steps    steps in which the flow maps z to the codes that are decoded; 0 without a flow

    Raises `UsageError` for anything else.
    """

    family: str
    architecture: str
    image_shape: tuple[int, int, int]
    code: int
    hidden: tuple[int, ...]
    activation: str = "tanh"
    likelihood: str | None = None
    classes: int = 0
    flow_blocks: int = 0
    flow_width: int = 0
    flow_steps: int = 0

    def __post_init__(self) -> None:
        _choice("family", self.family, FAMILIES)
        _choice("architecture", self.architecture, ARCHITECTURES)
        _choice("activation", self.activation, tuple(ACTIVATIONS))
        if self.family == "vae":
            _choice("likelihood", self.likelihood, LIKELIHOODS)
        elif self.likelihood is not None:
            raise UsageError(f"likelihood {self.likelihood!r} of a {self.family}: expected None")
        _sizes("image_shape", self.image_shape, MAX_PIXELS)
        _sizes("hidden", self.hidden, MAX_WIDTH)
        _sizes("code", (self.code,), MAX_CODE)
        if len((*self.image_shape,)) != 3 or self.pixels > MAX_PIXELS:
            raise UsageError(
                f"image_shape {self.image_shape}: expected (channels, height, width) "
                f"of at most {MAX_PIXELS} values"
            )
        if self.classes != 0:
            _sizes("classes", (self.classes,), MAX_CLASSES)
            if (self.family, self.architecture) != ("vae", "mlp"):
                raise UsageError(
                    f"classes {self.classes} of a {self.family} ({self.architecture}): only an "
                    "mlp vae can be conditional on a class"
                )
        if self.family == "flow":
            _sizes("flow_blocks", (self.flow_blocks,), MAX_FLOW_BLOCKS)
            _sizes("flow_width", (self.flow_width,), MAX_WIDTH)
            _sizes("flow_steps", (self.flow_steps,), MAX_FLOW_STEPS)
        elif (self.flow_blocks, self.flow_width, self.flow_steps) != (0, 0, 0):
            raise UsageError(
                f"flow_blocks {self.flow_blocks}, flow_width {self.flow_width}, flow_steps "
                f"{self.flow_steps} of a {self.family}: expected 0"
            )
        if not 1 <= len(self.hidden) <= MAX_DEPTH:
            raise UsageError(f"hidden {self.hidden}: expected 1 to {MAX_DEPTH} widths")
        if self.architecture == "conv":
            stride = 2 ** len(self.hidden)
            if self.image_shape[1] % stride or self.image_shape[2] % stride:
                raise UsageError(
                    f"image_shape {self.image_shape}: {len(self.hidden)} convolutions of stride 2 "
                    f"need a height and a width that are multiples of {stride}"
                )

    @property
    def pixels(self) -> int:
        """Number of values in one image: channels × height × width."""
        return math.prod(self.image_shape)

    @property
    def has_encoder(self) -> bool:
        """Whether a model of the family has an encoder, from images to z."""
        return self.family not in ("gan", "flow")

    @property
    def coarse_shape(self) -> tuple[int, int, int]:
        """Channels, height and width at the coarse end of the convolutions."""
        stride = 2 ** len(self.hidden)
        return self.hidden[-1], self.image_shape[1] // stride, self.image_shape[2] // stride


def _choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UsageError(f"{name} {value!r} is unknown; expected one of {', '.join(allowed)}")


def _sizes(name: str, values: object, largest: int) -> None:
    whole = isinstance(values, tuple) and all(type(v) is int and 1 <= v <= largest for v in values)
    if not whole:
        raise UsageError(f"{name} {values!r}: expected whole numbers from 1 to {largest}")


class Decoder(nn.Module):
    """f(z): from codes float (n, code) to images (n, C, H, W) in [0, 1].

    With classes, a code is (z, y) of code + classes numbers, where y is the one-hot label.
    """

    def __init__(self, config: GenerativeConfig) -> None:
        super().__init__()
        self.config = config
        self.activation = ACTIVATIONS[config.activation]
        self.flow = (
            Flow(config.code, config.flow_blocks, config.flow_width, config.flow_steps)
            if config.flow_blocks
            else None
        )
        layers: list[nn.Module] = []
        if config.architecture == "mlp":
            inputs = config.code + config.classes
            widths = (inputs, *reversed(config.hidden), config.pixels)
            layers += [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        else:
            layers.append(nn.Linear(config.code, math.prod(config.coarse_shape)))
            channels = (*reversed(config.hidden), config.image_shape[0])
            layers += [
                nn.ConvTranspose2d(a, b, kernel_size=4, stride=2, padding=1)
                for a, b in itertools.pairwise(channels)
            ]
        self.layers = nn.ModuleList(layers)

    def logits(self, z: Tensor) -> Tensor:
        """The image before the sigmoid: log-odds of a white pixel under a Bernoulli likelihood."""
        return self.decoded(z if self.flow is None else self.flow(z))

    def decoded(self, codes: Tensor) -> Tensor:
        """The image before the sigmoid, from codes as the flow returns them."""
        value = self.layers[0](codes)
        if self.config.architecture == "conv":
            value = value.unflatten(-1, self.config.coarse_shape)
        for layer in self.layers[1:]:
            value = layer(self.activation(value))
        if self.config.architecture == "mlp":
            value = value.unflatten(-1, self.config.image_shape)
        return value  # type: ignore[no-any-return]

    def forward(self, z: Tensor) -> Tensor:
        """z, float (n, code), or (z, y), to (n, C, H, W), pixels in [0, 1]."""
        return self.logits(z).sigmoid()

    def given(self, label: int) -> Decoder:
        """The decoder for one class, from codes (n, code), with the label as part of the biases."""
        code = self.config.code
        state = {name: value.detach().clone() for name, value in self.state_dict().items()}
        weight = state["layers.0.weight"]
        state["layers.0.bias"] += weight[:, code + label]
        state["layers.0.weight"] = weight[:, :code].clone()
        decoder = Decoder(replace(self.config, classes=0)).to(weight)
        decoder.load_state_dict(state)
        own = next(self.parameters())
        return decoder.train(self.training).requires_grad_(own.requires_grad)


class Encoder(nn.Module):
    """From images float (n, C, H, W) in [0, 1] to codes (n, code).

    A vae's posterior is N(mean, diag(exp(log_variance))); the other families' encoders are
    deterministic and return None for the log-variance. With classes, the posterior is conditional
    on a label.
    """

    def __init__(self, config: GenerativeConfig) -> None:
        super().__init__()
        self.config = config
        self.activation = ACTIVATIONS[config.activation]
        outputs = 2 * config.code if config.family == "vae" else config.code
        layers: list[nn.Module] = []
        if config.architecture == "mlp":
            widths = (config.pixels + config.classes, *config.hidden, outputs)
            layers += [nn.Linear(a, b) for a, b in itertools.pairwise(widths)]
        else:
            channels = (config.image_shape[0], *config.hidden)
            layers += [
                nn.Conv2d(a, b, kernel_size=4, stride=2, padding=1)
                for a, b in itertools.pairwise(channels)
            ]
            layers.append(nn.Linear(math.prod(config.coarse_shape), outputs))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, label: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """float (n, C, H, W) to the mean (n, code) and the log-variance (n, code) or None.

        label   with classes, the one-hot label of each image, float (n, classes); or
                (…, 1, classes) for the results (…, n, code) of several labels, which share the
                work on the images
        """
        if self.config.architecture == "mlp":
            first, *others = self.layers
            value = first(x.flatten(1)) if label is None else self._with_label(x, label)
            for layer in others:
                value = layer(self.activation(value))
        else:
            value = x
            for layer in self.layers[:-1]:
                value = self.activation(layer(value))
            value = self.layers[-1](value.flatten(1))
        if self.config.family != "vae":
            return value, None
        mean, log_variance = value.chunk(2, dim=-1)
        return mean, log_variance

    def _with_label(self, x: Tensor, label: Tensor) -> Tensor:
        first = self.layers[0]
        assert isinstance(first, nn.Linear)
        pixels, weight = self.config.pixels, first.weight
        of_image = F.linear(x.flatten(1), weight[:, :pixels], first.bias)
        return of_image + F.linear(label, weight[:, pixels:])


class Classifier(nn.Module):
    """q(y|x): images float (n, C, H, W) in [0, 1] to logits (n, classes)."""

    def __init__(self, config: GenerativeConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.activation]
        widths = (config.pixels, *config.hidden, config.classes)
        self.layers = nn.ModuleList([nn.Linear(a, b) for a, b in itertools.pairwise(widths)])

    def forward(self, x: Tensor) -> Tensor:
        """float (n, C, H, W) to (n, classes)."""
        value = self.layers[0](x.flatten(1))
        for layer in self.layers[1:]:
            value = layer(self.activation(value))
        return value  # type: ignore[no-any-return]


@dataclass
class GenerativeModel:
    """A trained model.

    decoder     f(z)
    encoder     None for a gan
    prior       p(z); all classes are equally likely
    variance    of a pixel given z, for a vae with a Gaussian likelihood; else None
    card        facts about the weights: data, licence, command, figures
    classifier  q(y|x) of a vae that was trained with few labels
    """

    config: GenerativeConfig
    decoder: Decoder
    encoder: Encoder | None
    prior: LatentPrior
    variance: float | None = None
    card: dict[str, str] = field(default_factory=dict)
    classifier: Classifier | None = None
