"""Work that nobody waits for any more is dropped: of clients that left, and of a server whose time to stop is over."""

from __future__ import annotations

import io
import re
import signal

import pytest
from PIL import Image

from tests.servers import (
    MISSING,
    PATIENCE,
    REASON,
    ROOT,
    begin,
    form,
    read_answer,
    serving,
    wait_for_images,
    wait_until_it_listens_no_more,
)

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)
MANY = 1000  # images of a form: seconds of work on any machine


def test_clients_that_leave_and_the_end_of_grace() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "JPEG")
    body, headers = form([(str(number), buffer.getvalue()) for number in range(MANY)])
    with serving("--max-queue", str(MANY + 1), "--max-images", str(MANY), "--grace", "1") as server:
        leaving = begin(server, len(body), body, headers)
        wait_for_images(server, MANY)
        leaving.close()
        wait_for_images(server, 0)
        picture = (ROOT / "examples/pictures/01_panda_medium.jpg").read_bytes()
        assert server.ask("POST", "/predict", picture).json()["label"] == "panda"  # behind whatever was left of it
        told = server.ask("GET", "/metrics").body.decode()
        assert 'sacvit_refused_total{status="499"} 1.0' in told
        found = re.search(r'sacvit_batch_images_sum{stage="ee"} (\S+)', told)
        assert found and 1 <= float(found[1]) < MANY
        # A connection stays what it was: a request that is sent before the answer to the first one is answered, too.
        kept = begin(server, len(picture), picture)
        kept.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = read_answer(kept)
        while b'"live"' not in answers:
            more = kept.recv(1 << 16)
            assert more, answers
            answers += more
        assert answers.count(b"HTTP/1.1 200") == 2 and b'"label": "panda"' in answers
        kept.close()

        waiting = [begin(server, len(body), body, headers), begin(server, 5000)]  # for the engines; for its body
        wait_for_images(server, MANY + 1)
        server.process.send_signal(signal.SIGTERM)
        for connection in waiting:
            answer = read_answer(connection)
            assert b" 503 " in answer and b"stopped before there was an answer" in answer
            connection.close()
        assert server.process.wait(PATIENCE) == 0
        assert "Traceback" not in server.said


def test_a_second_signal_ends_at_once() -> None:
    with serving("--grace", "600") as server:
        held = begin(server, 5000)
        wait_for_images(server, 1)
        server.process.send_signal(signal.SIGTERM)
        wait_until_it_listens_no_more(server)
        assert server.stop(signal.SIGTERM) == 128 + signal.SIGTERM
        held.close()
