"""Measurement of rate and distortion: real codecs on real files, curves, BD-rates, plots.

    from codec.rate_distortion import bd_rate, find_codec, find_images, measure_curve

    images = find_images([Path("photos")])
    jpeg, photo = (measure_curve(find_codec(name), images, data_set="photos")
                   for name in ("jpeg", "photo"))
    print(bd_rate(jpeg, photo).bd_rate_percent)

Importing this package loads NumPy and Pillow only.
"""

from codec.rate_distortion.bjontegaard_delta import BdRate as BdRate
from codec.rate_distortion.bjontegaard_delta import bd_rate as bd_rate
from codec.rate_distortion.bjontegaard_delta import bd_rate_available as bd_rate_available
from codec.rate_distortion.bjontegaard_delta import bd_rate_of_points as bd_rate_of_points
from codec.rate_distortion.codecs import codec_names as codec_names
from codec.rate_distortion.codecs import find_codec as find_codec
from codec.rate_distortion.codecs import register_codec as register_codec
from codec.rate_distortion.curve import MeasuredImage as MeasuredImage
from codec.rate_distortion.curve import OperatingPoint as OperatingPoint
from codec.rate_distortion.curve import OperationalCurve as OperationalCurve
from codec.rate_distortion.curve import curves_to_csv as curves_to_csv
from codec.rate_distortion.errors import MeasurementError as MeasurementError
from codec.rate_distortion.errors import MissingExtraError as MissingExtraError
from codec.rate_distortion.errors import OverlapError as OverlapError
from codec.rate_distortion.errors import ResultFileError as ResultFileError
from codec.rate_distortion.image_set import SourceImage as SourceImage
from codec.rate_distortion.image_set import find_images as find_images
from codec.rate_distortion.metrics import ms_ssim as ms_ssim
from codec.rate_distortion.metrics import psnr_db as psnr_db
from codec.rate_distortion.operational import OperationalCodec as OperationalCodec
from codec.rate_distortion.operational import measure_curve as measure_curve
from codec.rate_distortion.operational import measure_image as measure_image
from codec.rate_distortion.result_file import ResultFile as ResultFile
from codec.rate_distortion.result_file import read_result as read_result
from codec.rate_distortion.result_file import write_result as write_result
