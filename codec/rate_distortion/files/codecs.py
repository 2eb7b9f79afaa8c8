"""The codecs that `calotype rd` knows by name: ours, and the ones people already have.

Peers are set up for the best PSNR their common encoder gives at a usual effort, since PSNR is what
the curves show: WebP at its slowest method, JPEG 2000 with the 9/7 wavelet and the YCbCr transform
(both are off in Pillow by default), AVIF in 4:4:4 tuned for PSNR (by default it is tuned for
perception).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from bitstream.errors import UsageError
from codec.rate_distortion.errors import MissingExtraError
from codec.rate_distortion.files.measure import OperationalCodec

Pixels = NDArray[np.uint8]

BITS_PER_RAW_PIXEL = 24


def _decode_pillow(data: bytes) -> Pixels:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def _save(pixels: Pixels, image_format: str, **options: object) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, image_format, **options)
    return data.getvalue()


def _require_pillow(feature: str, name: str) -> None:
    if not features.check(feature):
        raise UsageError(
            f"{name}: this build of Pillow was made without {feature}; "
            "install a Pillow wheel from PyPI, or leave this codec out"
        )


def _pillow_libraries(*names: str) -> Mapping[str, str]:
    found = {"pillow": version("pillow")}
    for name in names:
        found_version = features.version(name)
        if found_version:
            found[name] = found_version
    return found


def _jpeg_encode(pixels: Pixels, setting: float) -> bytes:
    return _save(pixels, "JPEG", quality=int(setting), optimize=True, subsampling="4:2:0")


def _jpeg_libraries() -> Mapping[str, str]:
    return _pillow_libraries("libjpeg_turbo")


def _webp_encode(pixels: Pixels, setting: float) -> bytes:
    return _save(pixels, "WEBP", quality=int(setting), method=6)


def _webp_require() -> None:
    _require_pillow("webp", "webp")


def _webp_libraries() -> Mapping[str, str]:
    return _pillow_libraries("webp")


def _jpeg2000_encode(pixels: Pixels, setting: float) -> bytes:
    return _save(
        pixels,
        "JPEG2000",
        quality_mode="rates",
        quality_layers=[BITS_PER_RAW_PIXEL / setting],
        irreversible=True,
        mct=1,
    )


def _jpeg2000_require() -> None:
    _require_pillow("jpg_2000", "jpeg2000")


def _jpeg2000_libraries() -> Mapping[str, str]:
    return _pillow_libraries("jpg_2000")


def _avif_encode(pixels: Pixels, setting: float) -> bytes:
    return _save(
        pixels,
        "AVIF",
        quality=int(setting),
        subsampling="4:4:4",
        speed=4,
        codec="aom",
        max_threads=1,
        advanced={"tune": "psnr"},
    )


def _avif_require() -> None:
    _require_pillow("avif", "avif")


def _avif_libraries() -> Mapping[str, str]:
    return _pillow_libraries("avif")


def _jxl_require() -> None:
    if find_spec("imagecodecs") is None:
        raise MissingExtraError("JPEG XL", "imagecodecs", "bench")
    import imagecodecs

    if not imagecodecs.JPEGXL.available:
        raise UsageError(
            "jxl: this build of imagecodecs was made without JPEG XL; "
            "install its wheel from PyPI, or leave this codec out"
        )


def _jxl_encode(pixels: Pixels, setting: float) -> bytes:
    import imagecodecs

    data = imagecodecs.jpegxl_encode(
        pixels, distance=setting, effort=7, lossless=False, numthreads=1
    )
    return bytes(data)


def _jxl_decode(data: bytes) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data, numthreads=1))


def _jxl_libraries() -> Mapping[str, str]:
    import imagecodecs

    return {"imagecodecs": version("imagecodecs"), "libjxl": str(imagecodecs.jpegxl_version())}


PHOTO_MODEL = "photo"


def _photo_encode(pixels: Pixels, setting: float) -> bytes:
    from codec import api

    return api.compress(pixels, quality=setting, model=PHOTO_MODEL)


def _photo_decode(data: bytes) -> Pixels:
    from codec import api

    return api.decompress(data, as_="numpy")


def _photo_weights() -> str:
    from codec import api

    # The file itself says which weights made it, also where they do not come with the package.
    return api.inspect(_photo_encode(np.zeros((16, 16, 3), np.uint8), 50)).weights_hash


def _photo_libraries() -> Mapping[str, str]:
    found: dict[str, str] = {}
    for name in ("calotype", "torch", "numpy", "constriction"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # a checkout that was never installed
            continue
    return found


_CODECS: dict[str, OperationalCodec] = {}


def register_codec(codec: OperationalCodec) -> None:
    """Make a codec known by its name to `calotype rd`; a later one replaces an earlier one."""
    _CODECS[codec.name] = codec


def codec_names() -> tuple[str, ...]:
    """Names of all registered codecs, in the order of registration."""
    return tuple(_CODECS)


def find_codec(name: str) -> OperationalCodec:
    """The codec registered under `name`; raises `UsageError` that lists the known names."""
    try:
        return _CODECS[name]
    except KeyError:
        known = ", ".join(_CODECS)
        raise UsageError(f"unknown codec {name!r}; known are {known}") from None


register_codec(
    OperationalCodec(
        name="photo",
        encoder="Calotype photo model, default effort",
        setting_name="quality",
        settings=(1, *range(5, 101, 5)),
        encode=_photo_encode,
        decode=_photo_decode,
        libraries=_photo_libraries,
        weights=_photo_weights,
    )
)
register_codec(
    OperationalCodec(
        name="jpeg",
        encoder="Pillow, optimize, 4:2:0",
        setting_name="quality",
        settings=(1, 3, 5, 8, 12, 16, 20, 25, 30, 40, 50, 60, 70, 75, 80, 85, 90, 93, 95),
        encode=_jpeg_encode,
        decode=_decode_pillow,
        libraries=_jpeg_libraries,
    )
)
register_codec(
    OperationalCodec(
        name="webp",
        encoder="Pillow, method 6",
        setting_name="quality",
        settings=(0, 1, 2, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 93, 95, 98),
        encode=_webp_encode,
        decode=_decode_pillow,
        require=_webp_require,
        libraries=_webp_libraries,
    )
)
register_codec(
    OperationalCodec(
        name="jpeg2000",
        encoder="Pillow, 9/7 wavelet, YCbCr, one layer by rate",
        setting_name="target_bpp",
        settings=(0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.65, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.0),
        encode=_jpeg2000_encode,
        decode=_decode_pillow,
        require=_jpeg2000_require,
        libraries=_jpeg2000_libraries,
    )
)
register_codec(
    OperationalCodec(
        name="avif",
        encoder="Pillow, aom, 4:4:4, speed 4, tune psnr, one thread",
        setting_name="quality",
        settings=(2, 10, 20, 30, 40, 50, 60, 70, 80, 90),
        encode=_avif_encode,
        decode=_decode_pillow,
        require=_avif_require,
        libraries=_avif_libraries,
    )
)
register_codec(
    OperationalCodec(
        name="jxl",
        encoder="imagecodecs, effort 7, by distance",
        setting_name="distance",
        settings=(25, 20, 15, 11, 8, 6, 4.5, 3.5, 2.5, 1.8, 1.3, 0.9, 0.6, 0.45),
        encode=_jxl_encode,
        decode=_jxl_decode,
        require=_jxl_require,
        libraries=_jxl_libraries,
    )
)
