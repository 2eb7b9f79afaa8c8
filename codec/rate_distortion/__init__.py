"""Measurement of rate and distortion: real codecs on real files, and curves and bounds of
generative models.

    from codec.rate_distortion import bd_rate, find_codec, find_images, measure_curve

    images = find_images([Path("photos")])
    jpeg, photo = (measure_curve(find_codec(name), images, data_set="photos")
                   for name in ("jpeg", "photo"))
    print(bd_rate(jpeg, photo).bd_rate_percent)

    from codec.rate_distortion import StandardNormal, rd_curve

    curve = rd_curve(decode, StandardNormal(10), images, distortion="sse", chains=20, seed=0)

The folders, from the reports down to what they rest on (README.md is the guide):

    report/      figures by matplotlib, HTML pages
    ladder/      several bounds of one model together, where the bits go, their result files
    files/       real codecs on real files: measuring, curves, BD-rate, result files
    annealing/   R_p(D) of a generative model
    bounds/      bounds around it: encoders, plug-in, particles, a dual from below
    known/       sources and decoders whose curve is known in closed form, Blahut-Arimoto
    user_code/   a decoder or a distortion from a person's own file

They share metrics.py (for two 8-bit images), distortions.py (differentiable, for batches),
estimates.py and model_curve.py (results), and the checks of arguments.

Importing this package loads no library: each name is imported when it is first used.
"""

import importlib
from typing import TYPE_CHECKING

from codec.rate_distortion.errors import MeasurementError as MeasurementError
from codec.rate_distortion.errors import MissingExtraError as MissingExtraError
from codec.rate_distortion.errors import OverlapError as OverlapError
from codec.rate_distortion.errors import ResultFileError as ResultFileError
from codec.system.missing_extra import extra_needed_by

if TYPE_CHECKING:
    from codec.datasets.arrays import read_images as read_images
    from codec.datasets.pictures import SourceImage as SourceImage
    from codec.datasets.pictures import find_images as find_images
    from codec.priors import GaussianMixture as GaussianMixture
    from codec.priors import LatentPrior as LatentPrior
    from codec.priors import StandardNormal as StandardNormal
    from codec.rate_distortion.annealing.rd_curve import rd_curve as rd_curve
    from codec.rate_distortion.annealing.rd_curve import rd_samples as rd_samples
    from codec.rate_distortion.annealing.settings import MoveSettings as MoveSettings
    from codec.rate_distortion.annealing.settings import Settings as Settings
    from codec.rate_distortion.annealing.summary import CurveSamples as CurveSamples
    from codec.rate_distortion.annealing.summary import rate_interval_at as rate_interval_at
    from codec.rate_distortion.annealing.summary import summarize as summarize
    from codec.rate_distortion.bounds import amortized_bound as amortized_bound
    from codec.rate_distortion.bounds import nerd_bound as nerd_bound
    from codec.rate_distortion.bounds import particle_descent as particle_descent
    from codec.rate_distortion.bounds import source_lower_bound as source_lower_bound
    from codec.rate_distortion.distortions import DeepFeatureDistance as DeepFeatureDistance
    from codec.rate_distortion.distortions import GaussianNLL as GaussianNLL
    from codec.rate_distortion.distortions import MeanSquaredError as MeanSquaredError
    from codec.rate_distortion.distortions import OneMinusMsSsim as OneMinusMsSsim
    from codec.rate_distortion.distortions import SumSquaredError as SumSquaredError
    from codec.rate_distortion.files.bd_rate import BdRate as BdRate
    from codec.rate_distortion.files.bd_rate import bd_rate as bd_rate
    from codec.rate_distortion.files.bd_rate import bd_rate_available as bd_rate_available
    from codec.rate_distortion.files.bd_rate import bd_rate_of_points as bd_rate_of_points
    from codec.rate_distortion.files.codecs import codec_names as codec_names
    from codec.rate_distortion.files.codecs import find_codec as find_codec
    from codec.rate_distortion.files.codecs import model_codec as model_codec
    from codec.rate_distortion.files.codecs import register_codec as register_codec
    from codec.rate_distortion.files.curve import MeasuredImage as MeasuredImage
    from codec.rate_distortion.files.curve import OperatingPoint as OperatingPoint
    from codec.rate_distortion.files.curve import OperationalCurve as OperationalCurve
    from codec.rate_distortion.files.curve import curves_to_csv as curves_to_csv
    from codec.rate_distortion.files.measure import OperationalCodec as OperationalCodec
    from codec.rate_distortion.files.measure import measure_curve as measure_curve
    from codec.rate_distortion.files.measure import measure_image as measure_image
    from codec.rate_distortion.files.result_file import ResultFile as ResultFile
    from codec.rate_distortion.files.result_file import read_result as read_result
    from codec.rate_distortion.files.result_file import write_result as write_result
    from codec.rate_distortion.known.discrete_sources import blahut_arimoto as blahut_arimoto
    from codec.rate_distortion.known.discrete_sources import (
        empirical_rate_distortion as empirical_rate_distortion,
    )
    from codec.rate_distortion.ladder.gap_table import GapMeasurements as GapMeasurements
    from codec.rate_distortion.ladder.gap_table import GapTable as GapTable
    from codec.rate_distortion.ladder.ladder import Ladder as Ladder
    from codec.rate_distortion.ladder.model_file import ModelResult as ModelResult
    from codec.rate_distortion.ladder.model_file import read_model_result as read_model_result
    from codec.rate_distortion.ladder.model_file import write_model_result as write_model_result
    from codec.rate_distortion.ladder.rung import Rung as Rung
    from codec.rate_distortion.metrics import METRICS as METRICS
    from codec.rate_distortion.metrics import ms_ssim as ms_ssim
    from codec.rate_distortion.metrics import psnr_db as psnr_db
    from codec.rate_distortion.metrics import ssimulacra2 as ssimulacra2
    from codec.rate_distortion.model_curve import RDCurve as RDCurve
    from codec.rate_distortion.model_curve import UntrustedCurveError as UntrustedCurveError
    from codec.rate_distortion.user_code.adapters import DecoderAdapter as DecoderAdapter
    from codec.rate_distortion.user_code.adapters import from_module as from_module
    from codec.rate_distortion.user_code.adapters import load_decoder as load_decoder

