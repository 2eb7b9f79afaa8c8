"""Real codecs make real files: each is decoded again, and the curve has their lengths."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bitstream.arrays import Uint8Array
from bitstream.errors import InputError, UsageError
from codec.rate_distortion import (
    MeasurementError,
    MissingExtraError,
    OperationalCodec,
    SourceImage,
    codec_names,
    find_codec,
    find_images,
    measure_curve,
    measure_image,
)
from codec.rate_distortion.files import codecs
from tests.codec.rate_distortion.made_up_pictures import photo_like

SIGNATURES = {
    "jpeg": b"\xff\xd8\xff",
    "webp": b"RIFF",
    "jpeg2000": b"\x00\x00\x00\x0cjP  ",
    "avif": b"\x00\x00\x00\x20ftypavif",
    "jxl": b"\xff\x0a",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_peers_make_decodable_files_of_rising_size(name: str) -> None:
    codec = find_codec(name)
    try:
        codec.require()
    except UsageError as error:
        pytest.skip(str(error))
    picture = photo_like(height=80, width=112)
    chosen = (codec.settings[0], codec.settings[len(codec.settings) // 2], codec.settings[-1])
    files = [codec.encode(picture, setting) for setting in chosen]
    assert all(data.startswith(SIGNATURES[name]) for data in files)
    measured = measure_image(codec, "waves", picture, chosen)
    assert [entry.coded_bytes for entry in measured] == [len(data) for data in files]
    sizes = [entry.coded_bytes for entry in measured]
    errors = [entry.squared_error for entry in measured]
    assert sizes == sorted(sizes)
    assert errors == sorted(errors, reverse=True)
    assert codec.libraries()


def test_every_codec_sweeps_from_low_to_high_rates() -> None:
    assert codec_names()[:6] == ("photo", "jpeg", "webp", "jpeg2000", "avif", "jxl")
    for name in codec_names():
        settings = find_codec(name).settings
        falling = name == "jxl"  # a distance falls as the rate rises
        assert list(settings) == sorted(settings, reverse=falling)
        assert len(settings) >= 8 or name == "photo"


@pytest.mark.parametrize("name", codec_names())
def test_codecs_can_be_sent_to_other_processes(name: str) -> None:
    assert pickle.loads(pickle.dumps(find_codec(name))) == find_codec(name)


def test_importing_the_package_loads_neither_torch_nor_plotting() -> None:
    program = (
        "import sys, codec.rate_distortion, codec.cli.rate_distortion;"
        "import codec.cli.plot, codec.cli.demo;"
        "print(*sorted({'torch', 'matplotlib', 'scipy', 'bjontegaard'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_unknown_codec_lists_the_known() -> None:
    with pytest.raises(UsageError, match="unknown codec 'gif'; known are photo, jpeg"):
        find_codec("gif")


@pytest.mark.parametrize("name", ["pixel", "near-lossless", "digits-made"])
def test_a_model_without_qualities_has_no_curve(name: str) -> None:
    with pytest.raises(UsageError, match=f"codec '{name}' takes no quality"):
        find_codec(name)
    with pytest.raises(UsageError) as caught:
        find_codec("gif")
    assert name not in str(caught.value)


def test_jxl_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"imagecodecs.*the extra 'bench'"):
        find_codec("jxl").require()


def test_curve_holds_lengths_of_files_and_does_not_depend_on_the_executor(
    fake_photo: OperationalCodec, picture_folder: Path
) -> None:
    images = find_images([picture_folder])
    seen: list[str] = []
    alone = measure_curve(fake_photo, images, data_set="waves", progress=seen.append)
    with ThreadPoolExecutor(2) as executor:
        assert measure_curve(fake_photo, images, data_set="waves", executor=executor) == alone
    assert seen == ["wave-0.png", "wave-1.png"]
    assert alone.weights == "0123456789abcdef"
    for index, source in enumerate(images):
        data = fake_photo.encode(source.pixels(), 40)
        assert alone.points[2].coded_bytes[index] == len(data)
    assert alone.points[2].encode_seconds is not None


def test_a_codec_that_fails_or_changes_the_size_is_an_error(fake_photo: OperationalCodec) -> None:
    def broken(data: bytes) -> Uint8Array:
        raise ValueError("bad marker")

    picture = photo_like()
    with pytest.raises(MeasurementError, match="photo at quality 5 on x: ValueError: bad marker"):
        measure_image(replace(fake_photo, decode=broken), "x", picture, [5])
    smaller = replace(fake_photo, decode=lambda data: picture[1:])
    with pytest.raises(MeasurementError, match=r"decoded to uint8 \(47, 48, 3\)"):
        measure_image(smaller, "x", picture, [5])


def test_nothing_to_measure_is_a_usage_error(fake_photo: OperationalCodec) -> None:
    with pytest.raises(UsageError, match="nothing to measure"):
        measure_curve(fake_photo, [], data_set="none")


def test_images_come_from_files_folders_and_tars(
    picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture_folder / "notes.txt").write_text("not a picture")
    archive = tmp_path / "set.tar"
    with tarfile.open(archive, "w") as tar:
        for path in sorted(picture_folder.iterdir(), reverse=True):
            tar.add(path, arcname=path.name)
    one = picture_folder / "wave-1.png"
    found = find_images([picture_folder, archive, one])
    names = [source.name for source in found]
    assert names == ["wave-0.png", "wave-1.png"] * 2 + ["wave-1.png"]
    # An archive is searched once, not for every picture, which would take quadratic time.
    monkeypatch.setattr(tarfile, "open", None)
    assert np.array_equal(found[0].pixels(), photo_like(0))
    assert np.array_equal(found[3].pixels(), photo_like(1))
    with pytest.raises(InputError, match="does not exist"):
        find_images([tmp_path / "missing"])
    with pytest.raises(InputError, match="no picture in"):
        find_images([tmp_path / "pictures" / "notes.txt"][:0])


@pytest.mark.parametrize(
    ("mode", "accepted"),
    [("RGB", True), ("L", True), ("P", True), ("RGBA", False), ("CMYK", False), ("I;16", False)],
)
def test_only_pictures_that_are_rgb_are_measured(mode: str, accepted: bool, tmp_path: Path) -> None:
    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new(mode, (8, 6)).save(path)
    source = SourceImage(path.name, path)
    if accepted:
        assert source.pixels().shape == (6, 8, 3)
    else:
        with pytest.raises(InputError, match=path.name):
            source.pixels()


def test_an_alpha_channel_that_hides_nothing_is_accepted(tmp_path: Path) -> None:
    path = tmp_path / "opaque.png"
    Image.new("RGBA", (8, 6), (10, 20, 30, 255)).save(path)
    assert SourceImage("opaque", path).pixels()[0, 0].tolist() == [10, 20, 30]


def test_colour_of_more_than_8_bits_is_not_measured_at_8(tmp_path: Path) -> None:
    path = tmp_path / "deep.ppm"  # Pillow opens it as RGB of 8 bits
    path.write_bytes(b"P6 8 6 65535 " + bytes(8 * 6 * 6))
    with pytest.raises(InputError, match=r"deep\.ppm: has 16 bits per channel"):
        SourceImage(path.name, path).pixels()


def test_a_file_that_is_no_picture_is_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match=r"x\.png"):
        SourceImage("x.png", path).pixels()


@pytest.mark.usefixtures("tiny_weights")
def test_photo_goes_through_the_library_and_names_its_weights() -> None:
    photo = find_codec("photo")
    picture = photo_like()
    (entry,) = measure_image(photo, "waves", picture, [50])
    assert entry.coded_bytes == len(photo.encode(picture, 50))
    weights = photo.weights()
    assert weights is not None
    assert len(bytes.fromhex(weights)) == 8
