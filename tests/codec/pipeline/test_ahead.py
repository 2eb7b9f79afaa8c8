"""Tiles that are computed before they are requested."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import pytest

from codec.pipeline import stitch
from codec.pipeline.stitch import ahead
from codec.system.processors import compute_threads
from tests.codec.blas import blas_threads


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stitch, "thread_count", lambda: 2)


def test_results_come_in_order() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    assert list(ahead(work, range(20))) == [n * n for n in range(20)]
    assert list(ahead(work, [])) == []


def test_works_beside_the_caller_but_never_far_ahead() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        return threading.get_ident()

    results = ahead(work, range(50))
    for used in range(50):
        assert next(results) != threading.get_ident()
        time.sleep(0.001)
        assert len(begun) <= used + 3
    assert sorted(begun) == list(range(50))


def test_an_error_comes_in_its_turn_and_nothing_after_it() -> None:
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    results = ahead(work, range(5))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)
    assert list(results) == []


def test_what_is_not_wanted_any_more_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.01)
        return number

    results = ahead(work, range(100))
    next(results)
    results.close()
    time.sleep(0.1)
    assert len(begun) <= 4


def test_one_thread_or_one_tile_has_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(number: int) -> int:
        return threading.get_ident()

    own = threading.get_ident()
    assert list(ahead(work, [7])) == [own]
    monkeypatch.undo()
    with compute_threads(1):
        assert list(ahead(work, range(3))) == [own] * 3


@pytest.mark.usefixtures("tiny_weights")
def test_files_and_pixels_are_those_of_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    from bitstream.container import container_to_bytes
    from codec import loading
    from codec.pictures.picture import Picture
    from codec.pipeline.decode import decompress_container
    from codec.pipeline.encode import compress_picture
    from tests.codec.tiny import photographs

    model = loading.load_model("photo", device="cpu")
    picture = Picture(photographs(1, side=200, seed=3)[0])

    def both() -> tuple[bytes, npt.NDArray[np.uint8]]:
        container = compress_picture(picture, model, quality=60, tile_size=64)
        return container_to_bytes(container), decompress_container(container, model).pixels

    two = both()
    monkeypatch.setattr(stitch, "thread_count", lambda: 1)
    one = both()
    assert one[0] == two[0]
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.usefixtures("two_blas_threads")
@pytest.mark.parametrize("ending", ["used up", "closed", "failed"])
def test_blas_keeps_out_of_the_way_until_the_end(ending: str) -> None:
    def work(number: int) -> set[int]:
        if number == 3 and ending == "failed":
            raise ValueError("three")
        return blas_threads()

    results = ahead(work, range(5))
    assert next(results) == {1}
    if ending == "closed":
        results.close()
    elif ending == "failed":
        with pytest.raises(ValueError, match="three"):
            list(results)
    else:
        assert list(results) == [{1}] * 4
    assert blas_threads() == {2}


@pytest.mark.usefixtures("two_blas_threads")
def test_one_tile_needs_no_threads_of_blas_either() -> None:
    results = ahead(lambda number: blas_threads(), [0])
    assert next(results) == blas_threads() == {1}
    results.close()


@pytest.mark.usefixtures("tiny_weights", "two_blas_threads")
def test_calls_at_a_time_leave_the_threads_of_blas_as_they_were() -> None:
    from codec import loading
    from codec.pictures.picture import Picture
    from codec.pipeline.decode import decompress_container
    from codec.pipeline.encode import compress_picture
    from tests.codec.tiny import photographs

    model = loading.load_model("photo", device="cpu")
    pictures = [Picture(pixels) for pixels in photographs(3, side=150, seed=4)]

    def both(picture: Picture) -> npt.NDArray[np.uint8]:
        container = compress_picture(picture, model, quality=60, tile_size=64)
        return decompress_container(container, model).pixels

    alone = [both(picture) for picture in pictures]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(both, pictures * 4))
    for one, other in zip(alone * 4, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert blas_threads() == {2}
