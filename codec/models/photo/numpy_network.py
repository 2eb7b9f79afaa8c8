"""The transforms of the photo model in NumPy: what codes an image on a processor.

The same networks as those of `codec.models.photo.network`, with the same weights, at one quality at
a time: the modulation by the quality is folded into weights and biases. Pixels differ from those
of torch by rounding alone. Torch is not loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bitstream.arrays import Array, Float32Array, Uint8Array
from bitstream.errors import WeightsMismatchError
from codec.models.photo.config import LATENT_STRIDE, PhotoConfig
from codec.models.photo.numpy_layers import (
    Block,
    Crew,
    Dense,
    ModulatedBlock,
    Plane,
    add_dense,
    crew_of,
    downsample,
    interpolate,
    stage,
    upsample,
)
from codec.system.processors import thread_count

PREFIX = "network."
"""Of the names of arrays in a weights file."""


@dataclass(frozen=True)
class _Stage:
    blocks: tuple[ModulatedBlock, ...]

    def at(self, position: float) -> list[Block]:
        return [block.at(position) for block in self.blocks]


@dataclass(frozen=True)
class _Analysis:
    linear: Dense
    stem: Dense
    stage_8: _Stage
    down: Dense
    merge: Dense
    stage_16: _Stage
    out: Dense


@dataclass(frozen=True)
class _Synthesis:
    linear: Dense
    head: Dense
    stage_16: _Stage
    up_16: Dense
    stage_8: _Stage
    up_8: Dense
    side: Dense
    stage_4: _Stage
    out: Dense


@dataclass(frozen=True)
class _HyperAnalysis:
    head: Dense
    stage_16: _Stage
    down_16: Dense
    stage_32: _Stage
    down_32: Dense


class NumpyTransforms:
    """Analysis, synthesis and hyper-analysis of one set of weights.

    arrays  those of a weights file; `network.*` is read, of any floating-point type

    The position in all methods is that of the quality, in [0, 1]. Raises `WeightsMismatchError`
    for arrays that do not fit the sizes.
    """

    def __init__(self, arrays: Mapping[str, Array], config: PhotoConfig) -> None:
        self.config = config
        self._arrays = {
            name[len(PREFIX) :]: array for name, array in arrays.items() if name.startswith(PREFIX)
        }
        found = {name: array.shape for name, array in self._arrays.items()}
        expected = network_shapes(config)
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                raise WeightsMismatchError(
                    f"weights file: it does not fit its own sizes: {PREFIX}{name} is "
                    f"{found.get(name, 'missing')}, expected {expected.get(name, 'no such array')}"
                )

    def analyze(self, pixels: Uint8Array, position: float) -> Float32Array:
        """Pixels uint8 (16·h, 16·w, 3) to latents float32 (C, h, w) in quantiser steps."""
        layers = self._analysis
        with crew_of(thread_count()) as crew:
            linear = _patches(pixels, layers.linear, LATENT_STRIDE, crew)
            features = _patches(pixels, layers.stem, 8, crew)
            self._correct_latents(linear, features, position, crew)
        gain = np.exp(self._vector("log_gain.knots", position))
        return np.ascontiguousarray((linear.image * gain).transpose(2, 0, 1))

    def hyper_analyze(self, latents: Float32Array, position: float) -> Float32Array:
        """Latents (C, h, w) in quantiser steps to unrounded hyper-latents (Z, ⌈h/4⌉, ⌈w/4⌉)."""
        channels, height, width = latents.shape
        padded = np.pad(latents, ((0, 0), (0, -height % 4), (0, -width % 4)), mode="edge")
        features = Plane(padded.shape[1], padded.shape[2], self.config.hyper_width)

        def head(spans: Iterable[slice]) -> None:
            for band in spans:
                values = padded[:, band].transpose(1, 2, 0)
                magnitude = np.log1p(np.abs(values))
                both = np.concatenate([np.sign(values) * magnitude, magnitude], axis=2)
                image = features.image[band]
                image[:] = self._hyper_analysis.head(both).reshape(image.shape)

        with crew_of(thread_count()) as crew:
            crew.run(head, features.bands(2 * channels, crew))
            hyper_latents = self._hyper_latents(features, position, crew)
        return np.ascontiguousarray(hyper_latents.transpose(2, 0, 1))

    def synthesize(self, latents: Float32Array, position: float) -> Uint8Array:
        """Dequantised latents (C, h, w) to pixels uint8 (16·h, 16·w, 3)."""
        layers = self._synthesis
        gain = np.exp(self._vector("log_inverse_gain.knots", position))
        channels, height, width = latents.shape
        scaled = Plane(height, width, channels)
        with np.errstate(all="ignore"):
            np.multiply(latents.transpose(1, 2, 0), gain, out=scaled.image)
        with crew_of(thread_count()) as crew:
            linear = upsample(scaled, layers.linear, 4, crew)
            features = self._rendered(scaled, linear, position, crew)
            return _levels(features, linear, layers.out, crew)

    def _correct_latents(self, linear: Plane, features: Plane, position: float, crew: Crew) -> None:
        """Add the output of the networks to the linear latents."""
        layers = self._analysis
        features = stage(features, layers.stage_8.at(position), crew)
        features = downsample(features, layers.down, 2, crew)
        add_dense(features, linear, layers.merge, crew)
        features = stage(features, layers.stage_16.at(position), crew)
        add_dense(linear, features, layers.out, crew)

    def _hyper_latents(self, features: Plane, position: float, crew: Crew) -> Float32Array:
        """The head's features (4·h, 4·w) to hyper-latents (h, w, Z)."""
        layers = self._hyper_analysis
        features = stage(features, layers.stage_16.at(position), crew)
        features = downsample(features, layers.down_16, 2, crew)
        features = stage(features, layers.stage_32.at(position), crew)
        return downsample(features, layers.down_32, 2, crew).image

    def _rendered(self, latents: Plane, linear: Plane, position: float, crew: Crew) -> Plane:
        """Latents in pixel units and their linear image, at 1/4, to the last features there."""
        layers = self._synthesis
        features = upsample(latents, layers.head, 1, crew)
        features = stage(features, layers.stage_16.at(position), crew)
        features = upsample(features, layers.up_16, 2, crew)
        features = stage(features, layers.stage_8.at(position), crew)
        features = upsample(features, layers.up_8, 2, crew)
        add_dense(features, linear, layers.side, crew)
        return stage(features, layers.stage_4.at(position), crew)

    @cached_property
    def _analysis(self) -> _Analysis:
        # Pixels come as whole numbers 0 .. 255, and the networks take them as x / 255 − 1/2.
        layers = {}
        for name in ("linear", "stem"):
            weight = self._values(f"analysis.{name}.weight").transpose(2, 3, 1, 0)
            weight = weight.reshape(-1, weight.shape[-1])
            bias = self._values(f"analysis.{name}.bias") - 0.5 * weight.sum(axis=0)
            layers[name] = Dense(weight / 255, bias)
        return _Analysis(
            linear=layers["linear"],
            stem=layers["stem"],
            stage_8=self._stage("analysis.stage_8", self.config.blocks_8),
            down=self._dense("analysis.down", inputs=2),
            merge=self._dense("analysis.merge"),
            stage_16=self._stage("analysis.stage_16", self.config.blocks_16),
            out=self._dense("analysis.out"),
        )

    @cached_property
    def _synthesis(self) -> _Synthesis:
        # Kernels of 16×16 pixels make 4×4 positions of (dy, dx, c) pixels each.
        kernels = self._values("synthesis.linear.weight")
        kernels = kernels.reshape(-1, 3, 4, 4, 4, 4).transpose(0, 2, 4, 3, 5, 1)
        linear = Dense(
            np.ascontiguousarray(kernels.reshape(len(kernels), -1)),
            np.tile(self._values("synthesis.linear.bias"), LATENT_STRIDE**2),
        )
        out = self._dense("synthesis.out", outputs=4)
        return _Synthesis(
            linear=linear,
            head=self._dense("synthesis.head"),
            stage_16=self._stage("synthesis.stage_16", self.config.blocks_16),
            up_16=self._dense("synthesis.up_16", outputs=2),
            stage_8=self._stage("synthesis.stage_8", self.config.blocks_8),
            up_8=self._dense("synthesis.up_8", outputs=2),
            side=self._dense("synthesis.side", inputs=4),
            stage_4=self._stage("synthesis.stage_4", self.config.blocks_4),
            out=Dense(out.weight, out.bias + np.float32(0.5)),
        )

    @cached_property
    def _hyper_analysis(self) -> _HyperAnalysis:
        return _HyperAnalysis(
            head=self._dense("hyper_analysis.head"),
            stage_16=self._stage("hyper_analysis.stage_16", 1),
            down_16=self._dense("hyper_analysis.down_16", inputs=2),
            stage_32=self._stage("hyper_analysis.stage_32", 1),
            down_32=self._dense("hyper_analysis.down_32", inputs=2),
        )

    def _values(self, name: str) -> Float32Array:
        return self._arrays[name].astype(np.float32)

    def _vector(self, name: str, position: float) -> Float32Array:
        return interpolate(self._values(name), position)

    def _dense(self, name: str, *, inputs: int = 1, outputs: int = 1) -> Dense:
        """A 1×1 convolution behind a pixel unshuffle by `inputs`, before a shuffle by `outputs`.

        Torch has the channels that are shuffled in the order (c, dy, dx), the layers of
        `codec.models.photo.numpy_layers` in the order (dy, dx, c).
        """
        weight, bias = self._values(name + ".weight"), self._values(name + ".bias")
        weight = weight.reshape(-1, outputs**2, weight.shape[1] // inputs**2, inputs**2)
        weight = weight.transpose(3, 2, 1, 0).reshape(-1, len(bias))
        bias = bias.reshape(-1, outputs**2).T.reshape(-1)
        return Dense(np.ascontiguousarray(weight), bias)

    def _stage(self, name: str, blocks: int) -> _Stage:
        return _Stage(tuple(self._block(f"{name}.blocks.{number}") for number in range(blocks)))

    def _block(self, name: str) -> ModulatedBlock:
        taps = self._values(name + ".spatial.weight").reshape(-1, 9).T
        return ModulatedBlock(
            spatial=Dense(taps, self._values(name + ".spatial.bias")),
            scale=self._values(name + ".scale.knots"),
            shift=self._values(name + ".shift.knots"),
            expand=self._dense(name + ".expand"),
            project=self._dense(name + ".project"),
        )


def _patches(pixels: Uint8Array, layer: Dense, size: int, crew: Crew) -> Plane:
    """A convolution of pixels uint8 (size·h, size·w, 3) whose stride is the size of its kernel."""
    height, width = pixels.shape[0] // size, pixels.shape[1] // size
    target = Plane(height, width, len(layer.bias))
    blocks = pixels.reshape(height, size, width, 3 * size)

    def work(spans: Iterable[slice]) -> None:
        for band in spans:
            patches = blocks[band].swapaxes(1, 2).reshape(-1, 3 * size**2).astype(np.float32)
            image = target.image[band]
            image[:] = layer(patches).reshape(image.shape)

    crew.run(work, crew.cut(height, width * max(len(layer.weight), len(layer.bias))))
    return target


def _levels(features: Plane, linear: Plane, layer: Dense, crew: Crew) -> Uint8Array:
    """The last layer of the synthesis, and the nearest levels: pixels uint8 (4·h, 4·w, 3)."""
    pixels = np.empty((4 * features.height, 4 * features.width, 3), dtype=np.uint8)
    lines = pixels.reshape(features.height, 4, features.width, 12)

    def work(spans: Iterable[slice]) -> None:
        for band in spans:
            values = layer(features.grid[band])
            values += linear.grid[band].reshape(values.shape)
            # fmax and fmin remove NaN, so that the pixels of a hostile file are defined.
            np.fmax(values, 0, out=values)
            np.fmin(values, 1, out=values)
            values *= 255
            np.rint(values, out=values)
            levels = values.astype(np.uint8).reshape(-1, features.width + 1, 4, 12)
            lines[band] = levels[:, : features.width].swapaxes(1, 2)

    crew.run(work, features.bands(len(layer.bias), crew))
    return pixels


def network_shapes(config: PhotoConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of all parameters of the networks that stay in floating point."""
    latents, hyper = config.latent_channels, config.hyper_channels
    width_16, width_8, width_4 = config.width_16, config.width_8, config.width_4
    shapes: dict[str, tuple[int, ...]] = {}

    def layer(name: str, outputs: int, inputs: int, size: int = 1) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs, size, size)
        shapes[f"{name}.bias"] = (outputs,)

    def blocks(name: str, width: int, count: int) -> None:
        for prefix in (f"{name}.blocks.{number}" for number in range(count)):
            layer(f"{prefix}.spatial", width, 1, 3)
            layer(f"{prefix}.expand", 2 * width, width)
            layer(f"{prefix}.project", width, 2 * width)
            shapes[f"{prefix}.scale.knots"] = shapes[f"{prefix}.shift.knots"] = (
                config.knots,
                width,
            )

    layer("analysis.linear", latents, 3, LATENT_STRIDE)
    layer("analysis.stem", width_8, 3, 8)
    blocks("analysis.stage_8", width_8, config.blocks_8)
    layer("analysis.down", width_16, 4 * width_8)
    layer("analysis.merge", width_16, latents)
    blocks("analysis.stage_16", width_16, config.blocks_16)
    layer("analysis.out", latents, width_16)
    layer("synthesis.linear", latents, 3, LATENT_STRIDE)
    shapes["synthesis.linear.bias"] = (3,)  # it goes the other way
    layer("synthesis.head", width_16, latents)
    blocks("synthesis.stage_16", width_16, config.blocks_16)
    layer("synthesis.up_16", 4 * width_8, width_16)
    blocks("synthesis.stage_8", width_8, config.blocks_8)
    layer("synthesis.up_8", 4 * width_4, width_8)
    layer("synthesis.side", width_4, 48)
    blocks("synthesis.stage_4", width_4, config.blocks_4)
    layer("synthesis.out", 48, width_4)
    layer("hyper_analysis.head", config.hyper_width, 2 * latents)
    blocks("hyper_analysis.stage_16", config.hyper_width, 1)
    layer("hyper_analysis.down_16", config.hyper_width, 4 * config.hyper_width)
    blocks("hyper_analysis.stage_32", config.hyper_width, 1)
    layer("hyper_analysis.down_32", hyper, 4 * config.hyper_width)
    for name, channels in (
        ("log_gain", latents),
        ("log_inverse_gain", latents),
        ("hyper_location", hyper),
        ("hyper_log_scale", hyper),
    ):
        shapes[f"{name}.knots"] = (config.knots, channels)
    return shapes
