"""R_p(D) of a generative model by annealed importance sampling."""

from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.rate_distortion.annealing"):
    import torch  # noqa: F401 - every module here does
