"""Checkpoints of CompressAI's zoo."""
