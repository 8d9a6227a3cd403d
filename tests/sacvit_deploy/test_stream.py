"""Streams of a live source, on the host and on a device: answers without waiting for more, what is dropped, the end."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacvit_deploy import ImageError, Prediction, SACViT, SacvitError, Stream, UsageError
from tests.processes import start_process
from tests.sacvit_deploy.device.late import LateDevice, put_on

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((ROOT / "examples/pictures").iterdir())[:8]
LIMIT = 60  # seconds for what takes milliseconds


@pytest.fixture(scope="module", params=["host", "device", "late device"])
def model(request: pytest.FixtureRequest) -> SACViT:
    """The example model, whose stages run with arrays, or with tensors on a device as fast or slow as may be."""
    model = SACViT(BUNDLE, threads=1)
    if request.param != "host":
        files = model.bundle.checked_files(model.precision)
        eager = request.param == "device"
        put_on(model, LateDevice(files, (eager, eager, eager)))
    return model


class Camera:
    """A source that gives pictures as it is told to; it waits for `go_on` before those of `held`."""

    def __init__(self, *pictures: Any, held: int = 0) -> None:
        self._pictures, self._held = pictures, held
        self.go_on, self.ended, self.released = threading.Event(), threading.Event(), threading.Event()
        self.timed_out = False

    def __iter__(self) -> Iterator[Any]:
        try:
            for number, picture in enumerate(self._pictures):
                if number == len(self._pictures) - self._held:
                    self.timed_out = not self.go_on.wait(LIMIT)
                yield picture
            self.ended.set()
        finally:
            self.released.set()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def threads_of_streams() -> int:
    return sum(thread.name in ("sacvit-source", "sacvit-decode") for thread in threading.enumerate())


def same(found: list[Prediction | SacvitError], expected: list[Prediction | SacvitError]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert type(one) is type(other) and one.position == other.position
        if isinstance(one, Prediction) and isinstance(other, Prediction):
            assert (one.label, one.stage) == (other.label, other.stage)
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


LIVE: list[dict[str, Any]] = [
    {"max_delay": 0},
    {"max_delay": 5.0},
    {"keep": "latest"},
    {"keep": "latest", "batch_size": 3},
]


@pytest.mark.parametrize("options", LIVE)
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_an_answer_comes_without_further_images(model: SACViT, options: dict[str, Any], eta: float) -> None:
    camera = Camera(*PICTURES[:2], held=1)
    with model.stream(camera, eta=eta, **options) as stream:
        first = next(stream)
        assert isinstance(first, Prediction) and not camera.timed_out
        assert (first.stage, first.position, stream.taken) == (1 if eta == 0 else 2, 0, 1)
        camera.go_on.set()
        assert [answer.position for answer in stream] == [1]
        assert (stream.taken, stream.dropped) == (2, 0)
    until(lambda: threads_of_streams() == 0)


@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize("max_delay", [0, 0.05, 1000])
def test_answers_are_those_of_whole_batches(model: SACViT, batch_size: int | None, max_delay: float) -> None:
    sources: list[Any] = [*PICTURES[:3], b"no picture", *PICTURES[3:]]
    expected = list(model.stream(sources, batch_size=3))
    assert isinstance(expected[3], ImageError)
    assert [answer.position for answer in expected] == list(range(9))
    same(list(model.stream(iter(sources), batch_size=batch_size, max_delay=max_delay)), expected)


def test_the_newest_image_is_kept_and_the_others_counted(model: SACViT) -> None:
    camera = Camera(*PICTURES, held=len(PICTURES) - 1)
    with model.stream(camera, keep="latest") as stream:
        assert next(stream).position == 0
        camera.go_on.set()
        assert camera.ended.wait(LIMIT)
        last = next(stream)
        same([last], [dataclasses.replace(model.predict(PICTURES[-1]), position=len(PICTURES) - 1)])
        assert (stream.taken, stream.dropped) == (len(PICTURES), len(PICTURES) - 2)
        assert list(stream) == []


def test_an_owner_may_reuse_its_frame(model: SACViT) -> None:
    frame = np.zeros((64, 64, 3), np.uint8)

    def capture() -> Iterator[np.ndarray[Any, Any]]:
        for value in range(0, 250, 50):
            frame[:] = value
            yield frame
        frame[:] = 255

    expected = [model.predict(np.full_like(frame, value), eta=1.0).probabilities for value in range(0, 250, 50)]
    found = list(model.stream(capture(), max_delay=0, eta=1.0))
    for answer, probabilities in zip(found, expected, strict=True):
        assert isinstance(answer, Prediction)
        np.testing.assert_allclose(answer.probabilities, probabilities, atol=1e-5)


@pytest.mark.parametrize("options", [{}, *LIVE])
def test_a_sources_exception_comes_after_the_answers(model: SACViT, options: dict[str, Any]) -> None:
    def failing() -> Iterator[Path]:
        yield PICTURES[0]
        raise OSError("the camera is gone")

    stream = model.stream(failing(), **options)
    assert next(stream).position == 0
    with pytest.raises(OSError, match="the camera is gone"):
        next(stream)
    until(lambda: threads_of_streams() == 0)


# --- the end


@pytest.mark.parametrize("options", LIVE)
def test_closing_does_not_wait_for_the_source(model: SACViT, options: dict[str, Any]) -> None:
    camera = Camera(*PICTURES, held=7)
    stream = model.stream(camera, **options)
    next(stream)
    stream.close()
    stream.close()
    assert list(stream) == [] and not camera.go_on.is_set()
    camera.go_on.set()
    assert camera.released.wait(LIMIT) and not camera.timed_out
    until(lambda: threads_of_streams() == 0)
    assert stream.taken <= 2


@pytest.mark.parametrize("options", [{"max_delay": 0}, {"keep": "latest"}])
def test_letting_go_of_a_stream_closes_it(model: SACViT, options: dict[str, Any]) -> None:
    camera = Camera(*PICTURES, held=7)
    stream = model.stream(camera, **options)
    next(stream)
    del stream
    camera.go_on.set()
    assert camera.released.wait(LIMIT) and not camera.ended.is_set()


def test_another_thread_closes_it(model: SACViT) -> None:
    camera = Camera(*PICTURES, held=7)
    stream = model.stream(camera, max_delay=0)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(stream), daemon=True)
    waiting.start()
    until(lambda: len(found) == 1)
    stream.close()
    waiting.join(LIMIT)
    assert not waiting.is_alive() and len(found) == 1
    camera.go_on.set()
    until(lambda: threads_of_streams() == 0)


def test_another_thread_closes_a_stream_of_whole_batches(model: SACViT) -> None:
    camera = Camera(*PICTURES, held=7)
    stream = model.stream(camera, batch_size=2)
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.extend(stream), daemon=True)
    waiting.start()
    until(lambda: stream.taken == 1)
    stream.close()
    camera.go_on.set()
    waiting.join(LIMIT)
    assert not waiting.is_alive() and found == []
    until(lambda: threads_of_streams() == 0)


def test_a_model_may_be_closed_before_its_stream() -> None:
    model = SACViT(BUNDLE, threads=1)
    camera = Camera(*PICTURES[:2], held=1)
    stream = model.stream(camera, max_delay=0)
    assert next(stream).position == 0
    model.close()
    camera.go_on.set()
    assert [answer.position for answer in stream] == [1]


# A camera that never gives a second image; what the first argument names happens then.
BLOCKED = """
import sys, threading
from sacvit_deploy import SACViT

