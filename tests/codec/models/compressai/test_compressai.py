"""The real CompressAI, if it is installed: its bytes and pictures compared with ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.torch
import torch

import codec
from benchmarks.photo.compressai import code_peer, fit, library, load_peer, measure, zoo_model
from bitstream import WeightsMismatchError
from codec import loading
from codec.models.compressai import ARCHITECTURES
from codec.models.compressai.checkpoint import load_zoo
from codec.models.compressai.coder import ZooCoder
from tests.codec.tiny import photographs

Uint8Array = npt.NDArray[np.uint8]


@pytest.fixture(scope="module", autouse=True)
def _library() -> None:
    try:
        library()
    except codec.UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def picture() -> Uint8Array:
    """A photograph, uint8 (128, 192, 3): CompressAI needs multiples of 64."""
    return photographs(count=1, side=192)[0][:128]


def random_model(architecture: str, pixels: Uint8Array) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = zoo_model(architecture, (12,) if "cheng" in architecture else (12, 18))
    fit(architecture, model, pixels)
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_bytes_and_pictures_are_those_of_compressai(
    architecture: str, picture: Uint8Array, tmp_path: Path
) -> None:
    model = random_model(architecture, picture)
    path = tmp_path / "checkpoint.pth.tar"
    torch.save({"state_dict": model.state_dict(), "epoch": 9}, path)
    name = f"compressai:{architecture}"
    data = codec.compress(picture, model=name, checkpoint=path)
    *_, peer_bytes, expected = code_peer(load_peer(architecture, path), picture)
    assert peer_bytes > 200
    payload_bytes = codec.inspect(data).payload_bytes
    assert payload_bytes <= 1.005 * peer_bytes + 2
    # Not far below it either: the same symbols and tables, but two ends of strings fewer.
    assert payload_bytes >= 0.95 * (peer_bytes - 8)
    decoded = codec.decompress(data, checkpoint=path, as_="numpy")
    assert np.abs(decoded.astype(int) - expected).max() <= 1
    assert (decoded.astype(int) - expected != 0).mean() < 1e-3
    # In tiles of 64 pixels there are no seams except those from the symbols.
    coder = loading.load_model(name, checkpoint=path, device="cpu")
    whole = coder.analyze(picture, 75)
    c = coder.context
    part = coder.analyze(picture[: 16 * (2 + c)], 75)
    np.testing.assert_allclose(part[:, :2], whole[:, :2], atol=1e-4)
    drawn = coder.synthesize(whole[:, : 2 + c], 75)[:32].astype(int)
    assert np.abs(drawn - coder.synthesize(whole, 75)[:32]).max() <= 1


def test_the_benchmark_measures_both_sides(picture: Uint8Array, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(random_model("bmshj2018-factorized", picture).state_dict(), path)
    peer = load_peer("bmshj2018-factorized", path)
    found = measure("bmshj2018-factorized", peer, path, {"odd": picture[:100, :150]}, 1)
    (row,) = found["pictures"]
    assert found["met"]
    assert row["pixels"] == 128 * 192
    assert row["file_bytes"] - row["payload_bytes"] < 100
    assert row["largest_difference_levels"] <= 1
    assert min(row["encode_cpu_seconds"], row["compressai_decode_cpu_seconds"]) > 0


def test_checkpoints_in_other_forms_give_the_same_coder(picture: Uint8Array) -> None:
    model = random_model("mbt2018-mean", picture)
    state = model.state_dict()
    model.update()
    plain = safetensors.torch.save({k: v.contiguous() for k, v in model.state_dict().items()})
    parallel = safetensors.torch.save({f"module.{k}": v.contiguous() for k, v in state.items()})
    old = {
        k.replace("bottleneck.matrices.", "bottleneck._matrix")
        .replace("bottleneck.biases.", "bottleneck._bias")
        .replace("bottleneck.factors.", "bottleneck._factor"): v.contiguous()
        for k, v in state.items()
    }
    payloads = set()
    for data in (plain, parallel, safetensors.torch.save(old)):
        coder = load(data, "mbt2018-mean")
        payloads.add(coder.encode_tile(coder.analyze(picture, 75), 75))
    assert len(payloads) == 1


def test_another_architecture_is_refused(picture: Uint8Array) -> None:
    data = safetensors.torch.save(random_model("mbt2018-mean", picture).state_dict())
    for architecture in ARCHITECTURES:
        if architecture != "mbt2018-mean":
            with pytest.raises(WeightsMismatchError, match=f"does not hold a {architecture} "):
                load(data, architecture)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("entropy_bottleneck._quantized_cdf", lambda t: t + 1),
        ("entropy_bottleneck._offset", lambda t: t[:3]),
        ("gaussian_conditional._cdf_length", lambda t: -t),
        ("gaussian_conditional.scale_table", lambda t: t[:9]),
        ("g_a.0.weight", lambda t: t[:5]),
        ("g_s.0.weight", lambda t: t[..., :3]),
        ("entropy_bottleneck.quantiles", lambda t: t[:, :, :2]),
        ("h_s.0.bias", lambda t: t * float("nan")),
    ],
)
def test_damaged_checkpoints_are_refused(name: str, change: Any, picture: Uint8Array) -> None:
    model = random_model("bmshj2018-hyperprior", picture)
    model.update()
    state = dict(model.state_dict())
    state[name] = change(state[name]).contiguous()
    with pytest.raises(codec.ModelError):
        load(safetensors.torch.save(state), "bmshj2018-hyperprior")
    del state[name]
    with pytest.raises(codec.ModelError):
        load(safetensors.torch.save(state), "bmshj2018-hyperprior")


def load(data: bytes, architecture: str) -> ZooCoder:
    variant = ARCHITECTURES.index(architecture)
    return load_zoo(data, variant, bytes(8), source="here", device=torch.device("cpu"))
