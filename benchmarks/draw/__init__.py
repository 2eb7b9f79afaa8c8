"""Benchmarks of DRAW."""
