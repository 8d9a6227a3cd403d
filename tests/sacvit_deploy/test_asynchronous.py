"""Calls and streams in an event loop, which goes on while they work; a cancelled task closes its stream."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sacvit_deploy import ImageError, Prediction, SACViT, UsageError

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "examples/int8/model.sacvit"
PICTURES = sorted((ROOT / "examples/pictures").iterdir())[:8]
LIMIT = 60  # seconds for what takes milliseconds
T = TypeVar("T")


@pytest.fixture(scope="module")
def model() -> SACViT:
    return SACViT(BUNDLE, threads=1)


def run(job: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(job, LIMIT))


async def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.005)


def count(*names: str) -> int:
    return sum(thread.name in names for thread in threading.enumerate())


def no_threads_of_streams() -> bool:
    return count("sacvit-source", "sacvit-decode", "sacvit-stream") == 0


class Camera:
    """A source that blocks its thread behind the first picture, until `go_on`."""

    def __init__(self) -> None:
        self.go_on, self.released = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Path]:
        try:
            yield PICTURES[0]
            self.go_on.wait(LIMIT)
            yield PICTURES[1]
        finally:
            self.released.set()


def test_calls_at_a_time(model: SACViT) -> None:
    async def job() -> list[Prediction]:
        return await asyncio.gather(*(model.apredict(path, eta=1.0) for path in PICTURES))

    expected = [model.predict(path, eta=1.0) for path in PICTURES]
    for found in (run(job()), run(job())):  # a second loop, too
        assert [(one.source, one.label) for one in found] == [(one.source, one.label) for one in expected]


def test_a_bad_image_is_raised_where_it_is_awaited(model: SACViT) -> None:
    with pytest.raises(ImageError):
        run(model.apredict(b"no picture"))
    with pytest.raises(UsageError, match="eta is 2"):
        run(model.apredict(PICTURES[0], eta=2))


def test_the_threads_go_with_the_model() -> None:
    before, model = count("sacvit-call"), SACViT(BUNDLE, threads=1)
    run(model.apredict(PICTURES[0]))
    assert count("sacvit-call") == before + 1
    del model
    gc.collect()
    run(until(lambda: count("sacvit-call") == before))


async def streamed(model: SACViT, sources: Any, **options: Any) -> list[tuple[int | None, str]]:
    return [(one.position, getattr(one, "label", "bad")) async for one in model.astream(sources, **options)]


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"max_delay": 0.1}])
def test_a_streams_answers(model: SACViT, options: dict[str, Any]) -> None:
    sources = [*PICTURES[:2], b"no picture", *PICTURES[2:]]

    async def given() -> AsyncIterator[Any]:
        for source in sources:
            await asyncio.sleep(0.001)
            yield source

    async def job() -> None:
        expected = [(one.position, getattr(one, "label", "bad")) for one in model.stream(sources)]
        assert await streamed(model, sources, **options) == expected
        assert await streamed(model, given(), **options) == expected
        await until(no_threads_of_streams)

    run(job())


def test_arguments_are_checked_at_once(model: SACViT) -> None:
    with pytest.raises(UsageError, match="max_delay is -1"):
        model.astream(PICTURES, max_delay=-1)


@pytest.mark.parametrize("options", [{"max_delay": 0.0}, {"keep": "latest"}, {"batch_size": 1, "workers": 1}])
def test_the_loop_goes_on_and_cancelling_closes_the_stream(model: SACViT, options: dict[str, Any]) -> None:
    camera = Camera()

    async def job() -> None:
        found: list[Any] = []

        async def loop() -> None:
            async for answer in model.astream(camera, **options):
                found.append(answer.position)

        task = asyncio.create_task(loop())
        await until(lambda: found == [0])
        await asyncio.sleep(0.05)  # it waits for the camera, in a thread
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not camera.go_on.is_set()
        camera.go_on.set()
        await until(camera.released.is_set)
        await until(no_threads_of_streams)
        assert found == [0]

    run(job())


def test_another_task_closes_a_stream(model: SACViT) -> None:
    camera = Camera()

    async def job() -> None:
        async with model.astream(camera, max_delay=0.0) as stream:
            found: list[Any] = []

            async def loop() -> None:
                found.extend([answer.position async for answer in stream])

            task = asyncio.create_task(loop())
            await until(lambda: stream.taken == 1)
            await stream.aclose()
            await task
            assert len(found) <= 1 and stream.dropped == 0
        camera.go_on.set()
        await until(no_threads_of_streams)

    run(job())


def test_leaving_the_loop_closes_the_stream(model: SACViT) -> None:
    camera = Camera()

    async def job() -> None:
        async for answer in model.astream(camera, max_delay=0.0):
            assert answer.position == 0
            break
        gc.collect()
        camera.go_on.set()
        await until(no_threads_of_streams)

    run(job())


def test_the_sources_exception_comes_after_the_answers(model: SACViT) -> None:
    async def failing() -> AsyncIterator[Path]:
        yield PICTURES[0]
        raise OSError("the camera is gone")

    async def job() -> None:
        stream = model.astream(failing(), max_delay=0.0)
        assert (await anext(stream)).position == 0
        with pytest.raises(OSError, match="the camera is gone"):
            await anext(stream)
        await until(no_threads_of_streams)

    run(job())


def test_a_loop_ends_beside_a_source_that_gives_nothing_more(model: SACViT) -> None:
    async def silent() -> AsyncIterator[Path]:
        yield PICTURES[0]
        await asyncio.Event().wait()

    async def job() -> None:
        async with model.astream(silent(), max_delay=0.0) as stream:
            assert (await anext(stream)).position == 0

    run(job())
    run(until(no_threads_of_streams))


@pytest.mark.slow
def test_a_program_ends_in_order_while_a_cancelled_call_runs() -> None:
    program = f"""
import asyncio, numpy, sys
from sacvit_deploy import SACViT
model = SACViT({str(BUNDLE)!r}, threads=1)
image = numpy.zeros((224, 224, 3), numpy.uint8)
def images():
    while True:
        yield image
async def read():
    async for answer in model.astream(images(), batch_size=8, max_delay=0):
        pass
async def main():
    reading = asyncio.create_task(read())
    await asyncio.sleep(0.3)
    reading.cancel()
asyncio.run(main())
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stderr) == (0, "")
