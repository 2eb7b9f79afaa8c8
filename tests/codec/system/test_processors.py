"""The number of compute threads: given, inherited or counted, with and without torch."""

from __future__ import annotations

import ctypes
import os
import platform as platform_module
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from codec.system.processors import (
    VARIABLE,
    bands,
    compute_threads,
    keep_freed_memory,
    share,
    single_threaded_blas,
    thread_count,
)
from tests.codec.blas import blas_threads


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch")
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.mark.usefixtures("no_torch")
def test_cores_are_counted_unless_the_environment_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    assert thread_count() >= 1
    for text in ("0", "-1", "many", ""):
        monkeypatch.setenv(VARIABLE, text)
        assert thread_count() >= 1
    monkeypatch.setenv(VARIABLE, "7")
    assert thread_count() == 7


@pytest.mark.usefixtures("no_torch")
def test_a_number_that_would_take_all_memory_is_not_heeded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(VARIABLE, "100000000")
    assert 16 <= thread_count() <= max(16, os.cpu_count() or 1)


@pytest.mark.usefixtures("no_torch")
def test_a_number_holds_within_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    with compute_threads(3):
        assert thread_count() == 3
        with compute_threads(5):
            assert thread_count() == 5
    assert VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, "7")
    with compute_threads(3):
        assert os.environ[VARIABLE] == "3"  # which torch reads if it is loaded now
    assert thread_count() == 7


def test_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    before = torch.get_num_threads()
    with compute_threads(before + 1):
        assert (thread_count(), torch.get_num_threads()) == (before + 1, before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.usefixtures("two_blas_threads")
def test_blas_has_one_thread_in_a_block_and_its_own_number_behind_it() -> None:
    with single_threaded_blas():
        assert blas_threads() == {1}
        with single_threaded_blas():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    with pytest.raises(ValueError, match="inside"), single_threaded_blas():
        raise ValueError("inside")


@pytest.mark.usefixtures("two_blas_threads")
def test_the_first_to_limit_blas_need_not_be_the_last() -> None:
    entered, left = threading.Event(), threading.Event()

    def first() -> None:
        with single_threaded_blas():
            entered.set()
            left.wait(60)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(first)
        assert entered.wait(60)
        with single_threaded_blas():
            left.set()
            done.result(60)
            assert blas_threads() == {1}
        assert blas_threads() == {2}


@pytest.mark.usefixtures("two_blas_threads")
def test_many_threads_limit_blas_and_none_leaves_it_limited() -> None:
    def work(number: int) -> set[int]:
        found = set()
        for _ in range(25):
            with single_threaded_blas():
                found |= blas_threads()
        return found

    with ThreadPoolExecutor(8) as pool:
        assert set.union(*pool.map(work, range(8))) == {1}
    assert blas_threads() == {2}


class FakeLibrary:
    """The functions of the C library that are used."""

    def __init__(self, *, is_gnu: bool) -> None:
        self.calls: list[tuple[int, int]] = []
        if is_gnu:
            self.gnu_get_libc_version = "2.36"

    def mallopt(self, parameter: int, value: int) -> int:
        self.calls.append((parameter, value))
        return 1


@pytest.mark.parametrize(
    ("is_gnu", "variable", "platform", "is_asked"),
    [
        (True, None, "linux", True),
        (False, None, "linux", False),
        (True, "MALLOC_TRIM_THRESHOLD_", "linux", False),
        (True, "GLIBC_TUNABLES", "linux", False),
        (True, None, "darwin", False),
    ],
)
def test_freed_memory_is_kept_where_that_is_known(
    is_gnu: bool,
    variable: str | None,
    platform: str,
    is_asked: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library = FakeLibrary(is_gnu=is_gnu)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    monkeypatch.setattr(sys, "platform", platform)
    for name in list(os.environ):
        if name.startswith(("MALLOC_", "GLIBC_")):
            monkeypatch.delenv(name)
    if variable is not None:
        monkeypatch.setenv(variable, "1")
    keep_freed_memory.__wrapped__()
    assert library.calls == ([(-3, 12 * 2**20), (-1, 2**27), (-8, 1)] if is_asked else [])


@pytest.mark.skipif(platform_module.libc_ver()[0] != "glibc", reason="another C library")
def test_the_c_library_takes_it() -> None:
    library = ctypes.CDLL(None)
    assert library.mallopt(-3, 2**25) == library.mallopt(-1, 2**26) == 1


def test_bands_cover_a_length_in_parts_of_at_most_so_many() -> None:
    assert [list(range(12))[part] for part in bands(12, 5)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
    ]
    assert bands(5, 8) == [slice(0, 5)]
    assert bands(0, 8) == [slice(0, 0)]
    assert [part.stop - part.start for part in bands(7, 2)] == [1, 2, 2, 2]
    assert [part.stop - part.start for part in bands(7, 41, each=10)] == [3, 4]
    assert bands(2, 41, each=50) == [slice(0, 1), slice(1, 2)]
    assert bands(2, 41, each=0) == [slice(0, 2)]


def test_shared_work_is_done_once_and_in_several_threads() -> None:
    both = threading.Barrier(2, timeout=60)
    done: list[int] = []

    def work(piece: int) -> None:
        if piece < 2:
            both.wait()  # which passes once two threads wait here
        done.append(piece)

    with compute_threads(2), single_threaded_blas():
        share(work, range(9))
    assert sorted(done) == list(range(9))


def test_work_is_not_shared_while_blas_has_threads_of_its_own() -> None:
    threads = set()
    with compute_threads(2):
        share(lambda piece: threads.add(threading.get_ident()), range(50))
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize("failing", [0, 1])
def test_an_error_of_shared_work_is_raised_when_no_other_piece_is_running(failing: int) -> None:
    both = threading.Barrier(2, timeout=60)
    ended: list[int] = []

    def work(piece: int) -> None:
        both.wait()
        if piece == failing:
            raise ValueError(f"piece {piece}")
        time.sleep(0.05)
        ended.append(piece)

    with (
        compute_threads(2),
        single_threaded_blas(),
        pytest.raises(ValueError, match=f"piece {failing}"),
    ):
        share(work, range(2))
    assert ended == [1 - failing]
