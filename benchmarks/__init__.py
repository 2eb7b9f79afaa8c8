"""Scripts that measure Calotype and write `results/*.json`; no part of the installed package."""