_HOMES = {
    "codec.datasets.pictures": "SourceImage find_images",
    "codec.rate_distortion.files.bd_rate": "BdRate bd_rate bd_rate_available bd_rate_of_points",
    "codec.rate_distortion.files.codecs": "codec_names find_codec model_codec register_codec",
    "codec.rate_distortion.files.curve": (
        "MeasuredImage OperatingPoint OperationalCurve curves_to_csv"
    ),
    "codec.rate_distortion.files.measure": "OperationalCodec measure_curve measure_image",
    "codec.rate_distortion.files.result_file": "ResultFile read_result write_result",
    "codec.rate_distortion.metrics": "METRICS ms_ssim psnr_db ssimulacra2",
    "codec.rate_distortion.model_curve": "RDCurve UntrustedCurveError",
    "codec.priors": "GaussianMixture LatentPrior StandardNormal",
    "codec.datasets.arrays": "read_images",
    "codec.rate_distortion.annealing.settings": "MoveSettings Settings",
    "codec.rate_distortion.annealing.rd_curve": "rd_curve rd_samples",
    "codec.rate_distortion.annealing.summary": "CurveSamples rate_interval_at summarize",
    "codec.rate_distortion.bounds": (
        "amortized_bound nerd_bound particle_descent source_lower_bound"
    ),
    "codec.rate_distortion.distortions": (
        "DeepFeatureDistance GaussianNLL MeanSquaredError OneMinusMsSsim SumSquaredError"
    ),
    "codec.rate_distortion.known.discrete_sources": "blahut_arimoto empirical_rate_distortion",
    "codec.rate_distortion.ladder.gap_table": "GapMeasurements GapTable",
    "codec.rate_distortion.ladder.ladder": "Ladder",
    "codec.rate_distortion.ladder.model_file": "ModelResult read_model_result write_model_result",
    "codec.rate_distortion.ladder.rung": "Rung",
    "codec.rate_distortion.user_code.adapters": "DecoderAdapter from_module load_decoder",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


_ERRORS = "MeasurementError MissingExtraError OverlapError ResultFileError"


__all__ = sorted([*_HOME_OF, *_ERRORS.split()])  # noqa: PLE0605 - a list of strings


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'codec.rate_distortion' has no attribute {name!r}")
    with extra_needed_by(f"codec.rate_distortion.{name}"):
        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value
