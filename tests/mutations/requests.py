"""`python -m tests.mutations.requests`: what a network may send, by the thousand, and what came of it."""

from __future__ import annotations

import resource
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from random import Random

import click

from tests.mutations.cases import Subject
from tests.mutations.http import bodies_over_http
from tests.mutations.run import run
from tests.mutations.wire import requests_on_the_wire

SUBJECTS: dict[str, Callable[[], AbstractContextManager[Subject]]] = {
    "wire": lambda: nullcontext(requests_on_the_wire()),
    "http": bodies_over_http,
}
SHOWN = 10


@click.command(help=__doc__)
@click.option("--count", type=click.IntRange(min=1), default=2000, show_default=True, help="Cases of each kind.")
@click.option("--kind", type=click.Choice(list(SUBJECTS)), help="This kind alone.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--case", "number", type=int, help="Run this case of --kind alone, and show where it fails.")
def main(count: int, kind: str | None, seed: int, number: int | None) -> None:
    """Send COUNT damaged or forged requests; fails on any exception but the project's own, and on ten seconds."""
    failed = False
    for name in [kind] if kind else SUBJECTS:
        with SUBJECTS[name]() as subject:
            if number is not None:
                try:
                    subject(Random(f"{seed} {name} {number}")).open()
                except Exception:
                    traceback.print_exc()
                continue
            start = time.perf_counter()
            tally = run({name: subject}, {name: count}, seed)[name]
        told = ", ".join(f"{outcome} {times:,}" for outcome, times in tally.outcomes.most_common())
        click.echo(f"{name:<11} {count:>7,} in {time.perf_counter() - start:.0f} s: {told}")
        for at, wrong in list(tally.failures.items())[:SHOWN]:
            click.echo(f"    case {at}: {wrong!r:.300}")
        failed = failed or bool(tally.failures)
    click.echo(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
    sys.exit(failed)


if __name__ == "__main__":
    main()
