"""The worked examples of FORMAT.md, recomputed by the decoder that was written from the text.

The text and the recomputed examples have to be equal to the last character, so that no number of an
example can be wrong.

`python -m tests.bitstream.format_examples NAME` prints the block of a golden file.
"""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from safetensors import safe_open

from tests.bitstream.format_coder_examples import CODERS
from tests.bitstream.format_decoded import Decoded, Message, Pixels, Weights
from tests.bitstream.format_models import DECODERS
from tests.bitstream.format_reader import File, read_file
from tests.bitstream.format_text import Fields, document, hexadecimal, pcg_starts, written

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


@dataclass(frozen=True)
class Case:
    """A golden file, its decoding, and the picture that is stored beside it."""

    path: Path
    file: File
    decoded: Decoded
    picture: Pixels
    weights_name: str


WEIGHTS = {
    "photo-visual-v1": "photo",
    "photo-psnr-v1": "photo",
    "photo-deep-v1": "photo",
    "photo-layers-v1": "photo",
    "photo-far-v1": "photo-far",
    "draw-v1": "draw",
    "dplc-v1": "dplc",
    "dplc-sample-v1": "dplc",
    "dplc-flow-v1": "dplc-flow",
    "dplc-codes-v1": "dplc-codes",
    "vae-round-v1": "digits-vae",
    "vae-dither-v1": "digits-vae",
    "vae-rec-v1": "digits-vae",
    "vae-vbq-v1": "digits-vae",
    "vae-bits-back-v1": "digits-vae-binary",
    "draw-bits-back-v1": "draw-bits-back",
    "pixel-v1": "pixel",
    "pixel-grey-v1": "pixel",
    "pixel-map-v1": "pixel",
    "pixel-differences-v1": "pixel",
    "near-lossless-v1": "near-lossless",
    "near-lossless-grey-v1": "near-lossless",
    "vq-v1": "vq",
    "vq-grey-v1": "vq-grey",
    "digits-fvsbn-v1": "digits-fvsbn",
    "digits-made-v1": "digits-made",
    "digits-pixelcnn-v1": "digits-pixelcnn",
}


@cache
def case_of(name: str) -> Case:
    """Decode a golden file as the text says."""
    path, weights = GOLDEN / f"{name}.calo", GOLDEN / f"{WEIGHTS[name]}.safetensors"
    file = read_file(path.read_bytes())
    with safe_open(weights, framework="numpy") as opened:
        metadata = opened.metadata()
        arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
    held = Weights(json.loads(metadata["config"]), int(metadata.get("side", 0)), arrays)
    decoded = DECODERS[file.header.model](file, held, pcg_starts(document()))
    with Image.open(path.with_suffix(".png")) as image:
        picture: npt.NDArray[Any] = np.asarray(image)
    picture = picture.reshape(*picture.shape[:2], -1)
    return Case(path, file, decoded, picture, weights.name)


def shown(name: str) -> Fields:
    """The lines of the example of a golden file."""
    case = case_of(name)
    coded = case.file.payload("DATA") if len(case.file.coded) == 1 else _first_data(case.file)
    found = {
        "file": case.path.name,
        "weights": case.weights_name,
        "HEAD": hexadecimal(case.file.payload("HEAD")),
        "DATA": _shortened(coded),
    }
    found |= DETAILS[case.file.header.model](case.decoded)
    row = case.picture[0, :6]
    found["first pixels of row 0"] = ", ".join(written(pixel) for pixel in row.tolist())
    place = len(case.picture) // 2
    row = case.picture[place, place : place + 6]
    found[f"pixels of row {place} from column {place}"] = ", ".join(
        written(pixel) for pixel in row.tolist()
    )
    return found


def _first_data(file: File) -> bytes:
    return next(payload for kind, payload in file.chunks if kind == "DATA")


def _shortened(data: bytes) -> str:
    if len(data) <= 48:
        return f"{hexadecimal(data)} ({len(data)} bytes)"
    return f"{hexadecimal(data[:24])} … ({len(data)} bytes)"


def _message(label: str, message: Message, count: int = 16) -> Fields:
    """The first symbols of a message and their tables."""
    size = len(message.symbols)
    more = " …" if size > count else ""
    return {
        f"{label}, symbols": f"{written(message.symbols[:count])}{more} ({size})",
        f"{label}, tables": f"{written(message.tables[:count])}{more} ({size})",
    }


def _reals(values: Sequence[float]) -> str:
    return " ".join(f"{value:.4f}" for value in values)


def _photo(decoded: Decoded) -> Fields:
    found = {"channels": written(decoded.numbers["channels"])}
    for number, message in enumerate(decoded.messages[0]):
        found |= _message(f"message {number}", message)
    found["first means in units of 2⁻¹⁰"] = written(decoded.numbers["means"][:16])
    found["first latents in units of 2⁻¹⁰"] = written(decoded.numbers["latents"][:16])
    return found


