"""A decoder or a distortion from a user's own file."""

from codec.system.missing_extra import extra_needed_by

with extra_needed_by("codec.rate_distortion.user_code"):
    import torch  # noqa: F401 - every module here does
