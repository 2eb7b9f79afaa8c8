"""The machine: threads, executors, atomic files, byte sources, optional dependencies."""
