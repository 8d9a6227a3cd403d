"""Open damaged and forged inputs one after another, each under an alarm, and count what came of them."""

from __future__ import annotations

import contextlib
import signal
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from sacvit_deploy.errors import SacvitError
from tests.mutations.cases import AcceptedError, Subject

SECONDS = 10  # for one case; the slowest takes a fraction of one
LONGEST = 2000  # characters of a message: names may be long, files may not be quoted


class TooLongError(Exception):
    """The alarm rang."""


@dataclass
class Tally:
    """Outcomes of one kind of input, and the failures among them by the number of the case."""

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: dict[int, str] = field(default_factory=dict)


@contextlib.contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """Raise TooLongError in the block after so many seconds."""

    def ring(*_: object) -> None:
        raise TooLongError(f"still not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run_case(name: str, subject: Subject, seed: int, number: int) -> tuple[str, str | None]:
    """Run one case; return its outcome, and what is wrong with it, if anything."""
    case = subject(Random(f"{seed} {name} {number}"))
    try:
        with alarm(SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case.open()
        if case.must_fail:
            raise AcceptedError("changed bytes were taken")
    except SacvitError as error:
        message = str(error)
        if "\n" in message or len(message) > LONGEST:
            return "long message", f"{type(error).__name__}: {message[:300]!r}"
        return type(error).__name__, None
    except Exception as error:
        return type(error).__name__, f"{type(error).__name__}: {error!s:.300}"
    return "taken", None


def run(subjects: Mapping[str, Subject], counts: Mapping[str, int], seed: int = 0) -> dict[str, Tally]:
    """Run so many cases of each kind."""
    tallies = {name: Tally() for name in counts}
    for name, count in counts.items():
        for number in range(count):
            outcome, wrong = run_case(name, subjects[name], seed, number)
            tallies[name].outcomes[outcome] += 1
            if wrong is not None:
                tallies[name].failures[number] = wrong
    return tallies
