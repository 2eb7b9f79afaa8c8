"""Bounds on rate and distortion other than annealing.

    lower    source_lower_bound      Csiszár's dual, for a source that can be sampled  (sandwich)
    upper    amortized_bound         β-VAE sweep of an encoder with a frozen decoder
             nerd_bound              average over codes of the prior, with its ceiling log M
             train_generator         fits the decoder for it: a bound on the source's own R(D)
             particle_descent        particles under squared error, with certificates

On one plot:  source_lower_bound ≤ R(D) ≤ R_p(D) ≤ amortized_bound, nerd_bound.  The same seed on
the same device always gives the same numbers.
"""

from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.rate_distortion.bounds"):
    from codec.rate_distortion.bounds.amortized import AmortizedCurve as AmortizedCurve
    from codec.rate_distortion.bounds.amortized import amortized_bound as amortized_bound
    from codec.rate_distortion.bounds.mode_search import SearchEffort as SearchEffort
    from codec.rate_distortion.bounds.nerd import NerdCurve as NerdCurve
    from codec.rate_distortion.bounds.nerd import nerd_bound as nerd_bound
    from codec.rate_distortion.bounds.nerd import train_generator as train_generator
    from codec.rate_distortion.bounds.particles import ParticleSolution as ParticleSolution
    from codec.rate_distortion.bounds.particles import particle_descent as particle_descent
    from codec.rate_distortion.bounds.sandwich import SourceLowerBound as SourceLowerBound
    from codec.rate_distortion.bounds.sandwich import source_lower_bound as source_lower_bound
    from codec.rate_distortion.estimates import BoundPoint as BoundPoint
