"""Load on Triton, on this machine: every answer compared, a replica killed, then more than it can take.

`python -m sacvit_deploy.benchmarks.triton_load BUNDLE FOLDER` writes the repository (`sacvit triton --backend python`),
starts the Triton of pytriton's wheel on it, sends --requests images of FOLDER, and bad ones, from --connections
connections, and prints what came back; then half as many, in the middle of which one of two instances of `sac` is
killed; then half as many against a queue of 8, which must refuse (503) instead of growing. Ends with 1 for a lost,
swapped or wrong answer, and where stage 2 answers nothing after the kill, or the queue refuses nothing.
`make test-serving` makes an environment in which it runs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

import click

from sacvit_deploy import SACViT
from sacvit_deploy.benchmarks.load.claims import SMALL_QUEUE, holds, outlives_kill, queue_refuses
from sacvit_deploy.benchmarks.load.generator import BUSY, FAILED, Outcome, Server, load
from sacvit_deploy.benchmarks.load.options import load_options
from sacvit_deploy.benchmarks.load.pictures import Pictures, read_pictures
from sacvit_deploy.benchmarks.load.processes import kill_first
from sacvit_deploy.benchmarks.load.triton_server import TritonServer, triton_server
from sacvit_deploy.benchmarks.load.wires import TRITON
from sacvit_deploy.serving.triton.cli_triton import command


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
    held = [holds("load", run(bundle, how, pictures, count, connections), connections)]

    def kill_sac(server: TritonServer) -> None:
        kill_first(server.stubs("sac"), "sac")

    outcome = run(bundle, (*how, "--instances-sac", "2"), pictures, half, connections, FAILED, kill_sac)
    held.append(holds("one of two instances of sac killed", outcome, connections, outlives_kill))
    # One instance and batches of 1, else more than the queue holds are in work, and it never fills.
    narrow = ("--max-queue", str(SMALL_QUEUE), "--instances", "1", "--batch", "1")
    outcome = run(bundle, (*how, *narrow), pictures, half, connections, BUSY)
    held.append(holds(f"a queue of {SMALL_QUEUE}", outcome, connections, queue_refuses(503)))
    sys.exit(not all(held))


if __name__ == "__main__":
    main()
