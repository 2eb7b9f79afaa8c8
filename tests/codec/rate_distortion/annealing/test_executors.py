"""Blocks of work on executors, including dask.distributed for several machines."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest
import torch

from codec.priors import StandardNormal
from codec.rate_distortion.annealing.executors import run_tasks
from codec.rate_distortion.annealing.rd_curve import rd_curve
from codec.rate_distortion.errors import MeasurementError

IMAGES = np.random.default_rng(0).standard_normal((60, 5)).astype(np.float32)


class Decoder(torch.nn.Module):
    """A small nonlinear decoder; its first `slow` calls in a process take a moment each."""

    def __init__(self, slow: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = torch.nn.Parameter(torch.randn(5, 2, generator=generator))
        self.slow = slow

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        time.sleep(self.slow)
        return torch.tanh(codes @ self.weight.T)


def curve_of(
    executor: Executor | None = None, slow: float = 0.0, *, certify: bool = False, seed: int = 0
) -> dict[str, Any]:
    """A curve: with a certificate from the better reference, without one from the prior."""
    curve = rd_curve(
        Decoder(slow),
        StandardNormal(2),
        IMAGES,
        betas=[0.3, 1.0, 3.0],
        temperatures=5 if certify else 20,
        chains=100,
        simulations=2,
        reference="auto" if certify else "prior",
        certify=certify,
        seed=seed,
        executor=executor,
    )
    return curve.to_json()  # what was not measured is NaN, which equals nothing


def kill_self() -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_results_keep_their_order() -> None:
    seen: list[tuple[int, int]] = []
    found = run_tasks([partial(abs, n) for n in (-3, 2, -1)], None, lambda *at: seen.append(at))
    assert found == [3, 2, 1]
    assert seen == [(0, 3), (1, 2), (2, 1)]


def test_same_seed_same_curve_on_threads() -> None:
    expected = curve_of(certify=True)
    assert curve_of(certify=True) == expected
    assert curve_of(certify=True, seed=1) != expected
    with ThreadPoolExecutor(2) as threads:
        assert curve_of(threads, certify=True) == expected


def test_processes_give_the_same_curve_errors_arrive_and_a_broken_pool_is_said() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert curve_of(pool, certify=True) == curve_of(certify=True)
        with pytest.raises(ZeroDivisionError):
            run_tasks([partial(divmod, 1, 0), partial(divmod, 1, 1)], pool)
        with pytest.raises(MeasurementError, match="a worker of the executor died after 0 of 1"):
            run_tasks([kill_self], pool)


@pytest.mark.filterwarnings("ignore")  # of a worker that is killed
def test_dask_distributed_survives_a_killed_worker() -> None:
    distributed = pytest.importorskip("distributed")
    expected = curve_of()
    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs=50,
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = client.get_executor(pure=False)
        assert curve_of(executor) == expected
        # Six blocks of 0.7 seconds each: the worker dies with one of them half done.
        victim = next(iter(client.run(os.getpid).values()))
        killer = threading.Timer(0.4, os.kill, (victim, signal.SIGKILL))
        killer.start()
        try:
            assert curve_of(executor, slow=0.01) == expected
        finally:
            killer.join()
        assert victim not in client.run(os.getpid).values()
