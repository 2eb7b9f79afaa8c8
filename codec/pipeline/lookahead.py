"""Work on tiles that begins before its results are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from codec.system.processors import thread_count

Result = TypeVar("Result")

_AHEAD = 2


def ahead(work: Callable[[int], Result], numbers: Sequence[int]) -> Generator[Result, None, None]:
    """The results of `work` for all numbers, in their order.

    Where there are threads for it, two are in the making while another is used. What a call raises
    is raised in its turn, and nothing that comes after it.
    """
    if len(numbers) == 1 or thread_count() == 1:
        yield from map(work, numbers)
        return
    with ThreadPoolExecutor(_AHEAD) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for number in numbers:
                waiting.append(pool.submit(work, number))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
