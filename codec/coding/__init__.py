"""From latents to symbols, bit-exactly: integer layers, tables, quantisers, tiles."""
