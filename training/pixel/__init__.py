"""Training of the lossless model."""
