"""Load on Triton, on this machine: every answer compared, a replica killed, then more than it can take.

`python -m sacvit_deploy.benchmarks.triton_load BUNDLE FOLDER` writes the repository (`sacvit triton --backend python`),
starts the Triton of pytriton's wheel on it, sends --requests images of FOLDER, and bad ones, from --connections
connections, and prints what came back; then half as many, in the middle of which one of two instances of `sac` is
killed; then half as many against a queue of 8, which must refuse (503) instead of growing. Ends with 1 for a lost,
swapped or wrong answer. `make test-serving` makes an environment in which it runs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import click

from sacvit_deploy import SACViT
from sacvit_deploy.benchmarks.load.generator import BUSY, FAILED, Outcome, Server, load, report
from sacvit_deploy.benchmarks.load.options import load_options
from sacvit_deploy.benchmarks.load.pictures import Pictures, read_pictures
from sacvit_deploy.benchmarks.load.processes import kill
from sacvit_deploy.benchmarks.load.triton_server import TritonServer, triton_server
from sacvit_deploy.benchmarks.load.wires import TRITON
from sacvit_deploy.serving.triton.cli_triton import command

SMALL_QUEUE = 8


def run(
    bundle: Path,
    options: tuple[str, ...],
    pictures: Pictures,
    count: int,
    connections: int,
    may_fail: Collection[int] = (),
    midway: Callable[[TritonServer], object] = lambda server: None,
) -> Outcome:
    """Write a repository with these options, serve it, and put a load on it."""
    with tempfile.TemporaryDirectory(prefix="sacvit-triton-") as name:
        folder = Path(name)
        command.main([str(bundle), "--out", str(folder / "models"), *options], standalone_mode=False)
        with triton_server(folder / "models", folder) as server:
            loaded = Server(server.http, TRITON, server.memory, lambda: server.waiting("sacvit"))
            return load(loaded, pictures, count, connections, may_fail, lambda: midway(server))


@click.command(help=__doc__)
@load_options
def main(bundle: Path, folder: Path, count: int, connections: int, threads: int, precision: str) -> None:
    """Measure and judge."""
    how = ("--backend", "python", "--precision", precision, "--threads", str(threads))
    pictures = read_pictures(SACViT(bundle, threads=threads, precision=precision, backend="onnxruntime"), folder)
    half = count // 2
    outcomes = {"load": run(bundle, how, pictures, count, connections)}
    report("load", outcomes["load"], connections)

    def kill_sac(server: TritonServer) -> None:
        kill(server.stubs("sac")[0])

    title = "one of two instances of sac killed"
    outcomes[title] = run(bundle, (*how, "--instances-sac", "2"), pictures, half, connections, FAILED, kill_sac)
    report(title, outcomes[title], connections)
    # One instance and batches of 1, else more than the queue holds are in work, and it never fills.
    title, narrow = f"a queue of {SMALL_QUEUE}", ("--max-queue", str(SMALL_QUEUE), "--instances", "1", "--batch", "1")
    outcomes[title] = run(bundle, (*how, *narrow), pictures, half, connections, BUSY)
    report(title, outcomes[title], connections)
    grown = outcomes[title].queue > SMALL_QUEUE
    sys.exit(grown or any(outcome.wrong for outcome in outcomes.values()))


if __name__ == "__main__":
    main()
