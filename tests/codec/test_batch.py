"""Folders on executors: names, refusals, errors of single files, and remote workers."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch
from PIL import Image

import codec
from bitstream import InputError, NotACaloFileError, OutputError, UnknownModelError, UsageError
from codec import api
from codec.batch import compress_files, decompress_files
from codec.results import Compression
from codec.system.processors import compute_threads
from tests.codec.tiny import photographs

pytestmark = pytest.mark.usefixtures("tiny_weights")


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with photographs of 64 pixels: photos/{a,b}.png and photos/sub/a.png."""
    monkeypatch.chdir(tmp_path)
    Path("photos/sub").mkdir(parents=True)
    for name, pixels in zip(("a", "b", "sub/a"), photographs(3, side=64), strict=True):
        Image.fromarray(pixels).save(f"photos/{name}.png")
    return tmp_path


class Here(Executor):
    """Runs calls in this thread, a limited number, in a working folder of its own."""

    def __init__(self, elsewhere: Path, times: int = 1) -> None:
        self.elsewhere, self.times = elsewhere, times
        self.sizes: list[int] = []

    def submit(self, call: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        self.sizes.append(len(pickle.dumps((call, arguments, named))))
        here, future = Path.cwd(), Future[Any]()
        os.chdir(self.elsewhere)
        try:
            for _ in range(self.times):
                result = call(*arguments, **named)
        finally:
            os.chdir(here)
        future.set_result(result)
        return future


def test_there_and_back(folder: Path) -> None:
    paths = sorted(Path("photos").rglob("*.png"))
    done = list(compress_files(paths, "packed", root="photos", quality=50))
    assert [one.source for one in done] == paths
    assert names(Path("packed")) == ["a.calo", "b.calo", "sub/a.calo"]
    for one in done:
        assert one.error is None
        assert one.result is not None
        assert one.result.size_bytes == one.output.stat().st_size
        assert one.output.read_bytes() == codec.compress(one.source, quality=50)
    coded = [one.output for one in done]
    back = list(decompress_files(coded, "back", root="packed", suffix=".webp", layers=1))
    assert names(Path("back")) == ["a.webp", "b.webp", "sub/a.webp"]
    for drawn, source in zip(back, coded, strict=True):
        assert drawn.result is not None
        assert (drawn.result.format, drawn.result.width) == ("WEBP", 64)
        assert not drawn.result.has_alpha
        with Image.open(drawn.output) as image:
            assert np.array_equal(np.asarray(image), codec.decompress(source, as_="numpy"))


def test_a_score_as_target(folder: Path) -> None:
    pytest.importorskip("ssimulacra2")
    with Image.open("photos/a.png") as image:
        image.convert("L").save("gray.png")  # which the untrained model codes well
    done, failed = compress_files(["gray.png", "photos/a.png"], "packed", ssimulacra2=80)
    assert done.result is not None
    assert done.result.ssimulacra2 is not None
    assert done.result.ssimulacra2 >= 80
    assert isinstance(failed.error, UsageError)
    assert "give a smaller target" in str(failed.error)


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_executors_write_the_same_files(folder: Path, kind: str) -> None:
    paths = [*sorted(Path("photos").glob("*.png")), Path("photos/gone.png")]
    expected = list(compress_files(paths, "alone"))
    with (
        ThreadPoolExecutor(2)
        if kind == "threads"
        else ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    ) as executor:
        done = list(compress_files(paths, "packed", executor=executor))
        assert [one.result for one in done] == [one.result for one in expected]
        assert isinstance(done[2].error, InputError)
        assert str(done[2].error) == str(expected[2].error)
        for one, other in zip(done[:2], expected[:2], strict=True):
            assert one.output.read_bytes() == other.output.read_bytes()
        back = list(decompress_files([done[0].output], "back", executor=executor))
    assert back[0].error is None
    assert names(Path("back")) == ["a.png"]


@pytest.mark.filterwarnings("ignore")  # of a worker that is killed
def test_dask_distributed_finishes_although_a_worker_is_killed(folder: Path) -> None:
    distributed = pytest.importorskip("distributed")
    paths = []
    for number in range(8):
        paths.append(Path("photos", f"{number}.png"))
        paths[-1].write_bytes(Path("photos/a.png").read_bytes())
    paths.append(Path("photos/gone.png"))
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
        victim = next(iter(client.run(os.getpid).values()))
        results = compress_files(paths, "packed", executor=client.get_executor())
        done = [next(results)]
        os.kill(victim, signal.SIGKILL)
        done += results
        # The scheduler may not have noticed yet, and then asks the dead worker too.
        assert victim not in client.run(os.getpid, on_error="ignore").values()
    assert [one.source for one in done] == paths
    assert [one.error for one in done[:-1]] == [None] * 8
    assert isinstance(done[-1].error, InputError)
    data = codec.compress("photos/a.png")
    assert all(one.output.read_bytes() == data for one in done[:-1])


def test_a_bad_file_stops_no_other(folder: Path) -> None:
    Path("photos/text.png").write_text("no image")
    paths = [Path("photos", name) for name in ("gone.png", "text.png", "sub", "a.png")]
    done = list(compress_files(paths, "packed"))
    assert [type(one.error) for one in done[:3]] == [InputError] * 3
    assert [type(one.result) for one in done[3:]] == [Compression]
    Path("packed/bad.calo").write_bytes(b"something else")
    back = list(decompress_files(sorted(Path("packed").iterdir()), "back"))
    assert [type(one.error) for one in back] == [type(None), NotACaloFileError]
    assert names(folder / "back") == ["a.png"]


def test_outputs_that_cannot_be(folder: Path) -> None:
    Path("packed").mkdir()
    Path("packed/b.calo").write_bytes(b"mine")
    Path("a.calo").write_bytes(b"an input")
    paths = ["photos/a.png", "photos/sub/a.png", "photos/b.png"]
    first, second, third = compress_files(paths, "packed")
    assert first.error is None
    assert "photos/a.png would both become packed/a.calo: give the folder" in str(second.error)
    assert "packed/b.calo exists: give another folder, or overwrite=True" in str(third.error)
    assert isinstance(third.error, OutputError)
    assert Path("packed/b.calo").read_bytes() == b"mine"
    (again,) = compress_files(["photos/b.png"], "packed", overwrite=True)
    assert again.error is None
    assert Path("packed/b.calo").read_bytes() == codec.compress("photos/b.png")
    (itself,) = decompress_files(["a.calo"], ".", suffix=".png", overwrite=True)
    assert isinstance(itself.error, NotACaloFileError)
    own, other = compress_files(["photos/a.png", "a.calo"], ".", overwrite=True)
    assert "is an input as well" in str(own.error)
    assert "is an input as well" in str(other.error)
    Path("file").touch()
    (nowhere,) = compress_files(["photos/b.png"], "file")
    assert isinstance(nowhere.error, OutputError)


def test_what_cannot_be_asked_is_said_at_the_call(folder: Path) -> None:
    with pytest.raises(UsageError, match="is one path, expected several"):
        compress_files("photos/a.png", "packed")
    with pytest.raises(UsageError, match="not in the root"):
        compress_files(["photos/a.png"], "packed", root="photos/sub")
    with pytest.raises(UsageError, match="quality 0"):
        compress_files(["photos/a.png"], "packed", quality=0)
    with pytest.raises(UnknownModelError):
        compress_files(["photos/a.png"], "packed", model="none")
    with pytest.raises(TypeError, match="qualitty"):
        compress_files(["photos/a.png"], "packed", qualitty=3)  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="threads 0"):
        compress_files(["photos/a.png"], "packed", threads=0)
    for wrong in ({"realism": 2.0}, {"layers": 0}, {"seed": -1}, {"region": (1, 2)}):
        with pytest.raises(UsageError):
            decompress_files(["a.calo"], "back", **wrong)
    with pytest.raises(UsageError, match="gif"):
        decompress_files(["a.calo"], "back", suffix=".gif")
    assert not Path("packed").exists()
    assert list(compress_files([], "packed")) == []


