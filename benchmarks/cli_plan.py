"""`sacvit plan`: how many replicas of each stage a rate of images needs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sacvit_deploy.benchmarks.capacity import capacity, capacity_table, choose_row
from sacvit_deploy.benchmarks.report.results import SCOPES, read_json
from sacvit_deploy.commands.common import finite, json_option
from sacvit_deploy.commands.strict import StrictCommand
from sacvit_deploy.console.terminal import say
from sacvit_deploy.errors import UsageError
from sacvit_deploy.precisions import PRECISIONS


@click.command("plan", cls=StrictCommand)
@click.argument("bench", type=click.Path(path_type=Path))
@click.option("--rate", required=True, type=click.FloatRange(0, min_open=True), callback=finite, help="Images/s.")
@click.option(
    "--continue", "share", required=True, type=click.FloatRange(0, 1), callback=finite,
    help="Share of the images that continues to stage 2, like 0.3: what `sacvit eval` says of yours.",
)  # fmt: skip
@click.option(
    "--utilisation", type=click.FloatRange(0, 1, min_open=True), default=0.7, show_default=True, callback=finite,
    help="How busy a replica may be; queues grow long near 1.",
)  # fmt: skip
@click.option("--scope", type=click.Choice(list(SCOPES)), help="With decoding or without.  [default: file, if benched]")
@click.option("--precision", type=click.Choice(list(PRECISIONS)), help="[default: the cheapest]")
@click.option("--batch", type=click.IntRange(min=1), help="[default: the cheapest]")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of a replica.  [default: the cheapest a core]")
@json_option
def command(
    bench: Path,
    rate: float,
    share: float,
    utilisation: float,
    scope: str | None,
    precision: str | None,
    batch: int | None,
    threads: int | None,
    as_json: bool,
) -> None:
    """Count the replicas of each stage for a rate of images, from a BENCH.json of `sacvit bench` on such a machine."""
    report = read_json(bench)
    row = choose_row(report, share, scope=scope, precision=precision, batch=batch, threads=threads)
    try:
        found = capacity(row, report.facts["bundle"], rate, share, utilisation)
    except KeyError as error:
        raise UsageError(f"{bench} says nothing of {error}; bench again") from error
    say(json.dumps(found.to_dict(), indent=1) if as_json else capacity_table(found, report.facts.get("runtime", "")))
