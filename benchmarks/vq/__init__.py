"""Benchmarks of the codec of vector quantisation."""
