"""A small classifier whose features measure Fréchet distances."""
