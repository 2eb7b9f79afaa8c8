"""Training of the model of one-dimensional signals."""
