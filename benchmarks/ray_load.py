"""Load on Ray Serve, on this machine: every answer compared, a replica killed, then more than it can take.

`python -m sacvit_deploy.benchmarks.ray_load BUNDLE FOLDER` starts Ray and examples/ray_serve.py with one replica of
each stage, sends --requests images of FOLDER, and bad ones, from --connections connections, and prints what came back;
then half as many, in the middle of which the replica of stage 2 is killed; then half as many against a queue of 8,
which must refuse (503) instead of growing. Ends with 1 for a lost, swapped or wrong answer, and where stage 2 answers
nothing after the kill, or the queue refuses nothing. `make test-serving` makes an environment in which it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import click

from sacvit_deploy import SACViT
from sacvit_deploy.benchmarks.load.claims import SMALL_QUEUE, Claim, holds, nothing_more, outlives_kill, queue_refuses
from sacvit_deploy.benchmarks.load.generator import BUSY, FAILED, load
from sacvit_deploy.benchmarks.load.local_ray import kill_one, local_ray
from sacvit_deploy.benchmarks.load.options import load_options
from sacvit_deploy.benchmarks.load.pictures import read_pictures
from sacvit_deploy.benchmarks.load.ports import free_ports
from sacvit_deploy.benchmarks.load.ray_example import ray_example

CPUS = "0.25"  # of a replica: an account, so that all fit into two


@click.command(help=__doc__)
@load_options
def main(bundle: Path, folder: Path, count: int, connections: int, threads: int, precision: str) -> None:
    """Measure and judge."""
    if threads != 1:
        raise click.UsageError("the engines of examples/ray_serve.py have one thread each")
    pictures = read_pictures(SACViT(bundle, threads=threads, precision=precision), folder)
    how = (str(bundle), "--precision", precision, "--cpus", CPUS, "--stage-one", "1")
    kill_two = partial(kill_one, "StageTwoReplica")
    loads: list[tuple[str, tuple[str, ...], int, Collection[int], Callable[[], object], Claim]] = [
        ("load", how, count, (), lambda: None, nothing_more),
        ("the replica of stage 2 killed", how, count // 2, FAILED, kill_two, outlives_kill),
        (
            f"a queue of {SMALL_QUEUE}",
            (*how, "--batch", "1", "--queue", str(SMALL_QUEUE)),
            count // 2,
            BUSY,
            lambda: None,
            queue_refuses(503),
        ),
    ]
    failed = False
    with local_ray() as address:
        for title, arguments, part, may_fail, midway, claim in loads:
            with ray_example(address, free_ports(1)[0], *arguments) as server:
                outcome = load(server, pictures, part, connections, may_fail, midway)
            failed = not holds(title, outcome, connections, claim) or failed
    sys.exit(failed)


if __name__ == "__main__":
    main()
