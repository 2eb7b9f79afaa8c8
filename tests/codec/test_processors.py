"""Threads to compute with: told, inherited or counted, with and without torch."""

from __future__ import annotations

import os
import sys

import pytest
import torch

from codec.processors import VARIABLE, compute_threads, thread_count


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
def test_a_number_holds_within_its_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    with compute_threads(3):
        assert thread_count() == 3
        with compute_threads(5):
            assert thread_count() == 5
    assert VARIABLE not in os.environ
    monkeypatch.setenv(VARIABLE, "7")
    with compute_threads(3):
        assert os.environ[VARIABLE] == "3"  # what torch reads, if it is loaded now
    assert thread_count() == 7


def test_torch_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    before = torch.get_num_threads()
    with compute_threads(before + 1):
        assert (thread_count(), torch.get_num_threads()) == (before + 1, before + 1)
    assert torch.get_num_threads() == before
