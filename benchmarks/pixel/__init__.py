"""Benchmarks of the lossless model: `python -m benchmarks.pixel`."""
