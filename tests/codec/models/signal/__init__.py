"""The model of one-dimensional signals."""
