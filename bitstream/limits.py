"""Every cap on a size that is read from a file; `chunks`, `grammar` and `header` check them.

A reader checks them before it allocates.
"""

MAX_SIDE = 2**20  # pixels, width or height
MAX_PIXELS = 2**28  # width times height
MIN_TILE_LOG2 = 6  # a tile is at least 64 pixels wide and high ...
MAX_TILE_LOG2 = 12  # ... and at most 4096: a decoder holds the latents of whole tiles
BIT_DEPTHS = (8, 10, 12, 16)  # bits per channel
MAX_STREAM_BYTES = 9 * MAX_PIXELS  # of input read whole, such as a pipe: 8 a pixel, and a margin
MAX_LAYERS = 64
MAX_PAYLOADS = 2**18  # tiles times layers: the number of DATA chunks
MAX_CHUNK_BYTES = 2**30  # payload of one chunk
MAX_METADATA_BYTES = 2**24  # ancillary chunks of one file, together
MAX_ANCILLARY_CHUNKS = 256

MAX_TABLES = 2**16  # tables in one set: an index fits 16 bits
MAX_TABLE_ENTRIES = 2**22  # entries in one set, escapes included
