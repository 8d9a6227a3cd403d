"""Interleaved rounds: all contenders in turn, until the machine has warmed up and the rounds agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


R = TypeVar("R", bound=Timed)


@dataclass(frozen=True)
class Window(Generic[R]):
    """Runs of each contender in the rounds that count."""

    runs: Mapping[str, list[R]]
    warm_up: int  # rounds before that are not counted
    passed_over: int  # unsteady rounds after warm-up that are not counted
    steady: Mapping[str, bool]


def interleave(
    contenders: Mapping[str, Callable[[], R]], rounds: int, advance: Callable[[int], object] = int
) -> Window[R]:
    """Run all contenders in turn until a window of `rounds` rounds is steady, or STRETCH windows were run.

    Each round begins with another contender, so that none always follows the same one. The first rounds warm up, until
    two successive ones agree. advance: called after each run. Raises UsageError for no rounds or no contender.
    """
    if rounds < 1 or not contenders:
        raise UsageError("there must be at least one round and one contender")
    names = list(contenders)
    turn = 0

    def run_round() -> dict[str, R]:
        nonlocal turn
        order = names[turn % len(names) :] + names[: turn % len(names)]
        turn += 1
        runs = {}
        for name in order:
            runs[name] = contenders[name]()
            advance(1)
        return runs

    last = run_round()
    warm_up = 1
    while warm_up < MOST_WARM_UP:
        now = run_round()
        warm_up += 1
        warm = all(abs(now[name].seconds - last[name].seconds) <= WARM * last[name].seconds for name in names)
        last = now
        if warm:
            break
    seen = [run_round() for _ in range(rounds)]
    while not all(is_steady(seen[-rounds:], name) for name in names) and len(seen) < STRETCH * rounds:
        seen.append(run_round())
    window = seen[-rounds:]
    return Window(
        runs={name: [runs[name] for runs in window] for name in names},
        warm_up=warm_up,
        passed_over=len(seen) - rounds,
        steady={name: is_steady(window, name) for name in names},
    )


def is_steady(rounds: list[dict[str, R]], name: str) -> bool:
    """Tell whether a contender took about the same time in all of these rounds."""
    return unsteadiness([runs[name].seconds for runs in rounds]) <= STEADY
