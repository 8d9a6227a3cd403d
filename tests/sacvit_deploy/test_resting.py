"""Waiting until native threads sleep."""

from __future__ import annotations

import _thread
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest

from sacvit_deploy import resting
from sacvit_deploy.resting import wait_for_rest


@pytest.fixture
def busy() -> Iterator[Event]:
    """A thread that Python's list of threads does not have, computing until the event is set."""
    stop, ended = Event(), Event()

    def compute() -> None:
        while not stop.is_set():
            sum(range(1000))
        ended.set()

    _thread.start_new_thread(compute, ())
    yield stop
    stop.set()
    assert ended.wait(60)


@pytest.mark.skipif(not resting.TASKS.is_dir(), reason="this system does not tell what threads do")
def test_it_waits_for_a_thread_that_computes(busy: Event) -> None:
    assert not wait_for_rest(0.2)
    busy.set()
    assert wait_for_rest(60)


def test_where_threads_are_not_told_it_waits_a_little(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resting, "TASKS", tmp_path / "none")
    before = time.monotonic()
    assert wait_for_rest()
    assert time.monotonic() - before >= resting.UNKNOWN
