"""A source that sets its own pace: read in a thread, handed over at once, dropped or held back, and let go."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from sacvit_deploy.images.live_source import Keep, LiveSource
from sacvit_deploy.images.prefetch import UntilFailure

LIMIT = 60  # seconds for what takes milliseconds


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def readers() -> int:
    return sum(thread.name == "sacvit-source" for thread in threading.enumerate())


def live(sources: Iterable[int], keep: Keep, size: int, held: int = 100, nbytes: int = 1) -> LiveSource[int, int]:
    return LiveSource(
        UntilFailure(sources),
        lambda number: 10 * number,
        claim=lambda number: (number, nbytes),
        keep=keep,
        size=size,
        workers=2,
        held=held,
    )


class Steps:
    """A source that gives `first` items at once, the others after `go_on`; `ended` is set behind the last."""

    def __init__(self, first: int, others: int) -> None:
        self._first, self._others = first, others
        self.go_on, self.ended = threading.Event(), threading.Event()
        self.given = 0
        self.released = threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            for number in range(self._first + self._others):
                if number == self._first:
                    assert self.go_on.wait(LIMIT)
                self.given += 1
                yield number
            self.ended.set()
        finally:
            self.released.set()


def test_what_is_there_is_handed_over_then_an_empty_batch_comes() -> None:
    steps = Steps(1, 1)
    batches = live(steps, "all", 4).batches()
    assert [image.result() for image in next(batches)] == [0]
    assert next(batches) == []  # nothing is there yet: what is under way may end
    steps.go_on.set()
    assert [image.result() for image in next(batches)] == [10]
    assert [batch for batch in batches if batch] == []
    until(lambda: readers() == 0)


def test_all_of_them_come_in_order() -> None:
    found = [image for batch in live(range(50), "all", 4).batches() for image in batch]
    assert [(image.position, image.result()) for image in found] == [(number, 10 * number) for number in range(50)]
    assert [image.taken_at for image in found] == sorted(image.taken_at for image in found)


@pytest.mark.parametrize(("size", "held", "most"), [(3, 100, 3), (50, 2, 50)])
def test_no_more_wait_than_a_batch(size: int, held: int, most: int) -> None:
    steps = Steps(100, 0)
    source = live(steps, "all", size, held=held)
    batches = source.batches()
    handed = 0
    for batch in batches:
        handed += len(batch)
        assert len(batch) <= size
        assert steps.given <= handed + most
    assert handed == 100


def test_the_newest_push_out_those_that_wait() -> None:
    steps = Steps(1, 20)
    source = live(steps, "latest", 3)
    batches = source.batches()
    assert [image.position for image in next(batches)] == [0]
    steps.go_on.set()
    assert steps.ended.wait(LIMIT)
    assert [image.position for image in next(batches)] == [18, 19, 20]
    assert source.dropped == 17
    assert [batch for batch in batches if batch] == []


def test_copies_beyond_the_limit_are_dropped() -> None:
    steps = Steps(1, 20)
    source = live(steps, "latest", 8, held=100, nbytes=60)
    batches = source.batches()
    assert [image.position for image in next(batches)] == [0]
    steps.go_on.set()
    assert steps.ended.wait(LIMIT)
    assert [image.position for image in next(batches)] == [20]  # one alone may be as large as it likes
    assert source.dropped == 19


@pytest.mark.parametrize("keep", ["all", "latest"])
def test_a_sources_failure_comes_after_its_images(keep: Keep) -> None:
    def failing() -> Iterator[int]:
        yield 0
        raise SystemExit("the camera is gone")  # of no class that a thread would tell of

    sources = UntilFailure(failing())
    source = LiveSource(
        sources, lambda number: number, claim=lambda number: (number, 0), keep=keep, size=4, workers=1, held=9
    )
    assert [image.position for batch in source.batches() for image in batch] == [0]
    with pytest.raises(SystemExit, match="the camera is gone"):
        sources.raise_failure()


@pytest.mark.parametrize("keep", ["all", "latest"])
def test_closing_ends_the_thread_when_the_next_item_comes(keep: Keep) -> None:
    steps = Steps(1, 5)
    source = live(steps, keep, 2)
    batches = source.batches()
    next(batches)
    source.close()
    assert list(batches) == []
    assert readers() == 1  # it waits for the source
    steps.go_on.set()
    until(lambda: readers() == 0)
    assert steps.given == 2
    assert steps.released.is_set()  # a generator's own clearing up was done


def test_closing_ends_a_thread_that_is_held_back() -> None:
    steps = Steps(100, 0)
    source = live(steps, "all", 2)
    next(source.batches())  # and let go
    until(lambda: readers() == 0)
    assert steps.released.is_set() and not steps.ended.is_set()


def test_closing_wakes_a_thread_that_waits_for_an_image() -> None:
    steps = Steps(0, 1)
    source = live(steps, "all", 2)
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.extend(source.batches()), daemon=True)
    waiting.start()
    until(lambda: readers() == 1)
    source.close()
    waiting.join(LIMIT)
    assert not waiting.is_alive() and found == []
    steps.go_on.set()
    until(lambda: readers() == 0)


def test_closing_while_an_image_is_prepared() -> None:
    entered, leave = threading.Event(), threading.Event()

    def prepare(number: int) -> int:
        entered.set()
        assert leave.wait(LIMIT)
        return number

    source = LiveSource(UntilFailure(range(9)), prepare, claim=lambda n: (n, 0), keep="all", size=4, workers=1, held=9)
    found: list[object] = []
    waiting = threading.Thread(target=lambda: found.extend(source.batches()), daemon=True)
    waiting.start()
    assert entered.wait(LIMIT)
    source.close()
    leave.set()
    waiting.join(LIMIT)
    assert not waiting.is_alive() and found == []
    until(lambda: readers() == 0)
