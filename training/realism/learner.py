"""Training of the realistic decoder, and its loss."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitstream.arrays import Array
from codec.models.photo.config import quality_position
from codec.models.photo.network import LEVELS, PhotoModel, Synthesis
from codec.models.photo.realism import (
    NOISE_LEVELS,
    PHOTO_HASH_KEY,
    RealisticPhoto,
)
from codec.models.photo.synthesis import SynthesisWeights
from codec.models.photo.synthesis_arrays import restore_synthesis, synthesis_arrays
from codec.models.weights_files import hash_weights
from training.data.crops import CropSampler, Pixels, load_photographs, to_tensor, window_of
from training.loop.optimise import MovingAverage, descend
from training.loop.start import read_start
from training.loop.trainer import Learner, TrainOptions
from training.realism.config import RealismPreset
from training.realism.photo_weights import (
    DecodedCrops,
    PhotoWeights,
    decode_crops,
    load_photo_weights,
)
from training.realism.texture import (
    CosineBands,
    Features,
    ObjectFeatures,
    wasserstein_distortion,
)

VALIDATION_QUALITIES = (5, 20, 35, 50)
ROUNDING_ERROR = 1 / (255**2 * 12)
"""Mean squared error of pixels in [0, 1] that are rounded to 8 bits."""


def relative_error(pixels: Tensor, drawn: Tensor, photo: Tensor) -> Tensor:
    """Squared error of each picture relative to the photo model's, (n, 3, h, w) to (n,).

    An error below that of rounding counts as the error of rounding.
    """
    error, least = ((pixels - one).square().mean((1, 2, 3)) for one in (drawn, photo))
    return error / least.clamp(min=ROUNDING_ERROR)


def relative_distortion(
    features: Sequence[Features], pixels: Tensor, drawn: Tensor, photo: Tensor
) -> Tensor:
    """Wasserstein distortion relative to that of the photo model's picture, mean over kinds: (n,).

    So every picture, quality and kind of features has equal weight.
    """
    total = torch.zeros(len(pixels), device=pixels.device)
    for maps in features:
        with torch.no_grad():
            original = maps(pixels)
            usual = wasserstein_distortion(original, maps(photo)).clamp(min=1e-6)
        total = total + wasserstein_distortion(original, maps(drawn)) / usual
    return total / len(features)


class RealismLearner(Learner):
    """A decoder that draws texture from noise; its moving average is exported.

    The decoder starts as the synthesis of the photo model, and computes with integers of 8 bits
    from the first step, with straight-through gradients. The rest of that model does not change:
    its analysis, its exact path and its tables make the latents from which the decoder learns.

    features    weights of LPIPS, whose features are used in addition to cosine bands
    start       an exported decoder to start from, in place of that synthesis
    validation  pictures uint8 (h, w, 3) with sides of at least 64 pixels

    Raises `InputError` if `features` is no such file, `WeightsMismatchError` if `start` has other
    sizes of layers.
    """

    family = "realism"

    def __init__(
        self,
        preset: RealismPreset,
        sampler: CropSampler,
        photo: PhotoWeights,
        *,
        autocast: bool = True,
        features: Path | None = None,
        start: Path | None = None,
        validation: Sequence[Pixels] = (),
    ) -> None:
        super().__init__(preset, autocast=autocast, device=photo.device)
        self.preset: RealismPreset = preset
        self.sampler, self.photo, self.validation = sampler, photo, validation
        self.features: list[Features] = [CosineBands(self.device)]
        if features is not None:
            self.features.append(ObjectFeatures(features, self.device))
        self.features_sha256 = hash_weights(features).hex() if features else None
        model = photo.model if start is None else decoder_to_start_from(start, photo)
        self.decoder = copy.deepcopy(model.synthesis).requires_grad_(True)
        self.average = MovingAverage(self.decoder, preset.ema_decay, starts_trained=True)
        adam = torch.optim.Adam(self.decoder.parameters(), betas=(0.9, 0.99))
        self.optimizers = {"decoder": adam}

    def fixed(self) -> dict[str, Any]:
        """The hashes of the photo weights and of the features."""
        return {"photo_sha256": self.photo.sha256, "features_sha256": self.features_sha256}

    def sample_qualities(self, generator: torch.Generator) -> list[float]:
        """The qualities of a batch, 1 .. 100: most of them low."""
        preset = self.preset
        spread, chosen = torch.rand(2, preset.batch, generator=generator)
        highest = torch.where(chosen < preset.low_share, quality_position(preset.low_quality), 1.0)
        qualities: list[float] = (1 + 99 * spread * highest).tolist()
        return qualities

    def synthesize(self, crops: DecodedCrops, generator: torch.Generator) -> Tensor:
        """The decoder's pictures (n, 3, h, w), not clamped."""
        size = crops.linear.shape
        noise = torch.randint(-NOISE_LEVELS, NOISE_LEVELS, size, generator=generator)
        noisy = crops.linear + noise.to(self.device)
        with self.mixed():
            correction: Tensor = self.decoder(noisy, crops.hidden, crops.mix, rounded=True)
        return (crops.linear + correction.float()) / LEVELS + 0.5

    def learn(self, step: int, fraction: float) -> dict[str, float]:
        """One step.

        The figures are means over the batch: the Wasserstein distortion and the squared error,
        relative to those of the photo model's pictures; PSNR in dB of both.
        """
        generator = self.noise_of(step)
        qualities = self.sample_qualities(generator)
        crops = decode_crops(self.photo, self.sampler(step), qualities)
        drawn = self.synthesize(crops, generator)
        error = relative_error(crops.pixels, drawn, crops.photo).mean()
        place = (..., *window_of(step, self.preset.crop))
        seen = (pictures[place] for pictures in (crops.pixels, drawn, crops.photo))
        distortion = relative_distortion(self.features, *seen).mean()
        loss = distortion + self.preset.error_weight * error
        if descend(loss, self.optimizers["decoder"]):
            self.average.update_parameters(self.decoder)
        return {
            "loss": loss.item(),
            "distortion": distortion.item(),
            "error": error.item(),
            "psnr_db": _mean_psnr_db(crops.pixels, drawn.detach()),
            "photo_psnr_db": _mean_psnr_db(crops.pixels, crops.photo),
        }

    @torch.no_grad()
    def validate(self) -> list[dict[str, float]]:
        """Means of the same figures for files decoded by the averaged decoder.

        Pictures are cropped to multiples of 16 pixels.
        """
        coder, stride = self.photo.coder, self.photo.coder.stride
        weights = second_weights(self.photo, self.average.module)
        second = RealisticPhoto(coder, coder.transforms.renderer_of(weights), 1)
        rows = []
        for quality in VALIDATION_QUALITIES if self.validation else ():
            found = []
            for picture in self.validation:
                height, width = (side // stride for side in picture.shape[:2])
                pixels = np.ascontiguousarray(picture[: stride * height, : stride * width])
                payloads = coder.encode_tile(coder.analyze(pixels, quality), quality)
                one, *both = (
                    to_tensor(shown[None], self.device)
                    for shown in (
                        pixels,
                        *(
                            model.synthesize(
                                model.decode_tile(payloads, height, width, quality), quality
                            )
                            for model in (second, coder)
                        ),
                    )
                )
                found.append([
                    float(relative_distortion(self.features, one, *both)),
                    float(relative_error(one, *both)),
                    *(_mean_psnr_db(one, shown) for shown in both),
                ])  # fmt: skip
            names = ("distortion", "error", "psnr_db", "photo_psnr_db")
            means = np.mean(found, axis=0).tolist()
            rows.append({"quality": quality, **dict(zip(names, means, strict=True))})
        return rows


def decoder_to_start_from(path: Path, photo: PhotoWeights) -> PhotoModel:
    """A model whose synthesis is that of an exported decoder. Raises as `RealismLearner` does.

    The decoder may have been trained for other photo weights whose synthesis has the same sizes.
    """
    arrays, _ = read_start(path)
    arrays = {**arrays, "log_step": photo.coder.arrays["log_step"]}
    SynthesisWeights(arrays, photo.coder.config)  # checks the sizes
    model = copy.deepcopy(photo.model)
    restore_synthesis(model, arrays)
    return model


def second_arrays(photo: PhotoWeights, decoder: Synthesis) -> dict[str, Array]:
    """A realistic decoder as integers: the arrays `synthesis.*` of a weights file."""
    model = copy.copy(photo.model)
    model._modules = {**photo.model._modules, "synthesis": decoder}
    arrays = synthesis_arrays(model)
    del arrays["log_step"]  # the one of the photo weights is used
    return arrays


def second_weights(photo: PhotoWeights, decoder: Synthesis) -> SynthesisWeights:
    """The realistic decoder in the form that the codec uses."""
    arrays = {**second_arrays(photo, decoder), "log_step": photo.coder.arrays["log_step"]}
    return SynthesisWeights(arrays, photo.coder.config)


def realism_learner(preset: RealismPreset, options: TrainOptions) -> RealismLearner:
    """The learner that a command line asks for. Raises `InputError` and `WeightsMismatchError`."""
    path, start = options.weights, None
    if path is not None and PHOTO_HASH_KEY in read_start(path)[1]:
        path, start = None, path
    photo = load_photo_weights(path, options.device)
    validation = load_photographs(options.validation) if options.validation else []
    return RealismLearner(
        preset,
        preset.sampler(options.data),
        photo,
        autocast=options.autocast,
        features=options.features,
        start=start,
        validation=validation,
    )


def _mean_psnr_db(pixels: Tensor, drawn: Tensor) -> float:
    """Mean PSNR of pictures clamped to [0, 1], not rounded; errors count as at least rounding."""
    error = (pixels - drawn.clamp(0, 1)).square().flatten(1).mean(1).clamp(min=ROUNDING_ERROR)
    return float(-10 * torch.log10(error).mean())
