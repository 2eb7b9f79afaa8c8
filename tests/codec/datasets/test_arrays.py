"""Data sets of small images: every form that can be read, and what is refused."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from bitstream.errors import InputError, UsageError
from codec.datasets import arrays as image_arrays
from codec.datasets.arrays import Images, read_images, read_samples

SHAPE = (1, 4, 6)


def digits(count: int, *, seed: int = 0) -> Images:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 4, 6), dtype=np.uint8)


def idx(images: Images) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in images.shape)
    return bytes([0, 0, 8, images.ndim]) + sizes + images.tobytes()


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """The four files; the images of the training part are not compressed."""
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(digits(7)))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(digits(3, seed=1))))
    for name in ("train", "t10k"):
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(bytes(8)))
    return tmp_path


def test_mnist_folder(mnist: Path) -> None:
    test = read_images(mnist)
    assert test.dtype == np.uint8
    np.testing.assert_array_equal(test, digits(3, seed=1)[:, None])
    np.testing.assert_array_equal(read_images(mnist, part="train"), digits(7)[:, None])


@pytest.mark.parametrize("packed", [0, 1, 2])
def test_idx_file(tmp_path: Path, packed: int) -> None:
    data = idx(digits(5))
    for _ in range(packed):  # some downloads are compressed once more in transfer
        data = gzip.compress(data)
    path = tmp_path / "images.bin"
    path.write_bytes(data)
    np.testing.assert_array_equal(read_images(path, shape=SHAPE), digits(5)[:, None])


def test_idx_of_colour_images(tmp_path: Path) -> None:
    images = np.arange(2 * 3 * 4 * 6, dtype=np.uint8).reshape(2, 3, 4, 6)
    (tmp_path / "a.idx").write_bytes(idx(images))
    np.testing.assert_array_equal(read_images(tmp_path / "a.idx"), images)


@pytest.mark.parametrize("name", ["images", "x_test", "test_images"])
def test_npz(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.npz"
    arrays: dict[str, Any] = {name: digits(5), "x_train": digits(2, seed=2)}
    np.savez_compressed(path, **arrays)
    np.testing.assert_array_equal(read_images(path), digits(5)[:, None])
    expected = digits(5) if name == "images" else digits(2, seed=2)
    np.testing.assert_array_equal(read_images(path, part="train"), expected[:, None])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_npy_and_one_array_of_any_name(tmp_path: Path, dtype: type[np.generic]) -> None:
    values = digits(3) if dtype == np.uint8 else (digits(3) / 255).astype(dtype)
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", digits=values)
    for file in (tmp_path / "a.npy", tmp_path / "a.npz"):
        found = read_samples(file, shape=SHAPE)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, values[:, None])
        if dtype == np.uint8:
            np.testing.assert_array_equal(read_images(file), values[:, None])
        else:
            with pytest.raises(InputError, match=r"expected uint8 \(n"):
                read_images(file)


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (np.full((2, 4, 6), 255.0), "floats from 255 to 255; expected values in 0..1"),
        (np.full((2, 4, 6), -0.1), "floats from -0.1"),
        (np.where(np.arange(48) == 9, np.nan, 0.5).reshape(2, 4, 6), "floats from nan to nan"),
        (np.zeros((2, 4, 6), np.int64), "type int64"),
        (np.zeros((2, 4, 6), complex), "type complex128"),
        (np.zeros((2, 24)), r"shape \(2, 24\)"),
        (np.zeros((0, 4, 6)), "no images"),
    ],
    ids=["bytes", "negative", "nan", "integers", "complex", "flat", "none"],
)
def test_arrays_that_are_no_images(tmp_path: Path, values: npt.NDArray[Any], word: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=word):
        read_samples(tmp_path / "a.npy")


def test_npz_with_channels_first_or_last(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 4, 6), dtype=np.uint8)
    np.savez(tmp_path / "first.npz", images=images)
    np.savez(tmp_path / "last.npz", images=np.moveaxis(images, 1, 3))
    for name in ("first", "last"):
        np.testing.assert_array_equal(read_images(tmp_path / f"{name}.npz"), images)
        found = read_images(tmp_path / f"{name}.npz", shape=(3, 4, 6))
        np.testing.assert_array_equal(found, images)


def test_pictures(tmp_path: Path) -> None:
    for number, pixels in enumerate(digits(3)):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    np.testing.assert_array_equal(read_images(tmp_path), digits(3)[:, None])
    np.testing.assert_array_equal(read_images(tmp_path / "1.png"), digits(3)[1:2, None])
    # Grey pictures can be read as colour with three equal channels, but not the reverse.
    assert read_images(tmp_path, shape=(3, 4, 6)).shape == (3, 3, 4, 6)
    colour = np.zeros((4, 6, 3), np.uint8)
    colour[..., 0] = 9
    Image.fromarray(colour).save(tmp_path / "3.png")
    assert read_images(tmp_path).shape == (4, 3, 4, 6)
    with pytest.raises(InputError, match=r"3\.png: is a colour picture"):
        read_images(tmp_path, shape=SHAPE)


def test_pictures_in_two_parts(tmp_path: Path) -> None:
    for part, count in (("train", 2), ("test", 1)):
        (tmp_path / part).mkdir()
        for number, pixels in enumerate(digits(count)):
            Image.fromarray(pixels).save(tmp_path / part / f"{number}.png")
    assert len(read_images(tmp_path)) == 1
    assert len(read_images(tmp_path, part="train")) == 2


def test_nothing_is_resized(tmp_path: Path) -> None:
    Image.fromarray(digits(1)[0]).save(tmp_path / "a.png")
    Image.fromarray(digits(1)[0, :, :5]).save(tmp_path / "b.png")
    with pytest.raises(InputError, match=r"b\.png: is 5×4 pixels, the pictures before it 6×4"):
        read_images(tmp_path)
    with pytest.raises(InputError, match=r"b\.png: is 5×4 pixels, expected 6×4"):
        read_images(tmp_path, shape=SHAPE)
    path = tmp_path / "c.idx"
    path.write_bytes(idx(digits(2)))
    with pytest.raises(InputError, match="channels, height, width"):
        read_images(path, shape=(1, 28, 28))


def test_missing_things(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_images(tmp_path / "none")
    with pytest.raises(InputError, match="no picture"):
        read_images(tmp_path)
    with pytest.raises(UsageError, match="validation"):
        read_images(tmp_path, part="validation")
    np.savez(tmp_path / "a.npz", other=digits(1), another=digits(1))
    wanted = "holds another, other; expected an array named images or x_test .*, or one array"
    with pytest.raises(InputError, match=wanted):
        read_images(tmp_path / "a.npz")


LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2])
GOOD = idx(digits(2))
ODD_IDX = {
    "empty": b"",
    "three bytes": b"\0\0\x08",
    "labels": LABELS,
    "floats": b"\0\0\x0d" + GOOD[3:],
    "short": GOOD[:-1],
    "short header": GOOD[:11],
    "long": GOOD + b"\0",
    "no images": idx(digits(0)),
    "a bomb of sizes": bytes([0, 0, 8, 3]) + b"\xff" * 12,
    "sizes above the file": bytes([0, 0, 8, 3]) + b"\0\0\0\x7f" * 3,
    "cut gzip": gzip.compress(GOOD)[:-9],
    "changed gzip": gzip.compress(GOOD)[:-6] + bytes(6),
    "gzip of nothing": b"\x1f\x8b",
    "gzip without end": gzip.compress(gzip.compress(gzip.compress(GOOD))),
}


@pytest.mark.parametrize("name", ODD_IDX)
@pytest.mark.parametrize("file", ["x-images-idx3-ubyte.gz", "x"])
def test_odd_idx_files(tmp_path: Path, name: str, file: str) -> None:
    path = tmp_path / file
    path.write_bytes(ODD_IDX[name])
    with pytest.raises(InputError, match=file):
        read_images(path)


def test_odd_npz_files(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"

    def refused(content: dict[str, bytes] | bytes, word: str) -> None:
        buffer = io.BytesIO()
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            with zipfile.ZipFile(buffer, "w") as archive:
                for name, data in content.items():
                    archive.writestr(name, data)
            path.write_bytes(buffer.getvalue())
        with pytest.raises(InputError, match=word):
            read_images(path)

    def npy(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, array)
        return buffer.getvalue()

    good = npy(digits(2))
    refused(b"", "cannot be read")
    refused(b"PK\x03\x04 no archive", "cannot be read")
    refused({}, "no arrays")
    refused({"images.npy": b""}, "cannot be read")
    refused({"images.npy": good[:-1]}, "cannot be read")
    refused({"images.npy": b"\x93NUMPY\x09\x00" + good[8:]}, "version")
    refused({"images.npy": npy(digits(2).astype(np.float32) / 255)}, "float32")
    refused({"images.npy": npy(np.zeros((2, 3), np.uint8))}, "shape")
    refused({"images.npy": good.replace(b"'|u1'", b"'|O' ")}, "object")
    sizes = b"(99999999, 9999, 9999)"
    bomb = good.replace(b"(2, 4, 6)", sizes).replace(b" " * (len(sizes) - 9), b"", 1)
    assert len(bomb) == len(good)
    refused({"images.npy": bomb}, "announces")


def npy_with_header(text: bytes) -> bytes:
    return b"\x93NUMPY\x01\0" + len(text).to_bytes(2, "little") + text


GOOD_HEADER = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 4, 6)}\n"
ODD_HEADERS = {
    "empty": b"",
    "zeros": bytes(9),
    "open bracket": GOOD_HEADER.replace(b"}", b"("),
    "open string": b"'a",
    "odd indents": b"{\n  1\n 2}\n  3\n 4",
    "mixed keys": GOOD_HEADER.replace(b"'shape'", b"3"),
    "unhashable keys": GOOD_HEADER.replace(b"'shape'", b"[]"),
    "list": b"[1, 2]",
    "deep": b"(" * 9000 + b")" * 9000,
    "negative shape": GOOD_HEADER.replace(b"(2,", b"(-2,"),
    "shape of texts": GOOD_HEADER.replace(b"(2,", b"('2',"),
    "long number": GOOD_HEADER.replace(b"(2,", b"(" + b"9" * 5000 + b","),
    "dtype of numbers": GOOD_HEADER.replace(b"'|u1'", b"[(1, 2)]"),
    "unknown dtype": GOOD_HEADER.replace(b"|u1", b"?,?!"),
}


@pytest.mark.parametrize("name", ODD_HEADERS)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.filterwarnings("ignore")
def test_odd_headers_of_arrays(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    data = npy_with_header(ODD_HEADERS[name]) + bytes(48)
    if suffix == ".npy":
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", data)
    with pytest.raises(InputError, match=r"a\.np"):
        read_images(path)


@pytest.mark.parametrize(
    "compression",
    [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA],
    ids=["stored", "deflate", "bzip2", "lzma"],
)
def test_damaged_archives(tmp_path: Path, compression: int) -> None:
    path = tmp_path / "a.npz"
    images = io.BytesIO()
    np.save(images, digits(20))
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("images.npy", images.getvalue())
    good = path.read_bytes()
    assert read_images(path).shape == (20, *SHAPE)
    start = 30 + len("images.npy") + 9  # after the member's header, and that of LZMA
    for at in range(start, start + 60):
        path.write_bytes(good[:at] + b"\xff\x5a" + good[at + 2 :])
        with pytest.raises(InputError, match=r"a\.npz"):
            read_images(path)


def test_no_more_than_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_arrays, "MAX_BYTES", 100)
    for number, pixels in enumerate(digits(3)):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    with pytest.raises(InputError, match="more than 100"):
        read_images(tmp_path)
    np.savez(tmp_path / "a.npz", images=digits(5))
    with pytest.raises(InputError, match="more than 100"):
        read_images(tmp_path / "a.npz")


def test_reading_loads_no_torch() -> None:
    code = "import sys, codec.datasets.arrays; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
