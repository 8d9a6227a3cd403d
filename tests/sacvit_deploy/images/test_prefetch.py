"""Preparing ahead: in order, never further ahead than allowed, and nothing after an error."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sacvit_deploy.images.prefetch import UntilFailure, in_batches, prefetch
from sacvit_deploy.images.workers import Workers


@pytest.mark.parametrize("workers", [1, 4])
def test_results_come_in_the_order_of_their_sources(workers: int) -> None:
    first_may_end = threading.Event()

    def prepare(number: int) -> int:
        if workers > 1 and number == 0:
            assert first_may_end.wait(30)  # the first is the last to be ready
        if number == 3:
            first_may_end.set()
        return 10 * number

    assert list(prefetch(range(8), prepare, limit=8, workers=workers)) == [10 * number for number in range(8)]


@pytest.mark.parametrize(("limit", "workers"), [(1, 2), (3, 2), (5, 1)])
def test_no_more_sources_are_taken_than_allowed(limit: int, workers: int) -> None:
    taken = 0

    def sources() -> Iterator[int]:
        nonlocal taken
        for number in range(20):
            taken += 1
            yield number

    for used, _ in enumerate(prefetch(sources(), lambda number: number, limit=limit, workers=workers)):
        assert taken <= used + limit


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_is_raised_in_its_place(workers: int) -> None:
    results = prefetch(range(6), lambda number: 1 // (number - 2), limit=4, workers=workers)
    assert [next(results), next(results)] == [-1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_batches_have_the_size_and_the_last_one_the_rest() -> None:
    assert list(in_batches(range(7), 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(in_batches([], 3)) == []


def test_copies_that_wait_are_bounded() -> None:
    prepared: list[int] = []

    def claim(number: int) -> tuple[int, int]:
        assert number < 4 + len(prepared)  # three may wait; the next is copied before its size is known
        return number, 100

    def prepare(number: int) -> int:
        time.sleep(0.05)
        prepared.append(number)
        return number

    assert list(prefetch(range(12), prepare, limit=12, workers=2, claim=claim, held=300)) == list(range(12))


def test_no_more_is_taken_once_it_is_stopped() -> None:
    given, closed = [], []

    def numbers() -> Iterator[int]:
        try:
            for number in itertools.count():
                given.append(number)
                yield number
        finally:
            closed.append(True)

    taken = UntilFailure(numbers())
    found = []
    for number in taken:
        found.append(number)
        taken.stopped = number == 2
    assert found == given == [0, 1, 2] and taken.taken == 3 and closed == [True]


def test_closing_does_not_wait_for_a_call_that_a_thread_took() -> None:
    """Between a look at the queue and taking from it."""
    workers = Workers(1)

    class Taken(queue.SimpleQueue[Any]):
        def empty(self) -> bool:
            return False

    workers._calls = Taken()
    closing = threading.Thread(target=workers.close, daemon=True)
    closing.start()
    closing.join(60)
    assert not closing.is_alive()
