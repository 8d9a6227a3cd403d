"""How many replicas of each stage a rate of images needs, from a measured `bench.json`.

`python -m sacvit_deploy.benchmarks.capacity bench.json --rate 500 --continue 0.3` takes the cascade's rows, tells the
cost of one image in stage 1 and of one that continues in stage 2, and divides. A replica is a process with the row's
batch and threads, on a machine like the one that was measured, and busy for no more than `--busy` of the time: queues
grow without bounds as that nears 1.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from sacvit_deploy.benchmarks.report.results import BenchReport, BenchRow, read_json
from sacvit_deploy.commands.common import fail
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.console.terminal import say
from sacvit_deploy.errors import SacvitError, UsageError
from sacvit_deploy.geometry import CHILDREN
from sacvit_deploy.request import HEADER

CASCADES = ("cascade", "cascade-scaled")  # contenders that have two stages
STAGE_TWO = ("gather", "sac", "answer")  # what an image costs only if it continues
HALF = 2  # bytes of an element in fp16; other variants have fp32


@dataclass(frozen=True)
class Capacity:
    """Replicas of each stage for a rate, and of a process with both; ms of an image; MB/s between the stages."""

    stage_one_ms: float
    stage_two_ms: float  # of an image that continues
    ee: int
    sac: int
    together: int
    megabytes: float


def capacity(row: BenchRow, config: ModelConfig, alpha: float, rate: float, share: float, busy: float) -> Capacity:
    """Return what `rate` images a second need, a `share` of which continues. row: one in which images continued.

    The steps' times are scaled to the row's whole time, which has what is between them.
    """
    assert row.continued
    late = sum(row.steps_ms.get(step, 0.0) for step in STAGE_TWO)
    scale = row.ms.median / sum(row.steps_ms.values())
    one, two = scale * (sum(row.steps_ms.values()) - late), scale * late / row.continued
    geometry, count = config.geometry, config.num_targets(alpha)
    element = HALF if row.precision == "fp16" else 2 * HALF
    request = HEADER.size + 4 * count + geometry.tokens * geometry.width * element
    request += CHILDREN * count * geometry.patch_values
    return Capacity(
        one,
        two,
        _replicas(rate * one, busy),
        _replicas(rate * share * two, busy),
        _replicas(rate * (one + share * two), busy),
        rate * share * request / 1e6,
    )


def _replicas(ms_per_second: float, busy: float) -> int:
    return max(1, math.ceil(ms_per_second / 1000 / busy - 1e-9))


def table(report: BenchReport, rate: float, share: float, busy: float) -> list[str]:
    """Return a line for each of the cascade's rows. Raises UsageError where there is none."""
    config, alpha = ModelConfig.from_dict(report.facts["bundle"]["config"]), float(report.facts["bundle"]["alpha"])
    rows = [row for row in report.rows if row.contender in CASCADES and row.continued and row.steps_ms]
    if not rows:
        raise UsageError("no row of the cascade has images that continued; run sacvit bench with --continue 0.5")
    lines = [
        f"{rate:g} images/s, {share:.0%} of which continue; replicas busy {busy:.0%} of the time",
        f"{'row':<34}{'stage 1, ms':>12}{'stage 2, ms':>12}{'EE':>5}{'SAC':>5}{'or both':>9}{'MB/s between':>14}",
    ]
    for row in rows:
        found = capacity(row, config, alpha, rate, share, busy)
        scaled = ", scaled" * (row.contender != CASCADES[0])
        name = f"{row.scope}{scaled}, {row.precision}, batch {row.batch}, {row.threads} threads"
        cells = f"{found.stage_one_ms:>12.2f}{found.stage_two_ms:>12.2f}{found.ee:>5}{found.sac:>5}{found.together:>9}"
        lines.append(f"{name:<34}{cells}{found.megabytes:>14.1f}")
    return lines


@click.command(help=__doc__)
@click.argument("bench", type=click.Path(path_type=Path))
@click.option("--rate", type=click.FloatRange(0, min_open=True), required=True, help="Images a second.")
@click.option("--continue", "share", type=click.FloatRange(0, 1), required=True, help="Share of them that continues.")
@click.option("--busy", type=click.FloatRange(0, 1, min_open=True), default=0.7, show_default=True)
def main(bench: Path, rate: float, share: float, busy: float) -> None:
    """Print the table."""
    try:
        for line in table(read_json(bench), rate, share, busy):
            say(line)
    except UsageError as error:
        fail(f"{bench}: {error}", 2)
    except SacvitError as error:
        fail(str(error), 1)


if __name__ == "__main__":
    sys.exit(main())
