"""Scripts that measure Calotype and write `results/*.json`; not part of the installed package."""
