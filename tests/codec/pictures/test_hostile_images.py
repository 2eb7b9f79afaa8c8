"""Damaged image files give an error of ours, whatever Pillow makes of them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bitstream import CalotypeError
from codec.pictures.picture import Picture
from codec.pictures.read import picture_from

PIXELS = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)


def file_of(format_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(buffer, format_name, exif=exif, **options)
    return buffer.getvalue()


FILES = {
    name: file_of(name)
    for name in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP", "PPM", "AVIF", "JPEG2000", "TGA")
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FILES)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_mutations_give_a_picture_or_a_typed_error(name: str, data: st.DataObject) -> None:
    content = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)))
    content = content[: data.draw(st.sampled_from([cut, len(content)]))]
    try:
        picture = picture_from(
            bytes(content), reduce_depth=True, apply_orientation=data.draw(st.booleans())
        )
    except CalotypeError:
        return
    assert isinstance(picture, Picture)


def test_the_message_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(FILES["PNG"][:-40])
    with pytest.raises(CalotypeError, match=r"cut\.png cannot be decoded"):
        picture_from(path)
