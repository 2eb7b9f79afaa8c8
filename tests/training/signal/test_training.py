"""The signal model from WAV files to bytes: trained, exported, used."""

from __future__ import annotations

import json
import wave
from pathlib import Path

import numpy as np
import pytest
import torch

from bitstream.arrays import Int32Array
from bitstream.errors import InputError
from codec.loading import ENVIRONMENT_VARIABLE
from codec.models.signal.coder import SCALES, Expected, SignalCoder, lanes_of
from codec.models.signal.lanes import Step, sweep
from codec.signals import compress_signal, decompress_signal
from tests.codec.models.signal.tiny import CONFIG, tiny_arrays, tiny_network, tone
from training.commands import main
from training.data.signals import part_of, read_signals
from training.loop.checkpoint import CHECKPOINT, load_checkpoint
from training.signal.network import SignalNetwork
from training.signal.samples import Samples, draw_samples, known_of

LENGTH = 160


def write_wav(path: Path, samples: np.ndarray, *, width: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(8000)
        file.writeframes(samples.astype("<i2" if width == 2 else np.uint8).tobytes())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of short signals, some in each part."""
    for number in range(48):
        write_wav(tmp_path / "waves" / f"{number}.wav", tone(400, seed=number % 5))
    return tmp_path / "waves"


def test_a_run_becomes_a_model(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, weights = tmp_path / "run", tmp_path / "weights"
    train = ["train", "signal-tiny", "--data", str(data), str(data), "--run", str(run)]
    assert main([*train, "--device", "cpu", "--steps", "60"]) == 0
    bits = [row["bits"] for row in load_checkpoint(run / CHECKPOINT)["validation"]]
    assert 5 < bits[-1] < 14
    assert main(["export", str(run), "-o", str(weights)]) == 0
    assert (weights / "signal.safetensors").stat().st_size < 2**20
    assert list(json.loads((weights / "registry.json").read_text("utf-8"))) == ["signal"]
    assert "signals.json" in (weights / "signal.md").read_text("utf-8")

    monkeypatch.setenv(ENVIRONMENT_VARIABLE, str(weights))
    samples = tone(500, seed=9)
    np.testing.assert_array_equal(decompress_signal(compress_signal(samples)), samples)


def test_files_are_of_one_part_by_their_names(tmp_path: Path) -> None:
    parts = [part_of(f"folder/{number}") for number in range(2000)]
    assert 0.08 < parts.count("test") / 2000 < 0.125
    assert 0.035 < parts.count("validation") / 2000 < 0.07
    stereo = np.stack([tone(50), tone(50, seed=1)], 1)
    write_wav(tmp_path / "folder" / "0.wav", stereo)
    write_wav(tmp_path / "empty.wav", np.zeros(0))
    (tmp_path / "other.wav").write_bytes(b"no sound")
    part = part_of("folder/0")
    one, two = read_signals([tmp_path], part)
    assert (one.name, two.name, one.rate) == ("folder/0", "folder/0:1", 8000)
    np.testing.assert_array_equal(two.samples, stereo[:, 1])
    write_wav(tmp_path / "folder" / "0.wav", np.array([0, 128, 255]), width=1)
    assert read_signals([tmp_path], part)[0].samples.tolist() == [-128, 0, 127]
    with pytest.raises(InputError, match="no WAV files"):
        read_signals([tmp_path / "folder"], "none")


def test_stretches_are_as_long_as_asked_for() -> None:
    signals = [[tone(300), tone(40)], [tone(200, seed=2)]]
    one, again = (draw_samples(signals, 3, 100, seed=4, quiet_probability=0.5) for _ in range(2))
    assert one.inputs.shape == (3, 10, 100)
    assert (one.inputs == again.inputs).all()
    with pytest.raises(InputError, match="250 samples"):
        draw_samples(signals, 3, 250, seed=4)


def exported() -> tuple[SignalCoder, SignalNetwork]:
    return SignalCoder(tiny_arrays(), CONFIG, bytes(8)), tiny_network()


def test_fixed_point_is_near_the_floats_and_looks_as_far_back() -> None:
    coder, network = exported()
    samples = lanes_of(tone(3 * LENGTH).astype(np.int32), 3)
    known = Samples(*map(torch.from_numpy, known_of(samples)))
    inputs, _, _ = known.take(torch.arange(3))
    with torch.no_grad():
        expected = network(inputs).numpy()
    state, found = coder.network.start(3), []

    def code(step: Step) -> Int32Array:
        found.append(state.advance(step.inputs))
        row: Int32Array = samples[state.step - 1]
        return row

    sweep(3, LENGTH, code)
    differences = np.stack(found, 2).transpose(1, 0, 2) / 1024 - expected
    assert np.abs(differences).max() < 0.05


def test_bytes_are_near_the_likelihood() -> None:
    coder, network = exported()
    samples = tone(4 * LENGTH, seed=3).astype(np.int32)
    known = Samples(*map(torch.from_numpy, known_of(lanes_of(samples, 4))))
    with torch.no_grad():
        bits = float(network.bits(*known.take(torch.arange(4))).sum())
    data = coder.encode(samples, 4, (-(2**15), 2**15 - 1))
    assert 8 * len(data) == pytest.approx(bits, rel=0.02)


def test_probabilities_of_every_scale_sum_to_one() -> None:
    network = tiny_network().double()
    differences = torch.arange(-(2**14), 2**14, dtype=torch.float64) + 0.3
    for scale in (0.0, 17.5, 40.0, SCALES - 26.0):
        with torch.no_grad():
            mass = network.probability(differences, torch.full_like(differences, scale)).sum()
        assert float(mass) == pytest.approx(1, abs=0.01)


def test_the_network_sees_nothing_of_the_place_itself() -> None:
    coder = exported()[0]
    samples = lanes_of(tone(200).astype(np.int32), 1)

    def expected(rows: Int32Array) -> list[float]:
        means = []

        def code(number: int, found: Expected) -> Int32Array:
            means.append(float(found.means[0]))
            row: Int32Array = rows[number]
            return row

        coder.expect(len(rows), 1, (-(2**15), 2**15 - 1), code)
        return means

    other = samples.copy()
    other[120:] += 500
    assert expected(samples)[:121] == expected(other)[:121]
    assert expected(samples)[121] != expected(other)[121]
