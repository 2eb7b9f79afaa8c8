"""The codecs that `calotype rd` knows by name: ours, and common ones to compare with.

The others are set up for the best PSNR that their usual encoder gives at a usual effort, since PSNR
is what the curves show: WebP with its slowest method, JPEG 2000 with the 9/7 wavelet and the YCbCr
transform (both are off in Pillow by default), AVIF in 4:4:4 tuned for PSNR (by default it is tuned
for perception).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np
from PIL import Image, features

from bitstream.arrays import Uint8Array
from bitstream.errors import UsageError
from codec.models.catalog import all_models
from codec.rate_distortion.errors import MissingExtraError
from codec.rate_distortion.files.measure import OperationalCodec

BITS_PER_RAW_PIXEL = 24


def _decode_pillow(data: bytes) -> Uint8Array:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


# Frozen objects and named functions, not lambdas, because codecs are pickled for other processes.
@dataclass(frozen=True)
class _PillowEncode:
    """Saves with Pillow, with fixed options and the setting as `quality`."""

    image_format: str
    options: tuple[tuple[str, object], ...] = ()

    def __call__(self, pixels: Uint8Array, setting: float) -> bytes:
        return _save(pixels, self.image_format, quality=int(setting), **dict(self.options))


@dataclass(frozen=True)
class _PillowRequire:
    """Raises `UsageError` if this build of Pillow lacks a library."""

    name: str
    feature: str

    def __call__(self) -> None:
        if not features.check(self.feature):
            raise UsageError(
                f"{self.name}: this build of Pillow was made without {self.feature}; "
                "install a Pillow wheel from PyPI, or leave this codec out"
            )


@dataclass(frozen=True)
class _PillowLibraries:
    """The versions of Pillow and of the library that it uses."""

    feature: str

    def __call__(self) -> Mapping[str, str]:
        below = features.version(self.feature)
        return {"pillow": version("pillow"), **({self.feature: below} if below else {})}


def _save(pixels: Uint8Array, image_format: str, **options: object) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, image_format, **options)
    return data.getvalue()


def _jpeg2000_encode(pixels: Uint8Array, setting: float) -> bytes:
    layers = [BITS_PER_RAW_PIXEL / setting]
    return _save(
        pixels, "JPEG2000", quality_mode="rates", quality_layers=layers, irreversible=True, mct=1
    )


def _jxl_require() -> None:
    if find_spec("imagecodecs") is None:
        raise MissingExtraError("JPEG XL", "imagecodecs", "bench")
    import imagecodecs

    if not imagecodecs.JPEGXL.available:
        raise UsageError(
            "jxl: this build of imagecodecs was made without JPEG XL; "
            "install its wheel from PyPI, or leave this codec out"
        )


def _jxl_encode(pixels: Uint8Array, setting: float) -> bytes:
    import imagecodecs

    data = imagecodecs.jpegxl_encode(
        pixels, distance=setting, effort=7, lossless=False, numthreads=1
    )
    return bytes(data)


def _jxl_decode(data: bytes) -> Uint8Array:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


def _jxl_libraries() -> Mapping[str, str]:
    import imagecodecs

    return {"imagecodecs": version("imagecodecs"), "libjxl": str(imagecodecs.jpegxl_version())}


@dataclass(frozen=True)
class _ModelEncode:
    """Compresses with a model of this library, with the setting as quality."""

    model: str
    tune: str | None

    def __call__(self, pixels: Uint8Array, setting: float) -> bytes:
        from codec import api

        return api.compress(pixels, quality=setting, model=self.model, tune=self.tune)


@dataclass(frozen=True)
class _ModelWeights:
    """The hash of the weights with which a model writes."""

    encode: _ModelEncode

    def __call__(self) -> str:
        from codec import api

        # A file says which weights wrote it, even if they are not part of the package.
        return api.inspect(self.encode(np.zeros((16, 16, 3), np.uint8), 50)).weights_hash


def _model_decode(data: bytes) -> Uint8Array:
    from codec import api

    return api.decompress(data, as_="numpy")


def _model_libraries() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in ("calotype", "torch", "numpy", "constriction"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout that was never installed
            continue
    return found


_CODECS: dict[str, OperationalCodec] = {}


def register_codec(codec: OperationalCodec) -> None:
    """Make a codec known to `calotype rd`; it replaces an earlier one of the same name."""
    _CODECS[codec.name] = codec


def codec_names() -> tuple[str, ...]:
    """Names of all registered codecs, in the order of registration."""
    return tuple(_CODECS)


def find_codec(name: str) -> OperationalCodec:
    """The codec registered under `name`, or a model of this library: "MODEL" or "MODEL-TUNE".

    Raises `UsageError` for another name, listing those that are known, and for a model without
    qualities, which has no curve.
    """
    if name in _CODECS:
        return _CODECS[name]
    without = [spec.name for spec in all_models() if spec.lossless or spec.bounded]
    if name in without:
        raise UsageError(
            f"codec {name!r} takes no quality, so that it has one size and no curve: leave it out; "
            "calotype compress prints that size"
        )
    models = [spec.name for spec in all_models() if spec.name not in without]
    if name in models:
        return model_codec(name)
    for model in sorted(models, key=len, reverse=True):  # the longer of two names first
        if name.startswith(f"{model}-"):
            return model_codec(model, name.removeprefix(f"{model}-"))
    known = ", ".join(dict.fromkeys((*_CODECS, *models)))
    raise UsageError(f"unknown codec {name!r}; known are {known}")


def model_codec(model: str, tune: str | None = None) -> OperationalCodec:
    """A model of this library as a codec, named after model and tune, at effort 1, the default.

    tune   what the model is tuned for; None for its own default
    """
    encode = _ModelEncode(model, tune)
    return OperationalCodec(
        name=model if tune is None else f"{model}-{tune}",
        encoder=f"Calotype {model} model, default effort" + (f", tune {tune}" if tune else ""),
        setting_name="quality",
        settings=(1, *range(5, 101, 5)),
        encode=encode,
        decode=_model_decode,
        libraries=_model_libraries,
        weights=_ModelWeights(encode),
    )


for _codec in (
    model_codec("photo"),
    OperationalCodec(
        name="jpeg",
        encoder="Pillow, optimize, 4:2:0",
        setting_name="quality",
        settings=(1, 3, 5, 8, 12, 16, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 93, 95),
        encode=_PillowEncode("JPEG", (("optimize", True), ("subsampling", "4:2:0"))),
        decode=_decode_pillow,
        libraries=_PillowLibraries("libjpeg_turbo"),
    ),
    OperationalCodec(
        name="webp",
        encoder="Pillow, method 6",
        setting_name="quality",
        settings=(0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 93, 95, 98),
        encode=_PillowEncode("WEBP", (("method", 6),)),
        decode=_decode_pillow,
        require=_PillowRequire("webp", "webp"),
        libraries=_PillowLibraries("webp"),
    ),
    OperationalCodec(
        name="jpeg2000",
        encoder="Pillow, 9/7 wavelet, YCbCr, one layer by rate",
        setting_name="target_bpp",
        settings=(0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.0),
        encode=_jpeg2000_encode,
        decode=_decode_pillow,
        require=_PillowRequire("jpeg2000", "jpg_2000"),
        libraries=_PillowLibraries("jpg_2000"),
    ),
    OperationalCodec(
        name="avif",
        encoder="Pillow, aom, 4:4:4, speed 4, tune psnr, one thread",
        setting_name="quality",
        settings=(2, 10, 20, 30, 40, 50, 60, 70, 80, 90),
        encode=_PillowEncode(
            "AVIF",
            (
                ("subsampling", "4:4:4"), ("speed", 4), ("codec", "aom"), ("max_threads", 1),
                ("advanced", (("tune", "psnr"),)),
            ),
        ),
        decode=_decode_pillow,
        require=_PillowRequire("avif", "avif"),
        libraries=_PillowLibraries("avif"),
    ),
    OperationalCodec(
        name="jxl",
        encoder="imagecodecs, effort 7, by distance",
        setting_name="distance",
        settings=(25, 20, 15, 11, 8, 6, 4.5, 3.5, 2.5, 1.8, 1.3, 0.9, 0.6, 0.45),
        encode=_jxl_encode,
        decode=_jxl_decode,
        require=_jxl_require,
        libraries=_jxl_libraries,
    ),
):  # fmt: skip
    register_codec(_codec)
