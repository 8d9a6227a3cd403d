"""What a load must have met, so that it shows what it is put on for: a command whose load met nothing fails."""

from __future__ import annotations

from collections.abc import Callable

import click

from sacvit_deploy.benchmarks.load.generator import Outcome, report

Claim = Callable[[Outcome], str]  # says what an outcome does not show; nothing where it shows it
SMALL_QUEUE = 8


def nothing_more(_: Outcome) -> str:
    """Ask for right answers alone."""
    return ""


def queue_refuses(status: int) -> Claim:
    """Return the claim on a queue of SMALL_QUEUE: it answers some, refuses others with `status`, and does not grow."""

    def claim(outcome: Outcome) -> str:
        missing = [str(each) for each in (200, status) if not outcome.statuses[each]]
        if missing:
            return f"nothing ended with {' or '.join(missing)}, so this shows no full queue; send more"
        # NaN, where the server doesn't tell, is not larger.
        return f"the queue grew to {outcome.queue:.0f}" if outcome.queue > SMALL_QUEUE else ""

    return claim


def outlives_kill(outcome: Outcome) -> str:
    """Claim that stage 2 answers after a replica was killed: what exits at stage 1 needs none."""
    return "" if outcome.after[2] else "no request sent after the kill was answered by stage 2; send more"


def holds(title: str, outcome: Outcome, connections: int, claim: Claim = nothing_more) -> bool:
    """Print one load's outcome, and whether it is right and shows what it claims."""
    report(title, outcome, connections)
    if missing := claim(outcome):
        click.echo(f"  {missing}")
    return not (outcome.wrong or missing)