def test_tasks_are_small_and_know_the_whole_path(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    executor = Here(folder / "elsewhere")
    (done,) = compress_files(["photos/a.png"], "packed", executor=executor)
    assert (done.error, done.output) == (None, Path("packed/a.calo"))
    (back,) = decompress_files([done.output], "back", executor=executor)
    assert back.error is None
    assert names(folder / "elsewhere") == []
    assert max(executor.sizes) < 1500 + 2 * len(str(folder))


def test_a_file_that_is_done_a_second_time_finds_its_own_bytes(folder: Path) -> None:
    executor = Here(folder, times=2)
    (done,) = compress_files(["photos/a.png"], "packed", executor=executor)
    assert done.error is None
    (back,) = decompress_files([done.output], "back", executor=executor)
    assert back.error is None


def test_what_another_wrote_meanwhile_stays(folder: Path) -> None:
    results = compress_files(["photos/a.png", "photos/b.png"], "packed")
    assert next(results).error is None
    Path("packed/b.calo").write_bytes(b"another's")
    assert "b.calo appeared meanwhile" in str(next(results).error)
    assert Path("packed/b.calo").read_bytes() == b"another's"


def test_threads_of_torch_in_workers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compress_with, seen = api.compress_with, []

    def spy(*arguments: Any) -> Compression:
        seen.append(torch.get_num_threads())
        return compress_with(*arguments)

    monkeypatch.setattr(api, "compress_with", spy)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ThreadPoolExecutor(1) as executor:
            list(compress_files(["photos/a.png"], "one", executor=executor))
            list(compress_files(["photos/a.png"], "three", executor=executor, threads=3))
        list(compress_files(["photos/a.png"], "alone"))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 3, 2]


