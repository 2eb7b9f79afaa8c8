"""System services: threads, executors, atomic files, byte sources, optional dependencies."""
