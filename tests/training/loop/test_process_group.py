"""Several processes train like a single one, take their decisions together, and end together."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bitstream.errors import UsageError
from codec.models.photo.config import TUNES
from tests.codec.tiny import photographs
from tests.training.loop.one_of_several import first_losses, trainer
from training.commands import main as train
from training.data.crops import CropSampler
from training.loop.checkpoint import load_checkpoint
from training.loop.process_group import ALONE, ProcessGroup, joined, require_alone
from training.loop.trainer import Budget
from training.photo.learner import VALIDATION_QUALITIES, SampleNoise

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")

# Sums over a batch are taken in another order, in float32. Here this changes weights by 10⁻⁹ in 16
# steps. On another machine a latent may be rounded to the other side, which changes them more, but
# still far less than the 10⁻³ between two runs with different batches.
LOSS_TOLERANCE = 1e-3
WEIGHTS_TOLERANCE = 1e-5


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_shares_are_the_batch() -> None:
    groups = [ProcessGroup(rank, 3) for rank in range(3)]
    assert [list(range(12))[group.share(12)] for group in groups] == [
        [0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11],
    ]  # fmt: skip
    assert [group.is_first for group in groups] == [True, False, False]
    with pytest.raises(UsageError, match="batch of 16 cannot be divided among 3"):
        groups[0].share(16)


def test_alone_nothing_is_exchanged() -> None:
    values = torch.tensor([1.0, math.nan])
    ALONE.average([values])
    ALONE.copy_from_first([values])
    assert values[0] == 1
    assert (ALONE.number_of_first(2.5), ALONE.bytes_of_first(b"x")) == (2.5, b"x")


def test_crops_of_shares_are_those_of_the_batch() -> None:
    sampler = CropSampler(photographs(3), crop=48, batch=4, seed=1, downscale_probability=0.5)
    whole = sampler(7)
    shares = [sampler(7, ProcessGroup(rank, 2).share(4)) for rank in range(2)]
    np.testing.assert_array_equal(np.concatenate(shares), whole)


def test_noise_of_a_sample_is_its_own() -> None:
    values = torch.zeros(4, 3, 5, 2).to(memory_format=torch.channels_last)

    def draw(step: int, samples: range) -> torch.Tensor:
        noise, part = SampleNoise(1, step, samples), values[samples.start : samples.stop]
        return torch.stack([noise(part), noise(part[:, :1]) + 0 * part])

    whole = draw(5, range(4))
    assert torch.equal(draw(5, range(4)), whole)
    assert torch.equal(torch.cat([draw(5, range(2)), draw(5, range(2, 4))], 1), whole)
    assert not torch.equal(draw(6, range(4)), whole)
    assert len(set(whole.flatten().tolist())) > 100  # different noise for each sample and draw
    assert (whole >= 0).all()
    assert (whole < 1).all()
    torch.manual_seed(3)
    expected = torch.rand_like(values)
    torch.manual_seed(3)
    draw(5, range(4))
    assert torch.equal(torch.rand_like(values), expected)  # the global generator is not used


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE is 'two'"),
        ({"WORLD_SIZE": "2"}, "RANK is ''"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR"),
    ],
)
def test_variables_that_are_wrong(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str
) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message), joined(CPU):
        pass


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UsageError, match="--nproc-per-node 2"), joined(torch.device("cuda")):
        pass


@pytest.mark.timeout(900)  # torch starts in two processes, perhaps on a busy machine
def test_two_processes_train_as_one_and_stay_alike(tmp_path: Path) -> None:
    started = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.training.loop.one_of_several", str(tmp_path)],
            cwd=ROOT,
            env=environment(RANK=str(rank), LOCAL_RANK=str(rank), **started),
        )
        for rank in range(2)
    ]
    expected = first_losses(trainer(tmp_path / "alone", Budget(steps=9)))
    assert [process.wait(timeout=800) for process in processes] == [0, -signal.SIGKILL]
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    np.testing.assert_allclose(first["losses"], expected, rtol=LOSS_TOLERANCE)
    lost, seconds = first.pop("lost")
    # Weights, averages, optimisers, clocks and dropped steps are the same, bit for bit.
    assert first == second
    assert first["timed"][0] == first["resumed"][0] > 0
    assert first["resumed"][1] == first["resumed"][2]
    assert first["dropped"][:3] == [14, 5, 0.5]
    assert lost.startswith("process 0 of 2 has lost another one (")
    assert "--resume" in lost
    assert seconds < 60
    # Only one process writes, so every line of the log occurs once.
    with (tmp_path / "minutes" / "log.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))
    with (tmp_path / "minutes" / "validation.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(TUNES) * len(VALIDATION_QUALITIES)
    assert not list((tmp_path / "minutes").glob(".*.part"))


@pytest.mark.timeout(900)
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc")
def test_torchrun_ends_after_a_kill_and_the_run_goes_on(tmp_path: Path) -> None:
    for number, pixels in enumerate(photographs(3)):
        (tmp_path / "data").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "data" / f"{number}.png")
    common = ["photo-tiny", "--data", str(tmp_path / "data"), "--steps", "16", "--device", "cpu"]
    common += ["--no-autocast", "--checkpoint-minutes", "0"]
    run = ["--run", str(tmp_path / "run"), "--validation", str(tmp_path / "data" / "0.png")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    # Without "--", Python before 3.12 takes --run for one of torchrun's own, of several.
    command = [*torchrun, "2", "-m", "--", "training", *common, *run]
    agent = subprocess.Popen(
        command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, text=True
    )
    # Both are in the middle of training once the validation of a step exists.
    log = tmp_path / "run" / "validation.csv"
    while not log.exists() and agent.poll() is None:
        time.sleep(0.01)
    os.kill(process_of(agent.pid, "RANK=1"), signal.SIGKILL)
    _, errors = agent.communicate(timeout=300)
    assert agent.returncode != 0
    assert "SIGKILL" in errors
    done = load_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"]
    assert 0 < done < 16

    assert train([*common, *run, "--resume"]) == 0
    assert train([*common, "--run", str(tmp_path / "alone")]) == 0
    states = [load_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("run", "alone")]
    assert [state["step"] for state in states] == [16, 16]
    averages = [
        {k: v for k, v in state["learner"]["networks"].items() if k.startswith("average.module.")}
        for state in states
    ]
    assert difference(*averages) < WEIGHTS_TOLERANCE


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Root mean squared difference of all weights."""
    squares = [(one[name] - other[name]).double().square().flatten() for name in one]
    return float(torch.cat(squares).mean().sqrt())


def process_of(parent: int, variable: str) -> int:
    """The child of a process that has this variable in its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            is_child = f"PPid:\t{parent}\n" in (folder / "status").read_text()
            if is_child and variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
        except OSError:  # it has ended, or belongs to another user
            continue
    raise AssertionError(f"no child of {parent} has {variable}")


def test_other_presets_train_in_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("training.commands.joined", lambda device: _Joined())
    code = train(["mnist-vae-2", "--data", str(tmp_path), "--steps", "1", "--device", "cpu"])
    assert code == UsageError.exit_code
    assert "'mnist-vae-2' trains in one process, but 2 were started" in capsys.readouterr().err


class _Joined:
    def __enter__(self) -> ProcessGroup:
        return ProcessGroup(0, 2)

    def __exit__(self, *_: object) -> None:
        pass


def test_presets_of_one_process_refuse_several() -> None:
    require_alone(ALONE, "mnist-vae-2")
    with pytest.raises(UsageError, match="'mnist-vae-2' trains in one process, but 2"):
        require_alone(ProcessGroup(0, 2), "mnist-vae-2")