def test_threads_of_torch_are_put_back() -> None:
    before = torch.get_num_threads()
    inside, both = [], threading.Barrier(2)

    def hold() -> None:
        with compute_threads(3):
            both.wait()
            inside.append(torch.get_num_threads())
            both.wait()

    threads = [threading.Thread(target=hold) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert inside == [3, 3]
    assert torch.get_num_threads() == before
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


def test_a_call_after_an_interruption_goes_on(folder: Path) -> None:
    paths = ["photos/a.png", "photos/b.png"]
    results = compress_files(paths, "packed")
    next(results)
    results.close()
    first, second = compress_files(paths, "packed", skip_existing=True)
    assert (first.result, first.error, first.skipped) == (None, None, True)
    assert (second.error, second.skipped) == (None, False)
    assert second.output.read_bytes() == codec.compress("photos/b.png")
    # A file without an output of its own has not been skipped.
    same = compress_files(["photos/a.png", "photos/sub/a.png"], "packed", skip_existing=True)
    assert [one.skipped for one in same] == [True, False]
    with pytest.raises(UsageError, match="overwrite and skip_existing"):
        compress_files(paths, "packed", skip_existing=True, overwrite=True)


def test_what_appears_meanwhile_is_skipped(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(options: Any, source: Path, fo: BinaryIO) -> None:
        Path("packed/a.calo").write_bytes(b"from elsewhere")

    monkeypatch.setattr(api, "compress_with", slow)
    (done,) = compress_files(["photos/a.png"], "packed")
    assert isinstance(done.error, OutputError)
    Path("packed/a.calo").unlink()
    (done,) = compress_files(["photos/a.png"], "packed", skip_existing=True)
    assert (done.result, done.error, done.skipped) == (None, None, True)
    assert Path("packed/a.calo").read_bytes() == b"from elsewhere"


def test_quality_of_outputs(folder: Path) -> None:
    list(compress_files(["photos/a.png"], "packed"))
    sizes = []
    for quality in (20, 90):
        (done,) = decompress_files(
            ["packed/a.calo"], f"q{quality}", suffix=".jpg", output_quality=quality
        )
        sizes.append(done.output.stat().st_size)
    assert sizes[0] < sizes[1]
    with pytest.raises(UsageError, match="PNG, which is lossless"):
        decompress_files(["packed/a.calo"], "q", output_quality=50)
