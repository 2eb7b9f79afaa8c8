"""The models: one folder for each family, and their catalogue (`catalog.py`).

`generative` is not a family of the catalogue and codes no files: it holds the networks and weights
files of the generative models that are measured, on which `vae` and `dplc` are built.
"""
