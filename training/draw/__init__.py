"""Training of convolutional DRAW models."""
