"""Known codecs on sheets, within the bytes of a file of ours; grey sheets as grey files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.harness.dplc_model import features_of
from benchmarks.harness.peers import SETTINGS, PeerFiles
from benchmarks.harness.small_images import Float64Array, Uint8Array, cut
from codec.rate_distortion import find_codec
from codec.rate_distortion.metrics import frechet_distance, psnr_from_mse_db
from training.features.train import FeatureNetwork


class PeerSheets:
    """Files of some codecs of sheets uint8 (h, w, 1 or 3), each file made once.

    side   of an image on the sheets
    """

    def __init__(self, names: Sequence[str], pictures: Sequence[Uint8Array], side: int) -> None:
        self.pictures, self.side = list(pictures), side
        self._files = {name: [peer_files_of(name, sheet) for sheet in pictures] for name in names}

    @property
    def encoders(self) -> dict[str, str]:
        """What each codec was told."""
        return {name: find_codec(name).encoder for name in self._files}

    def rows(
        self, limits_bytes: Sequence[int], original: Float64Array, network: FeatureNetwork
    ) -> dict[str, Any]:
        """What each codec makes of the sheets within as many bytes; None where one has no file."""
        return {
            name: self._row(files, limits_bytes, original, network)
            for name, files in self._files.items()
        }

    def _row(
        self,
        files: Sequence[PeerFiles],
        limits_bytes: Sequence[int],
        original: Float64Array,
        network: FeatureNetwork,
    ) -> dict[str, Any] | None:
        sizes, errors, features = [], [], []
        for file, limit, sheet in zip(files, limits_bytes, self.pictures, strict=False):
            fitting = file.decoded_within(limit)
            if fitting is None:
                return None
            again = fitting[1][..., : sheet.shape[2]]
            sizes.append(fitting[0])
            errors.append(((sheet.astype(np.float64) - again) ** 2).mean())
            features.append(features_of(network, cut(again, self.side)))
        return {"sheet_bytes": float(np.mean(sizes)), **self._figures(errors, features, original)}

    def same_images(
        self,
        errors: Sequence[Float64Array],
        features: Sequence[Float64Array],
        original: Float64Array,
    ) -> dict[str, Any]:
        """Ours, on the sheets that the codecs were given: errors and features sheet by sheet."""
        count = len(self.pictures)
        return self._figures([e.mean() for e in errors[:count]], features[:count], original)

    def _figures(
        self,
        errors: Sequence[float],
        features: Sequence[Float64Array],
        original: Float64Array,
    ) -> dict[str, Any]:
        mse, together = float(np.mean(errors)), np.concatenate(features)
        return {
            "images": len(together),
            "mse": mse,
            "psnr_db": psnr_from_mse_db(mse),
            "frechet_distance": frechet_distance(original, together),
        }


def peer_files_of(name: str, sheet: Uint8Array) -> PeerFiles:
    """Files of a codec of a sheet (h, w, 1 or 3). Raises `UsageError` where it is missing."""
    codec = find_codec(name)
    codec.require()
    if sheet.shape[2] == 1:
        codec = replace(codec, encode=_grey(codec.encode))
    return PeerFiles(codec, np.broadcast_to(sheet, (*sheet.shape[:2], 3)), SETTINGS[name])


def _grey(encode: Callable[[Uint8Array, float], bytes]) -> Callable[[Uint8Array, float], bytes]:
    """An encoder that is given one channel: three equal ones cost it bytes for no colour."""

    def of_one_channel(pixels: Uint8Array, setting: float) -> bytes:
        return encode(np.ascontiguousarray(pixels[..., 0]), setting)

    return of_one_channel
