"""Convolutional DRAW: every step is a layer of the file."""