def camera():
    yield sys.argv[2]
    threading.Event().wait()

stream = SACViT(sys.argv[1], threads=1).stream(camera(), max_delay=0.1, keep=sys.argv[3])
print(next(stream).position, flush=True)
if sys.argv[4] == "wait":
    next(stream)
"""


@pytest.mark.parametrize("keep", ["all", "latest"])
@pytest.mark.parametrize("then", ["leave", signal.SIGINT, signal.SIGTERM])
def test_a_blocked_source_does_not_keep_the_process(keep: str, then: Any) -> None:
    command = [sys.executable, "-c", BLOCKED, BUNDLE, PICTURES[0], keep, "leave" if then == "leave" else "wait"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = start_process(list(map(str, command)), env=environment, **pipes)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        if then != "leave":
            process.send_signal(then)
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    if then == "leave":
        assert (process.returncode, said) == (0, "")
    else:
        assert process.returncode == -then
        assert then != signal.SIGINT or "KeyboardInterrupt" in said


# --- arguments


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), True, "0.1", [1]])
def test_a_delay_that_is_none(model: SACViT, value: Any) -> None:
    with pytest.raises(UsageError, match="max_delay is .*; it must be a number of seconds, 0 or more, or None"):
        model.stream(PICTURES, max_delay=value)


@pytest.mark.parametrize("value", ["newest", None, 1])
def test_a_word_for_what_to_keep_that_is_none(model: SACViT, value: Any) -> None:
    with pytest.raises(UsageError, match="keep is .*; it must be 'all', or 'latest'"):
        model.stream(PICTURES, keep=value)


def test_numbers_of_other_types(model: SACViT) -> None:
    stream = model.stream(PICTURES[:2], max_delay=np.float32(0.5), batch_size=np.int64(2))
    assert isinstance(stream, Stream) and iter(stream) is stream
    assert [answer.position for answer in stream] == [0, 1]
