"""Sources and models whose rate-distortion functions are known, as references for all tests.

    GaussianSource          independent Gaussians, squared error: reverse water-filling
    DeconvolutionSource     a sphere in Gaussian noise: the optimal reproduction is the sphere
    GaussianPerception      rate, distortion and perception of one Gaussian variable
    LinearGaussianDecoder   R_p(D) of a linear decoder with a standard normal prior

Rates are nats.  R(D) is the rate-distortion function and  L(β) = min over D of R(D) + βD  its
Lagrangian, concave, with L'(β) = D(β) and R(D) = sup over β of L(β) − βD.  Everything is NumPy in
float64; nothing here loads torch.
"""

from codec.rate_distortion.known.deconvolution import DeconvolutionSource as DeconvolutionSource
from codec.rate_distortion.known.gaussian import GaussianSource as GaussianSource
from codec.rate_distortion.known.linear_decoder import (
    LinearGaussianDecoder as LinearGaussianDecoder,
)
from codec.rate_distortion.known.perception import GaussianPerception as GaussianPerception
