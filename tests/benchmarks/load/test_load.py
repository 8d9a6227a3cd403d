"""The load of `serve_load`, `triton_load` and `ray_load` finds what is lost, swapped or wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from sacvit_deploy import Prediction, SACViT
from sacvit_deploy.benchmarks.load.claims import holds, outlives_kill, queue_refuses
from sacvit_deploy.benchmarks.load.generator import BUSY, FAILED, Outcome, Server, load, report
from sacvit_deploy.benchmarks.load.pictures import BAD, Pictures, read_pictures
from sacvit_deploy.benchmarks.load.processes import descendants, is_running, kill_first, memory, named
from sacvit_deploy.benchmarks.load.wires import RAY, SERVE, TRITON
from sacvit_deploy.errors import BackendError
from tests.data import record
from tests.servers import BUNDLE, MISSING, REASON, serving

Answer = tuple[int, dict[str, Any]]
COUNT = 40


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return read_pictures(SACViT(BUNDLE, threads=1, precision="int8"), record.ROOT / "examples/pictures")


@contextmanager
def answering(answer: Callable[[str, bytes], Answer]) -> Iterator[int]:
    """Serve answers to (name, file) at a port, as Ray's router does; status 0 closes the connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, reply = answer(parse_qs(urlsplit(self.path).query)["name"][0], body)
            if status == 0:
                self.close_connection = True
                return
            data = json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()


def right(pictures: Pictures, name: str) -> Answer:
    """Return the right answer for `NUMBER:KEY`."""
    expected = pictures.expected[name.partition(":")[2]]
    return (200, {**expected.to_dict(), "source": name}) if expected else (400, {"error": f"{name} is not an image"})


def outcome_of(pictures: Pictures, change: Callable[[str, Answer], Answer], **how: Any) -> Outcome:
    """Put a load on a server whose right answers are changed."""
    with answering(lambda name, _: change(name, right(pictures, name))) as port:
        return load(Server(port, RAY, lambda: 1.0), pictures, COUNT, 4, **how)


def test_right_answers_and_a_clean_failure(pictures: Pictures, capsys: pytest.CaptureFixture[str]) -> None:
    called: list[int] = []
    outcome = outcome_of(pictures, lambda _, answer: answer, midway=lambda: called.append(1))
    assert outcome.wrong == [] and sum(outcome.statuses.values()) == COUNT and called == [1]
    assert set(outcome.statuses) == {200, 400} and len(outcome.seconds) == outcome.statuses[200]
    report("load", outcome, 4)
    assert "40 requests from 4 connections" in capsys.readouterr().out

    def busy(name: str, answer: Answer) -> Answer:
        return (503, {"error": "busy"}) if name.startswith("7:") else answer

    assert outcome_of(pictures, busy, may_fail=BUSY).clean == 1
    assert len(outcome_of(pictures, busy).wrong) == 1  # where nothing may fail


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (200, {"source": "8:other.jpg"}),
        (200, {"label": "other"}),
        (200, {"stage": 0}),
        (200, {"targets": [99]}),
        (200, {"probability": 0.0}),
        (503, {"error": ""}),  # says nothing
        (400, {"error": "bad"}),  # of a good image, by nobody's name
        (0, {}),
    ],
)
def test_one_answer_that_is_wrong_is_found(status: int, change: dict[str, Any], pictures: Pictures) -> None:
    good = Pictures({"a": b"a"}, {"a": next(value for value in pictures.expected.values() if value)})

    def spoil(name: str, answer: Answer) -> Answer:
        if not name.startswith("7:"):
            return answer
        return status, change if "error" in change else {**answer[1], **change}

    (wrong,) = outcome_of(good, spoil, may_fail=FAILED).wrong
    assert wrong.startswith("7:a")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_no_request_is_forgotten(pictures: Pictures) -> None:
    """Whatever ends it: what it is called for, an answer that nobody thought of, or its client."""
    good = Pictures({"a": b"a"}, {"a": next(value for value in pictures.expected.values() if value)})

    def fails() -> None:
        raise IndexError("no process")

    outcome = outcome_of(good, lambda _, answer: answer, midway=fails)
    assert outcome.wrong == [f"{COUNT // 2}:a: IndexError('no process')"] and outcome.statuses == {200: COUNT - 1}
    assert not outcome.after

    def null(name: str, answer: Answer) -> Answer:
        return (200, {**answer[1], "probability": None}) if name.startswith("7:") else answer

    outcome = outcome_of(good, null)
    (wrong,) = outcome.wrong
    assert wrong.startswith("7:a: TypeError(") and outcome.statuses == {200: COUNT}

    outcome = outcome_of(good, lambda _, answer: answer, midway=sys.exit)  # ends a thread without a word
    assert outcome.wrong == [f"{COUNT - 1} of {COUNT} requests came to an end; a client broke off"]


