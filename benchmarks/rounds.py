"""Contenders in turn, round by round, until the machine has warmed up and the rounds agree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sacvit_deploy.benchmarks.spread import unsteadiness
from sacvit_deploy.errors import UsageError

WARM = 0.05  # two successive rounds that differ by no more are warm
MOST_WARM_UP = 4  # rounds
STEADY = 0.05  # unsteadiness of a window, below which it counts as steady
STRETCH = 2  # a window may move on until so many times its length was run


class Timed(Protocol):
    """What a contender's run must tell."""

    @property
    def seconds(self) -> float:
        """How long it took."""
        ...


R = TypeVar("R", bound=Timed)


@dataclass(frozen=True)
class Window(Generic[R]):
    """The runs of each contender in the rounds that count, and how the measuring went."""

    runs: Mapping[str, list[R]]
    warm_up: int  # rounds before
    passed_over: int  # unsteady rounds between
    steady: Mapping[str, bool]


def interleave(contenders: Mapping[str, Callable[[], R]], rounds: int, note: Callable[[], object] = int) -> Window[R]:
    """Run all contenders in turn until a window of `rounds` rounds is steady, or STRETCH windows were run.

    Each round begins with another contender, so that none always follows the same one. The first round warms up, and
    others do until two successive ones agree. note: called after each run. Raises UsageError for no rounds.
    """
    if rounds < 1 or not contenders:
        raise UsageError("there must be at least one round and one contender")
    names = list(contenders)
    turn = 0

    def run_round() -> dict[str, R]:
        nonlocal turn
        order = names[turn % len(names) :] + names[: turn % len(names)]
        turn += 1
        found = {}
        for name in order:
            found[name] = contenders[name]()
            note()
        return found

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
        runs={name: [found[name] for found in window] for name in names},
        warm_up=warm_up,
        passed_over=len(seen) - rounds,
        steady={name: is_steady(window, name) for name in names},
    )


def is_steady(rounds: list[dict[str, R]], name: str) -> bool:
    """Whether a contender took about the same in these rounds."""
    return unsteadiness([found[name].seconds for found in rounds]) <= STEADY
