"""Replicas of Ray Serve, second by second, under a load that comes and goes.

`python -m sacvit_deploy.benchmarks.ray_scaling BUNDLE FOLDER` starts Ray on this machine, and examples/ray_serve.py
with up to two replicas of each stage and delays of a few seconds; then images come from --connections connections, all
of which continue, with nearly all tokens, until there are two replicas of stage 2, and for --seconds more; then none
come, until both stages have one. Prints what Serve says at each change. Ends with 1 if it does not scale both ways, or
for a lost, swapped or wrong answer. `make test-serving` makes an environment in which it runs.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from sacvit_deploy import SACViT
from sacvit_deploy.benchmarks.load.generator import Outcome, load, report
from sacvit_deploy.benchmarks.load.local_ray import local_ray
from sacvit_deploy.benchmarks.load.options import load_options
from sacvit_deploy.benchmarks.load.pictures import Pictures, read_pictures
from sacvit_deploy.benchmarks.load.ports import free_ports
from sacvit_deploy.benchmarks.load.ray_example import STAGES, ray_example, replicas
from sacvit_deploy.benchmarks.load.wires import ALPHA, ETA, STAGE_TWO
from sacvit_deploy.errors import BackendError

LIMIT = 180.0  # seconds for each way
# Serve hears of the load every 10 s, and must look back further than that.
SCALING = ("--look-back", "12", "--upscale-delay", "2", "--downscale-delay", "4")


class Watch:
    """Prints how many replicas there are whenever that changes."""

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say, self._start, self._last = say, time.monotonic(), ""
        say("seconds  replicas running (processes) of stage 1 and of stage 2")

    def event(self, text: str) -> None:
        """Print what happens."""
        self._say(f"{time.monotonic() - self._start:7.0f}  {text}")

    def until(self, reached: Callable[[int, int], bool], more: float = 0.0) -> None:
        """Watch until the replicas of both stages are so many, and for `more` seconds.

        Raises BackendError after LIMIT.
        """
        end, done = time.monotonic() + LIMIT, False
        while time.monotonic() < end:
            found = replicas()
            line = "  ".join(f"{running} ({started})" for running, started in (found[name] for name in STAGES))
            if line != self._last:
                self.event(line)
                self._last = line
            if not done and reached(*(found[name][0] for name in STAGES)):
                end, done = time.monotonic() + more, True
            time.sleep(0.5)
        if not done:
            raise BackendError(f"after {LIMIT:.0f} s the replicas are {self._last}")


def both_one(one: int, two: int) -> bool:
    """Tell whether each stage has one replica."""
    return (one, two) == (1, 1)


@click.command(help=__doc__)
@load_options
@click.option("--seconds", type=click.FloatRange(0), default=10.0, show_default=True, help="Of load on two replicas.")
def main(
    bundle: Path, folder: Path, count: int, connections: int, threads: int, precision: str, seconds: float
) -> None:
    """Measure and judge."""
    if threads != 1:
        raise click.UsageError("the engines of examples/ray_serve.py have one thread each")
    model = SACViT(bundle, threads=threads, precision=precision)
    outcome = scale(bundle, read_pictures(model, folder, ETA, ALPHA), precision, connections, seconds, click.echo)
    report("load", outcome, connections)
    sys.exit(bool(outcome.wrong))


def scale(
    bundle: Path, pictures: Pictures, precision: str, connections: int, seconds: float, say: Callable[[str], object]
) -> Outcome:
    """Put a load on the example until stage 2 has two replicas and for `seconds` more, then wait until both have one.

    pictures: with the answers for ETA and ALPHA. Raises BackendError where it does not scale.
    """
    how = (str(bundle), "--precision", precision, "--cpus", "0.25", "--stage-one", "2", "--stage-two", "2", *SCALING)
    stop = threading.Event()
    with local_ray() as address, ray_example(address, free_ports(1)[0], *how, wire=STAGE_TWO) as server:
        watch = Watch(say)
        watch.until(both_one)
        watch.event("the load begins")
        with ThreadPoolExecutor(1) as pool:
            loaded = pool.submit(load, server, pictures, sys.maxsize, connections, stop=stop)
            try:
                watch.until(lambda one, two: two == 2, seconds)
            finally:
                stop.set()
            outcome = loaded.result()
        watch.event("the load ends")
        watch.until(both_one)
    return outcome


if __name__ == "__main__":
    main()