def _draw(decoded: Decoded) -> Fields:
    found: dict[str, str] = {}
    for number, message in enumerate(decoded.messages[0]):
        found |= _message(f"message {number}", message, 24)
    found["first z of level 1"] = written(decoded.numbers["codes"][:8])
    found["canvas of the first pixels after all steps"] = written(decoded.numbers["canvas"][:9])
    return found


def _dplc(decoded: Decoded) -> Fields:
    found = {
        "number of the rate": written(decoded.numbers["rate"]),
        "bits of a block": written(decoded.numbers["bits of a block"]),
    }
    for number, message in enumerate(decoded.messages[0][:2]):
        found |= _message(f"message {number}", message)
    if decoded.numbers["bits"]:
        found["bits of block 0"] = written(decoded.numbers["bits"])
    found["noise of block 0"] = _reals(decoded.numbers["noise"])
    found["code of block 0"] = _reals(decoded.numbers["code"])
    if "flow" in decoded.numbers:
        found["after the flow"] = _reals(decoded.numbers["flow"])
    return found


def _vq(decoded: Decoded) -> Fields:
    found: dict[str, str] = {}
    for number, message in enumerate(decoded.messages[0][:3]):
        found |= _message(f"message {number}", message)
    found["first codes of block 0"] = written(decoded.numbers["codes"][:24])
    return found


def _rungs(decoded: Decoded) -> Fields:
    found = {"rungs": written(decoded.numbers["rungs"])}
    if "noise" in decoded.numbers:
        found["n of the first symbols"] = written(decoded.numbers["noise"][:4])
    found |= _message("message 0", decoded.messages[0][0])
    found["code of block 0"] = _reals(decoded.numbers["codes"])
    return found


def _rec(decoded: Decoded) -> Fields:
    found = {
        "set": written(decoded.numbers["set"]),
        "layout": written(decoded.numbers["layout"]),
    }
    for number, message in enumerate(decoded.messages[0]):
        found |= _message(f"message {number}", message, 12)
    found["first indexes"] = written(decoded.numbers["indexes"][:12])
    found["code of block 0"] = _reals(decoded.numbers["codes"])
    return found


def _vae_archive(decoded: Decoded) -> Fields:
    found = {
        "seed words": written(decoded.numbers["seed words"]),
        "blocks of the groups": written(decoded.numbers["groups"]),
        "codes of the last group": written(decoded.numbers["codes"]),
    }
    pixels = decoded.messages[0][0]
    row = Message(pixels.symbols[14 * 28 : 15 * 28], pixels.tables[14 * 28 : 15 * 28])
    return found | _message("row 14 of its first block", row, 28)


def _draw_archive(decoded: Decoded) -> Fields:
    found = {
        "runs": written(decoded.numbers["runs"]),
        "first bits of the last group": written(decoded.numbers["bits"][:16]),
        "first bins of the last group": written(decoded.numbers["bins"][:16]),
    }
    return found | _message("pixels of the last group", decoded.messages[0][0])


def _pixel(decoded: Decoded) -> Fields:
    found = {
        "planes of the first tile": written(decoded.numbers["planes"]),
        "first predictions of its row 1, plane 0": written(decoded.numbers["predictions"]),
    }
    if "map" in decoded.numbers:
        found["first numbers of its map, row 1"] = written(decoded.numbers["map"])
    count = len(decoded.messages[0])
    places = [0, 1, count // 2]
    if "pairs" in decoded.numbers:
        found["pairs that occur"] = written(decoded.numbers["pairs"])
        # The message of green and red, and that of blue.
        places[1:] = [count // 2, count // 2 + 1]
    for number in places:
        found |= _message(f"message {number}", decoded.messages[0][number])
    return found


def _autoregressive(decoded: Decoded) -> Fields:
    found: dict[str, str] = {}
    for place in (0, 14 * 28 + 14):
        found |= _message(f"message {place}", decoded.messages[0][place])
    return found


DETAILS: dict[int, Callable[[Decoded], Fields]] = {
    2: _draw,
    3: _dplc,
    4: _rungs,
    5: _rungs,
    6: _rec,
    7: _rungs,
    8: _vae_archive,
    9: _draw_archive,
    11: _photo,
    12: _pixel,
    13: _pixel,
    14: _vq,
    15: _autoregressive,
    16: _autoregressive,
    17: _autoregressive,
}


def made_again(name: str, fields: Fields) -> Fields:
    """What the lines of an example should be."""
    return CODERS[name](fields) if name in CODERS else shown(name)


def block(name: str, fields: Fields) -> str:
    """An example in the form that it has in the text."""
    lines = [f"name: {name}", *(f"{label}: {value}" for label, value in fields.items())]
    wrapped = [
        textwrap.fill(line, 100, subsequent_indent="  ", break_on_hyphens=False) for line in lines
    ]
    return "\n".join(["```example", *wrapped, "```"])


if __name__ == "__main__":
    print(block(sys.argv[1], shown(sys.argv[1])))
