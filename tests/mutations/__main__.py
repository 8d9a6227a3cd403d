"""`python -m tests.mutations`: damaged and forged inputs by the thousand, and what came of them."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from random import Random

import click

from tests.mutations.run import run
from tests.mutations.subjects import subjects

# Of a hundred cases; what is sealed takes the most, for there the digest must not be all that protects.
SHARES = {
    "manifest": 22,
    "plan": 22,
    "bundle": 8,
    "image": 15,
    "golden": 11,
    "checkpoint": 10,
    "labels": 7,
    "request": 5,
}
SHOWN = 10


@click.command()
@click.option("--count", type=click.IntRange(min=1), default=2000, show_default=True, help="Cases of all kinds.")
@click.option("--kind", type=click.Choice(list(SHARES)), help="This kind alone.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--case", "number", type=int, help="Run this case of --kind alone, and show where it fails.")
def main(count: int, kind: str | None, seed: int, number: int | None) -> None:
    """Open COUNT damaged or forged files; fails on any exception but the project's own, and on ten seconds."""
    with tempfile.TemporaryDirectory() as folder:
        made = subjects(Path(folder))
        if number is not None:
            assert kind is not None, "--case needs --kind"
            try:
                made[kind](Random(f"{seed} {kind} {number}")).open()
            except Exception:
                traceback.print_exc()
            return
        failed = False
        for name in [kind] if kind else SHARES:
            cases = count if kind else max(1, count * SHARES[name] // 100)
            start = time.perf_counter()
            tally = run(made, {name: cases}, seed)[name]
            told = ", ".join(f"{outcome} {times:,}" for outcome, times in tally.outcomes.most_common())
            click.echo(f"{name:<11} {cases:>7,} in {time.perf_counter() - start:.0f} s: {told}")
            for at, wrong in list(tally.failures.items())[:SHOWN]:
                click.echo(f"    case {at}: {wrong!r:.300}")
            failed = failed or bool(tally.failures)
    click.echo(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MiB")
    sys.exit(failed)


main()
