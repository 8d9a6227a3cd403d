"""Interleaved rounds: order, warm-up, the window that counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from sacvit_deploy.benchmarks.rounds import MOST_WARM_UP, STRETCH, interleave
from sacvit_deploy.errors import UsageError


@dataclass
class Took:
    """A run of made-up length."""

    seconds: float


def recorder(log: list[str], name: str, seconds: Callable[[int], float]) -> Callable[[], Took]:
    def run() -> Took:
        log.append(name)
        return Took(seconds(log.count(name)))

    return run


def test_contenders_take_turns_and_each_begins_a_round() -> None:
    log: list[str] = []
    found = interleave({name: recorder(log, name, lambda turn: 1.0) for name in "abc"}, 3)
    assert "".join(log) == "abc" + "bca" + "cab" + "abc" + "bca"  # two to warm up, three that count
    assert (found.warm_up, found.passed_over) == (2, 0)
    assert found.steady == {"a": True, "b": True, "c": True}
    assert {name: len(runs) for name, runs in found.runs.items()} == {"a": 3, "b": 3, "c": 3}


def test_warming_up_ends_when_two_rounds_agree() -> None:
    log: list[str] = []
    found = interleave({"a": recorder(log, "a", lambda turn: {1: 9.0, 2: 5.0}.get(turn, 1.0))}, 2)
    assert found.warm_up == 4
    assert [run.seconds for run in found.runs["a"]] == [1.0, 1.0]


def test_a_window_moves_on_until_it_is_steady() -> None:
    log: list[str] = []
    slow = {3: 2.0, 4: 3.0}
    found = interleave({"a": recorder(log, "a", lambda turn: slow.get(turn, 1.0))}, 3)
    assert found.passed_over == 2
    assert [run.seconds for run in found.runs["a"]] == [1.0, 1.0, 1.0]
    assert found.steady["a"]


def test_what_never_gets_steady_is_told_so() -> None:
    log: list[str] = []
    contenders = {"a": recorder(log, "a", float), "b": recorder(log, "b", lambda turn: 1.0)}
    found = interleave(contenders, 4)
    assert found.steady == {"a": False, "b": True}
    assert (found.warm_up, found.passed_over) == (MOST_WARM_UP, (STRETCH - 1) * 4)
    assert [run.seconds for run in found.runs["a"]] == [9.0, 10.0, 11.0, 12.0]
    for bad in ({}, {"a": recorder([], "a", float)}):
        with pytest.raises(UsageError):
            interleave(bad, 0)
