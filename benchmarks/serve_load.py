"""Load on `sacvit serve`, on this machine: every answer compared, memory watched, then more than it can take.

`python -m sacvit_deploy.benchmarks.serve_load BUNDLE FOLDER` starts the server, sends --requests images of FOLDER, and
bad ones, from --connections connections, and prints what came back; then the same against a queue of 8 images, which
must refuse (429) instead of growing. Ends with 1 for a lost, swapped or wrong answer.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.images.paths import expand

TIMEOUT = 120.0  # seconds for one answer
TOLERANCE = 2e-3  # of a probability, from one batch size to another
BAD = {"bad/empty": b"", "bad/text": b"no picture", "bad/cut": b""}  # cut: half of a picture, put in below
SMALL_QUEUE = 8


@dataclass
class Outcome:
    """What came back: statuses, what was wrong, seconds of each answer; the server's memory (MB) and largest queue."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    queue: float = 0.0
    wall: float = 0.0


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


def resident(pid: int) -> float:
    """Return a process's resident memory, MB, 0 where the system can't tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def check(name: str, status: int, answer: Any, expected: Prediction | None) -> str:
    """Return what is wrong with an answer; nothing where it is right, or was refused."""
    if status in (429, 503):
        return ""
    if answer.get("source") != name:
        return f"{name}: somebody else's answer, {answer}"
    if expected is None:
        return "" if status == 400 and "error" in answer else f"{name}: a bad image got {status} {answer}"
    targets = None if expected.targets is None else expected.targets.tolist()
    told = answer.get("label"), answer.get("stage"), answer.get("targets")
    same = told == (expected.label, expected.stage, targets)
    if status != 200 or not same or abs(answer["probability"] - expected.probability) > TOLERANCE:
        return f"{name}: {status} {answer}, where the model says {expected}"
    return ""


def load(
    process: subprocess.Popen[str],
    port: int,
    images: dict[str, bytes],
    expected: dict[str, Prediction | None],
    count: int,
    connections: int,
) -> Outcome:
    """Send `count` requests from so many connections, each after the last one's answer."""
    outcome, lock = Outcome(), threading.Lock()
    names = sorted(images)
    numbers = iter(range(count))

    def client(seed: int) -> None:
        draw = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                break
            key = draw.choice(names)
            name = f"{number}:{key}"
            start = time.perf_counter()
            try:
                connection.request("POST", f"/predict?source={name}", images[key])
                response = connection.getresponse()
                status, body = response.status, json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                with lock:
                    outcome.wrong.append(f"{name}: lost, {error!r}")
                continue
            seconds, wrong = time.perf_counter() - start, check(name, status, body, expected[key])
            with lock:
                outcome.statuses[status] += 1
                outcome.wrong += [wrong] if wrong else []
                outcome.seconds += [seconds] if status == 200 else []
        connection.close()

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        outcome.memory.append(resident(process.pid))
        outcome.queue = max(outcome.queue, queue_of(port))
        time.sleep(0.2)
    outcome.wall = time.perf_counter() - start
    return outcome


def queue_of(port: int) -> float:
    """Return how many images are in the server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.request("GET", "/metrics")
    found = re.search(rb"^sacvit_queue_images (\S+)", connection.getresponse().read(), re.MULTILINE)
    connection.close()
    return float(found[1]) if found else float("nan")


def report(title: str, outcome: Outcome, connections: int) -> None:
    """Print one load's outcome."""
    seconds, count = sorted(outcome.seconds), sum(outcome.statuses.values())
    cut = [1000 * seconds[min(len(seconds) - 1, len(seconds) * share // 100)] for share in (50, 95, 99)]
    statuses = ", ".join(f"{status}: {times:,}" for status, times in sorted(outcome.statuses.items()))
    quarters = [outcome.memory[at * len(outcome.memory) // 4 :][: max(1, len(outcome.memory) // 4)] for at in range(4)]
    memory = ", ".join(f"{max(quarter):.0f}" for quarter in quarters)
    click.echo(f"{title}: {count:,} requests from {connections} connections, {count / outcome.wall:.0f}/s")
    click.echo(f"  {statuses}; {len(outcome.wrong)} lost, swapped or wrong")
    click.echo(f"  ms of an answer, median {cut[0]:.0f}, p95 {cut[1]:.0f}, p99 {cut[2]:.0f}")
    click.echo(f"  server's memory, MB, most in each quarter: {memory}; queue up to {outcome.queue:.0f}")
    for wrong in outcome.wrong[:5]:
        click.echo(f"  {wrong:.300}")


@click.command(help=__doc__)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--requests", "count", type=click.IntRange(1), default=2000, show_default=True)
@click.option("--connections", type=click.IntRange(1), default=32, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Of each engine.")
def main(bundle: Path, folder: Path, count: int, connections: int, threads: int) -> None:
    """Measure and judge."""
    paths = [Path(path) for path in expand((str(folder),), click.echo)]
    images = {path.name: path.read_bytes() for path in paths} | BAD
    images["bad/cut"] = paths[0].read_bytes()[: paths[0].stat().st_size // 2]
    model = SACViT(bundle, threads=threads)
    expected: dict[str, Prediction | None] = dict.fromkeys(BAD)
    expected |= {path.name: model.predict(path) for path in paths}
    failed = False
    for title, options, part in (
        ("load", (), count),
        (f"a queue of {SMALL_QUEUE}", ("--max-queue", str(SMALL_QUEUE)), count // 2 or 1),
    ):
        with server(bundle, "--threads", str(threads), *options) as (process, port):
            outcome = load(process, port, images, expected, part, connections)
        report(title, outcome, connections)
        failed = failed or bool(outcome.wrong) or (bool(options) and outcome.queue > SMALL_QUEUE)
    sys.exit(failed)


if __name__ == "__main__":
    main()
