"""Trying again: how often, after which pauses, and what is said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sacvit_deploy.errors import ImageError
from sacvit_deploy.sources.reconnect import Ended, pause, reconnecting

Session = list[int | Exception]


def played(sessions: list[Session], attempts: int) -> tuple[list[int], list[str], list[float], str | None]:
    """What came of sessions, each of which gives numbers and may raise: items, notes, pauses, the final error."""
    left = iter(sessions)
    notes: list[str] = []
    pauses: list[float] = []

    def session() -> Iterator[int]:
        for item in next(left):
            if isinstance(item, Exception):
                raise item
            yield item

    items: list[int] = []
    try:
        for item in reconnecting(session, "rtsp://cam", attempts, notes.append, pauses.append):
            items.append(item)
    except ImageError as error:
        return items, notes, pauses, str(error)
    return items, notes, pauses, None


def broken(said: str = "rtsp://cam broke") -> ImageError:
    return ImageError(said)


def test_it_goes_on() -> None:
    items, notes, pauses, error = played([[1, broken()], [broken()], [2, 3], [4, Ended()]], 3)
    assert (items, error) == ([1, 2, 3, 4], None)
    assert pauses == [1.0, 2.0, 1.0]
    assert notes == [
        "rtsp://cam broke off (broke); trying again in 1 s, attempt 1 of 3",
        "rtsp://cam broke off (broke); trying again in 2 s, attempt 2 of 3",
        "rtsp://cam is back",
        "rtsp://cam broke off (it ended); trying again in 1 s, attempt 1 of 3",
        "rtsp://cam is back",
    ]


def test_it_ends() -> None:
    items, _, pauses, error = played([[1], [broken()], [broken("last")]], 2)
    assert (items, pauses) == ([1], [1.0, 2.0])
    assert error == "rtsp://cam is gone, after 2 attempts to reach it again (last)"


def test_what_never_came_is_not_tried_again() -> None:
    assert played([[broken("no such host")]], 5)[1:] == ([], [], "no such host")
    assert played([[]], 5)[3] == "rtsp://cam ended before its first image"


def test_it_can_be_switched_off() -> None:
    assert played([[1, broken("lost")]], 0) == ([1], [], [], "lost")
    assert played([[1]], 0) == ([1], [], [], None)


def test_pauses_grow_and_are_bounded() -> None:
    assert [pause(attempt) for attempt in (1, 2, 3, 4, 5, 6, 60)] == [1, 2, 4, 8, 16, 30, 30]


def test_other_exceptions_are_nobodys_business_here() -> None:
    with pytest.raises(ZeroDivisionError):
        played([[ZeroDivisionError()]], 5)
