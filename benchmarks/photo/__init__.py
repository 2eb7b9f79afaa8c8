"""Benchmarks of the photo model."""
