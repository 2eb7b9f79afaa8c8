"""Benchmarks of the rate-distortion measurement."""