def test_answers_after_the_middle_are_told_apart(pictures: Pictures) -> None:
    killed = threading.Event()

    def dies(_: str, answer: Answer) -> Answer:
        return (500, {"error": "killed"}) if killed.is_set() else answer

    outcome = outcome_of(pictures, dies, may_fail=FAILED, midway=killed.set)
    assert not outcome.after.total() and outcome.wrong == [] and outcome.statuses[200]
    outcome = outcome_of(pictures, lambda _, answer: answer, midway=killed.set)
    assert 0 < outcome.after.total() <= COUNT // 2 and outcome.after[1]


def test_a_bad_image_that_is_answered_is_found(pictures: Pictures) -> None:
    only = Pictures({BAD[0]: b""}, {BAD[0]: None})
    some = next(value for value in pictures.expected.values() if value)
    assert isinstance(some, Prediction)
    outcome = outcome_of(only, lambda name, _: (200, {**some.to_dict(), "source": name}))
    assert len(outcome.wrong) == COUNT


def test_tritons_wire() -> None:
    asked = TRITON.ask("3:a.jpg", b"file")
    size = int(asked.headers["Inference-Header-Content-Length"])
    head = json.loads(asked.body[:size])
    assert head["id"] == "3:a.jpg" and asked.body[size:] == b"\4\0\0\0file"
    assert head["inputs"][0]["parameters"] == {"binary_data_size": 8}
    rows = {"label": ["cat"], "probability": [0.5], "stage": [1], "targets": [-1, -1]}
    answer = {"id": "3:a.jpg", "outputs": [{"name": name, "data": data} for name, data in rows.items()]}
    reply = TRITON.read(200, answer)
    assert (reply.source, reply.label, reply.stage, reply.targets) == ("3:a.jpg", "cat", 1, None)


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=REASON)
def test_the_server_of_this_project(pictures: Pictures) -> None:
    with serving("--precision", "int8") as server:
        pid = server.process.pid
        outcome = load(Server(server.port, SERVE, lambda: memory([pid])), pictures, COUNT, 8)
        assert outcome.wrong == [] and set(outcome.statuses) <= {200, 400}
        assert outcome.memory[0] > 10
        stop = threading.Event()
        stop.set()
        assert not load(Server(server.port, SERVE, lambda: 0.0), pictures, COUNT, 8, stop=stop).statuses


def test_a_load_that_shows_nothing_fails(capsys: pytest.CaptureFixture[str]) -> None:
    full = Outcome(Counter({200: 3, 400: 1, 503: 5}), memory=[1], queue=8, wall=1)
    assert holds("full", full, 4, queue_refuses(503))
    assert "nothing ended" not in capsys.readouterr().out
    for outcome, said in (
        (replace(full, statuses=Counter({200: 3, 400: 1})), "nothing ended with 503, so this shows no full queue"),
        (replace(full, statuses=Counter({503: 3})), "nothing ended with 200, so"),
        (replace(full, statuses=Counter({400: 3})), "nothing ended with 200 or 503, so"),
        (replace(full, queue=9), "the queue grew to 9"),
    ):
        assert not holds("queue", outcome, 4, queue_refuses(503))
        assert said in capsys.readouterr().out
    killed = replace(full, after=Counter({0: 2, 1: 3}))  # bad images, and such as exit at stage 1
    assert not holds("killed", killed, 4, outlives_kill)
    assert "no request sent after the kill was answered by stage 2" in capsys.readouterr().out
    assert holds("killed", replace(full, after=Counter({2: 1})), 4, outlives_kill)
    assert not holds("wrong", replace(full, wrong=["a"]), 4)


def test_a_process_is_gone_once_it_is_killed() -> None:
    with pytest.raises(BackendError, match="there is no process of sac to kill"):
        kill_first([], "sac")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert is_running(process.pid)
        kill_first([process.pid], "sac")
        assert not is_running(process.pid)  # though nobody has waited for it
    assert process.returncode == -signal.SIGKILL and not is_running(process.pid)


def test_processes_below_another() -> None:
    program = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'print(1, flush=True); input()']).wait()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "1\n"
        (below,) = descendants(process.pid)
        assert {process.pid, below} <= set(descendants(os.getpid()))
        assert named([process.pid, below], "Popen") == [process.pid] and memory([below]) > 1
        process.communicate("\n")
    assert descendants(below) == [] and memory([below]) == 0
