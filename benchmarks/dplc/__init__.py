"""Benchmarks of the distribution-preserving codec."""
