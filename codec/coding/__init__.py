"""Latents to symbols, exactly: integer layers, tables, quantisers, tiles."""
