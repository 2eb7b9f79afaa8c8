"""Makes weights: `python -m training PRESET --data DIR_OR_TARS`."""
