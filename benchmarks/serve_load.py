"""Load on `sacvit serve`, on this machine: every answer compared, memory watched, then more than it can take.

`python -m sacvit_deploy.benchmarks.serve_load BUNDLE FOLDER` starts the server, sends --requests images of FOLDER, and
bad ones, from --connections connections, and prints what came back; then the same against a queue of 8 images, which
must refuse (429) instead of growing. Ends with 1 for a lost, swapped or wrong answer, and where nothing was refused.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from sacvit_deploy import SACViT
from sacvit_deploy.benchmarks.load.claims import SMALL_QUEUE, holds, nothing_more, queue_refuses
from sacvit_deploy.benchmarks.load.generator import BUSY, TIMEOUT, Server, load
from sacvit_deploy.benchmarks.load.options import load_options
from sacvit_deploy.benchmarks.load.pictures import read_pictures
from sacvit_deploy.benchmarks.load.processes import memory
from sacvit_deploy.benchmarks.load.wires import SERVE


@contextlib.contextmanager
def server(bundle: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start `sacvit serve` on a free port; ends with its orderly stop."""
    command = [sys.executable, "-m", "sacvit_deploy", "serve", str(bundle), "--port", "0", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r" at http://\S+?:(\d+)", line)
        if found is None:
            raise click.ClickException(f"the server did not start: {line}")
        click.echo(line.strip())
        yield process, int(found[1])
        process.terminate()
        if status := process.wait(TIMEOUT):
            raise click.ClickException(f"the server ended with {status}")
    finally:
        process.kill()
        process.wait()


def queue_of(port: int) -> float:
    """Return how many images are in the server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", "/metrics")
    found = re.search(rb"^sacvit_queue_images (\S+)", connection.getresponse().read(), re.MULTILINE)
    connection.close()
    return float(found[1]) if found else float("nan")


@click.command(help=__doc__)
@load_options
def main(bundle: Path, folder: Path, count: int, connections: int, threads: int, precision: str) -> None:
    """Measure and judge."""
    pictures = read_pictures(SACViT(bundle, threads=threads, precision=precision), folder)
    how = ("--threads", str(threads), "--precision", precision)
    failed = False
    for title, options, part, claim in (
        ("load", (), count, nothing_more),
        (f"a queue of {SMALL_QUEUE}", ("--max-queue", str(SMALL_QUEUE)), count // 2, queue_refuses(429)),
    ):
        with server(bundle, *how, *options) as (process, port):

            def used(pid: int = process.pid) -> float:
                return memory([pid])

            def waiting(port: int = port) -> float:
                return queue_of(port)

            outcome = load(Server(port, SERVE, used, waiting), pictures, part, connections, BUSY if options else ())
        failed = not holds(title, outcome, connections, claim) or failed
    sys.exit(failed)


if __name__ == "__main__":
    main()
