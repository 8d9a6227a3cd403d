"""Interleaved rounds: all contenders in turn, until the machine has warmed up and the rounds agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sacvit_deploy.benchmarks.spread import unsteadiness
from sacvit_deploy.errors import UsageError

WARM = 0.05  # largest relative difference of two successive rounds once warm
MOST_WARM_UP = 4  # rounds
STEADY = 0.05  # largest unsteadiness of a steady window
STRETCH = 2  # rounds run at most, in windows


class Timed(Protocol):
    """Run with a duration."""

    @property
    def seconds(self) -> float:
        """Duration of the run."""
        ...


K = TypeVar("K")
R = TypeVar("R", bound=Timed)


@dataclass(frozen=True)
class Window(Generic[K, R]):
    """Runs of each contender in the rounds that count."""

    runs: Mapping[K, list[R]]
    warm_up: int  # rounds before that are not counted
    passed_over: int  # unsteady rounds after warm-up that are not counted
    steady: Mapping[K, bool]


def interleave(
    contenders: Mapping[K, Callable[[], R]], rounds: int, advance: Callable[[int], object] = int
) -> Window[K, R]:
    """Run all contenders in turn until a window of `rounds` rounds is steady, or STRETCH windows were run.

    Each round begins with another contender, so that none always follows the same one. The first rounds warm up, until
    two successive ones agree. advance: called after each run. Raises UsageError for no rounds or no contender.
    """
    if rounds < 1 or not contenders:
        raise UsageError("there must be at least one round and one contender")
    names = list(contenders)
    turn = 0

    def run_round() -> dict[K, R]:
        nonlocal turn
        order = names[turn % len(names) :] + names[: turn % len(names)]
        turn += 1
        runs = {}
        for name in order:
            runs[name] = contenders[name]()
            advance(1)
        return runs

    seen = [run_round()]
    while len(seen) == 1 or (len(seen) < MOST_WARM_UP and not agree(*seen[-2:])):
        seen.append(run_round())
    warm_up = len(seen)
    seen += [run_round() for _ in range(rounds)]
    while not all(steady(seen[-rounds:]).values()) and len(seen) < warm_up + STRETCH * rounds:
        seen.append(run_round())
    window = seen[-rounds:]
    return Window(
        runs={name: [runs[name] for runs in window] for name in names},
        warm_up=warm_up,
        passed_over=len(seen) - warm_up - rounds,
        steady=steady(window),
    )


def agree(last: Mapping[K, R], now: Mapping[K, R]) -> bool:
    """Tell whether every contender took about as long in two successive rounds."""
    return all(abs(now[name].seconds - last[name].seconds) <= WARM * last[name].seconds for name in last)


def steady(rounds: Sequence[Mapping[K, R]]) -> dict[K, bool]:
    """Tell for each contender whether it took about the same time in all of these rounds."""
    return {name: unsteadiness([runs[name].seconds for runs in rounds]) <= STEADY for name in rounds[0]}
