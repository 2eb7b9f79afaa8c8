"""The decoders of models 2 to 9 and 11 to 17, by number."""

from __future__ import annotations

from tests.bitstream.format_autoregressive import decode_autoregressive
from tests.bitstream.format_blocks import decode_dplc, decode_rec, decode_rungs
from tests.bitstream.format_draw import decode_draw
from tests.bitstream.format_draw_archive import decode_draw_archive
from tests.bitstream.format_photo import decode_photo
from tests.bitstream.format_pixel import decode_pixel
from tests.bitstream.format_vae_archive import decode_vae_archive
from tests.bitstream.format_vq import decode_vq

DECODERS = {
    2: decode_draw,
    3: decode_dplc,
    4: decode_rungs,
    5: decode_rungs,
    6: decode_rec,
    7: decode_rungs,
    8: decode_vae_archive,
    9: decode_draw_archive,
    11: decode_photo,
    12: decode_pixel,
    13: decode_pixel,
    14: decode_vq,
    15: decode_autoregressive,
    16: decode_autoregressive,
    17: decode_autoregressive,
}
