"""Jobs of many callers in batches: which go together, when they go, and what a failure costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from sacvit_deploy.batcher import Batcher

WAIT = 60.0  # seconds, where none is expected


class Recorder:
    """Notes the batches, each as long as `gate` lets it."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, jobs: Sequence[int]) -> list[int]:
        """Return ten times each job; a negative one is a failure."""
        self.batches.append(list(jobs))
        assert self.gate.wait(WAIT)
        if min(jobs) < 0:
            raise ValueError("negative")
        return [10 * job for job in jobs]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.gate.set()


def busy(recorder: Recorder, batcher: Batcher[int, int]) -> None:
    """Keep the batcher in a batch, so that what comes next waits."""
    recorder.gate.clear()
    batcher.submit(0)
    end = time.monotonic() + WAIT
    while not recorder.batches and time.monotonic() < end:
        time.sleep(0.001)
    assert recorder.batches == [[0]]


def test_what_waits_goes_together_up_to_the_limit(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher("t", recorder.run, lambda job: 0, 3, 0.0)
    busy(recorder, batcher)
    futures = [batcher.submit(job) for job in range(1, 6)]
    recorder.gate.set()
    assert [future.result(WAIT) for future in futures] == [10, 20, 30, 40, 50]
    assert recorder.batches == [[0], [1, 2, 3], [4, 5]]
    batcher.close()


def test_keys_keep_jobs_apart_and_the_longest_waiting_comes_first(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher("t", recorder.run, lambda job: job % 2, 8, 0.0)
    busy(recorder, batcher)
    futures = [batcher.submit(job) for job in (1, 2, 3, 4, 5)]
    recorder.gate.set()
    assert [future.result(WAIT) for future in futures] == [10, 20, 30, 40, 50]
    assert recorder.batches == [[0], [1, 3, 5], [2, 4]]
    batcher.close()


def test_a_full_batch_does_not_wait(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher("t", recorder.run, lambda job: 0, 2, 10 * WAIT)
    futures = [batcher.submit(job) for job in (1, 2)]
    assert [future.result(WAIT) for future in futures] == [10, 20]
    batcher.close()


def test_one_alone_waits_so_long_and_no_longer(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher("t", recorder.run, lambda job: 0, 2, 0.05)
    start = time.monotonic()
    assert batcher.submit(1).result(WAIT) == 10
    assert time.monotonic() - start >= 0.045
    batcher.close()


def test_a_failure_is_its_own_batchs(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher("t", recorder.run, lambda job: job < 0, 8, 0.0)
    busy(recorder, batcher)
    futures = [batcher.submit(job) for job in (1, -1, 2)]
    recorder.gate.set()
    assert [futures[0].result(WAIT), futures[2].result(WAIT)] == [10, 20]
    with pytest.raises(ValueError, match="negative"):
        futures[1].result(WAIT)
    assert batcher.submit(3).result(WAIT) == 30
    batcher.close()


def test_a_job_that_was_given_up_is_not_run(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher("t", recorder.run, lambda job: job == 1, 8, 0.0)
    busy(recorder, batcher)
    futures = [batcher.submit(job) for job in (1, 2)]
    assert futures[0].cancel()
    recorder.gate.set()
    assert futures[1].result(WAIT) == 20
    assert recorder.batches == [[0], [2]]
    batcher.close()


def test_closing_waits_no_longer_than_it_was_told(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher("t", recorder.run, lambda job: 0, 8, 0.0)
    busy(recorder, batcher)
    batcher.close(0.01)  # the call at hand does not end before the test does
    assert recorder.batches == [[0]]


def test_closing_answers_what_waits(recorder: Recorder) -> None:
    batcher: Batcher[int, int] = Batcher("t", recorder.run, lambda job: 0, 8, 10 * WAIT)
    futures = [batcher.submit(job) for job in (1, 2)]
    batcher.close()
    assert [future.result(0) for future in futures] == [10, 20]
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(3)
