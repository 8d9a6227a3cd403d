"""The load itself: requests from many connections at a time, each answer held against the right one."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import click

from sacvit_deploy import Prediction
from sacvit_deploy.benchmarks.load.pictures import Pictures
from sacvit_deploy.benchmarks.load.wires import Reply, Wire

TIMEOUT = 120.0  # seconds for one answer
TOLERANCE = 2e-3  # of a probability, from one batch size to another
BUSY = (429, 503)  # what a server with a full queue says
FAILED = (500, 503)  # what one may say whose replica was killed
WATCHED = 0.5  # seconds from one look at memory and queue to the next


@dataclass(frozen=True)
class Server:
    """A server under load, on this machine. memory: what it takes, MB. queue: images in it, where it tells."""

    port: int
    wire: Wire
    memory: Callable[[], float]
    queue: Callable[[], float] = lambda: float("nan")


@dataclass
class Outcome:
    """What came back: statuses, what was wrong, seconds of each answer; the server's memory (MB) and largest queue.

    clean: requests that were refused or failed with a sentence, as they may. after: right answers to requests that were
    sent after `midway`, by their stage; 0 is a bad image's.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    clean: int = 0
    after: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    queue: float = 0.0
    wall: float = 0.0


def check(name: str, reply: Reply, expected: Prediction | None) -> str:
    """Return what is wrong with an answer; nothing where it is right. expected: None for a bad image."""
    if reply.source != name and not (reply.source is None and name in (reply.error or "")):
        return f"{name}: somebody else's answer, {reply}"
    if expected is None:
        return "" if reply.status == 400 and reply.error else f"{name}: a bad image got {reply}"
    targets = None if expected.targets is None else expected.targets.tolist()
    same = (reply.label, reply.stage, reply.targets) == (expected.label, expected.stage, targets)
    if reply.status != 200 or not same or abs(reply.probability - expected.probability) > TOLERANCE:
        return f"{name}: {reply}, where the model says {expected}"
    return ""


def load(
    server: Server,
    pictures: Pictures,
    count: int,
    connections: int,
    may_fail: Collection[int] = (),
    midway: Callable[[], object] = lambda: None,
    stop: threading.Event | None = None,
) -> Outcome:
    """Send `count` requests from so many connections, each after the last one's answer.

    may_fail: statuses that a request may end with, as long as they say why. midway: called once half of the requests
    are sent, while the others go on. stop: ends the load before `count`, with whole answers. Whatever a request ends
    with, an exception of `midway` included, is in the outcome.
    """
    outcome, lock = Outcome(), threading.Lock()
    names = sorted(pictures.files)
    numbers = iter(range(count))
    passed = threading.Event()  # midway
    settled = 0

    def request(number: int, key: str, connection: http.client.HTTPConnection) -> None:
        if number == count // 2:
            midway()
            passed.set()
        name, after = f"{number}:{key}", passed.is_set()
        asked = server.wire.ask(name, pictures.files[key])
        start = time.perf_counter()
        connection.request("POST", asked.path, asked.body, dict(asked.headers))
        response = connection.getresponse()
        status, body = response.status, response.read()
        seconds = time.perf_counter() - start
        with lock:
            outcome.statuses[status] += 1
            outcome.seconds += [seconds] if status == 200 else []
        reply = read(server.wire, status, body)
        clean = status in may_fail and bool(reply.error)
        wrong = "" if clean else check(name, reply, pictures.expected[key])
        with lock:
            outcome.clean += clean
            outcome.wrong += [wrong] if wrong else []
            if after and not (clean or wrong):
                outcome.after[reply.stage] += 1

    def client(seed: int) -> None:
        nonlocal settled
        draw = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT)
        while True:
            with lock:
                number = next(numbers, None)
            if number is None or (stop is not None and stop.is_set()):
                break
            key = draw.choice(names)
            try:
                request(number, key, connection)
            except Exception as error:  # of the connection, of midway, or of an answer that nobody thought of
                connection.close()
                with lock:
                    outcome.wrong.append(f"{number}:{key}: {error!r}")
            with lock:
                settled += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(connections)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            outcome.memory.append(server.memory())
            outcome.queue = max(server.queue(), outcome.queue)
            thread.join(WATCHED)
    outcome.wall = time.perf_counter() - start
    if settled != count and not (stop is not None and stop.is_set()):
        outcome.wrong.append(f"{settled:,} of {count:,} requests came to an end; a client broke off")
    return outcome


def read(wire: Wire, status: int, body: bytes) -> Reply:
    """Read an answer; what is no JSON is an error's text, as Ray's proxy sends it."""
    try:
        return wire.read(status, json.loads(body))
    except (ValueError, KeyError, TypeError):
        return Reply(status, error=body.decode("utf-8", "replace"))


def report(title: str, outcome: Outcome, connections: int) -> None:
    """Print one load's outcome."""
    seconds, count = sorted(outcome.seconds), sum(outcome.statuses.values())
    cut = {f"p{share}": 1000 * seconds[len(seconds) * share // 100] for share in (50, 95, 99) if seconds}
    statuses = ", ".join(f"{status}: {times:,}" for status, times in sorted(outcome.statuses.items()))
    quarters = [outcome.memory[at * len(outcome.memory) // 4 :][: max(1, len(outcome.memory) // 4)] for at in range(4)]
    memory = ", ".join(f"{max(quarter):.0f}" for quarter in quarters)
    click.echo(f"{title}: {count:,} requests from {connections} connections, {count / outcome.wall:.0f}/s")
    click.echo(
        f"  {statuses}; {outcome.clean} refused or failed with a reason; {len(outcome.wrong)} lost, swapped or wrong"
    )
    click.echo(f"  ms of an answer: {', '.join(f'{name} {ms:.0f}' for name, ms in cut.items())}")
    queue = "" if outcome.queue != outcome.queue else f"; queue up to {outcome.queue:.0f}"
    click.echo(f"  server's memory, MB, most in each quarter: {memory}{queue}")
    for wrong in outcome.wrong[:5]:
        click.echo(f"  {wrong:.300}")
