"""Further pictures in a file are named in notices, and previews are not taken for pictures."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from bitstream import InputError
from bitstream.arrays import Uint8Array
from codec.pictures.picture import Picture
from codec.pictures.read import picture_from

PIXELS = np.random.default_rng(3).integers(0, 256, (8, 6), dtype=np.uint8)
FORMS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
Entry = tuple[int, int, list[int]]


class Tiff:
    """A TIFF or BigTIFF file, directory by directory."""

    def __init__(self, order: str = "<", *, is_big: bool = False) -> None:
        self.order, self.is_big = order, is_big
        self.place_form = order + ("Q" if is_big else "I")
        head = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if is_big else 42)
        head += struct.pack(order + "HH", 8, 0) if is_big else b""
        self.data = bytearray(head + bytes(8 if is_big else 4))

    def directory(self, *entries: Entry, following: int = 0) -> int:
        """Write a directory; return its offset."""
        packed = b""
        for tag, kind, values in sorted(entries):
            data = struct.pack(f"{self.order}{len(values)}{FORMS[kind]}", *values)
            room = struct.calcsize(self.place_form)
            if len(data) > room:
                self.data += bytes(-len(self.data) % 8)
                place, self.data = len(self.data), self.data + data
                data = struct.pack(self.place_form, place)
            head = struct.pack(
                self.order + ("HHQ" if self.is_big else "HHI"), tag, kind, len(values)
            )
            packed += head + data.ljust(room, b"\0")
        self.data += bytes(-len(self.data) % 8)
        place = len(self.data)
        self.data += struct.pack(self.order + ("Q" if self.is_big else "H"), len(entries))
        self.data += packed + struct.pack(self.place_form, following)
        return place

    def page(self, *entries: Entry, pixels: Uint8Array = PIXELS, following: int = 0) -> int:
        """Write a gray picture and its directory."""
        place = len(self.data)
        self.data += pixels.tobytes()
        height, width = pixels.shape
        own: list[Entry] = [
            (256, 3, [width]), (257, 3, [height]), (258, 3, [8]), (259, 3, [1]), (262, 3, [1]),
            (273, 4, [place]), (277, 3, [1]), (278, 3, [height]), (279, 4, [pixels.size]),
        ]  # fmt: skip
        return self.directory(*own, *entries, following=following)

    def other(self, side: int, *entries: Entry, following: int = 0) -> int:
        """Write a directory of a picture that does not exist."""
        return self.directory((256, 4, [side]), (257, 4, [side]), *entries, following=following)

    def bytes_of(self, first: int) -> bytes:
        """The file, with its first page at an offset."""
        struct.pack_into(self.place_form, self.data, 8 if self.is_big else 4, first)
        return bytes(self.data)


def check_pixels(data: bytes) -> Picture:
    picture = picture_from(data)
    np.testing.assert_array_equal(picture.pixels[..., 0], PIXELS)
    return picture


def check_preview(data: bytes) -> None:
    with pytest.raises(InputError, match="256×256 pixels that Pillow does not read"):
        picture_from(data)


@pytest.mark.parametrize(
    ("order", "is_big", "kind"),
    # Pillow cannot read big-endian BigTIFF.
    [
        *((order, False, kind) for order in "<>" for kind in (4, 13)),
        ("<", True, 16),
        ("<", True, 18),
    ],
)
def test_places_of_every_type(order: str, is_big: bool, kind: int) -> None:
    for side in (2, 256):
        file = Tiff(order, is_big=is_big)
        data = file.bytes_of(file.page((330, kind, [file.other(side)])))
        if side == 256:
            check_preview(data)
        else:
            notice = "further pictures below the first (1) were left out"
            assert check_pixels(data).notices == (notice,)


def test_the_last_of_many() -> None:
    file = Tiff()
    below = [file.other(side) for side in (*20 * [2], 256)]
    check_preview(file.bytes_of(file.page((330, 4, below))))


def test_below_another_one() -> None:
    file = Tiff()
    lowest = file.other(256)
    check_preview(file.bytes_of(file.page((330, 4, [file.other(2, (330, 4, [lowest]))]))))


def test_behind_one_below() -> None:
    file = Tiff()
    below = file.other(2, following=file.other(256))
    check_preview(file.bytes_of(file.page((330, 4, [below]))))


def test_below_the_next_page() -> None:
    file = Tiff()
    following = file.page((330, 4, [file.other(256)]))
    check_preview(file.bytes_of(file.page(following=following)))


def test_a_pyramid_below_a_page_that_pillow_reads() -> None:
    file = Tiff()
    large = np.zeros((300, 300), np.uint8)
    following = file.page((330, 4, [file.other(256)]), pixels=large)
    assert check_pixels(file.bytes_of(file.page(following=following))).notices == (
        "further pictures below the first (1) were left out",
        "frame 1 of 2 was taken: a .calo file holds one image",
    )


@pytest.mark.parametrize("place", [3, 8, 2**32 - 1])
def test_places_that_hold_no_directory(place: int) -> None:
    file = Tiff()
    check_pixels(file.bytes_of(file.page((330, 4, [place, 0]))))


def test_directories_in_a_circle() -> None:
    file = Tiff()
    place = file.other(2)
    struct.pack_into("<I", file.data, len(file.data) - 4, place)
    assert len(check_pixels(file.bytes_of(file.page((330, 4, 2000 * [place])))).notices) == 1


PNM = {
    "P5": (b"P5 6 8 255\n", PIXELS.tobytes()),
    "P5 of 16 bits": (b"P5 6 8 65535\n", PIXELS.astype(">u2").tobytes()),
    "P5 of 10 bits": (b"P5 6 8 1023\n", PIXELS.astype(">u2").tobytes()),
    "P6": (b"P6 6 8 255\n", np.dstack([PIXELS] * 3).tobytes()),
    "P4": (b"P4 6 8\n", bytes(8)),
}


@pytest.mark.parametrize("name", PNM)
def test_the_second_picture_of_a_pnm_file(name: str) -> None:
    data = b"".join(PNM[name])
    for tail, is_named in ((b"", False), (b"\n", False), (b"P5", False), (data, True)):
        notices = picture_from(data + tail, keep_depth=True).notices
        assert any("the first picture of the file was taken" in n for n in notices) == is_named


def icon(kind: int, *depths: int) -> bytes:
    """An icon (1) or a cursor (2) with pictures of one size."""
    image = Image.new("RGBA", (16, 16), "red")
    pictures = b""
    head = struct.pack("<HHH", 0, kind, len(depths))
    for depth in depths:
        buffer = io.BytesIO()
        image.save(buffer, "BMP")
        body = bytearray(buffer.getvalue()[14:])
        struct.pack_into("<I", body, 8, 32)
        place = 6 + 16 * len(depths) + len(pictures)
        head += struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, depth, len(body), place)
        pictures += bytes(body)
    return head + pictures


@pytest.mark.parametrize("kind", [1, 2])
def test_pictures_of_one_size_in_an_icon(kind: int) -> None:
    assert picture_from(icon(kind, 32)).notices == ()
    # Pillow reads the alpha of a cursor only if it has a single picture.
    left_out = "the transparency of the cursor was left out: Pillow does not read it"
    assert picture_from(icon(kind, 32, 24, 8)).notices == (
        "the picture of 16×16 pixels was taken, of 3: a .calo file holds one image",
        *([left_out] if kind == 2 else []),
    )


@pytest.mark.parametrize("format_name", ["ICO", "ICNS"])
def test_an_icon_whose_file_is_closed(format_name: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (64, 64)).save(buffer, format_name)
    with io.BytesIO(buffer.getvalue()) as file:
        image = Image.open(file)
        image.load()
    (notice,) = picture_from(image).notices
    assert notice.startswith(f"the picture of {image.width}×{image.height} pixels was taken, of ")
