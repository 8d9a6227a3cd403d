"""What an image costs an edge device over links of several speeds: `... edge_link BUNDLE FOLDER` prints a table.

Starts `sacvit serve` and, before it, a proxy that lets bytes through at a link's rate and after its delay. Measured are
images that continue: with stage 2 over the link (`SACViT(stage_two=...)`), with the fitted image sent as a JPEG, and
without a network. Device and server are this machine, so a real device's own part is longer.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sacvit_deploy import Prediction, SACViT, StageOne
from sacvit_deploy.benchmarks.serve_load import server
from sacvit_deploy.images.paths import expand

CHUNK = 4096  # bytes that the proxy takes at a time
IMAGES, ROUNDS, QUALITY = 5, 3, 90


@dataclass(frozen=True)
class Link:
    """A network: Mbit/s each way, ms there and back."""

    name: str
    megabits: float
    round_trip: float


LINKS = (
    Link("wired, 1000 Mbit/s, 0.5 ms", 1000, 0.5),
    Link("Wi-Fi, 50 Mbit/s, 5 ms", 50, 5),
    Link("LTE, 10 Mbit/s, 50 ms", 10, 50),
    Link("slow, 1 Mbit/s, 100 ms", 1, 100),
)


def pump(source: socket.socket, target: socket.socket, link: Link) -> None:
    """Pass on what comes, at the link's rate and after half of its round trip, until one side ends."""
    waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

    def send() -> None:
        with suppress(OSError):
            while True:
                due, data = waiting.get()
                time.sleep(max(0.0, due - time.monotonic()))
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    free = 0.0
    with suppress(OSError):
        while data := source.recv(CHUNK):
            free = max(free, time.monotonic()) + 8 * len(data) / (1e6 * link.megabits)
            waiting.put((free + link.round_trip / 2000, data))
    waiting.put((time.monotonic() + link.round_trip / 2000, b""))
    sender.join()


@contextmanager
def proxied(port: int, link: Link) -> Iterator[int]:
    """Put a link before a server's port, and give the link's port."""

    def serve(near: socket.socket) -> None:
        time.sleep(link.round_trip / 1000)  # a connection's handshake
        with near, socket.create_connection(("127.0.0.1", port)) as far:
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(far, near, link), daemon=True)
            back.start()
            pump(near, far, link)
            back.join()

    def accept(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                threading.Thread(target=serve, args=(near,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1]


def median_ms(call: Callable[[int], object], count: int) -> float:
    """Return the median time of a call on each image, several times over, ms."""
    times = []
    for number in range(ROUNDS * count):
        start = time.perf_counter()
        call(number % count)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def sent_as_jpeg(one: StageOne, path: Path, port: int) -> None:
    """Fit an image, send it as a JPEG, and read the answer."""
    buffer = io.BytesIO()
    pixels = one.prepare(path).pixels
    assert pixels is not None
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/predict?eta=1", buffer.getvalue())
    response = connection.getresponse()
    assert response.read() and response.status == 200
    connection.close()


def main(bundle: str, folder: str) -> None:
    """Measure and print."""
    whole, one = SACViT(bundle, threads=1), StageOne(bundle, threads=1)
    paths = [Path(path) for path in expand((folder,), print)]
    answers = zip(paths, whole.predict_batch(paths), strict=True)
    hard = [path for path, answer in answers if isinstance(answer, Prediction) and answer.stage == 2][:IMAGES]
    local = median_ms(lambda at: whole.predict(hard[at]), len(hard))
    exits = median_ms(lambda at: whole.predict(hard[at], eta=0.0), len(hard))
    with server(Path(bundle), "--threads", "1", "--max-delay", "0") as (_, port):
        print(f"ms of an image, medians; without a network: {local:.0f} after stage 2, {exits:.0f} after stage 1")
        print(f"{'link':<30}{'stage 2 over it':>17}{f'JPEG {QUALITY} over it':>17}")
        for link in LINKS:
            with proxied(port, link) as near:
                model = SACViT(bundle, threads=1, stage_two=f"http://127.0.0.1:{near}", stage_two_timeout=60)
                model.predict(hard[0])  # compares the digests
                request = median_ms(lambda at, model=model: model.predict(hard[at]), len(hard))  # type: ignore[misc]
                jpeg = median_ms(lambda at, near=near: sent_as_jpeg(one, hard[at], near), len(hard))  # type: ignore[misc]
            print(f"{link.name:<30}{request:>17.0f}{jpeg:>17.0f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
